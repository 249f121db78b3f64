"""API-Bank's scores: each level over its published number of samples, and without the repeats (docs/apibank.md)."""

from collections.abc import Sequence

from itool_eval.apibank.items import LEVELS
from itool_eval.scores import Tally, wilson
from itool_eval.summary import Score, Summary, tally
from itool_eval.verdicts import Verdict

ERA = "API-Bank (AST): calls are compared, not run, so this is not the official score"


def summarise(verdicts: Sequence[Verdict]) -> Summary:
    """Compute both levels' scores, with and without the samples that are asked twice."""
    every, once = tally(verdicts), tally(v for v in verdicts if v.note != "repeats the item before")
    return Summary(
        ERA,
        tuple(
            _score(name, "correct / samples, as published", every[name], level.published)
            for name, level in LEVELS.items()
            if name in every
        ),
        tuple(
            _score(name, "correct / different samples", once[name], level.different)
            for name, level in LEVELS.items()
            if name in once
        ),
    )


def _score(name: str, formula: str, counts: Tally, size: int) -> Score:
    return Score(name, formula, counts.share, counts.n, wilson(counts), partial=(name,) if counts.n < size else ())
