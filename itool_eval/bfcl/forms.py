"""Calls in a form that is not the one that is read: whether a wrong result is one of another handler.

The official tool has a decoder a model family, and the result files of each look alike: official names, official
columns. itool reads Python text and OpenAI's native calls (docs/bfcl.md §4), so a folder of another family would come
out as 0 %, which is no score of that model. Left out: reading these forms, and the verdict, which stays the one by the
rules that were asked for.
"""

import json
import re
from collections.abc import Iterator

from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.decode_python import decode
from itool_eval.bfcl.decoded import DecodeError

NATIVE = "native calls"
PYTHON = "calls as Python text"
OBJECTS = "calls that are not {name: arguments as JSON text}"
JSON_CALLS = "calls as JSON text"

# What models put around their calls: <tool_call>, <function=f>, <|python_tag|>, <｜tool▁calls▁begin｜>, [TOOL_CALLS] …
# The lengths are bounded because a reply that repeats a word endlessly would take quadratic time.
_TAG = re.compile(
    r"<[|｜]?(?:[\w▁:]{0,20}(?:tool|function)[\w▁]{0,40}|invoke|python_tag|(?:start_)?action)[|｜=> ]+"
    r"|\[tool_calls?\]|\bfunctools\[|\bto=functions\b|^action:",
    re.IGNORECASE | re.MULTILINE,
)
# Of a call as JSON, or as Python prints the same; or the name alone on a line before its arguments.
_NAME = re.compile(r"""["'](?:name|tool_name|function)["']\s*:""")
_ARGUMENTS = re.compile(r"""["'](?:arguments|parameters|args)["']\s*:""")
_NAME_LINE = re.compile(r"\s*[\w.]+\n\s*\{")
_FENCED = re.compile(r"```\w+\s(.*?)(?:```|\Z)", re.DOTALL)


def other_form(result: object, native_calls: bool) -> str | None:
    """The form of calls that a result without a readable call makes; None where it seems to make none.

    Args:
        result: one that does not decode: a reply's text or calls, or a conversation's turns of these.
        native_calls: native calls are what is read, else Python text.
    """
    return next(filter(None, (_form(reply, native_calls) for reply in _replies(result))), None)


def _replies(result: object) -> Iterator[object]:
    """The replies of a conversation, or the result itself."""
    if isinstance(result, list) and result and all(isinstance(turn, list) for turn in result):
        for turn in result:
            yield from turn
    else:
        yield result


def _form(reply: object, native_calls: bool) -> str | None:
    if isinstance(reply, list | dict):
        return (OBJECTS if native_calls else NATIVE) if reply else None
    if not isinstance(reply, str):
        return None
    if tag := _TAG.search(reply):
        return tag[0].strip()
    if (_NAME.search(reply) and _ARGUMENTS.search(reply)) or _NAME_LINE.match(reply) or _is_json(reply):
        return JSON_CALLS
    if native_calls and _is_python(reply):
        return PYTHON
    said = reply.rpartition("</think>")[2]
    if said != reply and _is_python(said):
        return "calls after <think>"
    if (fenced := _FENCED.search(said)) and (_is_python(fenced[1]) or _is_json(fenced[1])):
        return "calls between ```"
    return None


def _is_python(text: str) -> bool:
    try:
        return bool(decode(text.strip(), Version.V3))
    except DecodeError:
        return False


def _is_json(text: str) -> bool:
    try:
        return bool(json.loads(text)) and text.lstrip().startswith(("{", "[{"))
    except (ValueError, RecursionError):
        return False
