"""BFCL's own prompt contract for models without a function-calling interface (docs/bfcl.md §3).

The system text is data: it is read out of the official wheel as literals, never imported, and checked against a
digest. v3 holds it whole and renders the functions as Python's `repr` of the list, although the text says JSON; v4
assembles it from templates, in one of its forms (`prompt_form.py`).
"""

import ast
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from itool_data.errors import ItoolError
from itool_data.sample import JSON
from itool_eval.bfcl.categories import Language, Version
from itool_eval.bfcl.prompt_form import DEFAULT, FORMS, PromptForm, shown

# Of the text with an empty function list; v3's is the same in every wheel of era C.
DIGESTS = {
    Version.V3: "c3c19abecc86ba5b95f236398ff4211af0a0bb34b7d709e7ffa949aea44be322",
    Version.V4: "5dfc2aec2c5c5d5d9eec29b0020d0a7be1a70cccd74b62fbdcfcb5261d1ffb73",
}
_MORE_FUNCTIONS = "DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_PROMPTING"
_FUNCTIONS_ADDED = "DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC"
_FINAL_ANSWER = "ADDITIONAL_SYSTEM_PROMPT_FOR_AGENTIC_RESPONSE_FORMAT"
_AGENTS = "MEMORY_AGENT_SETTINGS"
_UNIFIED, _CORE_ARCHIVAL = "MEMORY_BACKEND_INSTRUCTION_UNIFIED", "MEMORY_BACKEND_INSTRUCTION_CORE_ARCHIVAL"
_LANGUAGES = {Language.PYTHON: "Python 3", Language.JAVA: "Java 8 SDK", Language.JAVASCRIPT: "JavaScript"}
# The spellings that the official folding looks for; other ones stay as they are.
_LISTS = {Language.JAVA: ("ArrayList", "Array"), Language.JAVASCRIPT: ("array",)}


class PromptContract:
    """What the harness says around an item's own messages.

    Attributes:
        functions_added: what the user says in a turn that brings functions which are called natively.
        final_answer: how v4's agentic items want the answer.
    """

    def __init__(self, data: Path, version: Version) -> None:
        """Read the text from the wheel.

        Args:
            data: the folder `bfcl_eval/data` of the official wheel of that version.
            version: the benchmark version.

        Raises:
            ItoolError: the text is absent or not the pinned one.
        """
        self._version = version
        path = data.parent / "constants" / "default_prompts.py"
        try:
            texts = _literals(path.read_text(encoding="utf-8"))
            forms = (DEFAULT,) if version is Version.V3 else FORMS
            self._systems = {form: _assembled(texts, form, version) for form in forms}
            self._more_functions = texts[_MORE_FUNCTIONS]
            self.functions_added = texts[_FUNCTIONS_ADDED]
            self.final_answer = str(texts.get(_FINAL_ANSWER, ""))
            self._memory = {name: texts.get(name) for name in (_AGENTS, _UNIFIED, _CORE_ARCHIVAL)}
        except (OSError, SyntaxError, ValueError, KeyError) as error:
            raise ItoolError(f"{path}: not the benchmark's prompts ({error}); fetch the wheel again") from error
        digest = hashlib.sha256(self.system([]).encode()).hexdigest()
        if digest != DIGESTS[version]:
            raise ItoolError(f"{path}: not the pinned system prompt (SHA-256 {digest}); fetch the wheel again")

    def system(self, functions: list[dict[str, JSON]], form: PromptForm = DEFAULT) -> str:
        """The system message's text with function documents as `document` gives them; v3 has the default form only."""
        documents = repr(functions) if self._version is Version.V3 else shown(functions, form)
        return self._systems[form].replace("{functions}", documents)

    def first_messages(
        self,
        turn: Sequence[dict[str, str]],
        functions: Sequence[dict[str, JSON]],
        language: Language,
        form: PromptForm = DEFAULT,
    ) -> list[dict[str, str]]:
        """A first turn's messages, the harness's text before them; an item's own system message follows it in one."""
        messages = [dict(message) for message in turn]
        system = self.system([document(function, language) for function in functions], form)
        if messages and messages[0]["role"] == "system":
            system += "\n\n" + messages.pop(0)["content"]
        return [{"role": "system", "content": system}, *messages]

    def memory(self, scenario: str, unified: bool, content: str) -> str:
        """What v4 says of a memory, and what it shows of its content.

        Args:
            scenario: whose assistant the model is.
            unified: the memory is one text; else it has a core, which is shown, and an archive.
            content: what is shown.
        """
        template = str(self._memory[_UNIFIED if unified else _CORE_ARCHIVAL])
        agents = self._memory[_AGENTS] or {}
        return _filled(template, {"scenario_setting": agents[scenario], "memory_content": content})

    def more_functions_message(self, functions: list[dict[str, JSON]]) -> dict[str, str]:
        """What the user says in a turn that brings functions; their documents name no language, as officially."""
        return {"role": "user", "content": self._more_functions.replace("{functions}", repr(functions))}


def document(function: dict[str, JSON], language: Language) -> dict[str, JSON]:
    """A function document as the prompt shows it: its language named, Java's and JavaScript's types folded into text.

    Scoring uses the document as it was.
    """
    told = dict(function)
    told["description"] += f" Note that the provided function is in {_LANGUAGES[language]} syntax."
    if language is not Language.PYTHON:
        properties = {name: _folded(schema, language) for name, schema in told["parameters"]["properties"].items()}
        told["parameters"] = told["parameters"] | {"properties": properties}
    return told


def _folded(schema: dict[str, JSON], language: Language) -> dict[str, JSON]:
    """A parameter as a string whose description says what it really is."""
    kind, folded = schema["type"], dict(schema)
    if kind == "any":
        hint = f" This parameter can be of any type of {language} object in string representation."
    else:
        hint = f" This is {language} {kind} type parameter in string representation."
    if kind in _LISTS[language]:
        inner = folded.pop("items")["type"]
        hint += f" The list elements are of type {inner}; they are not in string representation."
    if language is Language.JAVASCRIPT and kind == "dict" and "properties" in folded:
        entries = json.dumps(folded.pop("properties"))
        hint += f" The dictionary entries have the following schema; they are not in string representation. {entries}"
    return folded | {"description": schema["description"] + hint, "type": "string"}


def _assembled(texts: dict[str, Any], form: PromptForm, version: Version) -> str:
    """A system prompt without its functions: v3's as it is, v4's put together from the wheel's templates."""
    if version is Version.V3:
        return str(texts["DEFAULT_SYSTEM_PROMPT"])
    style = texts["PROMPT_STYLE_TEMPLATES"][form.style]
    tag = "tool_call_with_tag" if form.tagged else "tool_call_no_tag"
    fields = {
        "output_format": texts["OUTPUT_FORMAT_MAPPING"][form.calls],
        "param_types": texts["PARAM_TYPE_MAPPING"][form.calls],
        "format": form.documents,
    }
    parts = {
        "persona": style["persona"],
        "task": style["task"],
        "tool_call_format": _filled(style[tag], fields),
        "multiturn_behavior": style["multiturn_behavior"],
        "available_tools": _filled(style["available_tools"], fields),
    }
    return _filled(texts["PROMPT_TEMPLATE_MAPPING"][form.layout], parts)


def _filled(template: str, fields: dict[str, str]) -> str:
    for name, text in fields.items():
        template = template.replace(f"{{{name}}}", text)
    return template


def _literals(source: str) -> dict[str, Any]:
    """The module-level texts of a Python source, and dicts of them: literals, sums and earlier constants only."""
    found: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = _literal(node.value, found)
            if value is not None:
                found[node.targets[0].id] = value
    return found


def _literal(node: ast.expr | None, known: dict[str, Any]) -> Any:
    """A text or a dict, None for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name():
            return known.get(node.id)
        case ast.BinOp(op=ast.Add()):
            left, right = _literal(node.left, known), _literal(node.right, known)
            return left + right if isinstance(left, str) and isinstance(right, str) else None
        case ast.Dict():
            return {_literal(k, known): _literal(v, known) for k, v in zip(node.keys, node.values, strict=True)}
    return None
