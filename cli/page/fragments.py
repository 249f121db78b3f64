"""The report's fragments: where the policy doubts in each round, fragment accuracy by policy, what the pairs prove.

Fragment accuracy has the form of a benchmark whose categories are kinds, so that the page draws it as one. Left out:
the numbers (`cli/deficiencies.py`, `itool_eval`), and the drawing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from itool_cli.deficiencies import deficiencies, place, proofs
from itool_cli.page.scores import change_cell, score_cell
from itool_cli.trained import Trainings
from itool_data.differences import differences
from itool_data.run import Run
from itool_data.store.sql import query
from itool_eval.compare import Comparison, compare
from itool_eval.decisions import ALL, Decisions, read_decisions
from itool_eval.errors import ErrorClass
from itool_eval.scores import Tally, wilson
from itool_eval.summary import Score

MOST_PLACES = 40  # of a round's map
Row = dict[str, Any]


def fragments(run: Run, names: Mapping[str, str], trained: Trainings) -> Row:
    """The deficiency maps by round, fragment accuracy by split, and the proofs of the pairs by round.

    Args:
        run: the run.
        names: what its policies are called, in the order shown.
        trained: what it trained, which says the policy that a round starts from.
    """
    rounds = query(run.store, "SELECT DISTINCT round FROM fragments UNION SELECT DISTINCT round FROM pairs").to_pylist()
    policies = {round_: trained.after(round_ - 1) for round_ in sorted(row["round"] for row in rounds)}
    order = list(names)
    decided: dict[str, list[Decisions]] = {}
    for one in sorted(read_decisions(run), key=lambda d: order.index(d.policy)):
        decided.setdefault(one.split, []).append(one)
    return {
        "doubt": run.config.walk.doubt,
        "maps": [_map(r, found) for r, policy in policies.items() if (found := deficiencies(run, r, policy))],
        "accuracy": [_accuracy(split, runs, names) for split, runs in decided.items()],
        "proofs": [{"round": r} | row for r, policy in policies.items() if (row := proofs(run, r, policy))["pairs"]],
    }


def _map(round_: int, found: Sequence[Row]) -> Row:
    kinds: dict[str, Row] = {}
    for row in found:
        of_kind = kinds.setdefault(
            row["kind"], {"kind": row["kind"], "fragments": 0, "doubted": 0, "breaks": Counter()}
        )
        for name in ("fragments", "doubted"):
            of_kind[name] += row[name]
        of_kind["breaks"].update(row["breaks"])
    doubted = [row for row in found if row["doubted"]]
    return {
        "round": round_,
        "kinds": list(kinds.values()),
        "all": len(doubted),
        "places": [_place(row) for row in doubted[:MOST_PLACES]],
    }


def _place(row: Row) -> Row:
    example = row["example"]
    right, wrong = differences(example["right"], example["wrong"]) if example else ([], [])
    return {
        "kind": row["kind"],
        "place": place(row),
        "fragments": row["fragments"],
        "doubted": row["doubted"],
        "probability": row["probability"],
        "breaks": next(iter(row["breaks"]), None),
        "example": example
        and {
            "right": [list(piece) for piece in right],
            "probability": example["probability"],
            "wrong": [list(piece) for piece in wrong],
            "wrongProbability": example["wrong_probability"],
        },
    }


def _accuracy(split: str, runs: Sequence[Decisions], names: Mapping[str, str]) -> Row:
    # As with benchmarks: against the warm-up, without one against the first policy there is.
    reference = next((run for run in runs if names[run.policy] == "warm-up"), runs[0])
    changes = [None if run is reference else compare(reference.outcomes, run.outcomes) for run in runs]
    tallies = [run.tallies() for run in runs]
    errors = [Counter(o.error_class for o in run.outcomes if not o.valid) for run in runs]
    return {
        "name": f"Fragment accuracy on {split} samples",
        "reference": names[reference.policy],
        "policies": [{"id": r.policy, "label": names[r.policy], "n": len(r.outcomes)} for r in runs],
        "samples": [run.samples for run in runs],
        "rows": [
            {
                "group": "all" if kind == ALL else "category",
                "name": f"{ALL} decisions" if kind == ALL else kind,
                "formula": "right / decisions",
                "scores": [score_cell(_score(kind, found)) for found in tallies],
                "changes": [_change(kind, change) for change in changes],
            }
            for kind in dict.fromkeys(kind for found in tallies for kind in found)
        ],
        "errors": {
            "classes": list(ErrorClass),
            "policies": [
                {"label": names[run.policy], "outputs": len(run.outcomes), "counts": [wrong[c] for c in ErrorClass]}
                for run, wrong in zip(runs, errors, strict=True)
            ],
        },
    }


def _score(kind: str, tallies: Mapping[str, Tally]) -> Score | None:
    if kind not in tallies:
        return None
    found = tallies[kind]
    return Score(kind, "", found.share, found.n, wilson(found))


def _change(kind: str, comparison: Comparison | None) -> Row | None:
    if comparison is None:
        return None
    change = comparison.overall if kind == ALL else comparison.by_category.get(kind)
    return change_cell(change) if change is not None and change.n else None
