"""Llama 3's calls: bare JSON objects, `{"name": "f", "parameters": {"a": 1}}`, after `<|python_tag|>` or nothing.

Several are parted by `;` (as vLLM's parser wants it), but the templates of Llama 3.1 and 3.2 write one call a turn.
"""

from itool_data.dialects.dialect import Dialect
from itool_data.dialects.json_objects import attempt_object, read_object
from itool_data.dialects.reader import Reader, place

_TAG = "<|python_tag|>"


class Llama(Dialect):
    """The dialect."""

    notation = "json"
    another = ";"
    parser = "llama3_json"

    def begins(self, text: str) -> int | None:
        """Where a response's calls begin: with its first character, or at the tag."""
        return 0 if text.lstrip().startswith("{") else place(text, _TAG)

    def read(self, reader: Reader) -> bool:
        """Read a response."""
        reader.tries(_TAG)
        read_object(reader)
        reader.end_step()
        while reader.tries(";"):
            reader.promised = "call"
            read_object(reader)
            reader.end_step()
        return False

    def attempt(self, text: str) -> int | None:
        """Where a text begins to attempt a call."""
        found = place(text, _TAG)
        return attempt_object(text) if found is None else found
