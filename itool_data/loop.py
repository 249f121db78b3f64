"""The stages of the whole method, and which of them a run's log says are done (paper 3, Figure 4).

    import, warm-up, evaluate, (perplexity, mine, preference, evaluate) for each round, report

A finished stage leaves a row in the log. Left out: doing them (`itool run`), and what of a stage is there already,
which each finds by itself.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from itool_data.config import LoopSettings
from itool_data.run import Run, write_run
from itool_data.store.tables import Commit

STAGE = "stage"  # the operation of the log's rows about stages


def stage_names(loop: LoopSettings) -> list[str]:
    """The stages of a run, in order."""
    names = ["import", *(["warmup"] if loop.warmup else []), "evaluate-0"]
    for round_ in range(1, loop.rounds + 1):
        names += [f"{stage}-{round_}" for stage in ("perplexity", "mine", "preference", "evaluate")]
    return [*names, "report"]


def record(folder: Path, name: str, started: float, complete: bool) -> None:
    """Write to a run's log that a stage was worked on.

    Args:
        folder: the run's.
        name: of the stage.
        started: when, by `time.monotonic`.
        complete: whether it is finished.
    """
    with write_run(folder, None, []) as run:
        seconds = round(time.monotonic() - started, 1)
        run.store.commit(STAGE, {}, stage=name, seconds=seconds, finished=complete)


def record_again(run: Run, name: str) -> None:
    """Write to a run's log that a stage and all after it are to be done again."""
    run.store.commit(STAGE, {}, again_from=name)


def ends_of(log: Sequence[Commit], name: str) -> list[int]:
    """The versions at which a stage was recorded, the newest last."""
    return [commit.version for commit in log if commit.operation == STAGE and commit.info.get("stage") == name]


def finished(log: Sequence[Commit], names: Sequence[str]) -> dict[str, float]:
    """The finished stages and the seconds that each took, interrupted attempts included (but for killed ones).

    The report is never finished: it is quick, and shows what there is.
    """
    spent: dict[str, float] = {}
    done: set[str] = set()
    for commit in log:
        if commit.operation != STAGE:
            continue
        if (first := commit.info.get("again_from")) in names:
            for name in names[names.index(first) :]:
                spent.pop(name, None)
                done.discard(name)
        elif (name := commit.info.get("stage", "")) in names:
            spent[name] = spent.get(name, 0.0) + commit.info["seconds"]
            if commit.info["finished"]:
                done.add(name)
    return {name: spent[name] for name in names if name in done and name != "report"}


def invalidated(log: Sequence[Commit], names: Sequence[str]) -> set[str]:
    """The stages that `--from` asked for again and that are not finished since."""
    wanted: set[str] = set()
    for commit in log:
        if commit.operation == STAGE:
            if (first := commit.info.get("again_from")) in names:
                wanted |= set(names[names.index(first) :])
            elif commit.info.get("finished"):
                wanted.discard(commit.info["stage"])
    return wanted
