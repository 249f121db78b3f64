r"""DeepSeek V3's calls: a name and JSON in a fence for each, all between markers.

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"a": 1}\n```
    <｜tool▁call▁end｜><｜tool▁calls▁end｜>          (all in one line)
"""

from itool_data.dialects.dialect import Dialect
from itool_data.dialects.reader import Reader

_OPEN, _CLOSE = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _NAME, _CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"


class DeepSeek(Dialect):
    """The dialect."""

    notation = "json"
    opening = _OPEN
    closes = (_CLOSE,)
    another = f"\n{_CALL}"
    parser = "deepseek_v3"

    def read(self, reader: Reader) -> bool:
        """Read a response."""
        reader.take(_OPEN)
        while not reader.tries(_CLOSE):
            reader.opens_call(_CALL)
            reader.take("function")
            reader.take(_NAME)
            reader.name = reader.bare_name("call", "\n")
            reader.take("```json")
            reader.take("{")
            reader.assignments("}", ":")
            reader.take("```")
            reader.take(_CALL_END)
            reader.finish_call()
            reader.end_step()
        reader.end_step()
        return True
