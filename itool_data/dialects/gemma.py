"""Gemma 4's calls: `<|tool_call>call:f{a:1,b:<|"|>x<|"|>}<tool_call|>`, with bare keys and quotes of their own.

Nothing is escaped in a text, so one that holds the quote does not read back.
"""

import re

from itool_data.dialects.dialect import Dialect
from itool_data.dialects.reader import Reader

_NAME = re.compile(r"[^\r\n{}<>,:]*+")
_OPEN, _CLOSE = "<|tool_call>", "<tool_call|>"


class Gemma(Dialect):
    """The dialect."""

    notation = "gemma"
    opening = _OPEN
    another = _OPEN
    parser = "gemma4"

    def read(self, reader: Reader) -> bool:
        """Read a response."""
        while not reader.at_end():
            reader.opens_call(_OPEN)
            reader.take("call:")
            reader.name = reader.pattern_name("call", _NAME)
            reader.take("{")
            reader.assignments("}", ":")
            reader.finish_call()
            reader.take(_CLOSE)
            reader.end_step()
        return False
