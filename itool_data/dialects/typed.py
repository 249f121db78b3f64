"""Values as raw text, whose types only the function's schema tells: `5` may be a number or a text.

Where the schema allows a text, it is one; otherwise it is read as JSON or as Python's `True`, `False`, `None`, and is a
text if it is neither. Left out: validating a value against its schema.
"""

import json
from collections.abc import Iterator, Sequence

from itool_data.sample import JSON, Tool

_WORDS: dict[str, JSON] = {"True": True, "False": False, "None": None}


def typed(text: str, function: str | None, parameter: str, tools: Sequence[Tool]) -> JSON:
    """The value that a parameter's raw text means.

    Args:
        text: the raw text.
        function: that is called.
        parameter: of it.
        tools: on offer.
    """
    schemas = (tool.parameters.get("properties") or {} for tool in tools if tool.name == function)
    kinds = {kind for properties in schemas for kind in _kinds(properties.get(parameter))}
    if "string" in kinds:
        return None if "null" in kinds and text in ("null", "None") else text
    if text in _WORDS:
        return _WORDS[text]
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _kinds(schema: JSON) -> Iterator[str]:
    """The types that a schema allows, as far as it says so by name."""
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    yield from [kind] if isinstance(kind, str) else kind if isinstance(kind, list) else []
    if kind is None and isinstance(schema.get("enum"), list) and any(isinstance(v, str) for v in schema["enum"]):
        yield "string"
    for union in ("anyOf", "oneOf", "allOf"):
        for option in schema.get(union) or ():
            yield from _kinds(option)


def _refuse(word: str) -> JSON:
    raise ValueError(f"{word} is no JSON value")
