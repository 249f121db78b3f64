"""What a run of the whole method changed, round by round: pairs, scores with intervals, items fixed and broken, time.

Left out: every number, which the tables hold and `itool_eval` computes; pictures (`itool study`).
"""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from itool_cli.eval_tables import show_comparison
from itool_cli.progress import duration
from itool_data.policy.load import find_model, policy_id
from itool_data.run import Run
from itool_data.store.sql import query
from itool_eval.compare import Comparison, compare, outcomes
from itool_eval.predictions import Evaluated, any_evaluated, read_evaluated
from itool_eval.scores import Tally, wilson


def round_policies(run: Run) -> list[str]:
    """The policy that was evaluated after each round, the warm-up as round 0, by the name that rows give it."""
    base = find_model(run.config.model)
    return [str(policy_id(base, run.adapter(base, round_ + 1))) for round_ in range(run.config.loop.rounds + 1)]


def show_rounds(console: Console, run: Run, seconds: Mapping[str, float]) -> None:
    """One table a benchmark, and what changed from the first policy to the last.

    Args:
        console: where to show it.
        run: the run.
        seconds: that each finished stage took.
    """
    policies = round_policies(run)
    by_key = {(e.benchmark, e.policy): e for e in (read_evaluated(run) if any_evaluated(run) else [])}
    pairs = {
        row["round"]: row["n"]
        for row in query(run.store, "SELECT round, count(*) AS n FROM pairs GROUP BY round").to_pylist()
    }
    for benchmark in dict.fromkeys(benchmark for benchmark, _ in by_key):
        rounds = [(r, by_key[benchmark, policy]) for r, policy in enumerate(policies) if (benchmark, policy) in by_key]
        table = Table(
            "after", "pairs", "right", "n", "%", "95 % interval", "fixed", "broken", "McNemar p", "time",
            title=f"{benchmark}: the share of right items; fixed and broken against the line above",
        )  # fmt: skip
        before: Evaluated | None = None
        for round_, now in rounds:
            tally = Tally(sum(v.valid for v in now.verdicts), len(now.verdicts))
            interval = wilson(tally)
            change = _compare(before, now).overall if before else None
            spent = sum(s for name, s in seconds.items() if _round_of(name) == round_)
            table.add_row(
                f"round {round_}" if round_ else "warm-up",
                str(pairs.get(round_, 0)) if round_ else "",
                str(tally.correct),
                str(tally.n),
                f"{tally.share * 100:.1f}",
                f"{interval.low * 100:.1f} to {interval.high * 100:.1f}",
                *((str(change.fixed), str(change.broken), f"{change.p:.3g}") if change else ("", "", "")),
                duration(spent),
            )
            before = now
        console.print(table)
        if len(rounds) > 1:
            console.print(f"from {rounds[0][1].policy} to {rounds[-1][1].policy}:")
            show_comparison(console, _compare(rounds[0][1], rounds[-1][1]))
    console.print(f"all stages: {duration(sum(seconds.values()))}")


def _round_of(stage: str) -> int:
    """The round a stage's time counts for: everything up to the first evaluation is the warm-up's."""
    return int(stage.rpartition("-")[2]) if "-" in stage else 0


def _compare(before: Evaluated, after: Evaluated) -> Comparison:
    return compare(outcomes(before.verdicts), outcomes(after.verdicts))
