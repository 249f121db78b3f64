"""The report's training curves: the table `training`, a group a warm-up or round.

Left out: which figures are drawn, which the page decides.
"""

from typing import Any

from itool_data.run import Run
from itool_data.store.sql import query

FIGURES = (
    "update", "split", "loss", "chosen_logprob", "rejected_logprob", "margin", "accuracy", "learning_rate",
    "gradient_norm",
)  # fmt: skip
MOST_UPDATES = 1000  # of a curve; more than a screen has points


def curves(run: Run) -> list[dict[str, Any]]:
    """The updates and validations of the warm-up (round 0) and of each round, the newest training of each.

    Returns:
        For each: its round, its objective, the adapter's update that was kept (where known), and rows of FIGURES and
        the stage of the warm-up.
    """
    rows = query(
        run.store,
        f'SELECT round, policy, objective, {", ".join(FIGURES)} FROM training ORDER BY round, "update", split',
    ).to_pylist()
    kept = {
        (commit.info["round"]): (commit.info["update"], commit.info.get("stopped", ""))
        for commit in run.store.log()
        if commit.operation == "preference" and "update" in commit.info
    }
    groups: dict[int, dict[str, Any]] = {}
    for row in rows:
        stage = row["objective"].removeprefix("sft-") if row["round"] == 0 else ""
        group = groups.setdefault(
            row["round"],
            {
                "round": row["round"],
                "objective": "sft" if stage else row["objective"],
                "kept": kept.get(row["round"], (None, ""))[0],
                "stopped": kept.get(row["round"], (None, ""))[1],
                "rows": [],
            },
        )
        group["rows"].append({name: row[name] for name in FIGURES} | {"stage": stage})
    for group in groups.values():
        stride = -(-len(group["rows"]) // MOST_UPDATES)
        group["rows"] = [row for n, row in enumerate(group["rows"]) if row["split"] != "train" or n % stride == 0]
    return list(groups.values())
