"""The report's scores: every benchmark's scores by policy, the paired changes against the warm-up, the error classes.

Left out: every number, which `itool_eval` computes, and the drawing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from itool_eval.benchmarks import summarise
from itool_eval.compare import Change, Comparison, compare, outcomes
from itool_eval.errors import ErrorClass, error_table
from itool_eval.headline import all_items
from itool_eval.predictions import SEVERAL_TURNS, Evaluated
from itool_eval.summary import Score

MOST_FLIPS = 300


def benchmarks(evaluated: Sequence[Evaluated], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each benchmark's scores and error classes, in the order of the policies' names.

    Args:
        evaluated: what the policies made of the benchmarks.
        names: what the policies are called, in the order shown.
    """
    order = list(names)
    found: dict[str, list[Evaluated]] = {}
    for one in sorted(evaluated, key=lambda e: order.index(e.policy)):
        found.setdefault(one.benchmark, []).append(one)
    return [_benchmark(name, runs, names) for name, runs in found.items()]


def _benchmark(name: str, runs: Sequence[Evaluated], names: Mapping[str, str]) -> dict[str, Any]:
    # Rounds are held against the warm-up; without one, against the first policy there is.
    reference = next((run for run in runs if names[run.policy] == "warm-up"), runs[0])
    changes = {run.policy: _compare(reference, run) for run in runs if run is not reference}
    return {
        "name": name,
        "era": summarise(name, reference.verdicts).era,
        "reference": names[reference.policy],
        "policies": [{"id": run.policy, "label": names[run.policy], "n": len(run.verdicts)} for run in runs],
        "rows": _rows(runs, changes),
        "flips": [_flips(names[policy], comparison) for policy, comparison in changes.items()],
        "errors": _errors(runs, names),
    }


def _compare(before: Evaluated, after: Evaluated) -> Comparison:
    return compare(outcomes(before.verdicts), outcomes(after.verdicts))


def _rows(runs: Sequence[Evaluated], changes: Mapping[str, Comparison]) -> list[dict[str, Any]]:
    """One row a score: all items, the categories, the official formulas."""
    scores: dict[tuple[str, str], list[Score | None]] = {}
    for column, run in enumerate(runs):
        summary = summarise(run.benchmark, run.verdicts)
        categories = {score.name for score in summary.categories}
        formulas = [score for score in summary.scores if score.name not in categories]
        groups = {"all": [all_items(run.verdicts)], "category": summary.categories, "formula": formulas}
        for group, members in groups.items():
            for score in members:
                if score.n:
                    scores.setdefault((group, score.name), [None] * len(runs))[column] = score
    return [
        {
            "group": group,
            "name": name,
            "formula": next(score.formula for score in row if score),
            "scores": [score_cell(score) for score in row],
            "changes": [_change(group, name, changes.get(run.policy)) for run in runs],
        }
        for (group, name), row in sorted(
            scores.items(), key=lambda item: ("all", "category", "formula").index(item[0][0])
        )
    ]


def score_cell(score: Score | None) -> dict[str, Any] | None:
    """A score with its interval, as the page's tables and charts take it."""
    if score is None:
        return None
    return {
        "value": score.value,
        "low": score.interval.low,
        "high": score.interval.high,
        "n": score.n,
        "missing": list(score.missing),
    }


def _change(group: str, name: str, comparison: Comparison | None) -> dict[str, Any] | None:
    """The paired change of all items or of a category; a formula over categories has none."""
    if comparison is None or group == "formula":
        return None
    change: Change | None = comparison.overall if group == "all" else comparison.by_category.get(name)
    return change_cell(change) if change is not None and change.n else None


def change_cell(change: Change) -> dict[str, Any]:
    """A paired change with its interval, as the page's tables take it."""
    return {
        "n": change.n,
        "before": (change.both + change.broken) / change.n,
        "after": (change.both + change.fixed) / change.n,
        "difference": change.difference,
        "low": change.interval.low,
        "high": change.interval.high,
        "fixed": change.fixed,
        "broken": change.broken,
        "p": change.p,
    }


def _flips(label: str, comparison: Comparison) -> dict[str, Any]:
    flips = [
        {"category": flip.category, "id": flip.id, "fixed": flip.fixed, "class": flip.error_class}
        for flip in comparison.flips[:MOST_FLIPS]
    ]
    return {"label": label, "all": len(comparison.flips), "items": flips}


def _errors(runs: Sequence[Evaluated], names: Mapping[str, str]) -> dict[str, Any]:
    """Paper Figure 3: wrong outputs by class; conversations are left out, as the classes are of single calls."""
    policies = []
    for run in runs:
        counted = error_table(v for v in run.verdicts if not v.category.startswith(SEVERAL_TURNS))
        if counted.outputs:
            counts = [counted.first[name] for name in ErrorClass]
            policies.append({"label": names[run.policy], "outputs": counted.outputs, "counts": counts})
    return {"classes": [str(name) for name in ErrorClass], "policies": policies}
