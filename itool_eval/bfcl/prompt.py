"""BFCL's own prompt contract for models without a function-calling interface (spec section 2).

The system text is data: it is read out of the official wheel as literals, never imported, and checked against a
digest. The functions are rendered as Python's `repr` of the list, although the text says JSON, because the official
harness does. Left out: v4's prompt, which is assembled from templates.
"""

import ast
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from itool_data.errors import ItoolError
from itool_data.sample import JSON
from itool_eval.bfcl.categories import Language

# Of the text with an empty function list; the same in every v3 wheel of era C.
DIGEST = "c3c19abecc86ba5b95f236398ff4211af0a0bb34b7d709e7ffa949aea44be322"
_CONSTANT = "DEFAULT_SYSTEM_PROMPT"
_MORE_FUNCTIONS = "DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_PROMPTING"
_LANGUAGES = {Language.PYTHON: "Python 3", Language.JAVA: "Java 8 SDK", Language.JAVASCRIPT: "JavaScript"}
# The spellings that the official folding looks for; other ones stay as they are.
_LISTS = {Language.JAVA: ("ArrayList", "Array"), Language.JAVASCRIPT: ("array",)}


class PromptContract:
    """What the harness says around an item's own messages."""

    def __init__(self, data: Path) -> None:
        """Read the text from the wheel.

        Args:
            data: the folder `bfcl_eval/data` of the official v3 wheel.

        Raises:
            ItoolError: the text is absent or not the pinned one.
        """
        path = data.parent / "constants" / "default_prompts.py"
        try:
            texts = _literals(path.read_text(encoding="utf-8"))
            self._system, self._more_functions = texts[_CONSTANT], texts[_MORE_FUNCTIONS]
        except (OSError, SyntaxError, KeyError) as error:
            raise ItoolError(f"{path}: not the benchmark's prompts ({error}); fetch the wheel again") from error
        digest = hashlib.sha256(self.system([]).encode()).hexdigest()
        if digest != DIGEST:
            raise ItoolError(f"{path}: {_CONSTANT} is not the pinned text (SHA-256 {digest}); fetch the wheel again")

    def system(self, functions: list[dict[str, JSON]]) -> str:
        """The system message's text with function documents as `document` gives them."""
        return self._system.replace("{functions}", repr(functions))

    def first_messages(
        self, turn: Sequence[dict[str, str]], functions: Sequence[dict[str, JSON]], language: Language
    ) -> list[dict[str, str]]:
        """A first turn's messages, the harness's text before them; an item's own system message follows it in one."""
        messages = [dict(message) for message in turn]
        system = self.system([document(function, language) for function in functions])
        if messages and messages[0]["role"] == "system":
            system += "\n\n" + messages.pop(0)["content"]
        return [{"role": "system", "content": system}, *messages]

    def more_functions_message(self, functions: list[dict[str, JSON]]) -> dict[str, str]:
        """What the user says in a turn that brings functions; their documents name no language, as officially."""
        return {"role": "user", "content": self._more_functions.replace("{functions}", repr(functions))}


def document(function: dict[str, JSON], language: Language) -> dict[str, JSON]:
    """A function document as the prompt shows it: its language named, Java's and JavaScript's types folded into text.

    Scoring uses the document as it was.
    """
    shown = dict(function)
    shown["description"] += f" Note that the provided function is in {_LANGUAGES[language]} syntax."
    if language is not Language.PYTHON:
        properties = {name: _folded(schema, language) for name, schema in shown["parameters"]["properties"].items()}
        shown["parameters"] = shown["parameters"] | {"properties": properties}
    return shown


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


def _literals(source: str) -> dict[str, str]:
    """The module-level string constants of a Python text: literals, and sums of literals and earlier constants."""
    found: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            text = _string(node.value, found)
            if text is not None:
                found[node.targets[0].id] = text
    return found


def _string(node: ast.expr, known: dict[str, str]) -> str | None:
    value: Any = None
    if isinstance(node, ast.Constant):
        value = node.value
    elif isinstance(node, ast.Name):
        value = known.get(node.id)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _string(node.left, known), _string(node.right, known)
        value = left + right if left is not None and right is not None else None
    return value if isinstance(value, str) else None
