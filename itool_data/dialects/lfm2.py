"""LFM2's calls: a Python list between two markers, `<|tool_call_start|>[f(a=1)]<|tool_call_end|>`.

Its template writes an object among the arguments as JSON, which the Python notation reads too, and a text with no
escapes: one that holds a quote does not read back.
"""

from itool_data.dialects.dialect import Dialect
from itool_data.dialects.python_list import read_list
from itool_data.dialects.reader import Reader

_OPEN, _CLOSE = "<|tool_call_start|>", "<|tool_call_end|>"


class Lfm2(Dialect):
    """The dialect."""

    notation = "python"
    opening = _OPEN
    closes = (_CLOSE, "]", ")")
    another = ","
    parser = "lfm2"

    def read(self, reader: Reader) -> bool:
        """Read a response."""
        reader.take(_OPEN)
        read_list(reader)
        reader.take(_CLOSE)
        reader.end_step()
        return True
