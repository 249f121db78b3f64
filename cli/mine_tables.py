"""How mining looks on the terminal: its plan, plan against fact, and what a round's trees hold.

Left out: every number of the plan (`itool_data.search.plan`), and the search (`mine.py`).
"""

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from itool_cli.console import visible
from itool_cli.deficiencies import deficiencies, place, proofs
from itool_cli.progress import duration
from itool_cli.trained import starts_from
from itool_data.run import Run
from itool_data.search.plan import Plan, Rates
from itool_data.search.reward import auc
from itool_data.store.sql import query

SHOWN = 8  # places and pairs


def show_plan(console: Console, plan: Plan, rates: Rates, trial: int, workers: int) -> None:
    """What a search will cost, and what that is reckoned from."""
    scored = f"{plan.samples_scored} samples to score, " if plan.samples_scored else ""
    scored += f"{plan.samples_drawn} to draw pass rates of, " if plan.samples_drawn else ""
    judged = f"{plan.judge_tokens:,.0f} for self-evaluation, " if plan.judge_tokens else ""
    console.print(
        f"plan: {scored}{plan.trees} trees, {plan.requests:.0f} requests, "
        f"{plan.prefill_tokens:,.0f} tokens to prefill, {plan.decode_tokens:,.0f} to decode, {judged}"
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
    if plan.judge_tokens or fact["judge_tokens"]:
        rows["tokens judged"] = (plan.judge_tokens, fact["judge_tokens"])
    for name, (planned, real) in rows.items():
        table.add_row(name, f"{planned:,.0f}", f"{real:,.0f}", f"{real / planned:.2f}" if planned else "")
    table.add_row("pairs", _between(plan.pairs), f"{fact['pairs']:.0f}", "")
    table.add_row("time", duration(plan.seconds), duration(fact["seconds"]), f"{fact['seconds'] / plan.seconds:.2f}")
    console.print(table)


def show_summary(console: Console, run: Run, round_: int) -> None:
    """What the round's trees hold: pairs with their proofs and error classes, doubts, what was dropped, a few pairs."""
    ask = _Asked(run, round_, policy := starts_from(run, round_))
    searches = {row["search"] for row in ask("SELECT DISTINCT search FROM trees WHERE round = ? AND policy = ?")}
    classes = ask(
        "SELECT error_class, count(*) AS n FROM pairs WHERE round = ? AND policy = ? GROUP BY 1 ORDER BY n DESC, 1"
    )
    console.print(_proof(proofs(run, round_, policy)))
    console.print(
        "pairs by what the rejected step breaks: "
        + (", ".join(f"{row['error_class']} {row['n']}" for row in classes) or "none"),
    )
    dropped = ask(
        "SELECT sum(dropped_delta_q) AS dq, sum(dropped_similarity) AS s, sum(dropped_q_chosen) AS q, "
        "sum(dropped_unproved) AS u FROM trees WHERE round = ? AND policy = ?"
    )[0]
    console.print(
        f"dropped by the filters: {dropped['dq'] or 0} with equal or close Q, {dropped['s'] or 0} too similar, "
        f"{dropped['q'] or 0} whose chosen step is not good enough, {dropped['u'] or 0} not proved",
    )
    aside = query(
        run.store, "SELECT count(*) AS n FROM rejects WHERE stage IN ('warmup', 'perplexity', 'pass-rate', 'mine')"
    ).to_pylist()[0]["n"]
    if aside:
        console.print(f"set aside: {aside} samples; the table rejects says why")
    if searches - {"walk"}:
        _show_self_evaluation(console, ask)
    if "walk" in searches:
        _show_deficiencies(console, deficiencies(run, round_, policy))
    _show_pairs(console, ask, searches == {"walk"})


@dataclass(frozen=True)
class _Asked:
    """Questions about one round's policy."""

    run: Run
    round: int
    policy: str

    def __call__(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a statement whose two `?` are the round and the policy."""
        rows: list[dict[str, Any]] = query(self.run.store, sql, None, [self.round, self.policy]).to_pylist()
        return rows


def _proof(row: dict[str, Any]) -> str:
    """How many of a round's pairs are proved, and why the others are not."""
    if not row["pairs"]:
        return "no pairs"
    if row["proved"] == row["pairs"]:
        return f"{row['pairs']} pairs, all proved"
    reasons = {
        "broken_before": "the response was broken before",
        "chosen_wrong": "the chosen step is wrong itself",
        "rejected_right": "the rejected step breaks nothing",
    }
    found = ", ".join(f"in {row[name]} {reason}" for name, reason in reasons.items() if row[name])
    return f"{row['proved']} of {row['pairs']} pairs proved" + (f": {found}" if found else "")


def _show_self_evaluation(console: Console, ask: _Asked) -> None:
    judged = ask(
        "SELECT n.outcome, n.self_eval FROM nodes n JOIN trees t USING (tree_id) "
        "WHERE n.terminal AND n.self_eval IS NOT NULL AND t.round = ? AND t.policy = ?"
    )
    if not judged:
        console.print("self-evaluation: not asked (reward.weight is 0)")
        return
    right = [r["self_eval"] for r in judged if r["outcome"] == 1]
    wrong = [r["self_eval"] for r in judged if r["outcome"] < 1]
    area = auc(right, wrong)
    no_signal = " (it tells right from wrong no better than a coin; set reward.weight to 0)"
    verdict = no_signal if 0.4 < area < 0.6 else ""
    console.print(f"self-evaluation: AUC {area:.2f} on {len(judged)} terminal nodes{verdict}")


def _show_deficiencies(console: Console, found: list[dict[str, Any]]) -> None:
    doubted = [row for row in found if row["doubted"]]
    title = (
        f"where the policy doubts: {sum(r['doubted'] for r in found)} of {sum(r['fragments'] for r in found)} fragments"
    )
    table = Table("kind", "where", "doubted", "of", "mean probability", "mostly breaks", title=title)
    for row in doubted[:SHOWN]:
        counts = str(row["doubted"]), str(row["fragments"])
        table.add_row(
            row["kind"], Text(visible(place(row))), *counts, f"{row['probability']:.2f}", next(iter(row["breaks"]), "")
        )
    console.print(table)
    if len(doubted) > SHOWN:
        console.print(f"{len(doubted) - SHOWN} more places; itool report has more of them")


def _show_pairs(console: Console, ask: _Asked, walked: bool) -> None:
    """Those with the largest difference of Q; along a right response it is the same for all, so by probability."""
    best = ask(
        "SELECT prefix_text, chosen_text, rejected_text, q_chosen, q_rejected, error_class, "
        "exp(chosen_logprob) AS p_chosen, exp(rejected_logprob) AS p_rejected FROM pairs "
        "WHERE round = ? AND policy = ? "
        f"ORDER BY q_chosen - q_rejected DESC, rejected_logprob DESC, pair_id LIMIT {SHOWN}"
    )
    if not best:
        return
    title = "pairs whose wrong step is most probable" if walked else "pairs with the largest difference of Q"
    table = Table("after", "chosen", "rejected", "probability" if walked else "Q", "breaks", title=title)
    for row in best:
        table.add_row(
            Text(visible(row["prefix_text"][-40:])),
            Text(visible(row["chosen_text"][:60]), style="green"),
            Text(visible(row["rejected_text"][:60]), style="red"),
            f"{row['p_chosen']:.2f} / {row['p_rejected']:.2f}"
            if walked
            else f"{row['q_chosen']:+.2f} / {row['q_rejected']:+.2f}",
            row["error_class"],
        )
    console.print(table)
