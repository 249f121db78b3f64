"""How mining looks on the terminal: its plan, plan against fact, and what a round's trees hold.

Left out: every number of the plan (`itool_data.search.plan`), and the search (`mine.py`).
"""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from itool_cli.progress import duration
from itool_data.run import Run
from itool_data.search.plan import Plan, Rates
from itool_data.search.reward import auc
from itool_data.store.sql import query


def show_plan(console: Console, plan: Plan, rates: Rates, trial: int, workers: int) -> None:
    """What a search will cost, and what that is reckoned from."""
    scored = f"{plan.samples_scored} samples to score, " if plan.samples_scored else ""
    console.print(
        f"plan: {scored}{plan.trees} trees, {plan.requests:.0f} requests, "
        f"{plan.prefill_tokens:,.0f} tokens to prefill, {plan.decode_tokens:,.0f} to decode, "
        f"about {duration(plan.seconds)}, {_between(plan.pairs)} pairs",
    )
    console.print(
        f"      ({f'{workers} workers, each' if workers > 1 else 'this machine:'} {rates.prefill:.0f} tok/s prefill, "
        f"{rates.decode:.0f} tok/s decode at a full batch; trees as the {trial} seen so far)",
    )


def _between(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{low:.0f} to {high:.0f}"


def show_fact(console: Console, plan: Plan, fact: dict[str, float]) -> None:
    """What a search was to cost against what it did."""
    table = Table("", "plan", "fact", "fact / plan", title="search: plan against fact")
    rows = {
        "trees": (plan.trees, fact["trees"]),
        "requests": (plan.requests, fact["requests"]),
        "tokens prefilled": (plan.prefill_tokens, fact["prefill_tokens"]),
        "tokens decoded": (plan.decode_tokens, fact["decode_tokens"]),
    }
    for name, (planned, real) in rows.items():
        table.add_row(name, f"{planned:,.0f}", f"{real:,.0f}", f"{real / planned:.2f}" if planned else "")
    table.add_row("pairs", _between(plan.pairs), f"{fact['pairs']:.0f}", "")
    table.add_row("time", duration(plan.seconds), duration(fact["seconds"]), f"{fact['seconds'] / plan.seconds:.2f}")
    console.print(table)


def show_summary(console: Console, run: Run, round_: int) -> None:
    """What the round's trees hold: pairs by error class, what the filters dropped, C's AUC, and a few pairs."""

    def ask(sql: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = query(run.store, sql, None, [round_]).to_pylist()
        return rows

    classes = ask("SELECT error_class, count(*) AS n FROM pairs WHERE round = ? GROUP BY 1 ORDER BY n DESC, 1")
    console.print(
        "pairs by what the rejected step breaks: "
        + (", ".join(f"{row['error_class']} {row['n']}" for row in classes) or "none"),
    )
    dropped = ask(
        "SELECT sum(dropped_delta_q) AS dq, sum(dropped_similarity) AS s, sum(dropped_q_chosen) AS q FROM trees "
        "WHERE round = ?"
    )[0]
    console.print(
        f"dropped by the filters: {dropped['dq'] or 0} with equal or close Q, {dropped['s'] or 0} too similar, "
        f"{dropped['q'] or 0} whose chosen step is not good enough",
    )
    aside = query(
        run.store, "SELECT count(*) AS n FROM rejects WHERE stage IN ('warmup', 'perplexity', 'mine')"
    ).to_pylist()[0]["n"]
    if aside:
        console.print(f"set aside: {aside} samples too long for the warm-up or the context; see the table rejects")
    judged = ask(
        "SELECT n.outcome, n.self_eval FROM nodes n JOIN trees t USING (tree_id) "
        "WHERE n.terminal AND n.self_eval IS NOT NULL AND t.round = ?"
    )
    if judged:
        right = [r["self_eval"] for r in judged if r["outcome"] == 1]
        wrong = [r["self_eval"] for r in judged if r["outcome"] < 1]
        area = auc(right, wrong)
        no_signal = " (it tells right from wrong no better than a coin; set reward.weight to 0)"
        verdict = no_signal if 0.4 < area < 0.6 else ""
        console.print(f"self-evaluation: AUC {area:.2f} on {len(judged)} terminal nodes{verdict}")
    else:
        console.print("self-evaluation: not asked (reward.weight is 0)")
    best = ask(
        "SELECT prefix_text, chosen_text, rejected_text, q_chosen, q_rejected, error_class FROM pairs WHERE round = ? "
        "ORDER BY q_chosen - q_rejected DESC, pair_id LIMIT 8"
    )
    if best:
        table = Table("after", "chosen", "rejected", "Q", "breaks", title="pairs with the largest difference of Q")
        for row in best:
            table.add_row(
                Text(row["prefix_text"][-40:]),
                Text(row["chosen_text"][:60], style="green"),
                Text(row["rejected_text"][:60], style="red"),
                f"{row['q_chosen']:+.2f} / {row['q_rejected']:+.2f}",
                row["error_class"],
            )
        console.print(table)
