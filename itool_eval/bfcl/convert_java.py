"""Java argument texts -> values, by the schema's type (docs/bfcl.md §4.2).

A text that does not fit its type stays a text and is judged as one. The official converter finds its patterns with
regular expressions, some of which take forever on hostile text; where that can happen the same match is found here by
searching for its parts. Left out: Set, Hashtable, Queue and Stack, on which the official converter raises.
"""

import re
from typing import Any

from itool_eval.bfcl.decoded import OfficialRaisesError

_INTEGER = re.compile(r"-?\d+$")
_LONG = re.compile(r"-?\d+[lL]$")
_DOUBLE = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$")
_FLOAT = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[fF]$")

_ARRAY = re.compile(r"new\s+\w+\[\]\s*\{(.*?)\}")
_AS_LIST = re.compile(r"new\s+ArrayList<\w*>\(Arrays\.asList\((.+?)\)\)")
_NEW_LIST = re.compile(r"new\s+ArrayList<\w*>\(\)")
_LIST_BODY = re.compile(r"new\s+ArrayList<\w*>\(\)\s*\{\{\s*")
_ADD = re.compile(r"add\((.+?)\)")
_NEW_MAP = re.compile(r"new\s+HashMap<")
_MAP_EMPTY = re.compile(r">\s*\(\)")
_MAP_BODY = re.compile(r">\s*\(\)\s*\{\s*\{?\s*")
_PUT = re.compile(r'put\("(.*?)",\s*(.*?)\)')


def convert(text: str, kind: str, item_kind: str | None = None) -> Any:
    """Convert an argument's text; a text that does not fit stays as it is.

    Args:
        text: the argument as the decoder gave it.
        kind: the schema's type.
        item_kind: the schema's element type, for Array and ArrayList.
    """
    match kind:
        case "byte" | "short" | "integer":
            return _number(text) if _INTEGER.match(text) else text
        case "long":
            return _number(_without_suffix(text)) if _LONG.match(text) else text
        case "float":
            return float(_without_suffix(text)) if _FLOAT.match(text) else text
        case "double":
            return float(text) if _DOUBLE.match(text) else text
        case "boolean":
            return text == "true" if text in ("true", "false") else text
        case "char" | "String" | "any":
            return text
        case "Array":
            return _array(text, item_kind)
        case "ArrayList":
            return _array_list(text, item_kind)
        case "HashMap":
            return _hash_map(text)
    raise OfficialRaisesError(f"the official checker has no conversion for the Java type {kind!r}")


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:  # Python reads at most 4,300 digits
        raise OfficialRaisesError(f"the official checker cannot read this number: {error}") from error


def _without_suffix(text: str) -> str:
    """Drop the suffix letter; the pattern allows one newline after it."""
    return text.rstrip("\n")[:-1]


def _array(text: str, item_kind: str | None) -> Any:
    found = _ARRAY.search(text)
    if not found:
        return text
    return [_element(part.strip(), item_kind) for part in found[1].split(",") if part.strip()]


def _element(text: str, item_kind: str | None) -> Any:
    return convert(text, item_kind) if item_kind else _guess(text)


def _array_list(text: str, item_kind: str | None) -> Any:
    listed = _AS_LIST.search(text)
    if listed:
        parts = listed[1].split(",")
    elif body := _LIST_BODY.search(text):
        # At least one character stands between the braces, hence the search from the second one on.
        end = text.find("}}", body.end() + 1)
        parts = _ADD.findall(text[body.end() : end]) if end >= 0 else []
    elif _NEW_LIST.search(text):
        parts = []
    else:
        return text
    quoted = item_kind in ("char", "String")
    return [p.strip()[1:-1] if quoted else _element(p.strip(), item_kind) for p in parts]


def _hash_map(text: str) -> Any:
    start = _NEW_MAP.search(text)
    if not start:
        return text
    body = _MAP_BODY.search(text, start.end())
    end = text.find("}", body.end()) if body else -1
    if body and end >= 0:
        return {key: _guess(value.strip()) for key, value in _PUT.findall(text[body.end() : end])}
    return {} if _MAP_EMPTY.search(text, start.end()) else text


def _guess(text: str) -> Any:
    """Convert a map's value, whose type no schema says."""
    if text in ("true", "false"):
        return text == "true"
    if text.startswith('"') and text.endswith('"'):
        return text[1:-1]
    if _LONG.match(text):
        return _number(_without_suffix(text))
    if _FLOAT.match(text):
        return float(_without_suffix(text))
    return python_number(text)


def python_number(text: str) -> int | float | str:
    """Read a text as Python reads numbers (`1_000`, `nan` and outer blanks included), else leave it."""
    for reader in (int, float):
        try:
            return reader(text)
        except ValueError:
            continue
    return text
