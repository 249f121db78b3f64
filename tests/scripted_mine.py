"""Mine a small run with a policy that has no model: `python scripted_mine.py RUN [--max-draws N] ...`.

Prints a line at each step of the search, so that a test can stop the process after as many as it likes; the same
command goes on.
"""

import argparse
import sys
import time
from pathlib import Path

from toys import PROMPTER, ids_of, toy_sample

from itool_data import stages
from itool_data.policy.base import Completion
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.run import Run, write_run
from itool_data.sample import Sample
from itool_data.store.samples import sample_row
from itool_data.store.sql import query

SAMPLES = 20
SETTINGS = ["reward.weight=0", "replay.fraction=1", "replay.hardest=1", "mcts.max_tokens=32", "mine.commit_trees=2"]


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


def mine(run: Run, scripted: ScriptedPolicy, round_: int = 1) -> None:
    """The whole way of `itool mine`, from samples to pairs."""
    if not query(run.store, "SELECT 1 FROM samples").num_rows:
        run.store.commit("import", {"samples": [sample_row(sample(i)) for i in range(SAMPLES)]}, source="toy.jsonl")
    buffer = stages.replay(run, scripted, PROMPTER, round_)
    if buffer.missing:
        stages.measure(run, scripted, buffer, round_, lambda done, total: None)
    wanted = stages.unfinished(run, stages.tasks(run, scripted, PROMPTER, buffer, round_, "mcts", None))
    for finished in stages.mine(run, scripted, PROMPTER, None, wanted, "mcts"):
        print("step", len(finished), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--max-draws", type=int, default=8)
    parser.add_argument("--open-trees", type=int, default=4)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    scripted = policy(max_draws=options.max_draws)
    scripted.delay = options.delay
    try:
        with write_run(options.run, None, [*SETTINGS, f"mine.open_trees={options.open_trees}"]) as run:
            mine(run, scripted)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
