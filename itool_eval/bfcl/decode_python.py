"""A Python reply -> calls, by the official prompt-mode rules of v3 and v4 (docs/bfcl.md §4.1).

The text is parsed and never executed: a call without keywords and a subscript stay their source text, and arithmetic
is computed over literals only (`arithmetic.py`). The odd rules are the official ones: positional arguments vanish,
every unary operator negates, a bare name is a string.
"""

import ast
import warnings
from typing import Any

from itool_eval.bfcl.arithmetic import Arithmetic
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.decoded import Call, DecodeError, bracketed


def decode(text: str, version: Version) -> list[Call]:
    """Decode a reply into its calls; v4 may give an empty list, v3 does so only for `()`.

    Raises:
        DecodeError: the reply is not a list of calls.
    """
    source = bracketed(text)
    return parse(source.strip("[]'") if version is Version.V3 else source.strip().strip("'"))


def parse(source: str) -> list[Call]:
    """Read a list of calls, or one call, as a Python expression.

    Raises:
        DecodeError: it is none.
    """
    try:
        with warnings.catch_warnings():
            # Escapes like "\d" in a model's string are its business, not a warning on the user's screen.
            warnings.simplefilter("ignore")
            body = ast.parse(source, mode="eval").body
        return _calls(body)
    except DecodeError:
        raise
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise DecodeError(f"not Python: {type(error).__name__}: {error}") from error


def _calls(body: ast.expr) -> list[Call]:
    arithmetic = Arithmetic()
    if isinstance(body, ast.Call):
        return [_call(body, arithmetic)]
    if not isinstance(body, ast.List | ast.Tuple | ast.Set):
        raise DecodeError("not a call and not a list of calls")
    calls = []
    for element in body.elts:
        if not isinstance(element, ast.Call):
            raise DecodeError("the list holds something that is not a call")
        calls.append(_call(element, arithmetic))
    return calls


def _call(node: ast.Call, arithmetic: Arithmetic) -> Call:
    parts: list[str] = []
    function = node.func
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    if isinstance(function, ast.Name):
        parts.append(function.id)
    return Call(".".join(reversed(parts)), {k.arg: _value(k.value, arithmetic) for k in node.keywords})


def _value(node: ast.expr | None, arithmetic: Arithmetic) -> Any:
    match node:
        case ast.Constant():
            return "..." if node.value is ... else node.value
        case ast.List():
            return [_value(e, arithmetic) for e in node.elts]
        case ast.Tuple():
            return tuple(_value(e, arithmetic) for e in node.elts)
        case ast.Dict():
            return {_value(k, arithmetic): _value(v, arithmetic) for k, v in zip(node.keys, node.values, strict=True)}
        case ast.Name():
            return node.id
        case ast.UnaryOp(operand=ast.Constant(value=int() | float() | complex() as number)):
            return -number
        case ast.BinOp():
            return arithmetic.value(node)
        case ast.Call(keywords=[]):
            return ast.unparse(node)
        case ast.Call():
            name, arguments = _call(node, arithmetic)
            return {name: arguments}
        case ast.Subscript():
            return f"{ast.unparse(node.value)}[{ast.unparse(node.slice)}]"
    raise DecodeError(f"an argument is a {type(node).__name__}, which is not a value")
