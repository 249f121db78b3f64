r"""Response text <-> ToolCalls: what a call looks like, a file a dialect.

    python  [f(a=1), g.h(b='x')]                                                  python_list.py
    json    [{"name": "f", "arguments": {"a": 1}}]                                json_objects.py
    xml     <tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>       json_objects.py

`parse` wants a whole response, `parse_prefix` takes what there is so far; both read in one pass, and `render` writes
only what `parse` reads back as the same calls. Left out: text around the calls.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from itool_data.dialects.json_objects import Hermes, JsonList
from itool_data.dialects.python_list import PythonList
from itool_data.dialects.reader import (
    MAX_CALLS,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_LENGTH,
    CallSyntaxError,
    PartialCalls,
    Reader,
    UnfinishedError,
)
from itool_data.errors import ItoolError
from itool_data.sample import ToolCall

__all__ = [
    "MAX_CALLS", "MAX_DEPTH", "MAX_DIGITS", "MAX_LENGTH", "CallFormat", "CallSyntaxError", "PartialCalls",
    "detect_format", "parse", "parse_prefix", "render",
]  # fmt: skip

CallFormat = Literal["python", "json", "xml"]


class Dialect(Protocol):
    """What a response's calls look like.

    Attributes:
        json: whether values are written as JSON, else as Python.
        open_end: whether another call may follow a complete response.
    """

    json: bool
    open_end: bool

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Write calls."""
        ...

    def read(self, reader: Reader) -> None:
        """Read a response up to its end.

        Raises:
            CallSyntaxError: it is none.
        """
        ...

    def attempt(self, text: str) -> int | None:
        """Where a text begins to attempt a call; None if it attempts none."""
        ...


DIALECTS: Mapping[CallFormat, Dialect] = {"python": PythonList(), "json": JsonList(), "xml": Hermes()}


def render(calls: Sequence[ToolCall], fmt: CallFormat = "python") -> str:
    """Write calls as response text that `parse` reads back to equal calls.

    Raises:
        ItoolError: it would not, because a value is no JSON value (NaN and infinity are none) or is beyond the limits.
    """
    try:
        text = DIALECTS[fmt].render(calls)
        if parse(text, fmt) != list(calls):
            raise ValueError("they would read back as other calls")
    except (CallSyntaxError, TypeError, ValueError, RecursionError) as e:
        raise ItoolError(
            f"calls cannot be written as {fmt}: {e}; use JSON values within the limits of dialects/reader.py"
        ) from e
    return text


def parse(text: str, fmt: CallFormat = "python") -> list[ToolCall]:
    """Read a complete response.

    Raises:
        CallSyntaxError: the text is no valid response in this format, or is beyond the limits.
    """
    reader = Reader(text, DIALECTS[fmt].json)
    _read(reader, DIALECTS[fmt])
    return reader.calls


def parse_prefix(text: str, fmt: CallFormat = "python") -> PartialCalls:
    """Read what there is of a response; any text gives an answer."""
    dialect = DIALECTS[fmt]
    reader = Reader(text, dialect.json)
    error, closed = None, False
    try:
        _read(reader, dialect)
        closed = not dialect.open_end
    except UnfinishedError:
        pass
    except CallSyntaxError as e:
        error = str(e)
    call = None if reader.name is None else ToolCall(reader.name, reader.arguments or {})
    return PartialCalls(tuple(reader.calls), call, error, reader.reading, closed, tuple(reader.step_ends), reader.pos)


def _read(reader: Reader, dialect: Dialect) -> None:
    reader.check_length()
    dialect.read(reader)
    if not reader.at_end():
        reader.fail("the end of the response")


def detect_format(text: str) -> CallFormat | None:
    """Say in which format a text attempts a call; None is plain text, as is `[]`. JSON must open the text."""
    begins = [(begin, fmt) for fmt, dialect in DIALECTS.items() if (begin := dialect.attempt(text)) is not None]
    return min(begins, key=lambda found: found[0])[1] if begins else None
