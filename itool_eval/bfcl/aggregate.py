"""Verdicts -> scores, each with its formula, n and 95 % interval (spec section 7).

A category that was not run counts as 0 in every mean, as officially, and every score names what it lacks. Left out:
the formulas themselves (`formulas.py`) and the official tables' layout (`official_tables.py`).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from itool_eval.bfcl.categories import CATEGORIES, Version
from itool_eval.bfcl.formulas import ERAS, FORMULAS, Formula
from itool_eval.scores import Interval, Tally, bootstrap, wilson
from itool_eval.verdicts import Verdict

# A category without outputs.
NOT_RUN = Tally(0, 0)


@dataclass(frozen=True)
class Score:
    """One number of a report.

    Attributes:
        name: a category's or a formula's name.
        formula: how it is computed, in words.
        value: the score in [0, 1].
        n: how many outputs it is computed from.
        interval: its 95 % interval.
        missing: categories that count as 0 because none of their items was run.
        partial: categories of which only some items were run.
    """

    name: str
    formula: str
    value: float
    n: int
    interval: Interval
    missing: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()


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


def summarise(tallies: Mapping[str, Tally], version: Version) -> Summary:
    """Compute every category's share and every official score.

    Args:
        tallies: the counts of the categories that were run.
        version: whose formulas to use.
    """
    known = CATEGORIES[version]
    categories = [
        Score(
            name,
            "correct / items",
            tallies[name].share,
            tallies[name].n,
            wilson(tallies[name]),
            partial=(name,) if tallies[name].n < known[name].size else (),
        )
        for name in known
        if name in tallies
    ]
    scores = [_score(formula, tallies, version) for formula in FORMULAS[version]]
    return Summary(ERAS[version], tuple(categories), tuple(scores))


def _score(formula: Formula, tallies: Mapping[str, Tally], version: Version) -> Score:
    used = {name: tallies.get(name, NOT_RUN) for name in formula.categories}
    sizes = sizes_of(tallies, version)
    one = len(used) == 1
    return Score(
        formula.name,
        formula.text,
        float(formula.value({name: t.share for name, t in used.items()}, sizes)),
        sum(t.n for t in used.values()),
        wilson(used[formula.categories[0]]) if one else bootstrap(lambda shares: formula.value(shares, sizes), used),
        missing=tuple(name for name, t in used.items() if not t.n),
        partial=tuple(name for name, t in used.items() if t.n and t.n < CATEGORIES[version][name].size),
    )


def sizes_of(tallies: Mapping[str, Tally], version: Version) -> dict[str, int]:
    """What a pooled score weighs a category by: its outputs, or all its items where none was run."""
    return {name: category.size for name, category in CATEGORIES[version].items()} | {
        n: t.n for n, t in tallies.items()
    }
