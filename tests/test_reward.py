"""Eq. 6 and 7 and the judge, on numbers worked out by hand."""

import math

import pytest
from toys import PROMPTER, toy_sample

from itool_data.config import RewardSettings
from itool_data.policy.base import Usage
from itool_data.search.reward import Judge, auc, confidence, outcome, sampled_confidence, state_reward


def test_state_reward_adds_the_weighted_self_evaluation():
    assert state_reward(1.0, -0.5, 1.0) == 0.5
    assert state_reward(-1.0, 1.0, 0.25) == -0.75
    assert state_reward(1.0, None, 1.0) == 1.0


def test_confidence_is_the_expectation_over_the_four_options():
    # 0.4 * 1 + 0.3 * 0.1 - 0.2 * 1 - 0.1 * 2 = 0.03
    assert confidence([math.log(p) for p in (0.4, 0.3, 0.2, 0.1)]) == pytest.approx(0.03)


def test_confidence_renormalises_over_the_four_options():
    # half of the mass is elsewhere; 0.4 of 0.5 on A and 0.1 of 0.5 on D: 0.8 - 0.4 = 0.4
    assert confidence([math.log(0.4), -math.inf, -math.inf, math.log(0.1)]) == pytest.approx(0.4)


def test_sampled_confidence_is_a_mean_of_option_weights_and_reproducible():
    logprobs = [math.log(p) for p in (0.25, 0.25, 0.25, 0.25)]
    values = [sampled_confidence(logprobs, 4, seed) for seed in range(400)]
    assert sampled_confidence(logprobs, 4, 7) == values[7]
    assert all(-2 <= v <= 1 for v in values) and len(set(values)) > 10
    assert sum(values) / len(values) == pytest.approx(confidence(logprobs), abs=0.1)


@pytest.mark.parametrize(
    ("text", "terminal", "complete", "kind", "expected"),
    [
        ("[f(a=1)]", True, True, "terminal", 1.0),
        ("[f(a=2)]", True, True, "terminal", -1.0),
        ("[f(a=1)]", True, False, "terminal", -1.0),
        ("[f(a=1", True, True, "terminal", -1.0),
        ("[f(", False, False, "terminal", 0.0),
        ("[f(a=2)", False, False, "terminal", 0.0),
        ("[f(a=1)]", True, True, "prefix", 1.0),
        ("[f(a=2)]", True, True, "prefix", 0.0),  # the name is right, its one argument wrong: (1 - 1) / 2
        ("[f(a=1, b=1, c=1)]", True, True, "prefix", -0.0),
        ("[f(a=1)]", True, False, "prefix", -1.0),  # cut off
        ("[f(a=1", True, True, "prefix", -1.0),
        ("[g(", False, False, "prefix", -1.0),
    ],
)
def test_outcome(text, terminal, complete, kind, expected):
    assert outcome(text, toy_sample(), terminal, complete, kind) == expected


def test_outcome_of_a_plain_text_sample_is_right_without_a_call():
    sample = toy_sample("Which city do you mean?")
    assert outcome("Where is it?", sample, True, True, "terminal") == 1.0
    assert outcome("[f(a=1)]", sample, True, True, "terminal") == -1.0


class Options:
    """A judge's model that gives the four options fixed probabilities."""

    def __init__(self, *probabilities: float):
        self.usage = Usage()
        self.prompts: list[str] = []
        self._logprobs = {ord(o): math.log(p) for o, p in zip("ABCD", probabilities, strict=True)}

    def score(self, prompts, continuations):
        self.prompts += [PROMPTER.decode(p) for p in prompts]
        return [[self._logprobs[token] for token in c] for c in continuations]


def test_judge_reads_the_options_at_the_answer_position():
    model = Options(0.7, 0.1, 0.1, 0.1)
    judge = Judge(model, PROMPTER, RewardSettings())
    # 0.7 + 0.01 - 0.1 - 0.2 = 0.41
    assert judge.confidences([(toy_sample(), "[f(", 0), (toy_sample(), "[g(", 1)]) == pytest.approx([0.41, 0.41])
    assert all(p.endswith("The option of overall quality is (") for p in model.prompts)


def test_what_does_not_change_within_a_tree_comes_first_unless_the_papers_order_is_asked():
    def common(literal: bool) -> int:
        judge = Judge(Options(0.25, 0.25, 0.25, 0.25), PROMPTER, RewardSettings(literal_order=literal))
        one, other = (judge.prompt_ids(toy_sample(), text) for text in ("[f(", "no"))
        return next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)

    judge = Judge(Options(0.25, 0.25, 0.25, 0.25), PROMPTER, RewardSettings())
    text = PROMPTER.decode(judge.prompt_ids(toy_sample(), "[f("))
    assert common(False) > common(True) + 500
    assert "Ground Truth Response: [f(a=1)]" in text and "Generated Response by Model: [f(" in text


@pytest.mark.parametrize(
    ("right", "wrong", "area"),
    [([1.0], [0.0], 1.0), ([0.0], [1.0], 0.0), ([0.5, 0.5], [0.5], 0.5), ([3.0, 1.0], [2.0, 0.0], 0.75)],
)
def test_auc(right, wrong, area):
    assert auc(right, wrong) == area


def test_auc_needs_both_sides():
    assert math.isnan(auc([], [1.0]))
