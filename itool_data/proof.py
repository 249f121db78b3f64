"""Right and wrong as facts: what a step of a response breaks, and with which token it can no longer be mended.

The gold calls are known, so no model is asked. A state is *right* while some accepted response begins with it, as
`calls.render` would write one: that is `match.prefix_error`, but for one thing. A `,` after which nothing accepted is
left to give is wrong here, although Python's grammar lets a trailing comma stand: it promises another argument, and a
policy that writes it goes on. (Without this a policy that ends rightly could never be contrasted with going on.)

Within a step the question is about characters: `mendable` answers it, and where it cannot tell it says yes
(`literals.py`); `fault` then finds the tokens of a wrong step that are at fault. Left out: prose beyond whether it
calls anything.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from itool_data.dialects import DIALECTS, OWN, DialectName, PartialCalls, detect_format, parse_prefix
from itool_data.form import Form
from itool_data.literals import value_mendable, whole_value
from itool_data.match import ErrorClass, accepted, prefix_error, response_error
from itool_data.sample import JSON, AcceptedCall, Sample, ToolCall

_REPLACEMENT = "\ufffd"  # what a decoder writes for a part of a character


class Fault(NamedTuple):
    """Which tokens of a wrong step are at fault.

    Attributes:
        parts_at: tokens that it has in common with the right step at their beginning.
        first: the first token at fault.
        last: the last one, with which the response can no longer become right.
    """

    parts_at: int
    first: int
    last: int


def state_error(text: str, sample: Sample, dialect: DialectName = OWN) -> ErrorClass | None:
    """Name what an unfinished response has broken beyond repair; None while it is right.

    Where the gold response is plain text, any call attempt, in any format, is a wrong tools count.
    """
    if not sample.answers:
        return None if detect_format(text) is None else "Tools Count"
    partial = parse_prefix(text, dialect, sample.tools)
    error = prefix_error(partial, sample.answers, sample.tools)
    if error is None and _promises_too_much(partial, sample.answers):
        return "Parameter Count" if partial.open else "Tools Count"
    return error


def step_error(before: str, step: str, ended: bool, sample: Sample, dialect: DialectName = OWN) -> ErrorClass | None:
    """Name what a step breaks after a right state; None if it is right too.

    Args:
        before: the response so far.
        step: what comes next.
        ended: the response's end, end-of-turn included.
        sample: with the gold calls.
        dialect: of the response.
    """
    text = before + step
    return response_error(text, sample, dialect) if ended else state_error(text, sample, dialect)


def mendable(text: str, sample: Sample, dialect: DialectName = OWN) -> bool:
    """Whether a response that breaks off anywhere can still become right; yes where it cannot be told."""
    text = text.rstrip(_REPLACEMENT)
    if state_error(text, sample, dialect) is not None:
        return False
    if not sample.answers:
        return True
    partial = parse_prefix(text, dialect, sample.tools)
    if partial.naming is not None and partial.open is None:
        left = [answer.name for answer in sample.answers] if len(partial.calls) < len(sample.answers) else []
        return _begins(partial.naming[1], left)
    if partial.open is None:
        return True
    candidates = _compatible(partial.open, sample.answers)
    if partial.reading is not None:
        literal = text[partial.reading[1] :]
        return value_mendable(literal, _options(partial, candidates), DIALECTS[dialect])
    if partial.naming is None:
        return True
    left = [name for answer in candidates for name in answer.arguments if name not in partial.open.arguments]
    return _begins(partial.naming[1], left)


def fault(before: Sequence[int], right: Sequence[int], wrong: Sequence[int], sample: Sample, form: Form) -> Fault:
    """Find the tokens of a wrong step that are at fault: from where it leaves the right one to the unmendable one.

    A token on that way that closes a right value, a call or the response is right where it stands: those up to it
    are not at fault.

    Args:
        before: token ids of the response so far, which is right.
        right: of a right step after it.
        wrong: of the wrong one.
        sample: with the gold calls.
        form: of the response.
    """
    decode, dialect = form.decode, form.dialect
    parts_at = next((i for i, (a, b) in enumerate(zip(right, wrong, strict=False)) if a != b), None)
    if parts_at is None:
        parts_at = min(len(right), len(wrong) - 1)
    texts = [decode((*before, *wrong[: i + 1])) for i in range(len(wrong))]
    last = next((i for i in range(parts_at, len(wrong)) if not mendable(texts[i], sample, dialect)), len(wrong) - 1)
    passed = (decode((*before, *wrong[:parts_at])), *texts[parts_at:last])
    closed = [_closings(text, sample, dialect) for text in passed]
    first = parts_at + max((i for i in range(1, len(closed)) if closed[i] > closed[i - 1]), default=0)
    return Fault(parts_at, first, last)


def _closings(text: str, sample: Sample, dialect: DialectName) -> tuple[int, bool, bool]:
    """How many calls are complete, whether the response is, and whether an accepted value is that ends in a bracket."""
    partial = parse_prefix(text, dialect, sample.tools)
    whole = False
    if partial.open is not None and partial.reading is not None:
        literal = text[partial.reading[1] :].rstrip()
        options = _options(partial, _compatible(partial.open, sample.answers))
        closes = literal.endswith(("]", ")", "}"))
        value = whole_value(literal, DIALECTS[dialect].notation) if closes else None
        whole = value is not None and accepted(value[0], options)
    return len(partial.calls), partial.closed, whole


def _compatible(call: ToolCall, answers: Iterable[AcceptedCall]) -> list[AcceptedCall]:
    """The answers that a call under way may still match."""
    return [
        answer
        for answer in answers
        if answer.name == call.name
        and all(accepted(value, answer.arguments.get(name, ())) for name, value in call.arguments.items())
    ]


def _options(partial: PartialCalls, candidates: Iterable[AcceptedCall]) -> list[JSON]:
    """The accepted values of the parameter whose value is being read."""
    assert partial.reading is not None
    return [value for answer in candidates for value in answer.arguments.get(partial.reading[0], ())]


def _promises_too_much(partial: PartialCalls, answers: Sequence[AcceptedCall]) -> bool:
    """Whether another call or argument is announced of which no answer has anything left."""
    if partial.closed or partial.promised is None:
        return False
    if partial.open is None:
        return partial.promised == "call" and len(partial.calls) == len(answers)
    given = partial.open.arguments.keys()
    return bool(given) and not any(answer.arguments.keys() - given for answer in _compatible(partial.open, answers))


def _begins(literal: str, names: Iterable[str]) -> bool:
    """Whether what there is of a name, bare or in quotes, begins one of these."""
    begun = literal.strip()
    if not begun or "\\" in begun:
        return True
    if begun[0] in "'\"":
        quote, begun = begun[0], begun[1:]
        if begun.endswith(quote):
            return begun[:-1] in names
    return any(name.startswith(begun) for name in names)
