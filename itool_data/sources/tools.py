"""Tools and calls as the data sets write them, in one form.

Every parameter schema becomes a JSON schema of type object. Types get JSON-schema names: `dict` is object, `float`
number, `str` string, `int` integer, `bool` boolean, `list`, `tuple` and `set` array; `list(str)` and `List[str]` also
give the items. "any", unions and callables say nothing, so the type is left out; a name unknown here (`datetime`)
moves to "format". Everything else in a schema stays as it is. Left out: validating values against a schema.
"""

import re
from collections.abc import Sequence

from itool_data.dialects import PythonList, parse_as, render
from itool_data.errors import ItoolError
from itool_data.sample import JSON, Tool, ToolCall
from itool_data.sources.rows import BadRowError, expect, get
from itool_data.sources.schemas import parameters_schema, without_filled_nulls

JSON_TYPES = {
    "dict": "object", "dictionary": "object", "object": "object", "hashmap": "object",
    "float": "number", "double": "number", "number": "number",
    "int": "integer", "integer": "integer", "long": "integer",
    "str": "string", "string": "string",
    "bool": "boolean", "boolean": "boolean",
    "list": "array", "array": "array", "tuple": "array", "set": "array", "sequence": "array",
    "null": "null", "none": "null",
}  # fmt: skip
ANY_TYPES = frozenset({"any", "union", "callable", ""})
PARAMETERS = ("parameters", "input_schema", "inputSchema")  # OpenAI's name, Anthropic's, and MCP's
GENERIC = re.compile(r"(\w+)\s*[\[(](.*)[\])]", re.DOTALL)


def tool(name: JSON, description: JSON, parameters: JSON, field: str) -> Tool:
    """Make a Tool of what a data set says; no description and no parameters are allowed (`schemas.py`).

    Raises:
        BadRowError: the name is no text or empty, or the schema is not one of an object.
    """
    if not expect(name, str, f"{field}.name"):
        raise BadRowError(f"{field}.name", "empty")
    schema = normalise(parameters_schema(parameters, f"{field}.parameters"), f"{field}.parameters")
    kind = schema.get("type", "object")
    standard = {
        "type": "object" if isinstance(kind, list) and "object" in kind else kind,
        "properties": schema.get("properties") or {},
        "required": expect(schema.get("required") or [], list, f"{field}.parameters.required"),
    }
    schema = {**standard, **{key: value for key, value in schema.items() if key not in standard}}
    if schema["type"] != "object":
        raise BadRowError(f"{field}.parameters.type", f"expected an object's schema, found {schema['type']!r}")
    return Tool(name, expect(description or "", str, f"{field}.description"), schema)


def function(item: JSON, field: str) -> Tool:
    """Make a Tool of {type: function, function: {name, description, parameters}}, or of the inner object alone.

    Raises:
        BadRowError: it is none.
    """
    item = expect(item, dict, field)
    inner = get(item, "function", dict, field) if item.get("function") is not None else item
    parameters = next((inner[name] for name in PARAMETERS if inner.get(name) is not None), None)
    return tool(inner.get("name"), inner.get("description"), parameters, field)


def normalise(schema: dict[str, JSON], field: str) -> dict[str, JSON]:
    """Give a schema, and all schemas in it, the type names of JSON schema.

    Raises:
        BadRowError: a type, the properties or the required names are of the wrong kind.
    """
    result = dict(schema)
    if "type" in result:
        kind = result.pop("type")
        # The type goes first, because that is how prompts show it; what the schema says itself overrides the guess.
        result = {**json_type(kind, f"{field}.type"), **result}
    if result.get("properties") is not None:
        properties = get(result, "properties", dict, field)
        result["properties"] = {
            name: normalise(expect(inner, dict, f"{field}.{name}"), f"{field}.{name}")
            for name, inner in properties.items()
        }
    if isinstance(result.get("items"), dict):
        result["items"] = normalise(result["items"], f"{field}.items")
    for union in ("anyOf", "oneOf", "allOf"):
        if union in result:
            options = get(result, union, list, field)
            result[union] = [normalise(expect(o, dict, f"{field}.{union}"), f"{field}.{union}") for o in options]
    # Some sets mark a parameter itself as required: true, which JSON schema says on the object.
    if isinstance(result.get("required"), list) and not all(isinstance(name, str) for name in result["required"]):
        raise BadRowError(f"{field}.required", "expected a list of names")
    return result


def json_type(kind: JSON, field: str) -> dict[str, JSON]:
    """Return the part of a schema that a data set's type says, e.g. {"type": "array", "items": …} for `List[str]`.

    Raises:
        BadRowError: the type is neither text nor a list of texts.
    """
    if isinstance(kind, list):
        names = [json_type(expect(one, str, field), field).get("type") for one in kind]
        return {"type": names} if all(names) else {}
    text = expect(kind, str, field).strip()
    if generic := GENERIC.fullmatch(text):
        outer, inner = generic[1].lower(), generic[2]
        if outer == "optional":
            return json_type(inner, field)
        result = json_type(outer, field)
        items = json_type(inner, field) if result.get("type") == "array" and "," not in inner else {}
        return {**result, "items": items} if items else result
    if text.lower() in ANY_TYPES:
        return {}
    known = JSON_TYPES.get(text.lower())
    return {"type": known} if known else {"format": text}


def parse_python(text: str, tools: Sequence[Tool], field: str) -> tuple[ToolCall, ...]:
    """Parse calls in Python form, in which the names of functions on offer stand bare whatever they hold.

    Raises:
        BadRowError: the text is something else.
    """
    try:
        return tuple(parse_as(text, PythonList([tool.name for tool in tools])))
    except ItoolError as error:
        raise BadRowError(field, str(error)) from error


def render_python(calls: Sequence[ToolCall], field: str) -> str:
    """Write calls in Python form, the one form of all targets and histories here.

    Raises:
        BadRowError: an argument cannot be written.
    """
    try:
        return render(calls, "python")
    except ItoolError as error:
        raise BadRowError(field, str(error)) from error


def without_filled(calls: Sequence[ToolCall], tools: Sequence[Tool]) -> tuple[ToolCall, ...]:
    """The calls without nulls that only say that nothing was said (`schemas.without_filled_nulls`)."""
    schemas = {tool.name: tool.parameters for tool in tools}
    return tuple(ToolCall(c.name, without_filled_nulls(c.arguments, schemas.get(c.name))) for c in calls)


def check_offered(calls: Sequence[ToolCall], tools: Sequence[Tool], field: str) -> None:
    """Check that every call names a tool on offer, and only parameters of it.

    Raises:
        BadRowError: one does not.
    """
    offered = {tool.name: tool.parameters for tool in tools}
    for call in calls:
        if call.name not in offered:
            raise BadRowError(field, f"calls {call.name!r}, which is not offered")
        schema = offered[call.name]
        unknown = [name for name in call.arguments if name not in schema["properties"]]
        if unknown and not schema.get("additionalProperties"):
            raise BadRowError(field, f"{call.name!r} has no parameter {unknown[0]!r}")
