r"""Calls as JSON objects: in a list, or each between Hermes' tags.

    [{"name": "f", "arguments": {"a": 1}}]
    <tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>

"parameters" stands for "arguments", a "function" object may hold both, the arguments may be JSON text (the OpenAI
form), and one object may stand for a list of one. JSON cannot tell two surrogates that make a pair from their
character, so rendering refuses the former. Left out: text around the calls.
"""

import json
import re
from collections.abc import Sequence

from itool_data.dialects.reader import SPACE, CallSyntaxError, Reader
from itool_data.sample import JSON, ToolCall

_ATTEMPT = re.compile(r'\s*+(?:\[\s*+)?+\{(?=.*"name"\s*+:)(?=.*"(?:arguments|parameters)"\s*+:)', re.S)
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


class JsonList:
    """A list of objects, or one object."""

    json = True
    open_end = False

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Write calls."""
        return _render([_object(call) for call in calls])

    def read(self, reader: Reader) -> None:
        """Read a response."""
        if reader.tries("["):
            for _ in reader.items("]"):
                _call(reader)
                reader.step_ends.append(reader.pos)
        else:
            _call(reader)

    def attempt(self, text: str) -> int | None:
        """Where a text begins to attempt a call: at its start, or nowhere."""
        return 0 if _ATTEMPT.match(text) else None


class Hermes:
    """An object between tags for each call."""

    json = True
    open_end = True

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Write calls."""
        return "\n".join(f"{_OPEN}\n{_render(_object(call))}\n{_CLOSE}" for call in calls)

    def read(self, reader: Reader) -> None:
        """Read a response."""
        while not reader.at_end():
            reader.take(_OPEN)
            _call(reader)
            reader.take(_CLOSE)
            reader.step_ends.append(reader.pos)

    def attempt(self, text: str) -> int | None:
        """Where a text begins to attempt a call."""
        found = text.find(_OPEN)
        return None if found < 0 else found


def _object(call: ToolCall) -> dict[str, JSON]:
    return {"name": call.name, "arguments": call.arguments}


def _render(value: JSON) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # A raw surrogate has no UTF-8, so a tokenizer could not take it.
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _call(reader: Reader, inside_function: bool = False) -> None:
    """Read a call's object."""
    reader.take("{")
    for _ in reader.items("}"):
        start = reader.pos
        key = reader.key("a key")
        reader.take(":")
        if key == "name":
            if reader.name is not None:
                reader.fail("one name only", at=start)
            reader.name = reader.key("a function name")
        elif key in ("arguments", "parameters"):
            _arguments(reader)
        elif key == "function" and not inside_function:
            _call(reader, inside_function=True)
        else:
            reader.value(0)
    if not inside_function:
        reader.finish_call()


def _arguments(reader: Reader) -> None:
    """Read a call's arguments, an object or its JSON text."""
    reader.run(SPACE)
    start = reader.pos
    if not reader.text.startswith('"', start):
        reader.take("{")
        reader.assignments("}", ":")
        return
    inner = Reader(reader.string(), json=True)
    try:
        _arguments(inner)
    except CallSyntaxError as e:  # Also where it is unfinished: its closing quote is there already.
        reader.fail(f"arguments as JSON text (at its {e})", at=start)
    if not inner.at_end() or reader.arguments is not None:
        reader.fail("one arguments object only", at=start)
    reader.arguments = inner.arguments
