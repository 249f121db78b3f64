"""What an evaluation adds up to: scores that say their formula, n and 95 % interval, in the words all benchmarks share.

Left out: the formulas, which are each benchmark's own.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from itool_eval.scores import Interval, Tally
from itool_eval.verdicts import Verdict


@dataclass(frozen=True)
class Score:
    """One number of a report.

    Attributes:
        name: a category's or a formula's name.
        formula: how it is computed, in words.
        value: the score in [0, 1].
        n: how many outputs it is computed from.
        interval: its 95 % interval.
        missing: categories of which no item was run.
        left_out: these are left out of the score, instead of counting as 0.
        partial: categories of which only some items were run.
    """

    name: str
    formula: str
    value: float
    n: int
    interval: Interval
    missing: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    left_out: bool = False


@dataclass(frozen=True)
class Summary:
    """All scores of one set of verdicts; `era` says what they may be compared with."""

    era: str
    categories: tuple[Score, ...]
    scores: tuple[Score, ...]


def tally(verdicts: Iterable[Verdict]) -> dict[str, Tally]:
    """Count the right outputs of each category."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for verdict in verdicts:
        counts[verdict.category][0] += verdict.valid
        counts[verdict.category][1] += 1
    return {category: Tally(correct, n) for category, (correct, n) in counts.items()}
