"""What an evaluation says about one output: a verdict with its faults, in the words that all benchmarks share.

A verdict is written as one JSON line. Left out: which of the paper's error classes a fault belongs to (`errors.py`).
"""

from dataclasses import dataclass
from typing import Literal

# What is shown apart from the error classes (docs/bfcl.md §9 and §10, docs/apibank.md).
Note = Literal[
    "",
    "no call attempted",
    "hallucinated call",
    "parameter of the schema",
    "malformed call taken for abstention",
    "another matching passes",
    "repeats the item before",
]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with an output: the official error type, and what and where in words."""

    error_type: str
    message: str
    note: Note = ""


@dataclass(frozen=True)
class Verdict:
    """The verdict on one output.

    Attributes:
        id: the item's id.
        category: the item's category.
        faults: what is wrong, in the order of checking; the first one is the official error. Empty means valid.
        attempts: where no call matched an expected one, for each expected call without a match, for each call that
            was left for it, that call's faults; the official checker stops at the first such expected call.
        note: what a score should not hide about this verdict.
        trial: which try at the item the output is.
    """

    id: str
    category: str
    faults: tuple[Fault, ...] = ()
    attempts: tuple[tuple[tuple[Fault, ...], ...], ...] = ()
    note: Note = ""
    trial: int = 0

    @property
    def valid(self) -> bool:
        """Whether the official checker accepts the output."""
        return not self.faults

    @property
    def error_type(self) -> str | None:
        """The official error type, None for a valid output."""
        return self.faults[0].error_type if self.faults else None

    @property
    def message(self) -> str | None:
        """What is wrong in words, None for a valid output."""
        return self.faults[0].message if self.faults else None
