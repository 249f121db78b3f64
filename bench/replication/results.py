"""What came of the arms, kept small enough for the repository: an outcome an item, and a line of facts an arm.

In `results/PLAN`, `outcomes.parquet` has a row for every item that an arm was asked, and `arms.jsonl` what the arm was
and took. All tables of the plan's page are made of these two, so they need no run folder. Left out: outputs and
verdicts (the run folders).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from itool_eval.compare import Outcome

FOLDER = Path(__file__).resolve().parent / "results"
SCHEMA = pa.schema(
    {
        "arm": pa.string(),
        "seed": pa.int32(),
        "benchmark": pa.string(),
        "category": pa.string(),
        "item": pa.string(),
        "valid": pa.bool_(),
        "error_class": pa.string(),
        "group": pa.string(),  # of a next step, the sample
    }
)
Key = tuple[str, int]  # an arm's name and its seed


class Results:
    """The results of a plan.

    Args:
        folder: holds the two files, or will; those of the plans are in FOLDER.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._outcomes, self._arms = folder / "outcomes.parquet", folder / "arms.jsonl"
        self.read()

    def read(self) -> None:
        """Read what is kept, in case another process has added to it."""
        lines = self._arms.read_text(encoding="utf-8").splitlines() if self._arms.is_file() else []
        self.facts: dict[Key, dict[str, Any]] = {(row["arm"], row["seed"]): row for row in map(json.loads, lines)}
        self._rows = pq.read_table(self._outcomes).to_pylist() if self._outcomes.is_file() else []

    def add(self, facts: Mapping[str, Any], outcomes: Mapping[str, Sequence[Outcome]]) -> None:
        """Keep what came of an arm; whatever was known of it before goes.

        Args:
            facts: with `arm` and `seed`; all that JSON can hold.
            outcomes: by benchmark.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / ".lock"):
            self.read()
            self._add(facts, outcomes)

    def _add(self, facts: Mapping[str, Any], outcomes: Mapping[str, Sequence[Outcome]]) -> None:
        key = (facts["arm"], facts["seed"])
        self.facts[key] = dict(facts)
        self._rows = [row for row in self._rows if (row["arm"], row["seed"]) != key] + [
            {
                "arm": key[0],
                "seed": key[1],
                "benchmark": benchmark,
                "category": outcome.category,
                "item": outcome.id,
                "valid": outcome.valid,
                "error_class": outcome.error_class,
                "group": outcome.group,
            }
            for benchmark, some in outcomes.items()
            for outcome in some
        ]
        unfinished = self._outcomes.with_suffix(".new")
        pq.write_table(pa.Table.from_pylist(self._rows, SCHEMA), unfinished, compression="zstd")
        unfinished.replace(self._outcomes)
        unfinished = self._arms.with_suffix(".new")
        unfinished.write_text("".join(json.dumps(row) + "\n" for row in self.facts.values()), encoding="utf-8")
        unfinished.replace(self._arms)

    def outcomes(self, arm: str, seed: int, benchmark: str) -> list[Outcome]:
        """What an arm's policy made of a benchmark's items; empty if it was not asked."""
        return [
            Outcome(row["category"], row["item"], row["valid"], row["error_class"], row.get("group") or "")
            for row in self._rows
            if (row["arm"], row["seed"], row["benchmark"]) == (arm, seed, benchmark)
        ]

    def best_arm(self, rates: Mapping[str, float], seed: int, benchmark: str) -> str | None:
        """The arm with most items right, of equals that with the smaller learning rate; None until all are there.

        Args:
            rates: by the name of the arm that tried it.
            seed: of these arms.
            benchmark: that they were asked.
        """
        if any((arm, seed) not in self.facts for arm in rates):
            return None
        right = {arm: sum(o.valid for o in self.outcomes(arm, seed, benchmark)) for arm in rates}
        return min(rates, key=lambda arm: (-right[arm], rates[arm]))
