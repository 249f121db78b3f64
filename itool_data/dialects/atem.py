r"""Muse Glimmer's calls (ATEM): a message to the function, with its parameters in tags of raw text; one call a message.

     to=f<|message|><atem:function_calls>\n<atem:invoke name="f">\n<atem:parameter name="a">1</atem:parameter>\n
    </atem:invoke>\n</atem:function_calls><|eom|><|start|>assistant to=g<|message|>...

A message to `self` is a thought and one to `user` an answer, whatever they quote: text. A value's type is the schema's
(`typed.py`). A text that holds `</atem:parameter>` cannot be told from the value's end.
"""

import re

from itool_data.dialects.dialect import Dialect
from itool_data.dialects.reader import Reader, place
from itool_data.dialects.typed import typed

_START, _TO, _MESSAGE, _NEXT = "<|start|>assistant", "to=", "<|message|>", "<|eom|>"
# Not to `self` or `user`, nor to what may become that.
_HEADER = re.compile(r"(?:\A|<\|start\|>assistant)\s*+to=(?!(?:self|user)<)(?!(?:s(?:e(?:lf?)?)?|u(?:s(?:er?)?)?)?\Z)")
_NAME = re.compile(r"[^\r\n<]*+")
_SAID = re.compile(r"to=([^\r\n<=]++)<\|message\|>((?:[^<]++|<(?!\|eom\|>))*+)")
_CALLS, _PARAMETER, _END = "<atem:function_calls>", '<atem:parameter name="', "</atem:parameter>"


class Atem(Dialect):
    """The dialect."""

    notation = "raw"
    another = _NEXT + _START
    value_end = _END
    parser = "muse_glimmer"

    def begins(self, text: str) -> int | None:
        """Where a response's calls begin: with the first message to a function."""
        found = _HEADER.search(text)
        return found.start() if found else None

    def attempt(self, text: str) -> int | None:
        """Where a text begins to attempt a call."""
        return place(text, _CALLS)

    def content(self, text: str) -> str:
        """What is not said to `self`."""
        said = _SAID.findall(text)
        return "\n".join(message for recipient, message in said if recipient != "self") if said else text

    def read(self, reader: Reader) -> bool:
        """Read a response."""
        reader.tries(_START)
        self._call(reader)
        while reader.tries(_NEXT):
            reader.promised = "call"
            reader.take(_START)
            self._call(reader)
        return False

    def _call(self, reader: Reader) -> None:
        reader.take(_TO)
        start = reader.pos
        reader.name = name = reader.pattern_name("call", _NAME)
        if name in ("self", "user"):
            reader.fail("the name of a function", at=start)
        reader.take(_MESSAGE)
        reader.take(_CALLS)
        reader.take(f'<atem:invoke name="{name}">')
        reader.begin_arguments()
        while reader.tries(_PARAMETER):
            reader.promised = "argument"
            start = reader.pos
            reader.parameter(start, key := reader.bare_name("argument", '">'))
            reader.give(typed(reader.text_until(_END), name, key, reader.tools), reader.pos)
        reader.take("</atem:invoke>")
        reader.finish_call()
        reader.take("</atem:function_calls>")
        reader.end_step()
