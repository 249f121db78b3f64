"""Two workers against one, on a policy that has no model and takes a fixed time for a step, as a GPU does.

Run `python -m bench.workers`. Everything else is what `itool mine` does: the search on workers, the rows, the commits
to Delta tables by one process. One worker is the policy in this process, without Ray. The last line is JSON: `speedup`
(time of the search, one against two; opening the policies left out), `driver_us_per_node` (CPU time of the process that
deals out and writes, all its threads, over the nodes of the finished trees), of it `commit_us_per_node` for the tables,
and `same_trees`; and what a round saves where the workers stay: with the embedded model, the seconds from one adapter's
last answer to the next one's first, `new_round_seconds` with workers started anew and `kept_round_seconds` with workers
that slept meanwhile. Left out: a model's own cost, and GPUs, on which vLLM's engine would be kept too.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from itool_data import choosing, mining
from itool_data.config import ModelSettings, WorkerSettings
from itool_data.policy.base import Completion, Draw, PolicyId, Request, Usage, generate, uniforms
from itool_data.policy.load import Adapter, adapter_hash, find_model
from itool_data.policy.open import open_prompter
from itool_data.prompt import tokenise
from itool_data.run import write_run
from itool_data.sample import Message, Sample, Tool, ToolCall
from itool_data.store.sql import query
from itool_data.store.tables import Commit, Store
from itool_data.workers.actors import RayPool
from itool_data.workers.open import change_adapter, connect, open_pool
from itool_data.workers.pool import Desk, LocalPool, Pool

STEP_SECONDS = 0.15
ROWS = 48
SETTINGS = ["reward.weight=0", "mcts.width=4", "mcts.max_tokens=64"]
KINDS = {"city": "string", "country": "string", "days": "integer"}
SCHEMA = {"type": "object", "properties": {name: {"type": kind} for name, kind in KINDS.items()}}

Ids = tuple[int, ...]


class PacedPolicy:
    """Answers from a list of responses a prompt, up to so many draws in a step that takes a fixed time."""

    context = 4096
    policy_id = PolicyId("paced", "0")

    def __init__(self, answers: dict[Ids, list[Ids]]):
        self.usage = Usage()
        self.max_rows = ROWS
        self._answers = answers
        self._roots: dict[str, Ids] = {}  # a group's first prompt
        self._waiting: list[Request] = []

    def submit(self, request: Request) -> None:
        self._roots.setdefault(request.group, tuple(request.prompt))
        self._waiting.append(request)

    def step(self) -> list[Completion]:
        time.sleep(STEP_SECONDS)
        done: list[Completion] = []
        room = self.max_rows
        while self._waiting and len(self._waiting[0].seeds) <= room:
            request = self._waiting.pop(0)
            room -= len(request.seeds)
            done.append(self._answer(request))
        return done

    def _answer(self, request: Request) -> Completion:
        root = self._roots[request.group]
        begun = tuple(request.prompt[len(root) :])
        fitting = [ids for ids in self._answers[root] if ids[: len(begun)] == begun and len(ids) > len(begun)]
        draws = []
        for seed in request.seeds:
            (u,) = uniforms(seed, 1)
            ids = fitting[int(u * len(fitting))][len(begun) :]
            draws.append(Draw(ids, (-1.0 / len(fitting),) * len(ids), "stop"))
        self.usage.prefilled += len(request.prompt)
        self.usage.decoded += sum(len(draw.ids) for draw in draws)
        return Completion(request.request_id, tuple(draws), len(request.prompt), 0)

    def release(self, group: str) -> None:
        self._roots.pop(group, None)

    def reset(self) -> None:
        self._waiting.clear()
        self._roots.clear()

    def use(self, adapter: Adapter | None) -> bool:
        return False

    def leave(self, memory: float) -> None:
        pass

    def sleep(self) -> bool:
        return True

    def wake(self) -> None:
        pass

    def close(self) -> None:
        self.reset()

    def score(self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        raise NotImplementedError("the search asks for no scores at reward.weight 0")


def sample(number: int) -> Sample:
    arguments = {"city": f"Town {number}", "country": "Norway", "days": number % 7 + 1}
    call = ToolCall("forecast", arguments)
    target = f"[forecast({', '.join(f'{name}={value!r}' for name, value in arguments.items())})]"
    question = Message("user", f"Will it rain in Town {number} in Norway, over {number % 7 + 1} days?")
    return Sample("bench", str(number), (question,), (Tool("forecast", "the weather", SCHEMA),), target, (call,))


def responses(number: int) -> list[str]:
    cities = (f"Town {number}", f"Town{number}", f"Town {number + 1}", "Town", "Norway")
    return [
        f"[forecast({city=}, {country=}, {days=})]"
        for city in cities
        for country in ("Norway", "NO", "", "Town")
        for days in (number % 7 + 1, number % 7 + 2, 10, 0)
    ]


def open_desk(answers: dict[Ids, list[Ids]]) -> Desk:
    settings = ModelSettings()
    return Desk(PacedPolicy(answers), open_prompter(settings, find_model(settings)))


@dataclass
class Measured:
    """One search: its seconds, the CPU seconds of this process, those of commits among them, its trees' rows."""

    seconds: float
    cpu: float
    commits: float
    nodes: list[dict[str, Any]]


class TimedStore(Store):
    """Adds up the CPU time that commits take."""

    cpu = 0.0

    def commit(self, *arguments: Any, **info: Any) -> Commit:
        started = time.process_time()
        done = super().commit(*arguments, **info)
        self.cpu += time.process_time() - started
        return done


def measure(pool: Pool, samples: Sequence[Sample], folder: Path) -> Measured:
    """Search all samples over a pool, into a new run."""
    settings = ModelSettings()
    prompter = open_prompter(settings, find_model(settings))
    with write_run(folder, None, SETTINGS) as run:
        wanted = choosing.as_tasks(run, pool, tokenise(prompter, samples)[0], 1, "mcts")
        store = TimedStore(run.store.place)
        run = replace(run, store=store)
        started, cpu = time.monotonic(), time.process_time()
        for _ in mining.mine(run, pool, wanted, "mcts"):
            pass
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        sql = "SELECT tree_id, path, step_ids, visits, round(q, 9) AS q FROM nodes ORDER BY tree_id, path"
        return Measured(seconds, cpu, store.cpu, query(store, sql).to_pylist())


def rounds(folder: Path, workers: int) -> dict[str, float]:
    """Seconds between an adapter's last answer and the next one's first, on new workers and on those that stay."""
    from itool_data.config import TrainingSettings
    from itool_train.qlora import load_trainable

    settings = ModelSettings(policy="transformers")
    base = find_model(settings)
    adapters = []
    for number in (1, 2, 3):
        path = folder / f"adapter-{number}"
        load_trainable(base, None, TrainingSettings(rank=number), "cpu", number).save_pretrained(str(path))
        adapters.append(Adapter(path, adapter_hash(path)))
    on = WorkerSettings(count=workers)

    def answered(pool: Pool) -> None:
        pool.ask(lambda desk: generate(desk.policy, [Request("a", [1, 2, 3], [0], 1, 0.0)]))

    pool = open_pool(settings, on, base, adapters[0])
    answered(pool)
    started = time.monotonic()
    pool.close()
    pool = open_pool(settings, on, base, adapters[1])
    answered(pool)
    new = time.monotonic() - started
    started = time.monotonic()
    pool.sleep()
    pool.wake()
    assert change_adapter(pool, settings, on, base, adapters[2]) is pool
    answered(pool)
    kept = time.monotonic() - started
    pool.close()
    return {"new_round_seconds": round(new, 1), "kept_round_seconds": round(kept, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    samples = [sample(number) for number in range(options.samples)]
    settings = ModelSettings()
    prompter = open_prompter(settings, find_model(settings))
    answers = {
        tuple(prompter.prompt_ids(s)): [tuple(prompter.response_ids(text)) for text in responses(number)]
        for number, s in enumerate(samples)
    }
    with tempfile.TemporaryDirectory(prefix="itool-bench-") as scratch:
        one = measure(LocalPool(open_desk(answers)), samples, Path(scratch, "one"))
        print(f"1 worker: {one.seconds:.1f} s, {len(one.nodes)} nodes of {len(samples)} trees", flush=True)
        connect(WorkerSettings(count=options.workers))
        pool = RayPool(partial(open_desk, answers), options.workers)
        time.sleep(5)  # all workers are to be open, as one is in this process
        several = measure(pool, samples, Path(scratch, "several"))
        pool.close()
        between = rounds(Path(scratch), options.workers)
    print(f"{options.workers} workers: {several.seconds:.1f} s, {several.cpu:.2f} s of them this process's CPU")
    figures = {
        "speedup": round(one.seconds / several.seconds, 3),
        "driver_us_per_node": round(1e6 * several.cpu / len(several.nodes), 1),
        "commit_us_per_node": round(1e6 * several.commits / len(several.nodes), 1),
        "same_trees": one.nodes == several.nodes,
        **between,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
