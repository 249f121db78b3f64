"""How fast searches decode with the transformers policy, by the draws at once, and in how much memory.

SEARCH_ROWS_tokens          tokens decoded a second in the first seconds of a search
SEARCH_ROWS_proved          proved pairs a minute, likewise (of trees that were finished)
SEARCH_ROWS_utilisation     tokens a second of the search / of draws that wait for nothing, at as many rows
SEARCH_ROWS_gib             memory that the device held at most, weights included; null on a CPU
SEARCH_ROWS_gib_estimated   what `--plan` says of this search, its draws as long as they may be
SEARCH_ROWS_gib_ratio       estimated / held
ROWS_tokens                 tokens a second of draws that wait for nothing
"""

import time
from collections import deque
from contextlib import suppress
from typing import Any

from bench.gpu.setting import Figures, Setting, beside_estimate, timed
from itool_data.choosing import searchable
from itool_data.config import Config
from itool_data.kinds import SearchKind
from itool_data.policy.base import Completion, Request, Usage, generate
from itool_data.policy.open import open_policy
from itool_data.prompt import Tokenised
from itool_data.search.miner import Miner
from itool_data.search.task import Task
from itool_data.sizing.stages import search

KINDS: tuple[SearchKind, ...] = ("walk", "mcts")
FREE_TOKENS = 64  # of a draw that waits for nothing


def searches(setting: Setting) -> Figures:
    """Walks and trees at each number of rows."""
    figures: Figures = {}
    config, shape, memory = setting.run.config, setting.shape, setting.memory
    for rows in setting.sizes.rows:
        model = config.model.model_copy(update={"policy": "transformers", "rows": rows})
        policy = open_policy(model, setting.base, setting.adapter)
        chosen, _ = searchable(setting.run, policy, setting.prompter, setting.samples(setting.sizes.searched), "walk")
        free = _free(policy, chosen[: 2 * rows], setting.device)
        figures[f"{rows}_tokens"] = free
        longest = max(len(t.prompt) for t in chosen)
        for kind in KINDS:
            tasks = [Task(t.key, t.sample, tuple(t.prompt), 42, 1, tuple(t.response)) for t in chosen]
            found, held = _search(setting, policy, config, tasks, kind)
            found["utilisation"] = found["tokens"] / free  # type: ignore[operator]
            loop = config.loop.model_copy(update={"search": kind})
            planned = config.model_copy(update={"model": model, "loop": loop})
            found |= beside_estimate(held, search(planned, shape, memory, longest).need)
            figures |= {f"{kind}_{rows}_{name}": figure for name, figure in found.items()}
        policy.close()
    return figures


def _free(policy: Any, samples: list[Tokenised], device: str) -> float:
    """Tokens a second of draws from prompts that are all known beforehand."""
    policy.reset()
    requests = [Request(t.key, tuple(t.prompt), [0], FREE_TOKENS, 1.0, ignore_stop=True) for t in samples]
    seconds, _ = timed(device, lambda: generate(policy, requests))
    return len(requests) * FREE_TOKENS / seconds


class _TimeUpError(Exception):
    pass


class _Until:
    """A policy until a moment."""

    def __init__(self, policy: Any, end: float):
        self._policy, self._end = policy, end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def step(self) -> list[Completion]:
        if time.monotonic() > self._end:
            raise _TimeUpError
        completions: list[Completion] = self._policy.step()
        return completions


def _search(
    setting: Setting, policy: Any, config: Config, tasks: list[Task], kind: SearchKind
) -> tuple[Figures, float | None]:
    """What a search does, and the GiB that the device held at most."""
    policy.reset()
    policy.usage = Usage()
    proved = 0

    def work() -> None:
        nonlocal proved
        timed_policy = _Until(policy, time.monotonic() + setting.sizes.seconds)
        with suppress(_TimeUpError):
            for trees in Miner(timed_policy, setting.prompter, config, None, kind).run(deque(tasks)):
                proved += sum(pair.proved for tree in trees for pair in tree.pairs)

    seconds, held = timed(setting.device, work)
    policy.reset()
    return {"tokens": policy.usage.decoded / seconds, "proved": 60 * proved / seconds}, held
