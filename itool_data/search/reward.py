"""What a state is worth: R = O + C (Eq. 6), outcome O from the gold calls, self-evaluation C from a judge (Eq. 7).

Left out: the difference r = R(s') - R(s), which the search takes, and the comparison of calls (`itool_data.match`).
"""

from collections.abc import Sequence

import numpy as np

from itool_data.config import RewardSettings
from itool_data.dialects import OWN, DialectName, parse_prefix
from itool_data.match import prefix_agreement, response_matches
from itool_data.policy.base import Policy, Usage, uniforms
from itool_data.prompt import Prompter
from itool_data.sample import Sample

NEARLY = 0.99  # the most that a response can be worth that is not right
OPTION_WEIGHTS = {"A": 1.0, "B": 0.1, "C": -1.0, "D": -2.0}  # appendix B.1

# Table 10, part by part.
_SYSTEM = "You are an AI specialized in tool use.\nYour task is to assess the potential veracity of {placeholder}."
_GOLD = "Ground Truth Response: {gold}"
_RESPONSE = "Generated Response by Model: {response}"
_INSTRUCTION = """User Instruction:
Please assess the quality of the generated response relative to the ground truth response.
Note: A generated response that is a fragment of the ground truth response is also excellent.

Evaluation Criteria:
1. Function Name: Is the name of all the function called correct?
2. Parameter Count: Is the number of parameters for all the function correct?
3. Parameter Names: Are the names of all the parameters for the function correct?
4. Parameter Value/Types: Are the value/types of all the parameters for the function correct?
5. Semantic Similarity: Is the generated response semantically close to the ground truth response?

Please directly choose from the following options to judge the overall quality:
(A) Excellent: The generated response meets all criteria and is almost identical to the ground truth response.
(B) Acceptable: The generated response meets most criteria but has minor discrepancies.
(C) Fair: The generated response meets some criteria but has significant issues.
(D) Poor: The generated response fails to meet most or all criteria."""
_ANSWER = "The option of overall quality is ("


def outcome(text: str, sample: Sample, terminal: bool, complete: bool, kind: str, dialect: DialectName = OWN) -> float:
    """O(s) of Eq. 6.

    Args:
        text: the response so far.
        sample: with the gold calls.
        terminal: nothing follows.
        complete: the policy ended the response itself; one that was cut off at its longest is not right.
        kind: `terminal` (the paper's) or `prefix` (agreement with the gold calls, -1 to 1).
        dialect: of its calls.

    Returns:
        `terminal`: +1 or -1 at the end, 0 before it. `prefix`: the agreement, 1 at the end of a right response only; an
        ending that was cut off, does not close its calls or belongs to a plain-text sample is as `terminal` has it.
    """
    if terminal and complete and response_matches(text, sample, dialect):
        return 1.0
    if kind == "terminal" or not sample.calls:
        return -1.0 if terminal else 0.0
    partial = parse_prefix(text, dialect, sample.tools)
    agreement = prefix_agreement(partial, sample.answers)
    if not terminal:
        return agreement
    # A wrong ending is graded too: with gamma 1 the rewards on the way cancel, and Q sees the endings alone.
    return min(agreement, NEARLY) if complete and partial.whole else -1.0


def state_reward(outcome: float, self_eval: float | None, weight: float) -> float:
    """R(s) = O(s) + weight x C(s) (Eq. 6; the paper's weight is 1); C not asked counts 0."""
    return outcome + (weight * self_eval if self_eval is not None else 0.0)


def confidence(logprobs: Sequence[float]) -> float:
    """C (Eq. 7): the expected weight of the options A to D, their probabilities renormalised over the four.

    Args:
        logprobs: of A, B, C, D at the answer position.
    """
    p = np.exp(np.asarray(logprobs) - np.max(logprobs))
    return float(p @ np.array(list(OPTION_WEIGHTS.values())) / p.sum())


def sampled_confidence(logprobs: Sequence[float], draws: int, seed: int) -> float:
    """C as in the paper: the mean weight of sampled answers (four there) instead of the exact expectation."""
    p = np.exp(np.asarray(logprobs) - np.max(logprobs))
    chosen = np.searchsorted(np.cumsum(p / p.sum()), uniforms(seed, draws), side="right").clip(max=3)
    return float(np.array(list(OPTION_WEIGHTS.values()))[chosen].mean())


class Judge:
    """Asks a policy how good a response is (Table 10).

    Args:
        policy: who judges; the searching policy itself in the paper.
        prompter: with that policy's tokenizer.
        settings: whether answers are sampled, and the order of the prompt's parts.
    """

    def __init__(self, policy: Policy, prompter: Prompter, settings: RewardSettings):
        self._policy = policy
        self._prompter = prompter
        self._settings = settings
        self._options = [prompter.text_ids(option) for option in OPTION_WEIGHTS]

    @property
    def usage(self) -> Usage:
        """Tokens of the policy that judges."""
        return self._policy.usage

    def prompt_ids(self, sample: Sample, response: str) -> list[int]:
        """The evaluation prompt; what does not change within a tree comes first unless Table 10's order is asked."""
        request = next((m.content for m in reversed(sample.messages) if m.role == "user"), "")
        gold = _GOLD.format(gold=self._prompter.gold_text(sample))
        own = _RESPONSE.format(response=response)
        parts = [gold, own, "", _INSTRUCTION] if self._settings.literal_order else [gold, "", _INSTRUCTION, "", own]
        messages = [
            {"role": "system", "content": _SYSTEM.format(placeholder=f"a response to: {request}")},
            {"role": "user", "content": "\n".join(parts)},
        ]
        return self._prompter.chat_ids(messages) + self._prompter.text_ids(_ANSWER)

    def confidences(self, asked: Sequence[tuple[Sample, str, int]]) -> list[float]:
        """C of each (sample, response so far, seed); the seed matters only when answers are sampled."""
        prompts = [self.prompt_ids(sample, response) for sample, response, _ in asked]
        logprobs = self._policy.score(
            [p for p in prompts for _ in self._options], [list(o) for _ in prompts for o in self._options]
        )
        results = []
        for i, (_, _, seed) in enumerate(asked):
            options = [sum(lp) for lp in logprobs[i * len(self._options) : (i + 1) * len(self._options)]]
            draws = self._settings.draws
            results.append(sampled_confidence(options, draws, seed) if draws else confidence(options))
        return results


def auc(right: Sequence[float], wrong: Sequence[float]) -> float:
    """Probability that a right state has the higher C than a wrong one, ties counting half; 0.5 says nothing.

    Returns:
        The area under the ROC curve; NaN when either side is empty.
    """
    if not right or not wrong:
        return float("nan")
    ordered = np.sort(np.asarray(wrong))
    values = np.asarray(right)
    below = np.searchsorted(ordered, values, side="left")
    not_above = np.searchsorted(ordered, values, side="right")
    return float((below + not_above).sum() / (2 * len(right) * len(wrong)))
