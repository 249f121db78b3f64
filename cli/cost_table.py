"""What a run's rounds cost (Table 8): the stages' time from the log, the search's tokens from its trees.

Left out: evaluation, which is no part of training, and what killed processes had spent (`itool_data.loop.finished`).
"""

from typing import TYPE_CHECKING

from itool_data.loop import finished, stage_names

if TYPE_CHECKING:
    from rich.console import Console

    from itool_data.run import Run


def show_cost(console: "Console", run: "Run") -> list[float]:
    """Print what the warm-up and each round cost.

    Args:
        console: where to show it.
        run: whose stages are finished.

    Returns:
        The seconds that it took from the samples to the policy after each round, the warm-up as round 0.
    """
    from rich.table import Table

    from itool_cli.progress import duration
    from itool_cli.run_tables import round_policies
    from itool_data.store.sql import query

    seconds = finished(run.store.log(), stage_names(run.config.loop))
    sql = (
        "SELECT count(*) AS trees, sum(pairs) AS pairs, sum(tokens_prefilled) AS prefilled, "
        "sum(tokens_decoded) AS decoded FROM trees WHERE round = ? AND policy = ?"
    )
    table = Table(
        "policy", "warm-up", "perplexity", "search", "training", "in all", "× warm-up", "trees", "pairs",
        "tokens prefilled", "decoded", title="time of the stages, and tokens of the search",
    )  # fmt: skip
    totals = [seconds.get("warmup", 0.0)]
    table.add_row("base", *[""] * 4, duration(0))
    table.add_row("warm-up", duration(totals[0]), *[""] * 3, duration(totals[0]))
    policies = round_policies(run)
    for round_ in range(1, run.config.loop.rounds + 1):
        spent = [seconds[f"{stage}-{round_}"] for stage in ("perplexity", "mine", "preference")]
        totals.append(totals[-1] + sum(spent))
        (tree,) = query(run.store, sql, None, [round_, policies[round_ - 1]]).to_pylist()
        table.add_row(
            f"round {round_}",
            "",
            *map(duration, spent),
            duration(totals[-1]),
            f"{totals[-1] / totals[0]:.1f}" if totals[0] else "",
            *(f"{tree[key] or 0:,}" for key in ("trees", "pairs", "prefilled", "decoded")),
        )
    console.print(table)
    return totals
