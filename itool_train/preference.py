"""Preference training on a round's step pairs (paper 3.2): from the store's pairs to an adapter and its record."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from itool_data.policy.load import BaseModel
from itool_data.run import Run


@dataclass(frozen=True)
class Progress:
    """Where the training is; `loss` and `accuracy` are the last update's."""

    update: int
    updates: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Prepared:
    """A round's pairs, checked and divided, and the policy that the training starts from."""

    round: int
    policy: str
    n_train: int
    n_validation: int
    n_set_aside: int
    updates: int


@dataclass(frozen=True)
class Trained:
    """What a round's training left: its adapter and, of the best checkpoint, the update and the validation loss."""

    adapter: Path
    update: int
    validation_loss: float | None
    warning: str


def trained(run: Run, round_: int) -> Path | None:
    """The adapter of a round whose training is finished, or None."""
    for commit in reversed(run.store.log()):
        if commit.operation == "preference" and commit.info["round"] == round_ and "adapter" in commit.info:
            return run.folder / str(commit.info["adapter"])
    return None


def prepare(run: Run, base: BaseModel, round_: int) -> Prepared:
    """Read the round's pairs, refuse what does not fit the base model, set aside what is too long."""
    raise NotImplementedError


def train(run: Run, base: BaseModel, prepared: Prepared, report: Callable[[Progress], None]) -> Trained:
    """Train on prepared pairs, commit the adapter and the table `training`."""
    raise NotImplementedError
