"""A reply in one of v4's prompt forms -> calls: Python, JSON or XML, bare or between tags (docs/bfcl.md §4.4).

Only format sensitivity uses the forms that are not Python. Nothing is executed: values of XML are literals, and there
is no document type in which entities could be declared. The official pattern for JSON takes exponential time on a list
that is cut, so what it would find is looked for in another way.
"""

import ast
import json
import warnings
from bisect import bisect_left
from typing import Any
from xml.etree import ElementTree

from itool_eval.bfcl import decode_python
from itool_eval.bfcl.decoded import Call, DecodeError, NoCallError, bracketed
from itool_eval.bfcl.prompt_form import PromptForm

_OPEN, _CLOSE = "<TOOLCALL>", "</TOOLCALL>"
_FIRST, _LAST = "<functions>", "</functions>"
# What an odd value makes of the standard library's readers.
_UNREADABLE = (ValueError, TypeError, KeyError, SyntaxError, MemoryError, RecursionError, OverflowError)


def decode(text: str, form: PromptForm) -> list[Call]:
    """Decode a reply into its calls.

    Raises:
        DecodeError: the reply is not a list of calls in that form.
        NoCallError: it is one, but the arguments of a call are no object.
    """
    source = bracketed(text)
    if form.tagged:
        source = _between(source, _OPEN, _CLOSE)[len(_OPEN) : -len(_CLOSE)].strip()
    if form.calls == "python":
        return decode_python.parse(source.strip().strip("'"))
    try:
        found = _json_calls(source) if form.calls == "json" else _xml_calls(source, form.calls == "verbose_xml")
        for name, _ in found:
            hash(name)
    except _UNREADABLE as error:
        raise DecodeError(f"no calls as {form.calls}: {type(error).__name__}: {error}") from error
    if odd := [name for name, arguments in found if not isinstance(arguments, dict)]:
        raise NoCallError(f"{odd[0]}: arguments that are no object")
    return [Call(name, arguments) for name, arguments in found]


def _between(text: str, opening: str, closing: str) -> str:
    """The first stretch from an opening tag to the next closing one, both included."""
    start = text.find(opening)
    end = text.find(closing, start + len(opening))
    if start < 0 or end < 0:
        raise DecodeError(f"nothing between {opening} and {closing}")
    return text[start : end + len(closing)]


def _json_calls(source: str) -> list[tuple[Any, Any]]:
    start, end = source.find("["), source.rfind("]")
    if 0 <= start < end:
        source = source[start : end + 1]
    try:
        calls = json.loads(first_objects(source) or source)
    except json.JSONDecodeError:
        return []
    return [(call["function"], call["parameters"]) for call in calls if isinstance(call, dict)]


def first_objects(text: str) -> str | None:
    r"""What `\[\s*{.*?}\s*(?:,\s*{.*?}\s*)*\]` finds first, a dot being any character.

    A brace is good if a list can end after it: a bracket follows, or a comma and an object that ends with a good one.
    The pattern takes the first good brace everywhere, so they are found once, from the end.
    """
    ends: dict[int, int] = {}  # of the list, by its good brace
    good: list[int] = []  # these braces as negative numbers, ascending, for bisect

    def brace_after(place: int) -> int | None:
        """The first good brace of an object that begins at a place, blanks aside."""
        opening = _solid(text, place)
        if text[opening : opening + 1] != "{":
            return None
        found = bisect_left(good, -opening)
        return -good[found - 1] if found else None

    place = text.rfind("}")
    while place >= 0:
        after = _solid(text, place + 1)
        if text[after : after + 1] == "]":
            ends[place] = after + 1
        elif text[after : after + 1] == "," and (brace := brace_after(after + 1)) is not None:
            ends[place] = ends[brace]
        if place in ends:
            good.append(-place)
        place = text.rfind("}", 0, place)
    start = text.find("[")
    while start >= 0:
        if (brace := brace_after(start + 1)) is not None:
            return text[start : ends[brace]]
        start = text.find("[", start + 1)
    return None


def _solid(text: str, place: int) -> int:
    """The first place from there on that is no blank."""
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _xml_calls(source: str, verbose: bool) -> list[tuple[Any, Any]]:
    calls = []
    for function in ElementTree.fromstring(_between(source, _FIRST, _LAST)).findall("function"):
        name = function.attrib["name"]
        holder = function.find("params") if verbose else None
        arguments = {}
        for parameter in (function if holder is None else holder).findall("param"):
            given = parameter.attrib
            raw = given.get("value", "") if verbose else (parameter.text or "").strip()
            key = given.get("name") if verbose else given["name"]
            arguments[key] = _typed(raw, given.get("type", "string"))
        calls.append((name, arguments))
    return calls


def _typed(raw: str, kind: str) -> Any:
    match kind:
        case "integer":
            return int(raw)
        case "float":
            return float(raw)
        case "boolean":
            return raw.lower() == "true"
        case "null":
            return None
        case "array" | "tuple" | "object" | "dict":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.literal_eval(raw)
    return raw
