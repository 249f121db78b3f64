"""Eq. 4 on the response tokens only, the replay buffer, and the hardest of it."""

import math
from collections import deque

import pytest
from toys import PROMPTER, ids_of, toy_sample

from itool_data.perplexity import hardest, perplexity, replay_buffer, score_samples
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.prompt import Tokenised


def test_perplexity_is_the_inverse_geometric_mean_of_the_probabilities():
    # tokens of probability 1/2 and 1/8: sqrt(2 * 8) = 4
    assert perplexity([math.log(1 / 2), math.log(1 / 8)]) == pytest.approx(4.0)
    assert perplexity([0.0]) == 1.0


def test_perplexity_of_the_impossible_is_finite():
    assert math.isfinite(perplexity([-1e9]))


def test_scores_count_response_tokens_only():
    sample = toy_sample()
    prompt, response = PROMPTER.prompt_ids(sample), ids_of(sample.target)
    policy = ScriptedPolicy({tuple(prompt): {response: 1.0, ids_of("[g()]"): 3.0}})
    (score,) = next(score_samples(policy, PROMPTER, deque([Tokenised(sample, prompt, list(response))])))
    # One choice of probability 1/4 among 9 tokens, end-of-turn included; the prompt has no part in it.
    assert score.n_tokens == len("[f(a=1)]") + 1
    assert score.perplexity == pytest.approx(4 ** (1 / 9))
    assert score.mean_nll == pytest.approx(math.log(4) / 9)


SAMPLES = [toy_sample(question=f"question {i}") for i in range(41)]


def test_the_buffer_is_a_reproducible_random_half():
    buffer = replay_buffer(SAMPLES, 0.5, 42)
    assert len(buffer) == 21
    assert buffer == [s for s in SAMPLES if s in buffer]
    assert {s.sample_id for s in replay_buffer(SAMPLES[::-1], 0.5, 42)} == {s.sample_id for s in buffer}
    assert {s.sample_id for s in replay_buffer(SAMPLES, 0.5, 43)} != {s.sample_id for s in buffer}
    assert replay_buffer(SAMPLES, 1.0, 42) == SAMPLES


def test_the_hardest_tenth_is_rounded_up_and_ordered():
    scores = [(f"{i:02}", float(i % 7)) for i in range(21)]
    assert hardest(scores, 0.1) == ["06", "13", "20"]  # equal perplexities in the order of their ids
    assert hardest(scores[:1], 0.1) == ["00"]
    assert hardest([], 0.1) == []
