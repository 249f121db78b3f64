"""The transformers policy on a tiny random model, against transformers' own generate and against itself."""

import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.toy_loop import tiny_model
from itool_data.errors import ItoolError
from itool_data.policy import limits, shared_prefix
from itool_data.policy.base import PolicyId, Request, derive_seed, generate, uniforms
from itool_data.policy.transformers import load_policy


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=["as on a CPU", "as on a GPU"], autouse=True)
def ways(request, monkeypatch):
    """On a GPU prompts are read together, and a step takes all prefixes in one product: the same draws."""
    if request.param == "as on a GPU":
        monkeypatch.setitem(limits.READ_TOKENS, "cpu", 4096)
        monkeypatch.setitem(shared_prefix.LIKE_LENGTH, "cpu", math.inf)


def policy(folder, rows=8):
    return load_policy(folder, PolicyId("tiny", "0"), None, "cpu", rows)


def prompt(n, seed=0):
    return [int(t) for t in np.random.default_rng(seed).integers(3, 128, n)]


def drawn(policy, request):
    return [d.ids for d in generate(policy, [request])[0].draws]


def test_greedy_draws_are_those_of_transformers_generate(folder):
    mine = policy(folder)
    requests = [Request(f"r{n}", prompt(n, n), [0], 20, 0.0) for n in (1, 5, 17, 60)]
    for request, completion in zip(requests, generate(mine, requests), strict=True):
        theirs = mine._model.generate(
            torch.tensor([request.prompt]), max_new_tokens=20, do_sample=False, pad_token_id=2
        )[0, len(request.prompt) :].tolist()
        assert list(completion.draws[0].ids) == theirs


def test_a_draw_is_the_same_whatever_runs_beside_it_and_however_wide_the_batch(folder):
    requests = [
        Request(f"r{i}", prompt(10 + i, i), [i, i + 100, i + 200], 16, (0.0, 1.0)[i % 2], f"g{i % 3}") for i in range(9)
    ]
    together = generate(policy(folder, rows=16), requests)
    narrow = generate(policy(folder, rows=2), requests[::-1])[::-1]
    alone = [generate(policy(folder, rows=1), [r])[0] for r in requests]
    for one, two, three in zip(together, narrow, alone, strict=True):
        assert [d.ids for d in one.draws] == [d.ids for d in two.draws] == [d.ids for d in three.draws]


def test_prompts_of_any_lengths_are_read_in_one_pass_where_passes_are_dear(folder):
    mine = policy(folder)
    lengths: list[tuple[int, ...]] = []
    mine._model.register_forward_pre_hook(
        lambda _, __, named: lengths.append(named["input_ids"].shape), with_kwargs=True
    )
    generate(mine, [Request(f"{n}", prompt(n, n), [n], 1, 0.0) for n in (3, 40, 11, 7)])
    together = limits.READ_TOKENS["cpu"] > 1
    assert lengths == ([(4, 40)] if together else [(1, 3), (1, 7), (1, 11), (1, 40)])


def test_a_group_computes_its_prompt_once_and_a_node_one_token_more(folder):
    mine = policy(folder)
    start = prompt(30)
    root = generate(mine, [Request("a", start, [1, 2, 3], 12, 1.0, "tree")])[0]
    step = list(max(root.draws, key=lambda d: len(d.ids)).ids[:5])
    node = generate(mine, [Request("b", start + step, [4, 5, 6], 12, 1.0, "tree")])[0]
    assert (root.prefilled, root.reused) == (30, 0)
    assert (node.prefilled, node.reused) == (1, 34)
    fresh = generate(policy(folder), [Request("b", start + step, [4, 5, 6], 12, 1.0)])[0]
    assert fresh.prefilled == 35
    assert [d.ids for d in node.draws] == [d.ids for d in fresh.draws]


def test_a_state_that_was_never_drawn_computes_what_is_new_of_it_and_draws_as_computed_whole(folder):
    mine = policy(folder)
    start, other, more = prompt(30), prompt(12, 1), prompt(6, 2)
    drawn_before = list(generate(mine, [Request("0", start, [1], 12, 1.0, "tree")])[0].draws[0].ids)
    # Tokens after the group's prefix, and how many of them are new.
    states = [
        (other[:5], 5), (other, 7), (other[:5], 0), (other[:9], 1), (other[:9] + more, 6), (other[:9] + more[:3], 1),
        (drawn_before[:4] + more, 6), (more, 6), ([], 0), (other + more, 6),
    ]  # fmt: skip
    for number, (tail, new) in enumerate(states):
        before = mine.usage.prefilled
        request = Request(f"{number}", start + tail, [4, 5, 6], 12, 1.0, "tree")
        (state,) = generate(mine, [request])
        (fresh,) = generate(policy(folder), [replace(request, group="")])
        assert (state.prefilled, state.reused) == (new, 30 + len(tail) - new)
        assert mine.usage.prefilled - before == new
        for draw, expected in zip(state.draws, fresh.draws, strict=True):
            assert draw.ids == expected.ids
            assert draw.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


@pytest.mark.parametrize("rows", [2, 16])
def test_states_asked_for_together_share_what_they_begin_with(folder, rows):
    mine = policy(folder, rows)
    start, answer = prompt(30), prompt(20, 1)
    requests = [Request(f"{n}", start + answer[:n], [n, n + 50], 8, 1.0, "tree") for n in (0, 3, 5, 9, 15, 20)]
    together = generate(mine, requests)
    alone = [generate(policy(folder), [replace(r, group="")])[0] for r in requests]
    assert [[d.ids for d in c.draws] for c in together] == [[d.ids for d in c.draws] for c in alone]
    assert mine.usage.prefilled == 50


def test_a_prompt_outside_its_group_is_computed_whole_and_right(folder):
    mine = policy(folder)
    generate(mine, [Request("a", prompt(20), [1], 4, 1.0, "tree")])
    other = Request("b", prompt(25, seed=9), [7, 8], 10, 1.0, "tree")
    assert drawn(mine, other) == drawn(policy(folder), other)


def test_released_and_reset_groups_leave_no_trace_in_later_draws(folder):
    mine = policy(folder, rows=3)
    for i in range(4):
        generate(mine, [Request("x", prompt(15 + i, i), [1, 2], 6, 1.0, f"g{i}")])
        mine.release(f"g{i}")
    mine.submit(Request("dropped", prompt(40), [1, 2, 3, 4, 5], 30, 1.0, "g"))
    mine.step()
    mine.reset()
    again = Request("y", prompt(12, 5), [9, 10, 11, 12], 10, 1.0, "g")
    assert drawn(mine, again) == drawn(policy(folder), again)


def test_logprobs_of_a_draw_are_its_scores_at_temperature_one(folder):
    mine = policy(folder)
    start = prompt(9)
    draw = generate(mine, [Request("a", start, [3], 15, 1.7)])[0].draws[0]
    assert mine.score([start], [draw.ids])[0] == pytest.approx(list(draw.logprobs), abs=1e-4)


def test_scores_are_the_models_log_softmax_whatever_the_batch(folder):
    mine = policy(folder)
    prompts = [prompt(n, n) for n in (3, 40, 11, 7)]
    continuations = [prompt(n, n + 50) for n in (5, 1, 20, 2)]
    got = mine.score(prompts, continuations)
    for start, continuation, scores in zip(prompts, continuations, got, strict=True):
        with torch.no_grad():
            logits = mine._model(torch.tensor([start + continuation])).logits[0].log_softmax(-1)
        expected = [logits[len(start) + i - 1, t].item() for i, t in enumerate(continuation)]
        assert scores == pytest.approx(expected, abs=1e-4)


def test_options_after_one_prompt_are_read_off_one_pass(folder):
    mine = policy(folder)
    start = prompt(30)
    separate = [mine.score([start], [[t]])[0] for t in (5, 6, 7, 8)]
    before = mine.usage.scored
    assert mine.score([start] * 4, [[5], [6], [7], [8]]) == [pytest.approx(s, abs=1e-5) for s in separate]
    assert mine.usage.scored - before == 30


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_distribution(folder, temperature):
    mine = policy(folder, rows=64)
    start = prompt(6)
    n = 3000
    draws = generate(mine, [Request("a", start, [derive_seed(i) for i in range(n)], 1, temperature)])[0].draws
    counts = np.bincount([d.ids[0] for d in draws], minlength=128)
    with torch.no_grad():
        expected = (mine._model(torch.tensor([start])).logits[0, -1] / temperature).softmax(-1).numpy()
    # Three standard errors and a bit, over 128 tokens at once.
    assert np.all(np.abs(counts - n * expected) <= 4.5 * np.sqrt(n * expected * (1 - expected)) + 1)


def test_end_of_turn_ends_a_draw_and_max_tokens_cuts_it(folder):
    mine = policy(folder, rows=32)
    draws = generate(mine, [Request("a", prompt(6), range(200), 40, 2.0)])[0].draws
    for draw in draws:
        stopped = 2 in draw.ids
        assert draw.finish == ("stop" if stopped else "length")
        assert draw.ids.index(2) == len(draw.ids) - 1 if stopped else len(draw.ids) == 40
    assert {d.finish for d in draws} == {"stop", "length"}


def test_a_draw_stops_at_the_context(folder):
    draw = generate(policy(folder), [Request("a", prompt(250), [1], 100, 0.0)])[0].draws[0]
    assert len(draw.ids) <= 6


@pytest.mark.parametrize("length", [0, 256, 300])
def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(folder, length):
    with pytest.raises(ItoolError, match=f"prompt of {length} tokens does not fit the context of 256"):
        policy(folder).submit(Request("a", prompt(length), [1], 4, 1.0))


def test_sliding_window_models_are_refused(tmp_path):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, use_sliding_window=True, sliding_window=8, max_window_layers=1,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ItoolError, match="only full attention"):
        policy(tmp_path)


def test_seeds_are_made_of_their_parts_alone():
    assert derive_seed(42, 1, "s", "0.1", 2) == derive_seed(42, 1, "s", "0.1", 2)
    assert len({derive_seed(42, 1, "s", path, d) for path in ("", "0", "0.0", "00") for d in range(3)}) == 12
    assert np.array_equal(uniforms(5, 10)[:4], uniforms(5, 4))


def test_a_closed_policy_gives_all_its_memory_back(folder):
    policy = load_policy(folder, PolicyId("tiny", "0"), None, "cuda" if torch.cuda.is_available() else "cpu", 4)
    generate(policy, [Request("a", [5, 6, 7], [1, 2], 8, 1.0, group="g")])
    held = [weakref.ref(policy._model), weakref.ref(policy._cache), *map(weakref.ref, policy._model.parameters())]
    policy.close()
    assert not [reference for reference in held if reference() is not None]
    if torch.cuda.is_available():
        assert torch.cuda.memory_allocated() == 0
