"""System texts that say all that our own prompt would: which functions there are, and that calls are `[f(a=1)]`.

ToolACE's do. Such a text stands alone in our own form, and contradicts any native one. Left out: texts that list the
functions for another form of calls, which an importer leaves out (`sources/sharegpt.py`).
"""

import json
import re
from collections.abc import Sequence

from itool_data.sample import JSON, Tool

_LIST = re.compile(r"\[\s*\{")
_CALL = re.compile(r"\[\w[\w.]*\(\w+\s*=")  # how to call, as `[func_name1(params_name1=params_value1, ...)]`


def listed_functions(text: str) -> list[JSON] | None:
    """The list of JSON objects in a text; None where there is none.

    Raises:
        ValueError: what begins like one is no JSON.
    """
    start = _LIST.search(text)
    if not start:
        return None
    listed: list[JSON] = json.JSONDecoder().raw_decode(text, start.start())[0]
    return listed


def says_all(text: str, tools: Sequence[Tool]) -> bool:
    """Whether a system text lists just these functions and asks for calls in our own form."""
    if not _CALL.search(text):
        return False
    try:
        listed = listed_functions(text) or ()
    except (ValueError, RecursionError):
        return False
    return [item.get("name") for item in listed if isinstance(item, dict)] == [tool.name for tool in tools]
