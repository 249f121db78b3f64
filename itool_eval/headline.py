"""The few scores of a policy that a picture has room for, in one form for all benchmarks.

The share of right items among all that were asked, with Wilson's interval; beside it those official scores of BFCL
that the paper's figures show, where every category they read was run, or in the run's own prompt the two sides. Left
out: the formulas (`bfcl/formulas.py`).
"""

from itool_eval.benchmarks import summarise
from itool_eval.predictions import Evaluated
from itool_eval.scores import Tally, wilson
from itool_eval.summary import Score

ALL = "all items"
SHOWN = ("overall", "non_live", "live", "multi_turn", "calls", "abstention")


def headline(evaluated: Evaluated) -> list[Score]:
    """The share of right items, then the scores that lack no category."""
    verdicts = evaluated.verdicts
    counts = Tally(sum(v.valid for v in verdicts), len(verdicts))
    whole = Score(ALL, "correct / items asked", counts.share, counts.n, wilson(counts))
    scores = summarise(evaluated.benchmark, verdicts).scores
    return [whole, *(score for score in scores if score.name in SHOWN and not score.missing)]
