"""Calls as a Python list: `[f(a=1), g.h(b='x')]`, itool's own form and BFCL's.

Names and values as `reader.py` has them. Data sets write a function's name bare even where it holds brackets
(`[Get Trends (v2)(a=1)]`): such names have to be known before. Left out: text around the calls, and BFCL's own decoder
with its quirks.
"""

import re
from collections.abc import Sequence

from itool_data.dialects.dialect import Dialect
from itool_data.dialects.reader import BARE, NAME, QUOTED, Reader
from itool_data.sample import ToolCall

_ATTEMPT = re.compile(rf"\[\s*+(?:{BARE}|{QUOTED})\(\s*+(?:\)|\Z|(?:{BARE}|{QUOTED})=)")


class PythonList(Dialect):
    """The dialect.

    Args:
        names: of functions, which may stand bare whatever they hold.
    """

    notation = "python"
    closes = ("]", ")")
    another = ","

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = sorted((name for name in names if not NAME.fullmatch(name)), key=len, reverse=True)
        bare = "|".join(map(re.escape, self._names))
        self._attempt = re.compile(rf"{_ATTEMPT.pattern}|\[\s*+(?:{bare})\(") if bare else _ATTEMPT

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Write calls."""
        return "[" + ", ".join(map(_render, calls)) + "]"

    def begins(self, text: str) -> int | None:
        """Where a response's calls begin."""
        return 0

    def read(self, reader: Reader) -> bool:
        """Read a response."""
        read_list(reader, self._names)
        return True

    def attempt(self, text: str) -> int | None:
        """Where a text begins to attempt a call."""
        found = self._attempt.search(text)
        return found.start() if found else None


def read_list(reader: Reader, names: Sequence[str] = ()) -> None:
    """Read a list of calls up to and past its `]`; `names` may stand bare, the longest first."""
    reader.take("[")
    for _ in reader.items("]", "call"):
        known = next((name for name in names if reader.tries(f"{name}(")), None)
        reader.name = known or reader.name_of("call", "a function name", "(")
        reader.assignments(")", "=")
        reader.finish_call()


def _render(call: ToolCall) -> str:
    arguments = ", ".join(f"{_render_name(name)}={value!r}" for name, value in call.arguments.items())
    return f"{_render_name(call.name)}({arguments})"


def _render_name(name: str) -> str:
    bare = NAME.fullmatch(name) and name.isprintable() and name == name.rstrip()
    return name if bare else repr(name)
