r"""Hermes' calls, which Qwen2.5 and Qwen3 write too: a JSON object between tags for each.

    <tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>

Text may stand before the first call, and none after it.
"""

from collections.abc import Sequence

from itool_data.dialects.dialect import Dialect
from itool_data.dialects.json_objects import call_object, read_object, render_json
from itool_data.dialects.reader import Reader
from itool_data.sample import ToolCall

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class Hermes(Dialect):
    """The dialect."""

    notation = "json"
    opening = OPEN
    another = f"\n{OPEN}"
    parser = "hermes"

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Write calls."""
        return "\n".join(f"{OPEN}\n{render_json(call_object(call))}\n{CLOSE}" for call in calls)

    def read(self, reader: Reader) -> bool:
        """Read a response."""
        while not reader.at_end():
            reader.opens_call(OPEN)
            read_object(reader)
            reader.take(CLOSE)
            reader.end_step()
        return False
