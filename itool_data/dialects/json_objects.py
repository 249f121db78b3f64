"""Calls as JSON objects: `[{"name": "f", "arguments": {"a": 1}}]`, and the object that other dialects are made of.

"parameters" stands for "arguments", a "function" object may hold both, the arguments may be JSON text (the OpenAI
form), and one object may stand for a list of one. JSON cannot tell two surrogates that make a pair from their
character, so rendering refuses the former. Left out: text around the calls.
"""

import json
import re
from collections.abc import Sequence

from itool_data.dialects.dialect import Dialect
from itool_data.dialects.reader import SPACE, CallSyntaxError, Reader
from itool_data.sample import JSON, ToolCall

_ATTEMPT = re.compile(r'\s*+(?:\[\s*+)?+\{(?=.*"name"\s*+:)(?=.*"(?:arguments|parameters)"\s*+:)', re.S)


class JsonList(Dialect):
    """A list of objects, or one object."""

    notation = "json"
    closes = ("]",)
    another = ","

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Write calls."""
        return render_json([call_object(call) for call in calls])

    def begins(self, text: str) -> int | None:
        """Where a response's calls begin."""
        return 0

    def read(self, reader: Reader) -> bool:
        """Read a response."""
        if reader.tries("["):
            for _ in reader.items("]", "call"):
                read_object(reader)
                reader.step_ends.append(reader.pos)
        else:
            read_object(reader)
        return True

    def attempt(self, text: str) -> int | None:
        """Where a text begins to attempt a call: at its start, or nowhere."""
        return attempt_object(text)


def attempt_object(text: str) -> int | None:
    """Where a text begins to attempt a call as an object: at its start, or nowhere."""
    return 0 if _ATTEMPT.match(text) else None


def call_object(call: ToolCall) -> dict[str, JSON]:
    """A call as an object."""
    return {"name": call.name, "arguments": call.arguments}


def render_json(value: JSON) -> str:
    """JSON text without the raw surrogates that no tokenizer could take."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def read_object(reader: Reader, inside_function: bool = False) -> None:
    """Read a call's object."""
    reader.take("{")
    for _ in reader.items("}"):
        start = reader.pos
        key = reader.key("a key")
        reader.take(":")
        if key == "name":
            if reader.name is not None:
                reader.fail("one name only", at=start)
            reader.name = reader.name_of("call", "a function name")
        elif key in ("arguments", "parameters"):
            read_arguments(reader)
        elif key == "function" and not inside_function:
            read_object(reader, inside_function=True)
        else:
            reader.value(0)
    if not inside_function:
        reader.finish_call()


def read_arguments(reader: Reader) -> None:
    """Read a call's arguments, an object or its JSON text."""
    reader.run(SPACE)
    start = reader.pos
    if not reader.text.startswith('"', start):
        reader.take("{")
        reader.assignments("}", ":")
        return
    inner = Reader(reader.string(), "json")
    try:
        read_arguments(inner)
    except CallSyntaxError as e:  # Also where it is unfinished: its closing quote is there already.
        reader.fail(f"arguments as JSON text (at its {e})", at=start)
    if not inner.at_end() or reader.arguments is not None:
        reader.fail("one arguments object only", at=start)
    reader.arguments = inner.arguments
