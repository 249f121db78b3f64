"""gpt-oss' calls (Harmony): a recipient, a channel and a message of JSON; one call a turn.

    <|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}      as the model writes it
     to=functions.f<|channel|>commentary json<|message|>{"a": 1}                   as its template does

What comes before (the channel `analysis`) is text before the call. `<|call|>` ends the turn.
"""

import re

from itool_data.dialects.dialect import Dialect
from itool_data.dialects.reader import Reader

# From the first of several blanks only, so that a text of nothing else is read once.
_HEADER = re.compile(r"(?:<\|start\|>assistant)?(?:<\|channel\|>\w++)?(?<!\s)\s++to=functions\.")
_NAME = re.compile(r"[^\s<]*+")
_CHANNEL = re.compile(r"(?:(?!<\|message)[^\r\n])*+")  # of a recipient that stands first, and the constraint
_MESSAGE = "<|message|>"
_SAID = re.compile(r"<\|channel\|>(\w++)[^<]*+<\|message\|>((?:[^<]++|<(?!\|end\|>))*+)")


class Harmony(Dialect):
    """The dialect."""

    notation = "json"
    parser = "openai"

    def begins(self, text: str) -> int | None:
        """Where a response's call begins."""
        found = _HEADER.search(text)
        return found.start() if found else None

    def content(self, text: str) -> str:
        """What is said on channels other than `analysis`."""
        said = _SAID.findall(text)
        return "\n".join(message for channel, message in said if channel != "analysis") if said else text

    def read(self, reader: Reader) -> bool:
        """Read a response."""
        reader.run(_HEADER)
        reader.name = reader.pattern_name("call", _NAME)
        reader.run(_CHANNEL)
        reader.take(_MESSAGE)
        reader.take("{")
        reader.assignments("}", ":")
        reader.finish_call()
        reader.tries("<|call|>")
        return True
