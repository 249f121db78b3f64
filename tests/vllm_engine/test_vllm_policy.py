"""The vllm policy on a tiny random model, against the transformers policy and against itself."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from itool_data.errors import ItoolError
from itool_data.perplexity import perplexity
from itool_data.policy.base import Completion, Policy, PolicyId, Request, derive_seed, generate
from itool_data.policy.load import BaseModel
from itool_data.policy.transformers import load_policy
from itool_data.policy.vllm import VllmPolicy, load_vllm_policy

BLOCK = 32  # tokens that the engine's prefix cache shares at once


@pytest.fixture(scope="module")
def engine(base: BaseModel) -> Iterator[VllmPolicy]:
    policy = load_vllm_policy(base, None, "cpu", 16)
    yield policy
    policy.close()


@pytest.fixture
def policy(engine: VllmPolicy) -> Iterator[VllmPolicy]:
    """The engine with nothing under way and nothing cached."""
    engine.reset()
    return engine


@pytest.fixture(scope="module")
def reference(base: BaseModel) -> Policy:
    return load_policy(base.path, PolicyId("tiny", "0"), None, "cpu", 16)


def prompt(n: int, seed: int = 0) -> list[int]:
    return [int(t) for t in np.random.default_rng(seed).integers(3, 128, n)]


def ids(completion: Completion) -> list[tuple[int, ...]]:
    return [draw.ids for draw in completion.draws]


def test_greedy_draws_are_those_of_the_transformers_policy(policy: VllmPolicy, reference: Policy) -> None:
    requests = [Request(f"r{n}", prompt(n, n), [0], 24, 0.0) for n in (1, 5, 31, 32, 33, 64, 100)]
    for mine, theirs in zip(generate(policy, requests), generate(reference, requests), strict=True):
        assert ids(mine) == ids(theirs)
        assert mine.draws[0].finish == theirs.draws[0].finish
        assert mine.draws[0].logprobs == pytest.approx(theirs.draws[0].logprobs, abs=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_logprobs_of_a_draw_are_at_temperature_one(policy: VllmPolicy, reference: Policy, temperature: float) -> None:
    start = prompt(40)
    draws = generate(policy, [Request("a", start, range(8), 20, temperature)])[0].draws
    scores = reference.score([start] * 8, [draw.ids for draw in draws])
    for draw, expected in zip(draws, scores, strict=True):
        assert list(draw.logprobs) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_distribution(policy: VllmPolicy, reference: Policy, temperature: float) -> None:
    start, n = prompt(6), 3000
    draws = generate(policy, [Request("a", start, [derive_seed(i) for i in range(n)], 1, temperature)])[0].draws
    counts = np.bincount([draw.ids[0] for draw in draws], minlength=128)
    logprobs = np.array(reference.score([start] * 128, [[token] for token in range(128)]))[:, 0] / temperature
    expected = np.exp(logprobs - np.logaddexp.reduce(logprobs))
    # Four and a half standard errors, over 128 tokens at once.
    assert np.all(np.abs(counts - n * expected) <= 4.5 * np.sqrt(n * expected * (1 - expected)) + 1)


def test_a_draw_is_its_seed_s_whatever_runs_beside_it_and_whatever_is_cached(policy: VllmPolicy) -> None:
    seeds = [0, 1, 2**63 + 2, 2**64 - 1]
    requests = [Request(f"r{i}", prompt(20 + 9 * i, i), seeds, 16, 1.0) for i in range(6)]
    together = [ids(c) for c in generate(policy, requests)]
    cached = [ids(c) for c in generate(policy, requests[::-1])][::-1]
    policy.reset()
    alone = [ids(generate(policy, [r])[0]) for r in requests]
    assert together == cached == alone
    assert len({draw for draws in together for draw in draws}) == 24


def test_more_prompt_tokens_than_a_step_computes(policy: VllmPolicy) -> None:
    requests = [Request(f"r{i}", prompt(230, i), [i], 6, 1.0) for i in range(24)]
    together = [ids(c) for c in generate(policy, requests)]
    policy.reset()
    assert together == [ids(generate(policy, [r])[0]) for r in requests]


def test_what_requests_share_is_computed_once_by_whole_blocks(policy: VllmPolicy) -> None:
    policy.usage = type(policy.usage)()
    start = prompt(70)
    root = generate(policy, [Request("a", start, [1, 2, 3], 40, 1.0, "tree")])[0]
    assert (root.prefilled, root.reused) == (70 + 2 * (70 - 2 * BLOCK), 2 * 2 * BLOCK)
    # The node's prompt reaches into what a draw has decoded.
    longest = max(root.draws, key=lambda draw: len(draw.ids)).ids
    node_prompt = [*start, *longest[:30]]
    assert len(node_prompt) == 100
    node = generate(policy, [Request("b", node_prompt, [4], 1, 1.0, "tree")])[0]
    assert (node.prefilled, node.reused) == (100 - 3 * BLOCK, 3 * BLOCK)
    usage = policy.usage
    assert (usage.prefilled, usage.reused) == (root.prefilled + node.prefilled, root.reused + node.reused)
    assert usage.decoded == sum(len(draw) for draw in (*ids(root), *ids(node)))
    policy.reset()
    assert generate(policy, [Request("c", start, [1], 1, 1.0)])[0].reused == 0


def test_scores_and_perplexity_are_those_of_the_transformers_policy(policy: VllmPolicy, reference: Policy) -> None:
    prompts = [prompt(n, n) for n in (3, 40, 64, 100, 7, 9)]
    continuations = [prompt(n, n + 50) for n in (5, 1, 20, 2, 90)] + [[]]
    generate(policy, [Request(str(i), start, [1], 4, 1.0) for i, start in enumerate(prompts)])  # so they are cached
    mine, theirs = policy.score(prompts, continuations), reference.score(prompts, continuations)
    for own, expected in zip(mine, theirs, strict=True):
        assert own == pytest.approx(expected, abs=1e-4)
    for own, expected in zip(mine[:-1], theirs[:-1], strict=True):
        assert perplexity(own) == pytest.approx(perplexity(expected), rel=1e-4)


def test_options_after_one_prompt_take_one_pass_that_the_cache_serves(policy: VllmPolicy, reference: Policy) -> None:
    start, options = prompt(100), [[5], [6], [7], [8]]
    before = policy.usage.scored
    expected = reference.score([start] * 4, options)
    assert policy.score([start] * 4, options) == [pytest.approx(score, abs=1e-4) for score in expected]
    assert policy.usage.scored - before == 100
    other = [*start[:96], *prompt(10, 1)]
    policy.score([other] * 4, options)
    assert policy.usage.scored - before == 110


def test_draws_go_on_while_others_are_scored(policy: VllmPolicy) -> None:
    request = Request("a", prompt(30), [1, 2], 12, 1.0)
    expected = ids(generate(policy, [request])[0])
    policy.submit(request)
    policy.step()
    for length in range(15):
        policy.score([prompt(20, length)], [prompt(3, length)])
    completions: list[Completion] = []
    while not completions:
        completions = policy.step()
    assert [ids(c) for c in completions] == [expected]


def test_reset_aborts_what_is_under_way(policy: VllmPolicy) -> None:
    again = Request("y", prompt(40, 5), [9, 10, 11], 10, 1.0)
    expected = ids(generate(policy, [again])[0])
    for i in range(40):
        until = (lambda ids: len(ids) == 2) if i % 2 else None
        policy.submit(Request(f"dropped{i}", prompt(40, i), [1, 2, 3, 4], 60, 1.0, until=until))
    for _ in range(3):
        policy.step()
    policy.reset()
    for _ in range(5):
        assert policy.step() == []
    assert ids(generate(policy, [again])[0]) == expected


def test_end_of_turn_ends_a_draw_and_max_tokens_cuts_it(policy: VllmPolicy) -> None:
    draws = generate(policy, [Request("a", prompt(6), range(48), 40, 2.0)])[0].draws
    for draw in draws:
        stopped = 2 in draw.ids
        assert draw.finish == ("stop" if stopped else "length")
        assert draw.ids.index(2) == len(draw.ids) - 1 if stopped else len(draw.ids) == 40
    assert {draw.finish for draw in draws} == {"stop", "length"}
    over_it = generate(policy, [Request("a", prompt(6), range(48), 40, 2.0, ignore_stop=True)])[0].draws
    assert {len(draw.ids) for draw in over_it} == {40} and any(2 in draw.ids[:-1] for draw in over_it)


def rarely(ids: tuple[int, ...]) -> bool:
    """So rare that draws end otherwise too."""
    return ids[-1] % 16 == 5


def test_a_draw_is_the_same_up_to_where_the_caller_ends_it(policy: VllmPolicy) -> None:
    request = Request("a", prompt(40), range(96), 12, 1.5)
    whole = generate(policy, [request])[0].draws
    before = policy.usage.decoded
    # Others, which nothing ends, run beside them.
    beside = Request("b", prompt(6), range(8), 40, 1.5)
    ended, undisturbed = generate(policy, [replace(request, until=rarely), beside])
    decoded = policy.usage.decoded - before
    for draw, expected in zip(ended.draws, whole, strict=True):
        end = next((n for n in range(1, 1 + len(expected.ids)) if rarely(expected.ids[:n])), len(expected.ids))
        assert draw.ids == expected.ids[:end]
        assert draw.logprobs == pytest.approx(expected.logprobs[:end], abs=1e-5)
        assert draw.finish == ("step" if rarely(draw.ids) else expected.finish)
    assert {draw.finish for draw in ended.draws} == {"stop", "step", "length"}
    assert decoded == sum(len(draw.ids) for c in (ended, undisturbed) for draw in c.draws)
    assert ids(undisturbed) == ids(generate(policy, [beside])[0])
    for _ in range(3):
        assert policy.step() == []


def test_end_of_turn_goes_before_the_callers_end_and_that_before_the_longest(policy: VllmPolicy) -> None:
    whole = generate(policy, [Request("a", prompt(6), range(48), 12, 2.0)])[0].draws
    for n in sorted({len(draw.ids) for draw in whole if draw.finish == "stop"}):
        request = Request("a", prompt(6), range(48), n, 2.0, until=lambda ids, n=n: len(ids) == n)
        for draw, expected in zip(generate(policy, [request])[0].draws, whole, strict=True):
            assert draw.ids == expected.ids[:n]
            assert draw.finish == ("stop" if expected.finish == "stop" and len(expected.ids) <= n else "step")


def test_the_context_is_the_model_s_and_cuts_a_draw(policy: VllmPolicy) -> None:
    assert policy.context == 256
    (draw,) = generate(policy, [Request("a", prompt(250), [1], 100, 0.0)])[0].draws
    assert len(draw.ids) <= 6


@pytest.mark.parametrize("length", [0, 256, 300])
def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(policy: VllmPolicy, length: int) -> None:
    with pytest.raises(ItoolError, match=f"prompt of {length} tokens does not fit the context of 256"):
        policy.submit(Request("a", prompt(length), [1], 4, 1.0))


def test_a_temperature_that_vllm_does_not_take_is_refused(policy: VllmPolicy) -> None:
    with pytest.raises(ItoolError, match=r"temperatures up to 2.0, not 2.5; lower mcts.temperature"):
        policy.submit(Request("a", prompt(5), [1], 4, 2.5))


def test_a_sequence_that_does_not_fit_is_not_scored(policy: VllmPolicy) -> None:
    assert len(policy.score([prompt(200)], [prompt(56)])[0]) == 56
    with pytest.raises(ItoolError, match="200 \\+ 57 tokens cannot be scored in a context of 256"):
        policy.score([prompt(200)], [prompt(57)])


def test_a_model_that_vllm_cannot_run_is_named_with_the_reason(base: BaseModel, tmp_path: Path) -> None:
    shutil.copytree(base.path, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("LlamaForCausalLM", "NoSuchModel"))
    with pytest.raises(ItoolError, match=r"^other: vLLM cannot run it: .*NoSuchModel.* not supported") as refused:
        load_vllm_policy(BaseModel(tmp_path, "other", "0"), None, "cpu", 4)
    assert "\n" not in str(refused.value)
