"""The report's trainings: the table `training`, a group a warm-up or round, and what validation items said of each.

Left out: which figures are drawn, which the page decides.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from itool_data.run import Run
from itool_data.store.sql import query
from itool_data.store.tables import Commit

Row = dict[str, Any]
FIGURES = (
    "update", "split", "loss", "chosen_logprob", "rejected_logprob", "margin", "accuracy", "learning_rate",
    "gradient_norm",
)  # fmt: skip
MOST_UPDATES = 1000  # of a curve; more than a screen has points


def curves(run: Run, log: Sequence[Commit]) -> list[dict[str, Any]]:
    """The updates and validations of the newest warm-up (round 0) and of each round's newest training.

    Args:
        run: the run.
        log: its log.

    Returns:
        For each: its round, its objective, the update whose adapter was kept, why it stopped early (where it did), the
        policies that were asked validation items (where they were), and rows of FIGURES with the warm-up's stage.
    """
    newest = {int(commit.info.get("round", 0)): commit for commit in log if commit.rows.get("training")}
    return [_curve(round_, commit, _added(run, commit)) for round_, commit in sorted(newest.items())]


def _added(run: Run, commit: Commit) -> list[Row]:
    """The rows that a commit added, which nothing but the table's version tells from those of an earlier training."""
    sql = f"SELECT objective, {', '.join(FIGURES)} FROM training ORDER BY update, split"
    earlier = query(run.store, sql, commit.version - 1).to_pylist() if commit.version else []
    # As text, because a loss that is no number equals nothing.
    known = Counter(map(str, earlier))
    rows = []
    for row in query(run.store, sql, commit.version).to_pylist():
        if known[str(row)]:
            known[str(row)] -= 1
        else:
            rows.append(row)
    return rows


def _curve(round_: int, commit: Commit, rows: Sequence[Row]) -> dict[str, Any]:
    stride = -(-len(rows) // MOST_UPDATES)
    return {
        "round": round_,
        "objective": rows[0]["objective"],
        "kept": None if "refused" in commit.info else commit.info.get("update"),
        "refused": commit.info.get("update") if "refused" in commit.info else None,
        "asked": commit.info.get("asked"),
        "candidates": commit.info.get("candidates", []),
        "stopped": commit.info.get("stopped", ""),
        "rows": [
            row | {"stage": row["objective"].removeprefix("sft-")}
            for number, row in enumerate(rows)
            if row["split"] == "validation" or number % stride == 0
        ],
    }
