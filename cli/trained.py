"""Which policies a run's log knows, and what they are called: from the log alone, so that a report needs no model.

Left out: the adapters themselves (`itool_data.run.Run.adapter`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from itool_data.run import Run, standing
from itool_data.store.sql import query
from itool_data.store.tables import Commit


@dataclass(frozen=True)
class Trainings:
    """What a run trained.

    Attributes:
        base: the base model as rows name it; "" before any training.
        commits: of every training in turn, its adapter kept or refused.
    """

    base: str
    commits: Sequence[Commit]

    def after(self, round_: int) -> str:
        """The policy after a round."""
        commit = standing(self.commits, round_ + 1)
        return f"{self.base}+{commit.info['content']}" if commit else self.base


def trainings(log: Sequence[Commit], policies: Sequence[str]) -> Trainings:
    """Read what was trained from a run's log.

    Args:
        log: the run's.
        policies: those that rows name; the base model is found among them where nothing was trained.
    """
    found = [c for c in log if "content" in c.info and ("adapter" in c.info or "refused" in c.info)]
    base = found[-1].info["base"] if found else next((p.partition("+")[0] for p in policies), "")
    return Trainings(base, found)


def made_by(run: Run) -> list[str]:
    """The policies that rows of a run name."""
    tables = ("perplexity", "fragments", "trees", "predictions", "decisions")
    sql = " UNION ".join(f"SELECT policy FROM {table}" for table in tables)
    return sorted(row["policy"] for row in query(run.store, sql).to_pylist())


def starts_from(run: Run, round_: int) -> str:
    """The policy that a round searches and trains from; rows of others are from before a `--from`."""
    return trainings(run.store.log(), made_by(run)).after(round_ - 1)


def labels(run: Trainings, policies: Sequence[str]) -> dict[str, str]:
    """What policies are called, in the order shown: the base model, the warm-up, the rounds, then any others.

    A round that trained nothing has the policy of the one before it, and its label is that one's.

    Args:
        run: from `trainings`.
        policies: those to be called something.
    """
    names = {run.base: "base"}
    for round_ in range(max((c.info.get("round", 0) for c in run.commits), default=0) + 1):
        names.setdefault(run.after(round_), f"round {round_}" if round_ else "warm-up")
    known = {policy: name for policy, name in names.items() if policy in policies}
    others = [policy for policy in policies if policy not in known]
    return known | {policy: policy.replace(f"{run.base}+", "adapter ") for policy in others}
