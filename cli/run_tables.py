"""What a run of the whole method changed, round by round: pairs, scores with intervals, flips, time.

Left out: every number, which the tables hold and `itool_eval` computes; pictures (`itool study`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from itool_cli.eval_tables import show_comparison, show_decision_changes
from itool_cli.progress import duration
from itool_cli.trained import made_by, trainings
from itool_data.run import Run
from itool_data.store.sql import query
from itool_data.store.tables import Commit
from itool_eval.compare import Comparison, Outcome, compare, outcomes, share_interval
from itool_eval.decisions import read_decisions
from itool_eval.predictions import any_evaluated, read_evaluated
from itool_eval.scores import Tally


def round_policies(run: Run) -> list[str]:
    """The policy that was evaluated after each round, the warm-up as round 0, by the name that rows give it."""
    known = trainings(run.store.log(), made_by(run))
    return [known.after(round_) for round_ in range(run.config.loop.rounds + 1)]


def show_rounds(console: Console, run: Run, seconds: Mapping[str, float]) -> None:
    """One table a benchmark and one of fragments, and what changed from the first policy to the last.

    Args:
        console: where to show it.
        run: the run.
        seconds: that each finished stage took.
    """
    policies = round_policies(run)
    pairs = query(run.store, "SELECT round, policy, count(*) AS n FROM pairs GROUP BY ALL").to_pylist()
    # A round's own, of the policy that it started from; others are from before a `--from`.
    own = {row["round"]: row["n"] for row in pairs if row["policy"] in policies[row["round"] - 1 : row["round"]]}
    chosen = _chosen(run)
    refused = {round_ for round_, commit in chosen.items() if "refused" in commit.info}
    rounds = _Rounds(console, policies, own, refused, seconds)
    by_benchmark: dict[str, dict[str, Sequence[Outcome]]] = {}
    for evaluated in read_evaluated(run) if any_evaluated(run) else []:
        by_benchmark.setdefault(evaluated.benchmark, {})[evaluated.policy] = outcomes(evaluated.verdicts)
    for benchmark, found in by_benchmark.items():
        rounds.show(f"{benchmark}: the share of right items", found, show_comparison)
    if decided := {d.policy: d.outcomes for d in read_decisions(run) if d.split == "test"}:
        rounds.show("fragments of test samples: the share of right decisions", decided, show_decision_changes)
    if chosen:
        verdicts = (f"{_name(round_)} {commit.info['verdict']}" for round_, commit in chosen.items())
        console.print(f"of the validation items: {'; '.join(verdicts)}")
    console.print(f"all stages: {duration(sum(seconds.values()))}")


def _chosen(run: Run) -> dict[int, Commit]:
    """The trainings that validation items were asked about, the warm-up as round 0."""
    rounds = range(1, run.config.loop.rounds + 1)
    trainings = {0: run.trained("warmup")} | {round_: run.trained("preference", round_) for round_ in rounds}
    return {round_: commit for round_, commit in trainings.items() if commit and "verdict" in commit.info}


@dataclass(frozen=True)
class _Rounds:
    """What the tables have in common: whose they are, each round's pairs, what was refused, each stage's seconds."""

    console: Console
    policies: Sequence[str]
    pairs: Mapping[int, int]
    refused: Collection[int]
    seconds: Mapping[str, float]

    def show(
        self, title: str, found: Mapping[str, Sequence[Outcome]], show_change: Callable[[Console, Comparison], None]
    ) -> None:
        """A table of the policies' outcomes, and how the last differs from the first."""
        rounds = [(round_, policy) for round_, policy in enumerate(self.policies) if policy in found]
        table = Table(
            "after", "pairs", "right", "n", "%", "95 % interval", "fixed", "broken", "McNemar p", "time",
            title=f"{title}; fixed and broken against the line above",
        )  # fmt: skip
        before: Sequence[Outcome] | None = None
        for round_, policy in rounds:
            now = found[policy]
            tally = Tally(sum(outcome.valid for outcome in now), len(now))
            interval = share_interval(now)
            change = compare(before, now).overall if before else None
            spent = sum(s for name, s in self.seconds.items() if _round_of(name) == round_)
            table.add_row(
                _name(round_) + (" (not kept)" if round_ in self.refused else ""),
                str(self.pairs.get(round_, 0)) if round_ else "",
                str(tally.correct),
                str(tally.n),
                f"{tally.share * 100:.1f}",
                f"{interval.low * 100:.1f} to {interval.high * 100:.1f}",
                *((str(change.fixed), str(change.broken), f"{change.p:.3g}") if change else ("", "", "")),
                duration(spent),
            )
            before = now
        self.console.print(table)
        if len(rounds) > 1:
            first, last = rounds[0][1], rounds[-1][1]
            self.console.print(f"from {first} to {last}:")
            show_change(self.console, compare(found[first], found[last]))


def _name(round_: int) -> str:
    return f"round {round_}" if round_ else "warm-up"


def _round_of(stage: str) -> int:
    """The round a stage's time counts for: everything up to the first evaluation is the warm-up's."""
    return int(stage.rpartition("-")[2]) if "-" in stage else 0
