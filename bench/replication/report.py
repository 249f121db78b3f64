"""The tables of a plan's page from the kept outcomes: scores, paired comparisons, error classes, costs; as Markdown.

Comparisons are paired by item: McNemar's exact p and Newcombe's interval for each seed, and over all seeds that have
both arms the mean difference with a bootstrap over items (seeds share the items: an item is drawn with all its seeds).
Left out: running anything (`arms.py`), and what the numbers mean (the page).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.replication.plan import Arm, Comparison, Plan
from bench.replication.results import FOLDER, Results
from itool_eval.compare import Outcome, compare
from itool_eval.errors import ErrorClass
from itool_eval.scores import Interval, Tally, wilson

DRAWS = 10_000
BEGIN, END = "<!-- made by python -m bench.replication --report -->\n", "\n<!-- until here -->"


def report(plan: Plan, results: Results) -> str:
    """All tables that the results so far give, and what has not run."""
    parts = [
        _tuning(plan, results),
        *(_scores(plan, results, benchmark) for benchmark in plan.benchmarks),
        _comparisons(plan, results),
        _together(plan, results),
        *(_classes(plan, results, benchmark) for benchmark in (plan.benchmarks[0], plan.validation)),
        _costs(plan, results),
        _missing(plan, results),
    ]
    return "\n\n".join(part for part in parts if part)


def write_report(plan: Plan, results: Results) -> None:
    """Put the tables between the two marks of the plan's page, in place of what is there."""
    before, begin, rest = plan.page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, f"{plan.page} lacks {BEGIN} or {END}"
    plan.page.write_text(f"{before}{begin}\n{report(plan, results)}\n{end}{after}", encoding="utf-8")


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join([f"**{title}**", "", *lines])


def _done(plan: Plan, results: Results, benchmark: str) -> Iterator[tuple[Arm, list[Outcome]]]:
    for arm in plan.arms:
        if found := results.outcomes(arm.name, arm.seed, benchmark):
            yield arm, found


def _tuning(plan: Plan, results: Results) -> str:
    rows = []
    for group, rates in plan.rates.items():
        asked = [results.outcomes(arm, plan.seeds[0], plan.validation) for arm in rates]
        if not any(asked):
            continue
        best = results.best_arm(rates, plan.seeds[0], plan.validation)
        cells = [
            f"{rate:g}: {sum(o.valid for o in some)}/{len(some)}" if some else f"{rate:g}: not run yet"
            for rate, some in zip(rates.values(), asked, strict=True)
        ]
        rows.append([group, f"{rates[best]:g}" if best else "open", *cells])
    most = max(map(len, plan.rates.values()))
    rows = [row + [""] * (most + 2 - len(row)) for row in rows]
    head = ["group", "chosen", "rate: right", *[""] * (most - 1)]
    return _table("Learning rates: right validation items", head, rows)


def _scores(plan: Plan, results: Results, benchmark: str) -> str:
    rows = []
    for arm, found in _done(plan, results, benchmark):
        tally = Tally(sum(o.valid for o in found), len(found))
        interval = wilson(tally)
        rows.append(
            [arm.name, str(arm.seed), f"{tally.correct}/{tally.n}", _percent(tally.share), _interval(interval)]
        )  # fmt: skip
    return _table(f"Right items, {benchmark}", ["arm", "seed", "right", "%", "95 % interval"], rows)


@dataclass(frozen=True)
class Compared:
    """One question's answer on one benchmark, of one seed or of all.

    Attributes:
        question: as in the plan.
        benchmark: whose items.
        seed: None for the mean over all that have both arms.
        counts: items that both were asked, fixed and broken, for one seed.
        difference: of the share of right items, after minus before.
        interval: 95 %.
        p: McNemar's exact, for one seed.
    """

    question: str
    benchmark: str
    seed: int | None
    counts: tuple[int, int, int] | None
    difference: float
    interval: Interval
    p: float | None


def comparisons(plan: Plan, results: Results, benchmark: str) -> list[Compared]:
    """The plan's comparisons, of the arms that have run: each seed's, and the mean where there are several."""
    found = []
    for wanted in plan.comparisons:
        pairs = [_pair(wanted, results, seed, benchmark) for seed in plan.seeds]
        both = {seed: pair for seed, pair in zip(plan.seeds, pairs, strict=True) if all(pair)}
        for seed, (before, after) in both.items():
            change = compare(before, after).overall
            counts = (change.n, change.fixed, change.broken)
            found.append(
                Compared(wanted.question, benchmark, seed, counts, change.difference, change.interval, change.p)
            )
        if len(both) > 1:
            found.append(Compared(wanted.question, benchmark, None, None, *over_seeds(list(both.values())), None))
    return found


def _pair(wanted: Comparison, results: Results, seed: int, benchmark: str) -> tuple[list[Outcome], list[Outcome]]:
    """The outcomes of a comparison's two arms."""
    before, after = (results.outcomes(arm, seed, benchmark) for arm in (wanted.before, wanted.after))
    return before, after


def _comparisons(plan: Plan, results: Results) -> str:
    rows = []
    for one in (c for benchmark in plan.benchmarks for c in comparisons(plan, results, benchmark)):
        counts = [str(n) for n in one.counts or ("", "", "")]
        p = "" if one.p is None else f"{one.p:.2g}"
        points = [_points(one.difference), _interval(one.interval)]
        rows.append([one.question, one.benchmark, str(one.seed or "all"), *counts, *points, p])
    head = ["question", "benchmark", "seed", "n", "fixed", "broken", "points", "95 % interval", "McNemar p"]
    return _table("Comparisons by item (after minus before)", head, rows)


def _together(plan: Plan, results: Results) -> str:
    """The comparisons over the starts of a plan and of the one beside it, each start as a seed."""
    if plan.beside is None:
        return ""
    others, rows = Results(FOLDER / plan.beside.name), []
    starts = [*((others, seed) for seed in plan.beside.seeds), *((results, seed) for seed in plan.seeds)]
    for benchmark in plan.benchmarks:
        for wanted in plan.beside.comparisons:
            pairs = [_pair(wanted, found, seed, benchmark) for found, seed in starts]
            if len(both := [pair for pair in pairs if all(pair)]) > len(plan.seeds):
                difference, interval = over_seeds(both)
                rows.append([wanted.question, benchmark, str(len(both)), _points(difference), _interval(interval)])
    head = ["question", "benchmark", "starts", "points", "95 % interval"]
    return _table(f"With the starts of the {plan.beside.name} part", head, rows)


def over_seeds(pairs: Sequence[tuple[Sequence[Outcome], Sequence[Outcome]]]) -> tuple[float, Interval]:
    """The mean difference of the share of right items over seeds, and its 95 % interval by a bootstrap over items.

    Items of a group, as the next steps along one sample are, are drawn together.

    Args:
        pairs: each seed's outcomes before and after. An item that several seeds have counts once, by the mean of its
            changes; the samples that a round searched are other ones in each.
    """
    changes_of: dict[tuple[str, str], list[float]] = {}
    group_of: dict[tuple[str, str], str] = {}
    for before, after in pairs:
        known = {(o.category, o.id): o.valid for o in before}
        for o in after:
            item = (o.category, o.id)
            if item in known:
                changes_of.setdefault(item, []).append(float(o.valid) - float(known[item]))
                group_of[item] = o.group or f"{o.category}/{o.id}"
    groups = {group: place for place, group in enumerate(sorted(set(group_of.values())))}
    # [groups]: the sum of a group's items' mean changes over the seeds, and how many items that is.
    changes, counts = np.zeros(len(groups)), np.zeros(len(groups))
    for item, own in changes_of.items():
        changes[groups[group_of[item]]] += np.mean(own)
        counts[groups[group_of[item]]] += 1
    drawn = np.random.default_rng(42).integers(len(groups), size=(DRAWS, len(groups)))
    low, high = np.percentile(changes[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (2.5, 97.5))
    return float(changes.sum() / counts.sum()), Interval(float(low), float(high))


def wrong_by_class(found: Sequence[Outcome]) -> Counter[str | None]:
    """The wrong ones of some outcomes, by error class."""
    return Counter(o.error_class for o in found if not o.valid)


def _classes(plan: Plan, results: Results, benchmark: str) -> str:
    rows = []
    for arm, found in _done(plan, results, benchmark):
        counts = wrong_by_class(found)
        rows.append([arm.name, str(arm.seed), *(str(counts[name]) for name in ErrorClass)])
    return _table(
        f"Wrong items by error class, {benchmark}", ["arm", "seed", *(name.value for name in ErrorClass)], rows
    )


def _costs(plan: Plan, results: Results) -> str:
    columns = {"trees": "trees", "tokens_decoded": "tokens decoded", "pairs": "pairs"}
    if plan.steps:
        columns |= {"proved": "proved", "tokens_computed": "computed", "tokens_trained": "trained on", "end": "end"}
    rows = []
    for arm in plan.arms:
        facts = results.facts.get((arm.name, arm.seed))
        if facts and arm.tier != "tuning":
            spent = ", ".join(f"{stage} {seconds / 60:.1f}" for stage, seconds in facts["seconds"].items())
            values = [facts.get(key, "") for key in columns]
            mined = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]
            rows.append([arm.name, str(arm.seed), str(facts["sft_samples"]), f"{facts['sft_tokens']:,}", *mined, spent])
    head = ["arm", "seed", "SFT samples", "SFT tokens", *columns.values(), "minutes by stage"]
    return _table("What the arms took", head, rows)


def _missing(plan: Plan, results: Results) -> str:
    lines = []
    for seed in plan.seeds:
        names = [arm.name for arm in plan.arms if arm.seed == seed and (arm.name, seed) not in results.facts]
        lines += [f"Not run yet, seed {seed}: {', '.join(names)}."] if names else []
    return "\n\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"


def _interval(interval: Interval) -> str:
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
