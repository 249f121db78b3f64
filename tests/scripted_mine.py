"""Mine a small run with a policy that has no model: `python scripted_mine.py RUN [--max-draws N] ...`.

Prints a line at each step of the search, so that a test can stop the process after as many as it likes; the same
command goes on.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path

from toys import PROMPTER, ids_of, toy_sample

from itool_data import choosing, hardness, mining
from itool_data.config import WorkerSettings
from itool_data.kinds import SearchKind
from itool_data.policy.base import Completion
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.prompt import Prompter
from itool_data.run import Run, write_run
from itool_data.sample import Sample
from itool_data.store.samples import sample_row
from itool_data.store.sql import query
from itool_data.workers.actors import RayPool
from itool_data.workers.open import connect
from itool_data.workers.pool import Desk, LocalPool, Pool

SAMPLES = 20
COMMON = [
    "model.format=own",
    "reward.weight=0",
    "replay.fraction=1",
    "replay.hardest=1",
    "mcts.max_tokens=32",
    "mine.commit_trees=2",
]
# By search. Before the walk pass rates are drawn, which is little work: they are committed often, to be killed between.
SETTINGS = {"mcts": COMMON, "walk": [*COMMON, "walk.wrong=2", "replay.select=pass-rate", "mine.commit_seconds=0.01"]}


class Slow(ScriptedPolicy):
    """Takes some time for a step, as a model does."""

    delay = 0.0

    def step(self) -> list[Completion]:
        time.sleep(self.delay)
        return super().step()


def sample(number: int) -> Sample:
    """Gold: [f(a=number)]."""
    return toy_sample(f"[f(a={number})]", f"call f with {number:02d}")


def policy(kind: type[Slow] = Slow, max_draws: int = 8) -> Slow:
    """Half right; else another value, another function, another parameter, a call too many."""
    table = {}
    for number in range(SAMPLES):
        answers = {f"[f(a={number})]": 5, f"[f(a={number + 1})]": 2, f"[g(a={number})]": 1, f"[f(b={number})]": 1}
        answers[f"[f(a={number}), f(a={number})]"] = 1
        prompt = tuple(PROMPTER.prompt_ids(sample(number)))
        table[prompt] = {ids_of(text): float(weight) for text, weight in answers.items()}
    return kind(table, max_draws)


def open_desk(max_draws: int = 8, delay: float = 0.0) -> Desk:
    """What a worker opens."""
    scripted = policy(max_draws=max_draws)
    scripted.delay = delay
    return Desk(scripted, PROMPTER)


def open_pool(workers: int, **options: float) -> Pool:
    """The policy in this process, or on so many of Ray's actors."""
    if workers == 1:
        return LocalPool(open_desk(**options))
    connect(WorkerSettings(count=workers))
    return RayPool(partial(open_desk, **options), workers)


def mine(run: Run, pool: Pool, search: SearchKind = "mcts", round_: int = 1, prompter: Prompter = PROMPTER) -> None:
    """The whole way of `itool mine`, from samples to pairs."""
    if not query(run.store, "SELECT 1 FROM samples").num_rows:
        run.store.commit("import", {"samples": [sample_row(sample(i)) for i in range(SAMPLES)]}, source="toy.jsonl")
    buffer = hardness.replay(run, pool, prompter, round_)
    if buffer.missing:
        hardness.measure(run, pool, buffer, round_, lambda done, total: None)
    if buffer.undrawn:
        hardness.draw_pass_rates(run, pool, buffer, round_, lambda done, total: print("drawn", done, flush=True))
    wanted = mining.unfinished(run, choosing.tasks(run, pool, prompter, buffer, round_, search, None))
    for finished in mining.mine(run, pool, wanted, search):
        print("step", len(finished), flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--max-draws", type=int, default=8)
    parser.add_argument("--open-trees", type=int, default=4)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--search", choices=SETTINGS, default="mcts")
    options = parser.parse_args(arguments)
    pool = open_pool(options.workers, max_draws=options.max_draws, delay=options.delay)
    try:
        settings = [*SETTINGS[options.search], f"mine.open_trees={options.open_trees}"]
        with write_run(options.run, None, settings) as run:
            mine(run, pool, options.search)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
