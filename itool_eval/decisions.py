"""Stored decisions read back as outcomes, so that they are counted and compared as benchmarks' items are.

A decision's category is its kind, and its group the sample along whose response it lies. Left out: asking for them
(`fragments.py`).
"""

from dataclasses import dataclass

from itool_data.run import Run
from itool_data.sample import Split
from itool_data.store.sql import query
from itool_eval.compare import Outcome
from itool_eval.predictions import MEANT
from itool_eval.scores import Tally

ALL = "all"
_KINDS = ["name", "argument", "end", "prose"]  # in the order shown


@dataclass(frozen=True)
class Decisions:
    """What one policy decided along the samples of one split."""

    policy: str
    split: Split
    outcomes: list[Outcome]

    @property
    def samples(self) -> int:
        """How many samples they lie along."""
        return len({outcome.group for outcome in self.outcomes})

    def tallies(self) -> dict[str, Tally]:
        """Right decisions over all of them, then by kind.

        A share's own interval (`scores.wilson`) takes decisions as independent, and so is a little too narrow.
        """
        found = {ALL: _tally(self.outcomes)}
        for kind in dict.fromkeys(outcome.category for outcome in self.outcomes):
            found[kind] = _tally([outcome for outcome in self.outcomes if outcome.category == kind])
        return found


def read_decisions(run: Run, policy: str = "") -> list[Decisions]:
    """What the run's policies decided, by split; empty where nothing was asked.

    Args:
        run: the run.
        policy: the end of a policy's name, as in `read_evaluated`; only what it fits.
    """
    rows = query(
        run.store,
        f'SELECT policy, split, kind, sample_id, number, "right", error_class FROM decisions WHERE {MEANT} '
        "ORDER BY split, policy, list_position(?, kind), sample_id, number",
        None,
        [policy, policy, _KINDS],
    ).to_pylist()
    found: dict[tuple[str, Split], Decisions] = {}
    for row in rows:
        key = (row["policy"], row["split"])
        outcome = Outcome(
            row["kind"], f"{row['sample_id']}/{row['number']}", row["right"], row["error_class"], row["sample_id"]
        )
        found.setdefault(key, Decisions(*key, [])).outcomes.append(outcome)
    return list(found.values())


def _tally(outcomes: list[Outcome]) -> Tally:
    return Tally(sum(outcome.valid for outcome in outcomes), len(outcomes))
