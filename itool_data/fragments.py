"""A right response as decisions: at each right prefix, what comes next, and does the policy know it.

A *fragment* is a step of a sample's right response seen that way (table `fragments`). What a step is (a name, an
argument with its parameter, an end, prose) is read off the response's text; its probability comes from a pass over the
gold response, or from a walk along it (`search/walk.py`), which also knows what the policy would do instead. Left out:
drawing (the walk), and what is right (`proof.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from itool_data.dialects import DIALECTS, OWN, DialectName, parse_prefix
from itool_data.form import Form
from itool_data.match import ErrorClass
from itool_data.prompt import Tokenised
from itool_data.proof import step_error
from itool_data.sample import Sample
from itool_data.steps import split_steps

Kind = Literal["name", "argument", "end", "prose"]


class What(NamedTuple):
    """What a step is: its kind, the call's function, the argument's parameter."""

    kind: Kind
    function: str | None = None
    parameter: str | None = None


@dataclass(frozen=True)
class Fragment:
    """A decision along a right response.

    Attributes:
        number: of the step in the response, from 0.
        prefix: the response so far, as text.
        ids: the right step's token ids.
        text: the right step.
        what: it is.
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
    what: What
    logprob: float
    probability: float
    draws: int = 0
    right_draws: int = 0
    wrong: str | None = None
    wrong_probability: float | None = None
    error: ErrorClass | None = None


def right_steps(sample: Sample, response: Sequence[int], form: Form) -> list[tuple[int, ...]] | str:
    """Cut a response into steps, each of them proved right.

    Args:
        sample: with the gold calls.
        response: token ids, end-of-turn included.
        form: of the response.

    Returns:
        The steps, or why there are none: which of them is wrong, by the sample's own gold calls.
    """
    steps = [tuple(step) for step in split_steps(response, form)]
    before: tuple[int, ...] = ()
    for number, step in enumerate(steps):
        text, wanted = form.decode(before), form.decode(step)
        error = step_error(text, wanted, number == len(steps) - 1, sample, form.dialect)
        if error is not None:
            return f"its own checker calls the gold response wrong at {wanted!r}: {error}"
        before += step
    return steps


def refusal(tokenised: Tokenised, form: Form) -> str | None:
    """Say why a sample's gold response cannot be walked along; None where it can."""
    if form.dialect == OWN and form.decode(tokenised.response) != tokenised.sample.target:
        return "the tokenizer does not give the gold response back"
    steps = right_steps(tokenised.sample, tokenised.response, form)
    return steps if isinstance(steps, str) else None


def step_logprobs(steps: Sequence[Sequence[int]], logprobs: Sequence[float]) -> list[float]:
    """Log-probabilities of steps from those of their tokens."""
    ends = list(accumulate(map(len, steps)))
    return [sum(logprobs[end - len(step) : end]) for step, end in zip(steps, ends, strict=True)]


def gold_fragments(tokenised: Tokenised, logprobs: Sequence[float], form: Form) -> list[Fragment]:
    """The fragments of a sample's gold response, from one pass over it.

    Args:
        tokenised: the sample.
        logprobs: the policy's, a token of the gold response.
        form: of the response.
    """
    steps = split_steps(tokenised.response, form)
    before: list[int] = []
    found = []
    for number, (step, logprob) in enumerate(zip(steps, step_logprobs(steps, logprobs), strict=True)):
        prefix, text = form.decode(before), form.decode(step)
        what = describe(prefix, text, tokenised.sample, form.dialect)
        found.append(Fragment(number, prefix, tuple(step), text, what, logprob, math.exp(logprob)))
        before += step
    return found


def before_calls(text: str, sample: Sample, dialect: DialectName) -> bool:
    """Whether a response whose calls are to come is still at the text before them."""
    if not sample.calls or not text:
        return False
    begins = DIALECTS[dialect].begins(text)
    return begins is None or begins == len(text)


def describe(prefix: str, step: str, sample: Sample, dialect: DialectName) -> What:
    """What a step is."""
    if not sample.calls or before_calls(prefix + step, sample, dialect):
        return What("prose")
    before, after = (parse_prefix(text, dialect, sample.tools) for text in (prefix, prefix + step))
    calls = [*after.calls, *([after.open] if after.open else [])]
    known = [*before.calls, *([before.open] if before.open else [])]
    if not calls:
        return What("end")
    given = known[len(calls) - 1].arguments if len(known) == len(calls) else {}
    if new := [name for name in calls[-1].arguments if name not in given]:
        return What("argument", calls[-1].name, new[-1])
    if len(calls) > len(known):
        return What("name", calls[-1].name)
    return What("end", calls[-1].name if before.open else None)


def fragment_row(
    fragment: Fragment, sample: Sample, round_: int, policy: str, tree_id: str | None = None
) -> dict[str, Any]:
    """A row of the table `fragments`; `tree_id` is the walk's, None for a pass over the gold response."""
    return {
        "sample_id": sample.sample_id,
        "round": round_,
        "policy": policy,
        "tree_id": tree_id,
        "number": fragment.number,
        "prefix_text": fragment.prefix,
        "step_text": fragment.text,
        "step_ids": fragment.ids,
        **fragment.what._asdict(),
        "logprob": fragment.logprob,
        "probability": fragment.probability,
        "draws": fragment.draws,
        "right_draws": fragment.right_draws,
        "wrong_text": fragment.wrong,
        "wrong_probability": fragment.wrong_probability,
        "error_class": fragment.error,
    }
