"""What a replication is made of: arms in the order in which they run, and the comparisons that are made of them.

An arm is a run folder and the last of its stages, of `itool run`. Most are variants: they leave the seed's main run, or
another arm, at the end of a stage and change a setting. Left out: the plans themselves (`first.py`, `second.py`), doing
one (`arms.py`) and what came of it (`results.py`, `report.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent.parent
MAIN = ""  # the name of a seed's main run
Tier = Literal["tuning", "main", "ablation"]


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        name: also that of its folder.
        seed: of its run.
        tier: `tuning` arms are asked the validation items, the others the test items.
        until: the last stage to do.
        parent: the arm whose run it leaves, the group of tuning arms whose best one that is, or the main run.
        leaves: the stage at whose end it leaves; empty: it does not, but goes on in its parent's folder.
        changes: its settings, as `--set` takes them.
        rates: the group of tuning arms whose best learning rate it takes.
        tokens_of: the arm whose searches' mean number of decoded tokens is its budget.
        policy: which policy counts: the one after `until`, or the base model.
        also: the settings under which it is asked once more; `{data}` is the data sets' folder.
    """

    name: str
    seed: int
    tier: Tier
    until: str
    parent: str = MAIN
    leaves: str = ""
    changes: tuple[str, ...] = ()
    rates: str = ""
    tokens_of: str = ""
    policy: Literal["newest", "base"] = "newest"
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A question and the two arms that answer it, on every seed that has both."""

    question: str
    before: str
    after: str


@dataclass(frozen=True)
class Steps:
    """How much beside benchmarks a policy is asked (`asked.py`).

    Attributes:
        searched: samples that the first round searches from, along which next steps are asked.
        ends: test samples whose closing tokens are scored.
    """

    searched: int
    ends: int


@dataclass(frozen=True)
class Plan:
    """A replication.

    Attributes:
        name: of the folder of its arms, and of its results.
        page: of docs/ that has its tables.
        config: the settings that all arms share.
        settings: further ones of every seed's main run; `{data}` is the data sets' folder.
        rounds: the most that an arm has.
        seeds: the first of which tunes for those that have no tuning arms of their own.
        arms: what matters most first.
        comparisons: the questions.
        rates: the learning rates that are tried for a group, by the name of the arm that does.
        with_rate: the settings that give a group a learning rate.
        validation: the benchmark that rates are chosen by.
        benchmarks: that the others are asked.
        steps: what they are asked for next steps and ends; None: nothing.
        beside: a plan of the same arms from other starts; both together are shown too, which neither decides by.
    """

    name: str
    page: Path
    config: Path
    settings: tuple[str, ...]
    rounds: int
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    rates: Mapping[str, Mapping[str, float]]
    with_rate: Callable[[str, float], tuple[str, ...]]
    validation: str
    benchmarks: tuple[str, ...]
    steps: Steps | None = None
    beside: "Plan | None" = None
