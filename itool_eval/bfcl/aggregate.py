"""Counts -> scores, each with its formula, n and 95 % interval (docs/bfcl.md §7).

A category that was not run counts as 0 in v3's means, as officially. In v4's, whose web search cannot be run here, it
is left out with its weight, and the score says that it is one of what was run. Either way every score names what it
lacks. Left out: the formulas themselves (`formulas.py`) and the official tables' layout (`official_tables.py`).
"""

from collections.abc import Mapping, Sequence

from itool_eval.bfcl.categories import CATEGORIES, Version
from itool_eval.bfcl.formulas import ERAS, FORMULAS, Formula
from itool_eval.scores import Tally, bootstrap, wilson
from itool_eval.summary import Score, Summary

# A category without outputs.
NOT_RUN = Tally(0, 0)


def summarise(tallies: Mapping[str, Tally], version: Version, formulas: Sequence[Formula] | None = None) -> Summary:
    """Compute every category's share and every score.

    Args:
        tallies: the counts of the categories that were run.
        version: whose categories they are.
        formulas: of the scores; the version's official ones by default.
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
    scores = [_score(formula, tallies, version) for formula in (FORMULAS[version] if formulas is None else formulas)]
    return Summary(ERAS[version], tuple(categories), tuple(scores))


def _score(whole: Formula, tallies: Mapping[str, Tally], version: Version) -> Score:
    run = [name for name in whole.categories if tallies.get(name, NOT_RUN).n]
    formula = (whole if version is Version.V3 else whole.over(run)) or whole
    missing = tuple(name for name in whole.categories if name not in run)
    left_out = version is not Version.V3 and bool(missing)
    used = {name: tallies.get(name, NOT_RUN) for name in formula.categories}
    sizes = sizes_of(tallies, version)
    one = len(used) == 1
    return Score(
        f"{formula.name} (of what was run)" if left_out and run else formula.name,
        formula.text,
        float(formula.value({name: t.share for name, t in used.items()}, sizes)),
        sum(t.n for t in used.values()),
        wilson(used[formula.categories[0]]) if one else bootstrap(lambda shares: formula.value(shares, sizes), used),
        missing=missing,
        left_out=left_out,
        partial=tuple(name for name, t in used.items() if t.n and t.n < CATEGORIES[version][name].size),
    )


def sizes_of(tallies: Mapping[str, Tally], version: Version) -> dict[str, int]:
    """What a pooled score weighs a category by: its outputs, or all its items where none was run."""
    return {name: category.size for name, category in CATEGORIES[version].items()} | {
        n: t.n for n, t in tallies.items()
    }
