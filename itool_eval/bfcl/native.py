"""Native function calling: functions as OpenAI's tools, calls that come as JSON (docs/bfcl.md §3.1 and §4.3).

What the official handler of OpenAI's chat completions does for its "FC" models: their names have `_` for every `.`, a
result is a list of {name: arguments as JSON text}, and a reply without calls is its text. Left out: the tool forms of
other providers.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from itool_data.sample import JSON
from itool_eval.bfcl.categories import Language
from itool_eval.bfcl.decoded import Call, DecodeError, NoCallError
from itool_eval.bfcl.items import Item
from itool_eval.bfcl.prompt import document

# BFCL's types as JSON schema's; what is not here is a string.
_TYPES = {
    **dict.fromkeys(("integer", "byte", "short", "long", "Bigint"), "integer"),
    **dict.fromkeys(("number", "float", "double"), "number"),
    **dict.fromkeys(("boolean", "bool"), "boolean"),
    **dict.fromkeys(("array", "list", "tuple", "ArrayList", "Array", "Queue", "Stack"), "array"),
    **dict.fromkeys(("dict", "object", "HashMap", "Hashtable"), "object"),
}


def tools(functions: Iterable[dict[str, JSON]], language: Language) -> tuple[dict[str, Any], ...]:
    """The functions on offer as a request's `tools`."""
    return as_tools(document(function, language) for function in functions)


def as_tools(documents: Iterable[dict[str, JSON]]) -> tuple[dict[str, Any], ...]:
    """Function documents as a request's `tools`; nothing is added to what they say."""
    offered = []
    for shown in documents:
        parameters = shown["parameters"] | {"type": "object", "properties": _cast(shown["parameters"]["properties"])}
        offered.append(
            {"type": "function", "function": shown | {"name": _native(shown["name"]), "parameters": parameters}}
        )
    return tuple(offered)


def decode(result: object) -> list[Call]:
    """Read a result's calls; their order is the reply's. An empty reply is an empty list of calls, as officially.

    Raises:
        DecodeError: it is a text, or the arguments of a call are not JSON.
    """
    if result == "":
        return []
    if not isinstance(result, list):
        raise DecodeError("no native call")
    calls = []
    for call in result:
        ((name, text),) = _entries(call)
        try:
            arguments = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise DecodeError(f"{name}: arguments that are not JSON: {error}") from error
        if not isinstance(arguments, dict):
            raise NoCallError(f"{name}: arguments that are a {type(arguments).__name__} and no object")
        calls.append(Call(name, arguments))
    return calls


def call_texts(result: object) -> list[str]:
    """The calls of a conversation's reply as Python text, as the simulators run them.

    More is read here than by `decode`, as officially: one object without a list, several calls in one object, arguments
    that are an object already.

    Raises:
        DecodeError: it is a text, or the arguments of a call are no JSON object.
    """
    calls = [result] if isinstance(result, dict) else [] if result == "" else result
    if not isinstance(calls, list):
        raise DecodeError("no native call")
    texts = []
    try:
        for call in calls:
            for name, given in call.items():
                arguments = json.loads(given) if isinstance(given, str) else given
                texts.append(f"{name}({','.join(f'{key}={value!r}' for key, value in arguments.items())})")
    # An integer can be too long to print, a value too deeply nested; what is no object has no items.
    except (ValueError, AttributeError, RecursionError) as error:
        raise DecodeError(str(error)) from error
    return texts


def renamed(item: Item) -> Item:
    """An item whose functions and answers have the names under which they were offered."""
    return replace(
        item,
        functions=[function | {"name": _native(function["name"])} for function in item.functions],
        answers=tuple((_native(name), answer) for name, answer in item.answers),
    )


def _native(name: str) -> str:
    return name.replace(".", "_")


def _entries(call: object) -> Sequence[tuple[str, Any]]:
    if not isinstance(call, dict) or len(call) != 1:
        raise DecodeError("a call that is not one name with its arguments")
    return list(call.items())


def _cast(properties: dict[str, JSON]) -> dict[str, JSON]:
    """Properties with the types of JSON schema, as deep as the official conversion goes."""
    return {name: _cast_property(schema) for name, schema in properties.items()}


def _cast_property(schema: dict[str, JSON]) -> dict[str, JSON]:
    kind = _TYPES.get(schema.get("type", ""), "string")
    cast = schema | {"type": kind}
    if schema.get("type") == "float":
        cast |= {"format": "float", "description": schema.get("description", "") + " This is a float type value."}
    if kind in ("array", "object"):
        if "properties" in schema:
            cast["properties"] = _cast(schema["properties"])
        elif "items" in schema:
            cast["items"] = _cast_items(schema["items"])
    return cast


def _cast_items(items: dict[str, JSON]) -> dict[str, JSON]:
    cast = items | {"type": _TYPES.get(items["type"], "string")}
    if cast["type"] == "array" and "items" in items:
        cast["items"] = items["items"] | {"type": _TYPES.get(items["items"]["type"], "string")}
    elif cast["type"] == "object" and "properties" in items:
        cast["properties"] = _cast(items["properties"])
    return cast
