"""The vllm policy on the embedded model, whose next-token distributions are those of language."""

from collections.abc import Iterator

import pytest

from itool_data.config import ModelSettings
from itool_data.perplexity import perplexity
from itool_data.policy.base import Policy, Request, generate
from itool_data.policy.load import find_model
from itool_data.policy.open import open_policy, open_prompter

QUESTIONS = ["Name three rivers of France.", "Write one sentence about the sea. " * 10, "What is 7 times 8?"]


@pytest.fixture(scope="module")
def policies() -> Iterator[tuple[Policy, Policy]]:
    """By vLLM and by transformers."""
    settings = ModelSettings(policy="vllm", rows=8)
    base = find_model(settings)
    vllm = open_policy(settings, base, None)
    yield vllm, open_policy(ModelSettings(rows=8), base, None)
    vllm.close()


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    prompter = open_prompter(ModelSettings(), find_model(ModelSettings()))
    return [prompter.chat_ids([{"role": "user", "content": question}]) for question in QUESTIONS]


def test_greedy_answers_and_their_perplexities_are_the_same(
    policies: tuple[Policy, Policy], prompts: list[list[int]]
) -> None:
    requests = [Request(str(i), prompt, [0], 24, 0.0) for i, prompt in enumerate(prompts)]
    mine, theirs = (generate(policy, requests) for policy in policies)
    answers = [completion.draws[0].ids for completion in mine]
    assert answers == [completion.draws[0].ids for completion in theirs]
    own, expected = (policy.score(prompts, answers) for policy in policies)
    for one, other, completion in zip(own, expected, mine, strict=True):
        assert one == pytest.approx(other, abs=2e-3)
        assert one == pytest.approx(completion.draws[0].logprobs, abs=2e-3)
        assert perplexity(one) == pytest.approx(perplexity(other), rel=1e-3)


def test_log_probabilities_of_what_was_drawn_are_transformers_own(
    policies: tuple[Policy, Policy], prompts: list[list[int]]
) -> None:
    vllm, reference = policies
    draws = generate(vllm, [Request("a", prompts[0], [1, 2, 3], 24, 1.5)])[0].draws
    scores = reference.score([prompts[0]] * 3, [draw.ids for draw in draws])
    for draw, expected in zip(draws, scores, strict=True):
        assert list(draw.logprobs) == pytest.approx(expected, abs=2e-3)
