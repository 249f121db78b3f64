"""Every score of a run as flat rows, for whoever publishes or plots them.

Left out: how a score is computed (`scores.py` and the benchmarks' formulas).
"""

from collections.abc import Sequence
from typing import Any

from itool_data.run import Run
from itool_eval.benchmarks import summarise
from itool_eval.headline import headline
from itool_eval.predictions import any_evaluated, read_evaluated
from itool_eval.summary import Score


def score_rows(run: Run) -> list[dict[str, Any]]:
    """One row a score of every policy on every benchmark; none if nothing was evaluated.

    Returns:
        Rows with `benchmark`, `policy`, `round` (0: the base model or the warm-up), `category` (or the name of the
        formula, or "all items"), `n`, `score` in [0, 1], `interval` (95 %, `low` and `high`), `formula`, `era` (what it
        may be compared with), `protocol` (the fingerprint of how it was asked), and the categories that are
        `missing` or `partial` in it.
    """
    if not any_evaluated(run):
        return []
    rounds = _rounds(run)
    rows: list[dict[str, Any]] = []
    for evaluated in read_evaluated(run):
        summary = summarise(evaluated.benchmark, evaluated.verdicts)
        rows += _rows(
            [headline(evaluated)[0], *summary.categories, *summary.scores],
            benchmark=evaluated.benchmark,
            policy=evaluated.policy,
            round=rounds.get(evaluated.policy, 0),
            era=summary.era,
            protocol=evaluated.protocol.fingerprint if evaluated.protocol else None,
        )
    return rows


def _rows(scores: Sequence[Score], **common: object) -> list[dict[str, Any]]:
    return [
        {
            **common,
            "category": score.name,
            "n": score.n,
            "score": score.value,
            "interval": {"low": score.interval.low, "high": score.interval.high},
            "formula": score.formula,
            "missing": list(score.missing),
            "partial": list(score.partial),
        }
        for score in scores
        if score.n
    ]


def _rounds(run: Run) -> dict[str, int]:
    """The round that made each adapter, by the policy's name."""
    made = (commit.info for commit in run.store.log() if "adapter" in commit.info)
    return {f"{info['base']}+{info['content']}": info.get("round", 0) for info in made}
