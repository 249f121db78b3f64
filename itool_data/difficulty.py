"""How hard a sample is, for the easy-to-hard warm-up (paper 3.1).

The paper's three definitions overlap: its medium, `1 < a < 4 or b < 2000 or c < 4`, holds for nearly every sample. So
they are tried in the order hard, easy, and medium is the rest. Left out: making the three subsets equally large, which
the paper says and its thresholds do not give.
"""

from dataclasses import dataclass
from typing import Literal

from itool_data.sample import Sample, canonical_json

Difficulty = Literal["easy", "medium", "hard"]


@dataclass(frozen=True)
class Criteria:
    """The paper's a, b and c: candidate tools, length of the tools as canonical JSON text, calls in the response."""

    a: int
    b: int
    c: int


def criteria(sample: Sample) -> Criteria:
    """Count what the difficulty is made of; b is in characters, of the tools as the samples table stores them."""
    tools = canonical_json([vars(tool) for tool in sample.tools])
    return Criteria(a=len(sample.tools), b=len(tools), c=len(sample.calls))


def difficulty(sample: Sample) -> Difficulty:
    """Class a sample by the thresholds of paper 3.1."""
    return level(criteria(sample))


def level(of: Criteria) -> Difficulty:
    """Apply the thresholds: hard wins, then easy, else medium."""
    if of.a >= 4 or of.b > 2000 or of.c >= 4:
        return "hard"
    if of.a <= 1 and of.b < 1000 and of.c <= 1:
        return "easy"
    return "medium"
