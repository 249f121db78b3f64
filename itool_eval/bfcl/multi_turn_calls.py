"""A reply of a multi-turn conversation -> the calls to run, as Python text (docs/bfcl.md §8, rule 2).

The reply is decoded like a single-turn one and written out again, keyword arguments only. The text, not the decoded
call, is what counts: a dict whose values are all dicts is read as a nested call, and the key of a dict is put between
quotes as it is. Left out: running the text (`multi_turn_world.py`).
"""

from typing import Any

from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.decode_python import decode
from itool_eval.bfcl.decoded import DecodeError


def call_texts(reply: object, version: Version) -> list[str]:
    """The calls of a reply, in its order; none for an empty list.

    Args:
        reply: as it came.
        version: whose decoding of a text.

    Raises:
        DecodeError: the reply is not a list of calls, or one of them cannot be written out.
    """
    if not isinstance(reply, str):
        raise DecodeError("not a text")
    try:
        return [_call_text(call.name, call.arguments) for call in decode(reply, version)]
    # An integer can be too long to print, a value too deeply nested.
    except (ValueError, RecursionError) as error:
        raise DecodeError(str(error)) from error


def _call_text(name: Any, arguments: dict[Any, Any]) -> str:
    return f"{name}({', '.join(f'{key}={_value_text(value)}' for key, value in arguments.items())})"


def _value_text(value: Any) -> str:
    if not isinstance(value, dict):
        return repr(value)
    if not value:
        raise DecodeError("an empty dict is read as a call without a name")
    if all(isinstance(inner, dict) for inner in value.values()):
        # Only the first entry survives, as officially.
        return _call_text(*next(iter(value.items())))
    return "{" + ", ".join(f"'{key}': {_value_text(inner)}" for key, inner in value.items()) + "}"
