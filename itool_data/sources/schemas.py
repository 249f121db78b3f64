"""A function's parameters as one JSON schema, from the ways in which functions are written.

"None" in any spelling is no parameters; `{name: {type, description}}` without `properties` is a flat map of them;
references into the schema are replaced by what they refer to; parts that `allOf` joins become one; a schema or null
(`anyOf`) is that schema, whose type may be null. A null that stands for "not given", as Arrow fills them in, goes. Left
out: the names of types (`tools.py`), references to elsewhere, and checking values against a schema.
"""

from collections.abc import Sequence
from typing import Any

from itool_data.sample import JSON
from itool_data.sources.rows import BadRowError, expect, parse_json

OPTIONAL = ", optional"
NO_PARAMETERS: tuple[JSON, ...] = (None, "", [], {})
DEFINITIONS = ("$defs", "definitions")
SCHEMAS_BY_NAME = ("properties", "patternProperties", *DEFINITIONS)
SCHEMA = ("items", "additionalProperties", "not")
UNIONS = ("anyOf", "oneOf")
# What a schema of parameters has at least one of.
KEYWORDS = ("type", "properties", "required", "additionalProperties", "$ref", "allOf", *UNIONS, "title", "description")
MAY_BE_NULL = ("default", "const", "example")


def parameters_schema(written: JSON, field: str) -> dict[str, JSON]:
    """The schema of a function's parameters; of none, the empty one.

    Raises:
        BadRowError: it is no schema, or refers to what is not there.
    """
    if isinstance(written, str) and written.strip():
        written = parse_json(written, field)
    if written in NO_PARAMETERS:
        return {}
    schema = expect(written, dict, field)
    if _is_flat(schema):
        return from_flat(schema, field)
    if not any(key in schema for key in KEYWORDS):
        raise BadRowError(field, f"expected a schema with properties, found {', '.join(map(repr, schema))}")
    return _either(_Resolver(schema, field).schema(schema, ()))


def from_flat(parameters: dict[str, JSON], field: str) -> dict[str, JSON]:
    """A schema of the form {name: {type, description, default}}, as xLAM has it.

    Where no parameter says itself whether it is required, those are that have no default and are not called optional.

    Raises:
        BadRowError: a parameter is no object, or its type no text.
    """
    said = {name: expect(value, dict, f"{field}.{name}") for name, value in parameters.items()}
    marked = any(isinstance(value.get("required"), bool) for value in said.values())
    properties: dict[str, JSON] = {}
    required = []
    for name, value in said.items():
        own = {key: inner for key, inner in value.items() if not isinstance(inner, bool) or key != "required"}
        kind = own.get("type", "")
        optional = isinstance(kind, str) and kind.endswith(OPTIONAL)
        if optional:
            own["type"] = kind.removesuffix(OPTIONAL)
        properties[name] = own
        if value.get("required") if marked else not optional and "default" not in own:
            required.append(name)
    return flat_parameters(properties, required)


def flat_parameters(parameters: dict[str, JSON], required: Sequence[str]) -> dict[str, JSON]:
    """Wrap the form {name: {type, description}} as a schema of an object."""
    return {"type": "object", "properties": parameters, "required": list(required)}


def without_filled_nulls(value: JSON, schema: JSON) -> JSON:
    """An argument without the nulls in it that its schema does not allow, but for those of required keys.

    Arrow gives every object the keys of all others, so a null there says that nothing was said.
    """
    schema = schema if isinstance(schema, dict) else {}
    if isinstance(value, list):
        return [without_filled_nulls(item, schema.get("items")) for item in value]
    if not isinstance(value, dict):
        return value
    inner = schema.get("properties") or {}
    required = schema.get("required") or []
    return {
        key: without_filled_nulls(item, inner.get(key))
        for key, item in value.items()
        if item is not None or key in required or _allows_null(inner.get(key))
    }


def _allows_null(schema: JSON) -> bool:
    if not isinstance(schema, dict):
        return False
    kinds = schema.get("type")
    return (
        "null" in (kinds if isinstance(kinds, list) else [kinds])
        or schema.get("nullable") is True
        or ("default" in schema and schema["default"] is None)
        or None in (schema.get("enum") or [])
        or any(_allows_null(option) for union in UNIONS for option in schema.get(union) or [])
    )


def _is_flat(schema: dict[str, JSON]) -> bool:
    """Whether every key is a parameter's name: a schema's own keys have other values."""
    return all(
        isinstance(said, dict)
        and (not said or isinstance(said.get("type"), str | list) or isinstance(said.get("description"), str))
        for said in schema.values()
    )


class _Resolver:
    """Puts references and joined parts of one schema in their places."""

    def __init__(self, root: dict[str, JSON], field: str):
        self._root, self._field = root, field

    def schema(self, node: JSON, within: tuple[str, ...]) -> Any:
        """A schema without references; `within` are those that it is itself behind."""
        if not isinstance(node, dict):
            return node
        node = {key: value for key, value in node.items() if value is not None or key in MAY_BE_NULL}
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            del node["$ref"]
            # A schema that is part of itself says nothing more there.
            found = {} if reference in within else self.schema(self._find(reference), (*within, reference))
            node = {**found, **node}
        node = {key: self._inner(key, value, within) for key, value in node.items() if key not in DEFINITIONS}
        for part in node.pop("allOf", []):
            node = _joined(node, expect(part, dict, f"{self._field}.allOf"))
        for union in UNIONS:
            node = _or_null(node, union)
        return node

    def _inner(self, key: str, value: JSON, within: tuple[str, ...]) -> JSON:
        if key in SCHEMAS_BY_NAME:
            named = expect(value or {}, dict, f"{self._field}.{key}")
            return {name: self.schema(inner, within) for name, inner in named.items() if inner is not None}
        if key in (*UNIONS, "allOf"):
            return [self.schema(option, within) for option in expect(value, list, f"{self._field}.{key}")]
        return self.schema(value, within) if key in SCHEMA else value

    def _find(self, reference: str) -> JSON:
        """What a reference such as `#/$defs/Address` refers to."""
        found: JSON = self._root
        for name in reference.removeprefix("#").split("/")[1:]:
            name = name.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                raise BadRowError(self._field, f"refers to {reference}, which is not there")
            found = found[name]
        return found


def _joined(node: dict[str, JSON], part: dict[str, JSON]) -> dict[str, JSON]:
    """A schema and one that holds as well; what the first one says itself goes before."""
    properties = {**(part.get("properties") or {}), **(node.get("properties") or {})}
    required = [*(part.get("required") or []), *(node.get("required") or [])]
    joined = {**part, **node}
    if properties:
        joined["properties"] = properties
    if required:
        joined["required"] = list(dict.fromkeys(required))
    return joined


def _either(schema: dict[str, JSON]) -> dict[str, JSON]:
    """Of several objects that the parameters may be: one with all properties, where what all require is required."""
    for union in UNIONS:
        options = schema.get(union)
        if not options or not all(isinstance(option, dict) and option.get("properties") for option in options):
            continue
        every = {name: inner for option in options for name, inner in option["properties"].items()}
        wanted = [option.get("required") or [] for option in options]
        shared = [name for name in wanted[0] if all(name in others for others in wanted)]
        own = {key: value for key, value in schema.items() if key != union}
        schema = _joined(own, {"type": "object", "properties": every, "required": shared})
    return schema


def _or_null(node: dict[str, JSON], union: str) -> dict[str, JSON]:
    """Of a schema or null: the schema, whose type may be null too."""
    options = node.get(union)
    if not isinstance(options, list):
        return node
    others = [option for option in options if not isinstance(option, dict) or option.get("type") != "null"]
    if len(others) != 1 or len(others) == len(options) or not isinstance(others[0], dict):
        return node
    own = {key: value for key, value in node.items() if key != union}
    kind = others[0].get("type")
    nullable = {"type": [kind, "null"]} if isinstance(kind, str) else {"nullable": True}
    return {**others[0], **own, **nullable}
