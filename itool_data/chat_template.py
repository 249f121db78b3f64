"""A model's chat template: a conversation and the functions on offer as the text that the model was trained on.

What a template will not take as it is gets a form that it takes: a system message that it refuses goes into the first
user turn, neighbours of one role become one message, and a template that writes today's date gets a fixed one. What it
refuses all the same ends in one line. Left out: what the text means (`native.py`), and the templates themselves.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import copy
from datetime import date
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from itool_data.errors import ItoolError, first_line

DATE = date(2024, 7, 26)
Chat = Sequence[Mapping[str, Any]]  # messages in OpenAI's form, arguments as objects or as JSON text


class TemplateRefusalError(ItoolError):
    """A template does not take a conversation; the message says why in its own words."""


class ChatTemplate:
    """Renders conversations with a tokenizer's template.

    Args:
        tokenizer: a transformers tokenizer.
        source: the template's text; None: the tokenizer's own.
        settings: what else the template takes, such as `enable_thinking`.
        today: the date that the template writes where it writes one, so that a prompt is the same tomorrow.
    """

    def __init__(
        self,
        tokenizer: Any,
        source: str | None = None,
        settings: Mapping[str, Any] | None = None,
        today: date = DATE,
    ):
        self._tokenizer = tokenizer
        self._settings = dict(settings or {})
        if source is not None:
            self._settings["chat_template"] = source
        # Llama 3's template takes the date as text, others format the clock's.
        self._settings.setdefault("date_string", today.strftime("%d %b %Y"))
        self._settings.setdefault("strftime_now", today.strftime)
        self._arguments_as_text = False

    @property
    def source(self) -> str:
        """The template's text."""
        return str(self._tokenizer.get_chat_template(self._settings.get("chat_template"), tools=[]))

    @property
    def identity(self) -> str:
        """The template's hash, what else it is given, and the date if it writes one."""
        text = self.source
        given = {k: v for k, v in self._settings.items() if k not in ("chat_template", "date_string", "strftime_now")}
        parts = [hashlib.sha256(text.encode()).hexdigest()[:12], *(f"{k}={given[k]!r}" for k in sorted(given))]
        if "date_string" in text or "strftime_now" in text:
            parts.append(str(self._settings["date_string"]))
        return ", ".join(parts)

    def with_arguments_as_text(self) -> "ChatTemplate":
        """The same template, given calls' arguments as JSON text, as some want them."""
        other = copy(self)
        other._arguments_as_text = True
        return other

    def render(self, chat: Chat, tools: Sequence[Mapping[str, Any]] = (), reply: bool = True) -> str:
        """The text of a conversation.

        Args:
            chat: its messages.
            tools: the functions on offer, in OpenAI's form.
            reply: whether an assistant's message is to begin at its end.

        Raises:
            TemplateRefusalError: in the template's words.
        """
        chat = [self._with_arguments(message) for message in chat]
        forms = [chat, *([folded] if (folded := fold(chat)) != chat else [])]
        for form in forms:
            try:
                return str(
                    self._tokenizer.apply_chat_template(
                        form, tools=list(tools) or None, tokenize=False, add_generation_prompt=reply, **self._settings
                    )
                )
            except _errors() as error:
                reason = first_line(error)
        raise TemplateRefusalError(f"the chat template refuses it: {reason}")

    def _with_arguments(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A message whose calls have their arguments in the form that the template wants."""
        calls = message.get("tool_calls")
        if not calls:
            return dict(message)
        changed = []
        for call in calls:
            function = dict(call["function"])
            arguments = function["arguments"]
            try:
                value = json.loads(arguments) if isinstance(arguments, str) else arguments
            except ValueError:
                raise TemplateRefusalError(f"a call's arguments in the history are not JSON: {arguments!r}") from None
            function["arguments"] = json.dumps(value, ensure_ascii=False) if self._arguments_as_text else value
            changed.append({**call, "function": function})
        return {**message, "tool_calls": changed}


def _errors() -> tuple[type[Exception], ...]:
    """What a template raises: its own refusal, or what comes of a value that it did not expect."""
    from jinja2.exceptions import TemplateError

    return TemplateError, TypeError, ValueError, KeyError, AttributeError


def fold(chat: Chat) -> list[dict[str, Any]]:
    """A conversation without a system message and with turns that alternate: the text goes into its neighbours."""
    folded: list[dict[str, Any]] = []
    for message in chat:
        role = "user" if message["role"] == "system" else message["role"]
        plain = isinstance(message.get("content"), str) and not message.get("tool_calls")
        last = folded[-1] if folded else None
        if last and plain and role in ("user", "assistant") and last["role"] == role and not last.get("tool_calls"):
            last["content"] = f"{last['content']}\n\n{message['content']}"
        else:
            folded.append({**message, "role": role})
    return folded


def template_source(name: str) -> str:
    """A template's text by the name of a file, or of one of those in TRL's package (`qwen2_5`).

    Raises:
        ItoolError: there is no such template.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        spec = find_spec("trl")  # finds the package without importing it
        folder = Path(spec.origin).parent / "chat_templates" if spec and spec.origin else Path()
        path = folder / f"{name}.jinja"
        if not path.is_file():
            near = get_close_matches(name, [file.stem for file in folder.glob("*.jinja")], 3, 0.4)
            meant = f"; did you mean {' or '.join(near)}?" if near else f"; they are in {folder}"
            raise ItoolError(f"model.chat_template: no file {name!r}, and no template of TRL's has that name{meant}")
    return path.read_text(encoding="utf-8")
