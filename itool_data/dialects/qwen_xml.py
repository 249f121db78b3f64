r"""Calls as functions with parameters, in tags of raw text: Qwen3-Coder, Qwen3.5 and later, Nemotron 3.

    <tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>

A value has a line break before and after it that does not belong to it; its type is the schema's (`typed.py`). A text
that holds `</parameter>` cannot be told from the value's end.
"""

from itool_data.dialects.dialect import Dialect
from itool_data.dialects.hermes import CLOSE, OPEN
from itool_data.dialects.reader import Reader, place
from itool_data.dialects.typed import typed

_FUNCTION, _PARAMETER, _END = "<function=", "<parameter=", "</parameter>"


class QwenXml(Dialect):
    """The dialect."""

    notation = "raw"
    opening = OPEN
    another = f"\n{OPEN}"
    value_end = _END
    parser = "qwen3_coder"

    def read(self, reader: Reader) -> bool:
        """Read a response."""
        while not reader.at_end():
            reader.opens_call(OPEN)
            reader.take(_FUNCTION)
            reader.name = reader.bare_name("call", ">")
            reader.begin_arguments()
            while reader.tries(_PARAMETER):
                reader.promised = "argument"
                start = reader.pos
                reader.parameter(start, name := reader.bare_name("argument", ">"))
                text = reader.text_until(_END).removeprefix("\n").removesuffix("\n")
                reader.give(typed(text, reader.name, name, reader.tools), reader.pos)
            reader.take("</function>")
            reader.finish_call()
            reader.take(CLOSE)
            reader.end_step()
        return False

    def attempt(self, text: str) -> int | None:
        """Where a text begins to attempt a call."""
        return place(text, _FUNCTION)
