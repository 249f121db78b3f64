"""Adapters in a running vLLM engine: LoRA for each request (as on a GPU) and merged into the weights (as on a CPU)."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tiny_lora import tiny_lora

from itool_data.config import ModelSettings, WorkerSettings
from itool_data.errors import ItoolError
from itool_data.policy.base import Policy, Request, generate
from itool_data.policy.load import Adapter, BaseModel, adapter_hash, policy_id
from itool_data.policy.open import open_policy
from itool_data.policy.transformers import load_policy
from itool_data.policy.vllm import VllmPolicy, load_vllm_policy
from itool_data.workers.open import change_adapter, open_pool
from itool_data.workers.pool import Pool

START = list(range(3, 103))
CONTINUATION = [7, 11, 2, 90]


@pytest.fixture(scope="module", params=["lora", "merged"])
def policy(request: pytest.FixtureRequest, base: BaseModel) -> Iterator[VllmPolicy]:
    policy = load_vllm_policy(base, None, "cpu", 8, lora=request.param == "lora")
    yield policy
    policy.close()


def answers(policy: Policy) -> tuple[tuple[int, ...], list[float]]:
    """A greedy draw and a score, after a prompt of several blocks of the prefix cache."""
    (draw,) = generate(policy, [Request("a", START, [0], 20, 0.0)])[0].draws
    return draw.ids, policy.score([START], [CONTINUATION])[0]


def expected(base: BaseModel, adapter: Adapter | None) -> tuple[tuple[int, ...], list[float]]:
    folder = adapter.path if adapter else None
    return answers(load_policy(base.path, policy_id(base, adapter), folder, "cpu", 8))


def check(policy: VllmPolicy, base: BaseModel, adapter: Adapter | None) -> None:
    draw, scores = expected(base, adapter)
    for _ in range(2):  # the second time from the prefix cache
        own_draw, own_scores = answers(policy)
        assert own_draw == draw
        assert own_scores == pytest.approx(scores, abs=2e-3)
    assert str(policy.policy_id) == str(policy_id(base, adapter))


def test_adapters_come_and_go_without_a_trace_in_the_prefix_cache(
    policy: VllmPolicy, base: BaseModel, adapters: tuple[Adapter, Adapter]
) -> None:
    one, two = adapters
    assert len({expected(base, adapter)[0] for adapter in (None, one, two)}) == 3
    for adapter in (None, one, two, one, None):
        assert policy.use(adapter)
        check(policy, base, adapter)


def test_another_adapter_in_the_same_folder_is_another_adapter(
    policy: VllmPolicy, base: BaseModel, adapters: tuple[Adapter, Adapter], tmp_path: Path
) -> None:
    for source in adapters:
        shutil.copytree(source.path, tmp_path, dirs_exist_ok=True)
        adapter = Adapter(tmp_path, adapter_hash(tmp_path))
        assert policy.use(adapter)
        check(policy, base, adapter)


def test_draws_of_a_seed_are_the_same_once_an_adapter_is_back(
    policy: VllmPolicy, adapters: tuple[Adapter, Adapter]
) -> None:
    request = Request("a", START, [1, 2, 3], 20, 1.0)
    seen = []
    for adapter in (*adapters, adapters[0]):
        policy.use(adapter)
        seen.append([draw.ids for draw in generate(policy, [request])[0].draws])
    assert seen[0] == seen[2] != seen[1]


def test_a_rank_that_the_engine_has_no_room_for(
    base: BaseModel, adapters: tuple[Adapter, Adapter], tmp_path: Path
) -> None:
    tiny_lora(base.path, rank=12).save_pretrained(tmp_path)
    larger = Adapter(tmp_path, adapter_hash(tmp_path))
    policy = load_vllm_policy(base, adapters[0], "cpu", 8, lora=True)
    assert not policy.use(larger)
    check(policy, base, adapters[0])
    policy.close()
    policy = load_vllm_policy(base, larger, "cpu", 8, lora=True)
    check(policy, base, larger)
    policy.close()


def test_an_adapter_that_vllm_cannot_use_is_named(
    base: BaseModel, adapters: tuple[Adapter, Adapter], tmp_path: Path
) -> None:
    shutil.copytree(adapters[0].path, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "adapter_config.json"
    config.write_text(config.read_text().replace('"use_dora": false', '"use_dora": true'))
    policy = load_vllm_policy(base, None, "cpu", 8, lora=True)
    with pytest.raises(ItoolError, match=f"{tmp_path}: vLLM cannot use this adapter: .*DoRA"):
        policy.use(Adapter(tmp_path, "0"))
    policy.close()


def test_closing_gives_the_memory_back_and_another_engine_can_start(base: BaseModel) -> None:
    def used() -> int:
        return psutil.Process().memory_info().rss

    load_vllm_policy(base, None, "cpu", 8).close()  # what the first one imports stays
    before = used()
    policy = load_vllm_policy(base, None, "cpu", 8)
    answers(policy)
    during = used()
    policy.close()
    assert during - before > 2 << 30  # keys and values alone
    assert used() - before < 0.05 * (during - before)


def test_an_engine_that_cannot_sleep_says_so_and_goes_on(policy: VllmPolicy) -> None:
    """Sleep mode is of GPUs: here the caller has to close it."""
    before = answers(policy)
    assert not policy.sleep()
    assert answers(policy) == before


def test_what_the_engine_takes_is_said_in_its_own_words(base: BaseModel) -> None:
    settings = ModelSettings(policy="vllm", rows=4, engine={"max_model_len": 128})
    policy = open_policy(settings, base, None)
    assert policy.context == 128
    policy.close()
    for engine, said in (
        ({"max_model_length": 128}, "no such argument; did you mean max_model_len?"),
        ({"max_model_len": "long"}, "vLLM cannot run it"),
    ):
        with pytest.raises(ItoolError, match=re.escape(said)):
            open_policy(settings.model_copy(update={"engine": engine}), base, None)


def test_the_engine_stays_where_only_the_adapter_changes(base: BaseModel, adapters: tuple[Adapter, Adapter]) -> None:
    def said(pool: Pool) -> tuple[tuple[int, ...], list[float]]:
        return pool.ask(lambda desk: answers(desk.policy))

    workers = WorkerSettings()
    settings = ModelSettings(policy="vllm", rows=8)
    first = open_pool(settings, workers, base, adapters[0])
    second = change_adapter(first, settings, workers, base, adapters[1])
    assert second is first
    assert said(second)[0] == expected(base, adapters[1])[0]
    second.close()
    # The transformers policy holds one adapter's weights: another policy takes its place.
    settings = ModelSettings(rows=8)
    old = open_pool(settings, workers, base, adapters[0])
    new = change_adapter(old, settings, workers, base, adapters[1])
    assert said(new) == expected(base, adapters[1]) and str(new.policy_id) == str(policy_id(base, adapters[1]))
