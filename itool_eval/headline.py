"""The few scores of a policy that a picture has room for, in one form for all benchmarks.

The share of right items among all that were asked, with its interval; beside it those official scores of BFCL
that the paper's figures show, where every category they read was run, or in the run's own prompt the two sides. Left
out: the formulas (`bfcl/formulas.py`).
"""

from collections.abc import Sequence

from itool_eval.benchmarks import summarise
from itool_eval.compare import outcomes, share_interval
from itool_eval.predictions import Evaluated
from itool_eval.summary import Score
from itool_eval.verdicts import Verdict

ALL = "all items"
SHOWN = ("overall", "non_live", "live", "multi_turn", "calls", "abstention")


def headline(evaluated: Evaluated) -> list[Score]:
    """The share of right items, then the scores that lack no category."""
    scores = summarise(evaluated.benchmark, evaluated.verdicts).scores
    return [all_items(evaluated.verdicts), *(score for score in scores if score.name in SHOWN and not score.missing)]


def all_items(verdicts: Sequence[Verdict]) -> Score:
    """The share of right items among all that were asked."""
    n = len(verdicts)
    share = sum(verdict.valid for verdict in verdicts) / max(n, 1)
    return Score(ALL, "correct / items asked", share, n, share_interval(outcomes(verdicts)))
