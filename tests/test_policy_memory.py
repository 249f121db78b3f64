"""The transformers policy where memory is short: what does not fit waits, running out halves what is done at once."""

import math
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.toy_loop import tiny_model
from itool_data.errors import ItoolError
from itool_data.policy.base import PolicyId, Request, generate
from itool_data.policy.limits import Limits
from itool_data.policy.transformers import TransformersPolicy, load_policy
from itool_data.sizing.need import FP32, token
from itool_data.sizing.shape import read_shape

FREE = Limits(16, 4096, 4096, 4096)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


def policy(folder: Path, limits: Limits = FREE) -> TransformersPolicy:
    loaded = load_policy(folder, PolicyId("tiny", "0"), None, "cpu")
    return TransformersPolicy(loaded._model, loaded.policy_id, frozenset([2]), limits)


def prompt(n: int, seed: int = 0) -> list[int]:
    return [int(t) for t in np.random.default_rng(seed).integers(3, 128, n)]


def requests() -> list[Request]:
    """Draws of trees that come back with more, of several lengths, and of prompts of their own."""
    wanted = []
    for i in range(4):
        start = prompt(20 + 15 * i, i)
        wanted.append(Request(f"{i}/a", start, [i, i + 10, i + 20], 16, 1.0, f"tree{i}"))
        wanted.append(Request(f"{i}/b", start + prompt(60, i + 50), [i + 30, i + 40], 12, 1.0, f"tree{i}"))
        wanted.append(Request(f"{i}/c", prompt(15 + i, i + 90), [0], 20, 0.0))
    return wanted


def draws(policy: TransformersPolicy) -> list[list[tuple[int, ...]]]:
    return [[draw.ids for draw in completion.draws] for completion in generate(policy, requests())]


class Small:
    """A device on which passes over more than so many rows or tokens run out of memory."""

    def __init__(self, policy: TransformersPolicy, rows: float = math.inf, tokens: float = math.inf):
        self.passes: list[tuple[int, int]] = []
        self.ran_out = 0

        def before(_: Any, __: Any, named: dict[str, Any]) -> None:
            n, length = named["input_ids"].shape
            if n > rows or n * length > tokens:
                self.ran_out += 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            self.passes.append((n, length))

        policy._model.register_forward_pre_hook(before, with_kwargs=True)


@pytest.mark.parametrize("rows", [1, 3])
def test_running_out_of_memory_halves_the_rows_and_draws_the_same(folder: Path, rows: int) -> None:
    short = policy(folder)
    device = Small(short, rows=rows)
    assert draws(short) == draws(policy(folder))
    assert device.ran_out and short.max_rows == (1 if rows == 1 else 2)
    ran_out = device.ran_out
    draws(short)
    assert device.ran_out == ran_out  # it stays with what fits


def test_running_out_of_memory_while_scoring_halves_the_batch_and_scores_the_same(folder: Path) -> None:
    prompts = [prompt(n, n) for n in (30, 8, 44, 19, 27, 33)]
    continuations = [prompt(n, n + 50) for n in (5, 1, 20, 2, 9, 4)]
    short = policy(folder)
    device = Small(short, tokens=130)
    expected = policy(folder).score(prompts, continuations)
    for found, wanted in zip(short.score(prompts, continuations), expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-5)
    assert device.ran_out


def test_running_out_of_memory_in_the_middle_of_draws_loses_none(folder: Path) -> None:
    short = policy(folder)
    waiting = deque(requests())
    for request in waiting:
        short.submit(request)
    done = {}
    for _ in range(6):
        done |= {c.request_id: c for c in short.step()}
    device = Small(short, rows=4)
    while len(done) < len(waiting):
        done |= {c.request_id: c for c in short.step()}
    assert device.ran_out
    assert [[d.ids for d in done[r.request_id].draws] for r in waiting] == draws(policy(folder))


def test_with_nothing_left_to_halve_it_says_what_to_do(folder: Path) -> None:
    short = policy(folder)
    Small(short, rows=0)
    with pytest.raises(ItoolError, match="out of memory with one draw and one prompt at a time"):
        draws(short)


def test_another_error_is_not_taken_for_want_of_memory(folder: Path) -> None:
    broken = policy(folder)

    def fail(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    broken._model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        draws(broken)
    assert broken.max_rows == FREE.rows


def held(policy: TransformersPolicy) -> int:
    """Tokens that the buffers of keys and values have room for, and those kept of finished draws."""
    buffers = math.prod(policy._cache.prefix.shape) + math.prod(policy._cache.branch.shape)
    return buffers + sum(group.tokens for group in policy._groups.values())


@pytest.mark.parametrize(("room", "left"), [(600, 800), (1400, 0)])
def test_keys_and_values_stay_within_their_room_and_draws_are_the_same(folder: Path, room: int, left: int) -> None:
    """The longest of these requests has a prompt of 65 tokens and 60 more: with a draw 256 of the buffers' room."""
    short, most = policy(folder, Limits(16, 4096, 4096, 4096, room + left)), 0
    short.leave(left * token(read_shape(folder), FP32))

    def steps() -> Iterator[dict[str, list[tuple[int, ...]]]]:
        nonlocal most
        for request in requests():
            short.submit(request)
        while short._unfinished:
            yield {c.request_id: [d.ids for d in c.draws] for c in short.step()}
            most = max(most, held(short))
            # A tree that is finished is released, as a search does.
            for i in range(4):
                if not any(job.request.group == f"tree{i}" for job in short._unfinished):
                    short.release(f"tree{i}")

    found = {name: ids for step in steps() for name, ids in step.items()}
    assert [found[r.request_id] for r in requests()] == draws(policy(folder))
    assert most <= room
    free = policy(folder)
    draws(free)
    assert held(free) > 1400  # else the room would bind nothing
