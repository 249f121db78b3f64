"""A Java reply -> its first call with the arguments as text (docs/bfcl.md §4.2).

Parsed with tree-sitter, whose error recovery decides what is accepted. Kept from the official decoder: byte offsets
are applied to characters, so that any non-ASCII character shifts what follows, and `new T(args) { body }` loses its
body. Left out: converting the texts to values (`convert_java.py`).
"""

import tree_sitter_java
from tree_sitter import Node

from itool_eval.bfcl.decoded import Call, DecodeError, NoCallError, bracketed
from itool_eval.bfcl.grammar import Grammar

_GRAMMAR = Grammar("Java", tree_sitter_java.language())
_VERBATIM = ("identifier", "class_literal", "type_identifier", "method_invocation")
_QUOTED = ("string_literal", "character_literal")
_PUNCTUATION = (",", "(", ")")
_UNNAMED = ("identifier", "class_literal")


def decode(text: str) -> list[Call]:
    """Decode a reply into one call whose arguments are all texts.

    Raises:
        NoCallError: valid Java without a call.
        DecodeError: not Java, or a repeated argument name.
    """
    source = bracketed(text)[1:-1]
    invocation = _first_invocation(_GRAMMAR.parse(source))
    if invocation is None:
        raise NoCallError("Java, but no call")
    try:
        return [_Reader(source).call(invocation)]
    except RecursionError as error:
        raise DecodeError("Java nested too deep") from error


def _first_invocation(root: Node) -> Node | None:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.type == "method_invocation":
            return node
        waiting.extend(reversed(node.children))
    return None


class _Reader:
    """Reads a call's parts out of one source text."""

    def __init__(self, source: str) -> None:
        self._source = source

    def call(self, node: Node) -> Call:
        name = self._text(self._field(node, "name"))
        owner = node.child_by_field_name("object")
        arguments: dict[str | None, str] = {}
        for child in self._field(node, "arguments").children:
            key: str | None
            if child.type == "assignment_expression":
                key, value = self._text(child.children[0]), self._value(child.children[2])
            elif child.type in _UNNAMED:
                key, value = None, self._text(child)
            else:
                continue
            if key in arguments:
                raise DecodeError(f"the argument {key!r} is given twice")
            arguments[key] = value
        return Call(f"{self._text(owner)}.{name}" if owner else name, arguments)

    def _value(self, node: Node) -> str:
        if node.type in _QUOTED:
            return self._text(node)[1:-1]
        return self._joined(node)

    def _joined(self, node: Node) -> str:
        """The node's tokens without the blanks between them."""
        if node.type in (*_VERBATIM, *_QUOTED):
            return self._text(node)
        if node.type == "array_creation_expression":
            return f"new {self._joined(self._field(node, 'type'))}[]{self._joined(self._field(node, 'value'))}"
        if node.type == "object_creation_expression":
            arguments = node.child_by_field_name("arguments")
            inner = [self._joined(c) for c in arguments.children if c.type not in _PUNCTUATION] if arguments else []
            return f"new {self._joined(self._field(node, 'type'))}({', '.join(inner)})"
        if node.child_count:
            return "".join(self._joined(child) for child in node.children)
        return self._text(node)

    def _text(self, node: Node) -> str:
        return self._source[node.start_byte : node.end_byte]

    def _field(self, node: Node, name: str) -> Node:
        child = node.child_by_field_name(name)
        if child is None:
            raise DecodeError(f"Java without the {name} of its {node.type}")
        return child
