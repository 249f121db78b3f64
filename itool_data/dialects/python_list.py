"""Calls as a Python list: `[f(a=1), g.h(b='x')]`, itool's own form and BFCL's.

Names and values as `reader.py` has them. Left out: text around the calls, and BFCL's own decoder with its quirks.
"""

import re
from collections.abc import Sequence

from itool_data.dialects.reader import BARE, NAME, QUOTED, Reader
from itool_data.sample import ToolCall

_ATTEMPT = re.compile(rf"\[\s*+(?:{BARE}|{QUOTED})\(\s*+(?:\)|\Z|(?:{BARE}|{QUOTED})=)")


class PythonList:
    """The dialect."""

    json = False
    open_end = False

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Write calls."""
        return "[" + ", ".join(map(_render, calls)) + "]"

    def read(self, reader: Reader) -> None:
        """Read a response."""
        reader.take("[")
        for _ in reader.items("]"):
            name = reader.key("a function name")
            reader.take("(")
            reader.name = name
            reader.assignments(")", "=")
            reader.finish_call()

    def attempt(self, text: str) -> int | None:
        """Where a text begins to attempt a call."""
        found = _ATTEMPT.search(text)
        return found.start() if found else None


def _render(call: ToolCall) -> str:
    arguments = ", ".join(f"{_render_name(name)}={value!r}" for name, value in call.arguments.items())
    return f"{_render_name(call.name)}({arguments})"


def _render_name(name: str) -> str:
    bare = NAME.fullmatch(name) and name.isprintable() and name == name.rstrip()
    return name if bare else repr(name)
