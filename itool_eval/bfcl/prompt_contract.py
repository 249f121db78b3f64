"""The texts of the official prompt-mode contract, read from the wheel (spec section 2).

They are constants of a Python file that is parsed, not imported. Left out: the function documents of Java and
JavaScript items, which are shown in another form.
"""

import ast
import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path

from itool_data.errors import ItoolError
from itool_data.sample import JSON

_SYSTEM = "DEFAULT_SYSTEM_PROMPT"
_MORE_FUNCTIONS = "DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_PROMPTING"
# Of the system message for an empty function list.
_SYSTEM_SHA256_ENDS = ("c3c19abe", "44be322")
_LANGUAGE_HINT = " Note that the provided function is in Python 3 syntax."


@dataclass(frozen=True)
class PromptContract:
    """The contract's templates; both hold `{functions}`, which becomes the list as Python prints it."""

    system: str
    more_functions: str

    def first_messages(self, turn: list[dict[str, str]], functions: list[dict[str, JSON]]) -> list[dict[str, str]]:
        """The messages of a first turn: a system message with the functions comes first, before an item's own one."""
        hinted = [{**f, "description": f"{f['description']}{_LANGUAGE_HINT}"} for f in functions]
        system = self.system.format(functions=hinted)
        messages = copy.deepcopy(turn)
        if messages and messages[0]["role"] == "system":
            messages[0]["content"] = f"{system}\n\n{messages[0]['content']}"
            return messages
        return [{"role": "system", "content": system}, *messages]

    def more_functions_message(self, functions: list[dict[str, JSON]]) -> dict[str, str]:
        """What the user says in a turn that brings functions; their documents get no hint here, as officially."""
        return {"role": "user", "content": self.more_functions.format(functions=functions)}


def load_contract(data: Path) -> PromptContract:
    """Read the contract of v3.

    Args:
        data: the folder `bfcl_eval/data` of the official wheel.

    Raises:
        ItoolError: the file is absent or does not hold the texts of v3.
    """
    path = data.parent / "constants" / "default_prompts.py"
    try:
        texts = _string_constants(ast.parse(path.read_text(encoding="utf-8")))
        contract = PromptContract(texts[_SYSTEM], texts[_MORE_FUNCTIONS])
    except (OSError, ValueError, SyntaxError, KeyError) as error:
        raise ItoolError(f"{path}: does not hold the benchmark's prompts ({error}); fetch the wheel again") from error
    digest = hashlib.sha256(contract.system.format(functions=[]).encode()).hexdigest()
    if (digest[:8], digest[-7:]) != _SYSTEM_SHA256_ENDS:
        raise ItoolError(f"{path}: holds another system prompt than v3 (SHA-256 {digest}); fetch the wheel again")
    return contract


def _string_constants(module: ast.Module) -> dict[str, str]:
    """The texts that a module's top level assigns, sums of earlier ones included."""
    texts: dict[str, str] = {}

    def text(node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str() as value):
                return value
            case ast.Name(id=name):
                return texts[name]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return text(left) + text(right)
        raise KeyError(ast.unparse(node))

    for statement in module.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str()) | ast.BinOp() as value):
                texts[name] = text(value)
    return texts
