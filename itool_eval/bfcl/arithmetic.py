"""Arithmetic over literals, where the official decoder calls `eval` on source text (docs/bfcl.md §4.1 and §11).

Nothing but literals and operators is computed: a name, call, attribute, f-string, comparison or condition anywhere
inside fails the decode, although the official evaluator would run it. That, and the size limits, are the deviation.
"""

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

from itool_eval.bfcl.decoded import DecodeError

# The official decoder prints the tree first and fails when that is nested too deep for the interpreter.
MAX_DEPTH = 328
# Largest integer: Python itself refuses to print one of more than 4,300 digits.
MAX_BITS = 14_000
# Elements, characters and machine words that one output may produce.
MAX_WORK = 100_000

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
_SEQUENCES = (str, bytes, list, tuple)
# A width or precision taken from an argument, or one of four digits or more.
_WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(?:\*|\d{4})")


class Arithmetic:
    """Computes literal expressions under one work limit; make one per output."""

    def __init__(self) -> None:
        self._left = MAX_WORK

    def value(self, node: ast.expr, depth: int = 0) -> Any:
        """Compute an expression.

        Raises:
            DecodeError: it holds more than literals, is too large, or has no value (`1 / 0`).
        """
        if depth > MAX_DEPTH:
            raise DecodeError("arithmetic is nested too deep")
        inner = depth + 1
        match node:
            case ast.Constant():
                return node.value
            case ast.Tuple():
                return tuple(self.value(e, inner) for e in node.elts)
            case ast.List():
                return [self.value(e, inner) for e in node.elts]
            case ast.Dict(keys=keys) if None not in keys:
                return self._apply(
                    dict,
                    [(self.value(k, inner), self.value(v, inner)) for k, v in zip(keys, node.values, strict=True) if k],
                )
            case ast.UnaryOp():
                return self._apply(_UNARY[type(node.op)], self.value(node.operand, inner))
            case ast.BinOp() if type(node.op) in _BINARY:
                left, right = self.value(node.left, inner), self.value(node.right, inner)
                self._spend(node.op, left, right)
                return self._apply(_BINARY[type(node.op)], left, right)
        raise DecodeError("arithmetic holds something that is not a literal, which would have to be run")

    def _apply(self, function: Callable[..., Any], *operands: Any) -> Any:
        try:
            return function(*operands)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise DecodeError(f"arithmetic has no value: {error}") from error

    def _spend(self, op: ast.operator, left: Any, right: Any) -> None:
        """Take the result's size off the work limit before it is computed."""
        if isinstance(left, int) and isinstance(right, int):
            bits = _result_bits(op, left, right)
            if bits > MAX_BITS:
                raise DecodeError("arithmetic gives a number that is too large")
            self._left -= 1 + bits // 64
        elif isinstance(op, ast.Mult) and isinstance(left, _SEQUENCES) and isinstance(right, int):
            self._left -= _size(left) * max(right, 1)
        elif isinstance(op, ast.Mult) and isinstance(left, int) and isinstance(right, _SEQUENCES):
            self._left -= _size(right) * max(left, 1)
        elif isinstance(op, ast.Mod) and isinstance(left, str | bytes):
            if not isinstance(left, str) or isinstance(right, dict) or _WIDE_FORMAT.search(left):
                raise DecodeError("arithmetic formats text in a way that is not computed here")
            self._left -= len(left) + left.count("%") * (1000 + 10 * _size(right))
        else:
            self._left -= _size(left) + _size(right)
        if self._left < 0:
            raise DecodeError("arithmetic gives a value that is too large")


def _result_bits(op: ast.operator, left: int, right: int) -> int:
    match op:
        case ast.Pow():
            return left.bit_length() * max(right, 0)
        case ast.LShift():
            return left.bit_length() + max(right, 0)
        case _:
            return left.bit_length() + right.bit_length()


def _size(value: Any) -> int:
    """Elements and characters in a value, with a list inside a list counted as often as it shows."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, list | tuple):
        return 1 + sum(map(_size, value))
    if isinstance(value, dict):
        return 1 + sum(_size(k) + _size(v) for k, v in value.items())
    return 1
