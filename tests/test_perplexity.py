"""Eq. 4, on the response tokens only."""

import math
from collections import deque

import pytest
from toys import PROMPTER, ids_of, toy_sample

from itool_data.perplexity import perplexity, score_samples
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
