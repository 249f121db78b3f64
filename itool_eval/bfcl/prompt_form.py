"""The forms of v4's system prompt, and the function documents as each of them shows them (docs/bfcl.md §3.4).

A form says how calls are to be written, whether between tags, how functions are documented, and the text's layout and
style. Format sensitivity asks the same items in 26 of them; everything else is asked in the default one. The texts are
the wheel's (`prompt.py`). Left out: reading calls in these forms (`decode_forms.py`).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from itool_data.sample import JSON

_INDENT = "        "
_PYTHON_TYPES = {"string": "str", "number": "float", "integer": "int", "boolean": "bool"}


@dataclass(frozen=True)
class PromptForm:
    """One form.

    Attributes:
        calls: how calls are written: `python`, `json`, `verbose_xml` or `concise_xml`.
        tagged: whether they stand between `<TOOLCALL>` tags.
        documents: how functions are documented: `python`, `xml` or `json`.
        layout: `plaintext` or `markdown`.
        style: `classic` or `experimental`.
    """

    calls: str = "python"
    tagged: bool = False
    documents: str = "json"
    layout: str = "plaintext"
    style: str = "classic"

    @property
    def official(self) -> str:
        """The name that ids and official tables give it."""
        return (
            f"ret_fmt={self.calls}&tool_call_tag={self.tagged}&func_doc_fmt={self.documents}"
            f"&prompt_fmt={self.layout}&style={self.style}"
        )

    @property
    def short(self) -> str:
        """A name that fits a table: calls and documents, and what is not the default."""
        parts = [f"{self.calls} calls", "tagged" if self.tagged else "", f"{self.documents} documents"]
        parts += [value for value in (self.layout, self.style) if value not in ("plaintext", "classic")]
        return ", ".join(part for part in parts if part)


DEFAULT = PromptForm()
# The official order: all ways to write calls and documents, then the default form with one thing changed.
FORMS = (
    *(
        PromptForm(calls, tagged, documents)
        for calls in ("python", "json", "verbose_xml", "concise_xml")
        for tagged in (True, False)
        for documents in ("python", "xml", "json")
    ),
    PromptForm(layout="markdown"),
    PromptForm(style="experimental"),
)


def shown(functions: Sequence[dict[str, JSON]], form: PromptForm) -> str:
    """The text of function documents in a form."""
    if form.documents == "json":
        return json.dumps(functions, indent=4)
    if form.documents == "xml":
        return "\n".join(_as_xml(function) for function in functions)
    return "\n\n\n\n\n".join(_as_python(function) for function in functions) + "\n" * 3 * bool(functions)


def _as_xml(function: dict[str, JSON]) -> str:
    parameters = function["parameters"]
    lines = [f'<function name="{function["name"]}">', f"  <desc>{function.get('description', '')}</desc>", "  <params>"]
    for name, schema in parameters.get("properties", {}).items():
        lines += _xml_parameter(name, schema, parameters.get("required"), "    ")
    return "\n".join([*lines, "  </params>", "</function>", ""])


def _xml_parameter(name: str, schema: dict[str, JSON], required: list[str] | None, indent: str) -> Iterator[str]:
    """The lines of a parameter and of what is in it; where nothing is said to be required, all is."""
    is_required = "true" if required is None or name in required else "false"
    opening = f'name="{name}" type="{_xml_type(schema)}" required="{is_required}"'
    if "default" in schema:
        opening += f' default="{schema["default"]!r}"'
    yield f"{indent}<param {opening.replace(',', '')}>"
    yield f"{indent}  <desc>{_described(schema)}</desc>"
    if "properties" in schema:
        yield f"{indent}  <params>"
        for inner, inner_schema in schema["properties"].items():
            yield from _xml_parameter(inner, inner_schema, schema.get("required"), indent + "    ")
        yield f"{indent}  </params>"
    yield f"{indent}</param>"


def _xml_type(schema: dict[str, JSON]) -> str:
    kind = schema.get("type", "string")
    if "type" in schema.get("items", {}):
        return f"{kind}[{schema['items']['type']}]"
    if "additionalProperties" in schema:
        return f"{kind}[{schema['additionalProperties'].get('type', 'string')}]"
    return str(kind)


def _as_python(function: dict[str, JSON]) -> str:
    properties = function.get("parameters", {}).get("properties", {})
    lines = [f"# Function: {function['name']}", '    """', f"    {function.get('description', '')}", ""]
    if properties:
        lines.append("    Args:")
    for name, schema in properties.items():
        lines += _python_parameter(name, schema, _INDENT)
    return "\n".join([*lines, '    """', ""])


def _python_parameter(name: str, schema: dict[str, JSON], indent: str) -> Iterator[str]:
    default = f", default={schema['default']!r}" if "default" in schema else ""
    yield f"{indent}{name} ({_python_type(schema)}{default}): {_described(schema)}"
    for inner, inner_schema in schema.get("properties", {}).items():
        yield from _python_parameter(inner, inner_schema, indent + "    ")


def _python_type(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "string")
    if kind in ("array", "list", "tuple") and "items" in schema:
        return f"list[{_python_type(schema['items'])}]"
    if kind in ("object", "dict"):
        inner = schema.get("additionalProperties")
        return "dict" if inner is None else f"dict[str, {_python_type(inner)}]"
    return str(_PYTHON_TYPES.get(kind, kind))


def _described(schema: dict[str, JSON]) -> str:
    enum = f" Enum values: {schema['enum']}." if "enum" in schema else ""
    return f"{schema.get('description', '')}{enum}"
