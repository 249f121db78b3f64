r"""GLM-4.5's calls: keys and values in tags of raw text.

    <tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>

A value's type is the schema's (`typed.py`). The template writes no end of turn: whatever comes next ends it.
"""

import re

from itool_data.dialects.dialect import Dialect
from itool_data.dialects.hermes import CLOSE, OPEN
from itool_data.dialects.reader import Reader
from itool_data.dialects.typed import typed

_LINE_END = re.compile(r"\n?")
_NAME = re.compile(r"[^\r\n<]*+")
_KEY, _KEY_END, _VALUE, _END = "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"


class Glm(Dialect):
    """The dialect."""

    notation = "raw"
    opening = OPEN
    another = f"\n{OPEN}"
    value_end = _END
    parser = "glm45"

    def read(self, reader: Reader) -> bool:
        """Read a response."""
        while not reader.at_end():
            reader.opens_call(OPEN)
            reader.name = reader.pattern_name("call", _NAME)
            reader.run(_LINE_END)  # with it the name is sure to be whole
            reader.begin_arguments()
            while reader.tries(_KEY):
                reader.promised = "argument"
                start = reader.pos
                name = reader.bare_name("argument", _KEY_END)
                reader.take(_VALUE)
                reader.parameter(start, name)
                reader.give(typed(reader.text_until(_END), reader.name, name, reader.tools), reader.pos)
            reader.take(CLOSE)
            reader.finish_call()
            reader.end_step()
        return False
