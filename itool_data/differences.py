"""Where two steps differ: the fragment that the method is about, as pieces that a terminal or a page can colour.

Words and numbers are compared whole, so that `county='Santa Clara'` and `county='California'` differ in the value and
not in the letters that happen to be unlike. Left out: how alike two steps are (`search/pairs.py`), and colours.
"""

import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from itertools import groupby
from typing import NamedTuple

# A number, with its point and exponent; a word; any other character by itself.
_TOKEN = re.compile(r"\d[\w.]*|\w+|[\s\S]")


class Piece(NamedTuple):
    """A part of a text, and whether the other text has nothing like it there."""

    text: str
    differs: bool


def differences(a: str, b: str) -> tuple[list[Piece], list[Piece]]:
    """Cut two texts into pieces that are the same in both and pieces that differ.

    What lies between two differing pieces is the same only if it holds a word: a comma or a quote alone would cut one
    fragment in two.

    Returns:
        The pieces of `a` and of `b`; joined, their texts are `a` and `b` again. Empty ones are left out.
    """
    tokens_a, tokens_b = _TOKEN.findall(a), _TOKEN.findall(b)
    blocks = SequenceMatcher(None, tokens_a, tokens_b, autojunk=False).get_opcodes()
    pieces_a: list[Piece] = []
    pieces_b: list[Piece] = []
    for index, (tag, start_a, end_a, start_b, end_b) in enumerate(blocks):
        inner = 0 < index < len(blocks) - 1
        same = tag == "equal" and not (inner and not any(map(_is_word, tokens_a[start_a:end_a])))
        pieces_a.append(Piece("".join(tokens_a[start_a:end_a]), not same))
        pieces_b.append(Piece("".join(tokens_b[start_b:end_b]), not same))
    return list(_joined(pieces_a)), list(_joined(pieces_b))


def _is_word(token: str) -> bool:
    return token[0].isalnum() or token[0] == "_"


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Neighbours of a kind as one piece."""
    for differs, group in groupby(pieces, key=lambda piece: piece.differs):
        text = "".join(piece.text for piece in group)
        if text:
            yield Piece(text, differs)
