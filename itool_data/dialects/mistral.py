"""Mistral's calls, the newer form `[TOOL_CALLS]f[ARGS]{"a": 1}` for each and the older `[TOOL_CALLS][{"name": ...}]`.

A call's id, `[CALL_ID]` or "id", is passed over.
"""

import re

from itool_data.dialects.dialect import Dialect
from itool_data.dialects.json_objects import read_object
from itool_data.dialects.reader import Reader

_OPEN, _ARGUMENTS, _ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
_NAME = re.compile(r"[^\r\n\[{]*+")


class Mistral(Dialect):
    """The dialect."""

    notation = "json"
    opening = _OPEN
    another = _OPEN
    parser = "mistral"

    def read(self, reader: Reader) -> bool:
        """Read a response."""
        reader.take(_OPEN)
        if reader.tries("["):
            for _ in reader.items("]", "call"):
                read_object(reader)
                reader.end_step()
            return True
        while True:
            reader.name = reader.pattern_name("call", _NAME)
            if reader.tries(_ID):
                reader.text_until(_ARGUMENTS)
            else:
                reader.take(_ARGUMENTS)
            reader.take("{")
            reader.assignments("}", ":")
            reader.finish_call()
            reader.end_step()
            if reader.at_end():
                return False
            reader.opens_call(_OPEN)
