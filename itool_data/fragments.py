"""A right response as decisions: at each right prefix, what comes next, and does the policy know it.

A *fragment* is a step of a sample's right response seen that way (table `fragments`). What a step is (a name, an
argument with its parameter, an end, prose) is read off the response's text; its probability comes from a pass over the
gold response, or from a walk along it (`search/walk.py`), which also knows what the policy would do instead. Left out:
drawing (the walk), and what is right (`proof.py`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from itool_data.dialects import parse_prefix
from itool_data.match import ErrorClass
from itool_data.prompt import Tokenised
from itool_data.proof import step_error
from itool_data.sample import Sample
from itool_data.steps import split_steps

Decode = Callable[[Sequence[int]], str]
Kind = Literal["name", "argument", "end", "prose"]


@dataclass(frozen=True)
class Fragment:
    """A decision along a right response.

    Attributes:
        number: of the step in the response, from 0.
        prefix: the response so far, as text.
        ids: the right step's token ids.
        text: the right step.
        logprob: the policy's, of the right step, in nats.
        probability: of being right, as far as it is known.
        draws: of the next step.
        right_draws: of these, proved right.
        wrong: the most probable wrong step that is known.
        wrong_probability: its probability.
        error: what it breaks.
    """

    number: int
    prefix: str
    ids: tuple[int, ...]
    text: str
    logprob: float
    probability: float
    draws: int = 0
    right_draws: int = 0
    wrong: str | None = None
    wrong_probability: float | None = None
    error: ErrorClass | None = None


def right_steps(sample: Sample, response: Sequence[int], decode: Decode) -> list[tuple[int, ...]] | str:
    """Cut a response into steps, each of them proved right.

    Args:
        sample: with the gold calls.
        response: token ids, end-of-turn included.
        decode: the tokenizer's decode.

    Returns:
        The steps, or why there are none: which of them is wrong, by the sample's own gold calls.
    """
    steps = [tuple(step) for step in split_steps(response, decode)]
    before: tuple[int, ...] = ()
    for number, step in enumerate(steps):
        text, wanted = decode(before), decode(step)
        error = step_error(text, wanted, number == len(steps) - 1, sample)
        if error is not None:
            return f"its own checker calls the gold response wrong at {wanted!r}: {error}"
        before += step
    return steps


def refusal(tokenised: Tokenised, decode: Decode) -> str | None:
    """Say why a sample's gold response cannot be walked along; None where it can."""
    if decode(tokenised.response) != tokenised.sample.target:
        return "the tokenizer does not give the gold response back"
    steps = right_steps(tokenised.sample, tokenised.response, decode)
    return steps if isinstance(steps, str) else None


def step_logprobs(steps: Sequence[Sequence[int]], logprobs: Sequence[float]) -> list[float]:
    """Log-probabilities of steps from those of their tokens."""
    ends = list(accumulate(map(len, steps)))
    return [sum(logprobs[end - len(step) : end]) for step, end in zip(steps, ends, strict=True)]


def gold_fragments(tokenised: Tokenised, logprobs: Sequence[float], decode: Decode) -> list[Fragment]:
    """The fragments of a sample's gold response, from one pass over it.

    Args:
        tokenised: the sample.
        logprobs: the policy's, a token of the gold response.
        decode: the tokenizer's decode.
    """
    steps = split_steps(tokenised.response, decode)
    before: list[int] = []
    found = []
    for number, (step, logprob) in enumerate(zip(steps, step_logprobs(steps, logprobs), strict=True)):
        found.append(Fragment(number, decode(before), tuple(step), decode(step), logprob, math.exp(logprob)))
        before += step
    return found


def describe(prefix: str, step: str, sample: Sample) -> tuple[Kind, str | None, str | None]:
    """What a step is: its kind, the call's function, the argument's parameter."""
    if not sample.calls:
        return "prose", None, None
    before, after = parse_prefix(prefix), parse_prefix(prefix + step)
    calls = [*after.calls, *([after.open] if after.open else [])]
    known = [*before.calls, *([before.open] if before.open else [])]
    if not calls:
        return "end", None, None
    given = known[len(calls) - 1].arguments if len(known) == len(calls) else {}
    if new := [name for name in calls[-1].arguments if name not in given]:
        return "argument", calls[-1].name, new[-1]
    if len(calls) > len(known):
        return "name", calls[-1].name, None
    return "end", calls[-1].name if before.open else None, None


def fragment_row(
    fragment: Fragment, sample: Sample, round_: int, policy: str, tree_id: str | None = None
) -> dict[str, Any]:
    """A row of the table `fragments`; `tree_id` is the walk's, None for a pass over the gold response."""
    kind, function, parameter = describe(fragment.prefix, fragment.text, sample)
    return {
        "sample_id": sample.sample_id,
        "round": round_,
        "policy": policy,
        "tree_id": tree_id,
        "number": fragment.number,
        "prefix_text": fragment.prefix,
        "step_text": fragment.text,
        "step_ids": fragment.ids,
        "kind": kind,
        "function": function,
        "parameter": parameter,
        "logprob": fragment.logprob,
        "probability": fragment.probability,
        "draws": fragment.draws,
        "right_draws": fragment.right_draws,
        "wrong_text": fragment.wrong,
        "wrong_probability": fragment.wrong_probability,
        "error_class": fragment.error,
    }
