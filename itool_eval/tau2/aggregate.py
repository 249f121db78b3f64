"""tau2's scores: pass^1 to pass^k over a split's tasks, and the mean reward of each kind of problem.

pass^k is the chance that k tries at a task all have the reward 1, as the official tool computes it (docs/tau2.md §5).
Left out: where the tries come from (`predict.py`, `result_file.py`).
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from itool_data.assets import TAU2
from itool_eval.scores import Tally, wilson_of_mean
from itool_eval.summary import Score, Summary
from itool_eval.tau2.tasks import CATEGORIES, SIZES, SPLITS
from itool_eval.verdicts import Verdict


def pass_k(tries: Tally, k: int) -> float:
    """How often k of a task's tries, drawn without replacement, are all right: C(right, k) / C(tries, k)."""
    return math.comb(tries.correct, k) / math.comb(tries.n, k)


def summarise(benchmark: str, verdicts: Sequence[Verdict]) -> Summary:
    """Compute the scores over the tasks that were run; the kinds of problem of which not all were are named.

    The largest k is the fewest tries that a task had, as officially.
    """
    split, tasks = SPLITS[benchmark], _tries(verdicts)
    least, most = (of(tries.n for tries in tasks.values()) if tasks else 1 for of in (min, max))
    kinds = {name: [tries for (category, _), tries in tasks.items() if category == name] for name in CATEGORIES}
    partial = tuple(name for name, size in zip(CATEGORIES, SIZES[split], strict=True) if len(kinds[name]) < size)
    mean = "reward / tries, mean over tasks" if most > 1 else "reward / tasks"
    several = "C(right tries, k) / C(tries, k), mean over tasks" if most > 1 else mean
    return Summary(
        f"tau2-bench telecom in solo mode, split {split} ({TAU2.name} {TAU2.version}), {_times(least, most)} a task: "
        "compare with solo scores of the same split, not with those of an agent that talks to a user",
        tuple(
            _score(name, mean, found, 1, (name,) if name in partial else ()) for name, found in kinds.items() if found
        ),
        tuple(_score(f"pass^{k}", several, [*tasks.values()], k, partial) for k in range(1, least + 1)),
    )


def _tries(verdicts: Sequence[Verdict]) -> Mapping[tuple[str, str], Tally]:
    """The right ones of the tries at each task, by category and id."""
    tries: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for verdict in verdicts:
        tries[verdict.category, verdict.id].append(verdict.valid)
    return {task: Tally(sum(right), len(right)) for task, right in tries.items()}


def _score(name: str, formula: str, tasks: Sequence[Tally], k: int, partial: tuple[str, ...]) -> Score:
    values = [pass_k(tries, k) for tries in tasks]
    # Tries at tasks that are all alike would be as many independent items as there are sets of k among them.
    interval = wilson_of_mean(values, sum(tries.n for tries in tasks) / k)
    return Score(name, formula, sum(values) / max(len(values), 1), len(values), interval, partial=partial)


def _times(least: int, most: int) -> str:
    if most == 1:
        return "one try"
    return f"{most} tries" if least == most else f"{least} to {most} tries"
