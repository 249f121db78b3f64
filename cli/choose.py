"""Which adapter of a training is kept: the one that gets most of the run's validation items right, or none of them.

Asked are the policy that the training started from and every adapter that it left. Their answers are rows of
`predictions`, so what a policy was asked before is not asked again, whoever asked it. Left out: the training, and the
commit that makes the choice the run's, both the callers'.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from itool_cli.eval import ask
from itool_cli.loaded import Policies
from itool_data.policy.load import Adapter, adapter_hash, find_adapter, find_model, policy_id
from itool_data.run import Run
from itool_data.run_samples import validation_samples
from itool_eval.benchmark import Benchmark
from itool_eval.benchmarks import open_benchmark
from itool_eval.compare import Change, compare
from itool_eval.own_samples import NAME, answered
from itool_eval.predict import prepare


def open_validation(run: Run) -> Benchmark | None:
    """The items by which the run's trainings are chosen; None if its settings ask for none.

    Raises:
        ItoolError: the run has no validation samples, or trains on some of them.
    """
    if not run.config.validation.items:
        return None
    return open_benchmark(NAME, run.config.model.tools, validation_samples(run))


@dataclass(frozen=True)
class Choice:
    """What becomes of a training.

    Attributes:
        update: after which the adapter was left.
        adapter: the kept one, or the best of those that were refused.
        kept: which of the two.
        info: what the log says of the choice.
    """

    update: int
    adapter: Path
    kept: bool
    info: dict[str, object]


def choose(
    console: Console,
    run: Run,
    policies: Policies,
    benchmark: Benchmark | None,
    start: Adapter | None,
    candidates: Mapping[int, Path],
    last_of_equals: bool = False,
) -> Choice:
    """Choose among a training's adapters and what it started from.

    Args:
        console: where progress and the choice are shown.
        run: open for writing.
        policies: that are asked; none is loaded that has answered everything.
        benchmark: from `open_validation`; None: the last adapter is kept.
        start: what the training started from; None: the base model.
        candidates: the training's adapters by the updates after which they were left.
        last_of_equals: which of those is kept that get as many items right; else the first, so that a training has to
            be better than none.
    """
    if benchmark is None:
        return _choice(run, max(candidates), candidates, True, {})
    base = find_model(run.config.model)
    adapters = {0: start} | {update: find_adapter(path, base) for update, path in candidates.items()}
    questions = [question for category in benchmark.categories for question in benchmark.questions(category)]
    outcomes = {}
    for update, adapter in adapters.items():
        policy = str(policy_id(base, adapter))
        if asked := prepare(run, policy, benchmark, questions):
            ask(console, run, policies.load(run, adapter).pool, benchmark, asked, len(questions))
        outcomes[update] = answered(run, policy, benchmark.samples)
    changes = {update: compare(outcomes[0], found).overall for update, found in outcomes.items()}
    order = sorted(changes, reverse=last_of_equals)
    chosen = max(order, key=lambda update: _right(changes[update]))
    best = max((update for update in order if update), key=lambda update: _right(changes[update]))
    _show(console, changes, chosen)
    verdict = f"{changes[best].fixed} fixed, {changes[best].broken} broken: {'kept' if chosen else 'not kept'}"
    console.print(f"after update {best} against the start, {changes[best].n} validation items: {verdict}")
    asked_of = [
        {"update": update, "policy": str(policy_id(base, adapter)), "right": _right(changes[update])}
        | {"fixed": changes[update].fixed, "broken": changes[update].broken}
        for update, adapter in adapters.items()
    ]
    return _choice(
        run, best, candidates, bool(chosen), {"verdict": verdict, "asked": changes[0].n, "candidates": asked_of}
    )


def _choice(run: Run, update: int, candidates: Mapping[int, Path], kept: bool, said: Mapping[str, object]) -> Choice:
    adapter = candidates[update]
    info = {
        "adapter" if kept else "refused": str(adapter.relative_to(run.folder)),
        "update": update,
        "content": adapter_hash(adapter),
        **said,
    }
    return Choice(update, adapter, kept, info)


def _right(change: Change) -> int:
    return change.both + change.fixed


def _show(console: Console, changes: Mapping[int, Change], chosen: int) -> None:
    table = Table("after update", f"right of {changes[0].n}", "fixed", "broken", "", title="validation items")
    for update, change in changes.items():
        counts = (str(change.fixed), str(change.broken)) if update else ("", "")
        name = str(update) if update else "none: the start"
        table.add_row(name, str(_right(change)), *counts, "kept" if update == chosen else "")
    console.print(table)
