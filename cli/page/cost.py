"""The report's cost: time by stage, tokens by round, plan against fact, and how busy the search kept the machine.

Utilisation is decoded tokens a second of the whole search over those of full batches on all
workers, as one of them was measured just before it.
Left out: time that killed processes had spent (`itool_data.loop.finished`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from itool_data.loop import finished, stage_names
from itool_data.run import Run
from itool_data.store.sql import query
from itool_data.store.tables import Commit


def cost(run: Run, log: Sequence[Commit], names: Mapping[str, str]) -> dict[str, Any]:
    """What the run took.

    Args:
        run: the run.
        log: its log.
        names: what its policies are called.
    """
    seconds = finished(log, stage_names(run.config.loop))
    searches = query(
        run.store,
        "SELECT round, policy, search, count(*) AS trees, sum(pairs)::BIGINT AS pairs, "
        "sum(requests)::BIGINT AS requests, sum(tokens_prefilled)::BIGINT AS prefilled, "
        "sum(tokens_reused)::BIGINT AS reused, sum(tokens_decoded)::BIGINT AS decoded, "
        "sum(tokens_judged)::BIGINT AS judged FROM trees GROUP BY ALL ORDER BY round, policy",
    ).to_pylist()
    evaluations = query(
        run.store,
        "SELECT benchmark, policy, count(*) AS items, sum(tokens_prompt)::BIGINT AS prompt, "
        "sum(tokens_output)::BIGINT AS output, sum(seconds) AS seconds FROM predictions GROUP BY ALL",
    ).to_pylist()
    trainings = query(
        run.store,
        "SELECT round, policy, sum(tokens)::BIGINT AS tokens, sum(seconds) AS seconds FROM training "
        "WHERE round > 0 GROUP BY ALL ORDER BY round",
    ).to_pylist()
    order = list(names)
    return {
        "stages": [{"name": name, "seconds": spent} for name, spent in seconds.items()],
        "searches": [_named(row, names) for row in searches],
        "plans": [_plan(commit) for commit in log if "plan" in commit.info],
        "evaluations": [
            _named(row, names) for row in sorted(evaluations, key=lambda r: (r["benchmark"], order.index(r["policy"])))
        ],
        "trainings": trainings,
    }


def _named(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {**row, "label": names.get(row["policy"], row["policy"])}


def _plan(commit: Commit) -> dict[str, Any]:
    """A search's plan and fact, and its utilisation; a round that was interrupted has several searches."""
    plan, rates, fact = commit.info["plan"], commit.info["rates"], commit.info["fact"]
    speed = fact["decode_tokens"] / fact["seconds"] if fact["seconds"] else 0.0
    full = rates["decode"] * commit.info["workers"]
    return {
        "round": commit.info["round"],
        "plan": plan,
        "fact": fact,
        "rates": rates,
        "utilisation": speed / full if full else None,
    }
