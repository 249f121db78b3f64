"""A chat on an OpenAI-compatible server: messages in, a text or native tool calls out, tokens as the server counts.

Needs neither tokenizer nor model here. A reply may be as long as was asked for and as the context leaves. Only the
server knows what that is: a prompt that it finds too long is asked again without a limit on the reply, and is too long
if it is refused then. Whatever shape a reply has that says something is taken as a reply. Left out: reasoning text,
which is no part of an answer, and repeating requests (`server.py`).
"""

import json
from dataclasses import replace
from typing import Any

from itool_data.config import ModelSettings
from itool_data.errors import ItoolError
from itool_data.native import native_chat, openai_tools
from itool_data.policy.base import PolicyId, Usage
from itool_data.policy.load import Adapter
from itool_data.policy.served import serve_adapter, served_models
from itool_data.policy.server import Ask, Server
from itool_data.prompt import prompt_messages
from itool_data.sample import ToolCall
from itool_eval.chat import Refusal, Reply, in_own_form
from itool_eval.conversation import Message, Prompt, Said

PATH = "/chat/completions"
# How servers say that a reply is at the length that was asked for, and that they broke it off; all else is an end.
_LENGTH = {"length", "max_tokens", "model_length"}
_BROKEN_OFF = {"abort", "error"}
_SEEDS = 2**31  # some servers take no larger ones


class ServerChat:
    """A served model as a chat.

    Args:
        server: where it is.
        name: what the server calls the model or adapter.
        policy_id: who replies.
        form: in which what has no form of its own is asked.
    """

    def __init__(self, server: Server, name: str, policy_id: PolicyId, form: ModelSettings):
        self.max_rows = server.rows
        self._server = server
        self._name = name
        self._id = policy_id
        self._usage = Usage()
        self._form = form
        self._native = form.format == "native"
        self._asked: dict[str, dict[str, Any]] = {}
        self._in_own_form: set[str] = set()  # whose native calls are to come back as text

    @property
    def usage(self) -> Usage:
        """Tokens as the server counted them."""
        return self._usage

    @property
    def policy_id(self) -> PolicyId:
        """The served model's name, at the server, with the adapter's hash."""
        return self._id

    def call_witness(self, prompt: Prompt, max_tokens: int, temperature: float = 0.0) -> None:
        """Name a prompt that is likely to be answered, by which a bad prompt is told from a server that is down."""
        self._server.call_witness(Ask(PATH, self._body(prompt, max_tokens, temperature, 0), _read_reply))

    def submit(self, key: str, prompt: Prompt, max_tokens: int, temperature: float = 0.0, seed: int = 0) -> None:
        """Send a prompt."""
        if self._is_in_own_form(prompt):
            self._in_own_form.add(key)
        self._send(key, self._body(prompt, max_tokens, temperature, seed))

    def _is_in_own_form(self, prompt: Prompt) -> bool:
        return self._native and prompt.asked is not None

    def _body(self, prompt: Prompt, max_tokens: int, temperature: float, seed: int) -> dict[str, Any]:
        messages, tools = _plain(prompt.messages), list(prompt.tools)
        if (asked := prompt.asked) is not None:
            if self._native:
                messages = [_with_arguments_as_text(message) for message in native_chat(asked, self._form.system)]
                tools = openai_tools(asked.tools)
            else:
                messages = _plain([*prompt_messages(asked.messages, asked.tools, self._form.tools, self._form.system)])
        body = {"model": self._name, "messages": messages, "temperature": temperature, "max_tokens": max_tokens}
        if temperature:
            body["seed"] = seed % _SEEDS
        if prompt.must_call:
            body["tool_choice"] = "required"
        return body | ({"tools": tools} if tools else {})

    def step(self) -> list[tuple[str, Reply | Refusal]]:
        """Wait for replies, not for long; return those that came.

        Raises:
            ItoolError: the server is down, or refuses all prompts like these.
        """
        ended: list[tuple[str, Reply | Refusal]] = []
        for key, answer in self._server.step():
            body = self._asked.pop(key)
            if isinstance(answer, Reply):
                self._usage.prefilled += answer.tokens_prompt
                self._usage.decoded += answer.tokens_output
                said = _as_text(answer.said) if key in self._in_own_form else answer.said
                ended.append((key, replace(answer, said=said)))
            elif answer.too_long and "max_tokens" in body:
                self._send(key, {name: value for name, value in body.items() if name != "max_tokens"})
            else:
                ended.append((key, Refusal(answer.reason, "context" if answer.too_long else "refused", answer.failed)))
        return ended

    def reset(self) -> None:
        """Drop everything under way."""
        self._server.reset()
        self._asked.clear()

    def close(self) -> None:
        """Nothing is held beyond what is under way."""
        self.reset()

    def _send(self, key: str, body: dict[str, Any]) -> None:
        self._asked[key] = body
        self._server.submit(key, Ask(PATH, body, _read_reply))


def open_server_chat(settings: ModelSettings, adapter: Adapter | None) -> ServerChat:
    """The chat with a served model, or with an adapter that the server serves or can load.

    Without a served name in the settings it is the model that has the settings' name, or the only one there is.

    Raises:
        ItoolError: the server cannot be reached, it is not said which of its models is meant, or it does not serve
            the adapter.
    """
    server = Server(settings)
    models = served_models(server)
    bases = [model for model in models.listed if not model.parent]
    named = [model for model in bases if settings.name in (model.name, model.root)]
    if not settings.served_name and not named and len(bases) != 1:
        raise ItoolError(f"{server.base_url}: serves {models}; say which with --set model.served_name=NAME")
    base = settings.served_name or (named or bases)[0].name
    name = serve_adapter(server, adapter, models) if adapter else base
    policy = PolicyId(base, server.host, adapter.content if adapter else "")
    return ServerChat(server, name, policy, settings)


def _plain(messages: list[Message]) -> list[Message]:
    """Messages as a server takes them: results of calls that were made as text come as the user's, in one message.

    BFCL's own form for hosted models; a message of role `tool` must answer a native call there.
    """
    plain: list[Message] = []
    results: list[Message] = []
    for message in [*messages, None]:
        if message is not None and message["role"] == "tool" and "tool_call_id" not in message:
            results.append(message)
            continue
        if results:
            plain.append({"role": "user", "content": repr(results)})
            results = []
        if message is not None:
            plain.append(message)
    return plain


def _with_arguments_as_text(message: Message) -> Message:
    """A message whose calls have their arguments as JSON text, as the protocol wants them."""
    calls = [
        {**call, "function": call["function"] | {"arguments": json.dumps(call["function"]["arguments"])}}
        for call in message.get("tool_calls", ())
    ]
    return {**message, "tool_calls": calls} if calls else message


def _as_text(said: Said) -> Said:
    """A reply's native calls as text of our own form."""
    try:
        calls = [ToolCall(name, json.loads(arguments)) for name, arguments in said.calls]
        if not all(isinstance(call.arguments, dict) for call in calls):
            raise ValueError
    except (ValueError, RecursionError):
        return Said(f"{said.text}{said.calls}")
    return in_own_form(said.text, calls) if calls else said


def _read_reply(answer: Any) -> Reply:
    """A reply of a chat completion; fails where it is none, as one that the server broke off before its first word."""
    choice, usage = answer["choices"][0], answer.get("usage")
    message, finish = choice["message"], str(choice.get("finish_reason")).lower()
    calls = message.get("tool_calls") or [{"function": call} for call in [message.get("function_call")] if call]
    functions = [call.get("function") or call for call in calls]
    said = Said(
        _text(message.get("content")),
        tuple((_unpaired(str(f.get("name") or "")), _json_text(f.get("arguments"))) for f in functions),
        tuple(str(call.get("id") or "") for call in calls),
    )
    if not said.result and (choice.get("error") or finish in _BROKEN_OFF):
        raise ValueError(f"a reply without a word, finish_reason {finish}")
    tokens_prompt, tokens_output = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return Reply(said, tokens_prompt, tokens_output, "length" if finish in _LENGTH else "stop")


def _text(content: Any) -> str:
    """A message's content, which may come as parts."""
    if isinstance(content, list):
        return "".join(_text(part) for part in content)
    if isinstance(content, dict):  # such as a thought, which is no text
        content = content.get("text") if "text" in str(content.get("type", "text")) else None
    return "" if content is None else _unpaired(str(content))


def _json_text(arguments: Any) -> str:
    """A call's arguments as JSON text; none at all are {}."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return "{}" if text.strip() in ("", "null") else _unpaired(text)


def _unpaired(text: str) -> str:
    """Text with ? for unpaired surrogates, which JSON can hold and no table."""
    return text.encode(errors="replace").decode()


def _count(usage: Any, name: str) -> int:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) else 0
