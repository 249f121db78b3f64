"""A trainer's log as rows of the table `training`: an update or a validation each."""

from collections.abc import Sequence
from typing import Any

_NAMES = ("loss", "chosen_logprob", "rejected_logprob", "margin", "accuracy", "pairs", "tokens", "padding")


def training_rows(
    log: Sequence[dict[str, Any]], round_: int, policy: str, objective: str, epochs: int, before: int = 0
) -> list[dict[str, Any]]:
    """The rows of a training.

    Args:
        log: of `pair_trainer`.
        round_: of the loop; 0: the warm-up.
        policy: that the training started from.
        objective: what it minimises.
        epochs: that its updates make.
        before: updates of stages before it, from which it is numbered on.
    """
    rows = []
    for entry in log:
        split = "validation" if "eval_loss" in entry else "train" if "loss" in entry else None
        if split is None:
            continue
        prefix = "eval_" if split == "validation" else ""
        rows.append(
            {
                "round": round_,
                "policy": policy,
                "objective": objective,
                "split": split,
                "update": before + entry["step"],
                "epoch": entry.get("epoch", 0.0) * epochs,
                "learning_rate": entry.get("learning_rate"),
                "gradient_norm": entry.get("grad_norm"),
                "seconds": entry["seconds"],
            }
            | {name: entry.get(prefix + name) for name in _NAMES}
        )
    return rows
