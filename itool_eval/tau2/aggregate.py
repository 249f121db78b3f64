"""tau2's scores: the mean reward of a split's tasks, each tried once (pass^1), and of each kind of problem."""

from collections.abc import Sequence

from itool_data.assets import TAU2
from itool_eval.scores import Tally, wilson
from itool_eval.summary import Score, Summary, tally
from itool_eval.tau2.tasks import CATEGORIES, SIZES, SPLITS
from itool_eval.verdicts import Verdict


def summarise(benchmark: str, verdicts: Sequence[Verdict]) -> Summary:
    """Compute the mean rewards over the tasks that were run; those of which not all were are named."""
    split, counts = SPLITS[benchmark], tally(verdicts)
    sizes = dict(zip(CATEGORIES, SIZES[split], strict=True))
    partial = tuple(name for name, size in sizes.items() if name not in counts or counts[name].n < size)
    whole = Tally(sum(c.correct for c in counts.values()), sum(c.n for c in counts.values()))
    return Summary(
        f"tau2-bench telecom in solo mode, split {split} ({TAU2.name} {TAU2.version}), one try a task: compare with "
        "solo scores of the same split, not with those of an agent that talks to a user",
        tuple(
            Score(name, "reward / tasks", c.share, c.n, wilson(c), partial=(name,) if name in partial else ())
            for name, c in counts.items()
        ),
        (Score("reward", "reward / tasks (pass^1)", whole.share, whole.n, wilson(whole), partial=partial),),
    )
