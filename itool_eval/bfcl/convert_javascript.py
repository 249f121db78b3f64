"""JavaScript argument texts -> values, by the schema's type (docs/bfcl.md §4.2).

A text that does not fit its type stays a text and is judged as one. The official converter matches arrays and objects
with regular expressions of which some take exponential time on hostile text; here the same match is found in linear
time. The official oddities stay: elements are split at every comma, a line break inside an object makes it a text.
"""

import re
from typing import Any

from itool_eval.bfcl.convert_java import python_number
from itool_eval.bfcl.decode_javascript import unquoted
from itool_eval.bfcl.decoded import OfficialRaisesError

_INTEGER = re.compile(r"-?\d+$")
_FLOAT = re.compile(r"-?\d+(?:\.\d+)?$")
_BIGINT = re.compile(r"-?\d+n$")
_ARRAY = re.compile(r"\[(.*?)\]|new\s+Array\((.*?)\)")
_NESTED = re.compile(r"\[\s*\[|new\s+Array\(\s*\[")
_NEXT_INNER = re.compile(r"\s*,\s*\[")
_INNER = re.compile(r"\[([^\]\n]*)\]")
_OBJECT = re.compile(r"\{([^}\n]*)\}")


def convert(text: str, kind: str, item_kind: str | None = None) -> Any:
    """Convert an argument's text; a text that does not fit stays as it is.

    Args:
        text: the argument as the decoder gave it.
        kind: the schema's type.
        item_kind: the schema's element type, for arrays.
    """
    match kind:
        case "String":
            return unquoted(text)
        case "integer":
            return _number(text) if _INTEGER.match(text) else text
        case "float":
            return float(text) if _FLOAT.match(text) else text
        case "Bigint":
            return _number(text[:-1]) if _BIGINT.match(text) else text
        case "Boolean":
            return text == "true" if text in ("true", "false") else text
        case "any":
            return text
        case "array":
            return _array(text.strip(), item_kind)
        case "dict":
            return _object(text.strip())
    raise OfficialRaisesError(f"the official checker has no conversion for the JavaScript type {kind!r}")


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:  # Python reads at most 4,300 digits; `12n` may end in a newline
        raise OfficialRaisesError(f"the official checker cannot read this number: {error}") from error


def _array(text: str, item_kind: str | None) -> Any:
    end = _nested_end(text)
    if end >= 0:
        return [[_guess(e.strip()) for e in inner.split(",")] for inner in _inner_texts(text[:end])]
    found = _ARRAY.match(text)
    if not found:
        return text
    content = (found[1] if found[1] is not None else found[2]).strip()
    elements = [e.strip() for e in content.split(",")] if content else []
    if item_kind is None:
        return [_guess(e) for e in elements]
    try:
        return [convert(e, item_kind, "String" if e[:1] in ("'", '"') else None) for e in elements]
    except OfficialRaisesError:  # inside an array the official converter gives up and keeps the text
        return text


def _inner_texts(text: str) -> list[str]:
    inner = [found.strip() for found in _INNER.findall(text)]
    if inner and inner[0].startswith("["):
        inner[0] = inner[0][1:]
    return inner


def _nested_end(text: str) -> int:
    """Where an array of arrays ends, -1 when the text does not begin with one.

    The text must be `[`, an inner array, more of them after commas, `]`. An inner array may reach over any `]` of its
    line, so each of those is a place where either the next inner array or the end may follow. The official pattern
    tries them depth first; a place that failed once fails always, so one pass over them decides.
    """
    start = _NESTED.match(text)
    if not start:
        return -1
    closing = "]" if text.startswith("[") else ")"
    tried: set[int] = set()
    resume = [start.end()]
    while resume:
        place = text.find("]", resume[-1])
        line_break = text.find("\n", resume[-1])
        if place < 0 or 0 <= line_break < place or place in tried:
            resume.pop()
            continue
        tried.add(place)
        resume[-1] = place + 1
        following = _NEXT_INNER.match(text, place + 1)
        if following:
            resume.append(following.end())
            continue
        rest = place + 1
        while rest < len(text) and text[rest].isspace():
            rest += 1
        if text.startswith(closing, rest):
            return rest + 1
    return -1


def _object(text: str) -> Any:
    if text == "{}":
        return {}
    found = _OBJECT.match(text)
    if not found:
        return text
    return {key.strip().strip("'\""): _member(value.strip()) for key, value in _pairs(found[1])}


def _pairs(content: str) -> list[tuple[str, str]]:
    """Split `key: value, key: value`: a value ends at the first comma whose next segment holds a colon."""
    pairs = []
    place = 0
    while (colon := content.find(":", place)) >= 0:
        if colon == place:  # a key has at least one character
            place += 1
            continue
        end, following = _value_end(content, colon + 1)
        pairs.append((content[place:colon], content[colon + 1 : end]))
        place = following
    return pairs


def _value_end(content: str, start: int) -> tuple[int, int]:
    """Where a value ends and where the next key starts, which is after blanks, but at least one before its colon."""
    comma = content.find(",", start)
    while comma >= 0:
        following = content.find(",", comma + 1)
        colon = content.rfind(":", comma + 2, following if following >= 0 else len(content))
        if colon >= 0:
            key = comma + 1
            while key < colon - 1 and content[key].isspace():
                key += 1
            return comma, key
        comma = following
    return len(content), len(content)


def _member(value: str) -> Any:
    if value.startswith("[") and value.endswith("]"):
        return _array(value, None)
    return _guess(value.strip("'\""))


def _guess(text: str) -> Any:
    """Convert a value whose type no schema says."""
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    if (bare := unquoted(text)) != text:
        return bare
    return python_number(text)
