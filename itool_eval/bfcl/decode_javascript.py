"""A JavaScript reply -> its call with the arguments as text (docs/bfcl.md §4.2).

Parsed with tree-sitter, whose error recovery decides what is accepted. Left out: converting the texts to values
(`convert_javascript.py`).
"""

import tree_sitter_javascript
from tree_sitter import Node

from itool_eval.bfcl.decoded import Call, DecodeError, NoCallError, bracketed
from itool_eval.bfcl.grammar import Grammar

_GRAMMAR = Grammar("JavaScript", tree_sitter_javascript.language())
_UNNAMED = ("identifier", "true")


def decode(text: str) -> list[Call]:
    """Decode a reply into one call whose arguments are all texts.

    Raises:
        NoCallError: valid JavaScript without a call as its own statement (two calls joined by a comma are none).
        DecodeError: not JavaScript, or a repeated argument name.
    """
    for statement in _GRAMMAR.parse(bracketed(text)[1:-1]).children:
        if statement.type == "expression_statement":
            for expression in statement.children:
                if expression.type == "call_expression":
                    return [_call(expression)]
    raise NoCallError("JavaScript, but no call")


def _call(node: Node) -> Call:
    arguments: dict[str | None, str] = {}
    for child in node.children[1].children:
        key: str | None
        if child.type == "assignment_expression":
            key, value = _text(child.children[0]), unquoted(_text(child.children[2]))
        elif child.type in _UNNAMED:
            key, value = None, _text(child)
        else:
            continue
        if key in arguments:
            raise DecodeError(f"the argument {key!r} is given twice")
        arguments[key] = value
    return Call(_text(node.children[0]), arguments)


def unquoted(text: str) -> str:
    """Remove one pair of equal outer quotes, single or double; back-ticks stay."""
    same = (text.startswith('"') and text.endswith('"')) or (text.startswith("'") and text.endswith("'"))
    return text[1:-1] if same else text


def _text(node: Node) -> str:
    return bytes(node.text or b"").decode()
