"""What a benchmark is answered by: many conversations' next replies at once, whoever generates them.

Here the protocol and its form over a policy, which speaks token ids. A policy in its native form is offered functions
as its chat template writes them, and its calls are read in its dialect as a server would read them. Left out: a server
that speaks messages (`server_chat.py`), and holding the conversations (`predict.py`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from itool_data.dialects import DIALECTS, OWN, CallSyntaxError, parse, render
from itool_data.errors import ItoolError
from itool_data.policy.base import FinishReason, Policy, PolicyId, Request, UnansweredError, Usage
from itool_data.prompt import Prompter, UnsayableError
from itool_data.sample import Tool, ToolCall
from itool_eval.conversation import Prompt, Said

# BFCL's own margin between the prompt, the answer and the end of the context.
_MARGIN = 2


@dataclass(frozen=True)
class Reply:
    """A reply, the tokens of its prompt and its own (end-of-turn included), and why it ended."""

    said: Said
    tokens_prompt: int
    tokens_output: int
    finish: FinishReason


@dataclass(frozen=True)
class Refusal:
    """Why a prompt gets no reply: it does not fit the context, or a server takes exception to it.

    Attributes:
        reason: in one line.
        finish: which of the two.
        failed: no verdict on the prompt: a server failed on it, again and again.
    """

    reason: str
    finish: Literal["context", "refused"] = "context"
    failed: bool = False


class Chat(Protocol):
    """Replies to conversations."""

    max_rows: int  # replies worked on at once

    @property
    def usage(self) -> Usage:
        """Tokens worked on so far."""
        ...

    @property
    def policy_id(self) -> PolicyId:
        """Who replies."""
        ...

    def submit(self, key: str, prompt: Prompt, max_tokens: int, temperature: float = 0.0, seed: int = 0) -> None:
        """Ask for a reply of at most so many tokens, and of what the context leaves; it is worked on by `step`.

        At temperature 0 it is greedy, else drawn, by the seed where whoever replies has one.
        """
        ...

    def step(self) -> list[tuple[str, Reply | Refusal]]:
        """Move everything under way on; return what is finished, each with its key."""
        ...

    def reset(self) -> None:
        """Drop everything under way."""
        ...

    def close(self) -> None:
        """Give back what it holds; it is of no use afterwards."""
        ...


class PolicyChat:
    """A policy as a chat.

    Args:
        policy: generates.
        prompter: with the policy's tokenizer.
    """

    def __init__(self, policy: Policy, prompter: Prompter):
        self.max_rows = policy.max_rows
        self._policy = policy
        self._prompter = prompter
        self._asked: dict[str, tuple[Prompt, int]] = {}  # with the prompt's tokens
        self._native = prompter.form.dialect != OWN
        self._refused: list[tuple[str, Reply | Refusal]] = []

    @property
    def usage(self) -> Usage:
        """The policy's."""
        return self._policy.usage

    @property
    def policy_id(self) -> PolicyId:
        """The policy's."""
        return self._policy.policy_id

    def submit(self, key: str, prompt: Prompt, max_tokens: int, temperature: float = 0.0, seed: int = 0) -> None:
        """Queue a prompt.

        Raises:
            ItoolError: if functions are to be called natively, for which our own form has no place.
        """
        if prompt.tools and not self._native:
            raise ItoolError(
                "this model is asked in our own form, which calls no functions natively: set model.format to native "
                "(itool config show says why it is not), or ask a server: itool eval run … --policy openai"
            )
        try:
            if prompt.asked is not None:
                ids = self._prompter.prompt_ids(prompt.asked)
            else:
                ids = self._prompter.chat_ids(prompt.messages, prompt.tools)
        except UnsayableError as error:
            self._refused.append((key, Refusal(str(error), "refused")))
            return
        room = min(max_tokens, self._policy.context - len(ids) - _MARGIN)
        if room < 1:
            reason = f"{len(ids)} prompt tokens leave no room in a context of {self._policy.context}"
            self._refused.append((key, Refusal(reason)))
            return
        self._asked[key] = prompt, len(ids)
        self._policy.submit(Request(key, ids, (seed,), room, temperature))

    def step(self) -> list[tuple[str, Reply | Refusal]]:
        """What was refused at once, else one step of the policy."""
        if self._refused:
            refused, self._refused = self._refused, []
            return refused
        try:
            completions = self._policy.step()
        except UnansweredError as error:
            del self._asked[error.request_id]
            return [(error.request_id, Refusal(error.reason, "refused", failed=True))]
        replies: list[tuple[str, Reply | Refusal]] = []
        for completion in completions:
            (draw,) = completion.draws
            prompt, length = self._asked.pop(completion.request_id)
            said = self._read(self._prompter.decode(draw.ids), prompt)
            replies.append((completion.request_id, Reply(said, length, len(draw.ids), draw.finish)))
        return replies

    def _read(self, text: str, prompt: Prompt) -> Said:
        """A reply with its native calls, where it was offered functions natively and makes any that can be read."""
        if not self._native or not (prompt.tools or prompt.asked):
            return Said(text)
        dialect = self._prompter.form.dialect
        tools = [offered(tool) for tool in prompt.tools] if prompt.asked is None else prompt.asked.tools
        try:
            calls = parse(text, dialect, tools)
        except CallSyntaxError:
            return Said(text)
        if prompt.asked is not None and calls:
            return in_own_form(text, calls)
        before = DIALECTS[dialect].content(text[: DIALECTS[dialect].begins(text)])
        if not calls:
            return Said(before)
        return Said(before.strip(), tuple((c.name, json.dumps(c.arguments, ensure_ascii=False)) for c in calls))

    def reset(self) -> None:
        """Drop everything under way."""
        self._policy.reset()
        self._asked.clear()
        self._refused.clear()

    def close(self) -> None:
        """Close the policy."""
        self._policy.close()


def offered(tool: Mapping[str, Any]) -> Tool:
    """A function that is offered in OpenAI's form."""
    function = tool["function"]
    return Tool(function["name"], function.get("description") or "", function.get("parameters") or {})


def in_own_form(text: str, calls: Sequence[ToolCall]) -> Said:
    """Native calls as text of our own form; the text as it was, where they cannot be written so."""
    try:
        return Said(render(calls))
    except ItoolError:
        return Said(text)
