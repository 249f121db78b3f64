"""Right and wrong as facts: what a step of a response breaks, and with which token it can no longer be mended.

The gold calls are known, so no model is asked. A state is *right* while some accepted response begins with it, as
`calls.render` would write one: that is `match.prefix_error`, but for one thing. A `,` after which nothing accepted is
left to give is wrong here, although Python's grammar lets a trailing comma stand: it promises another argument, and a
policy that writes it goes on. (Without this a policy that ends rightly could never be contrasted with going on.)

Within a step the question is about characters: `city='Nairobi, K` may still become `'Nairobi, Kenya'`, and `8` may
become 80. `mendable` answers it, and where it cannot tell (the inside of a list, an escape) it says yes; `fault` then
finds the tokens of a wrong step that are at fault. Left out: prose beyond whether it calls anything.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from itool_data.dialects import CallSyntaxError, PartialCalls, detect_format, parse, parse_prefix
from itool_data.match import ErrorClass, accepted, prefix_error, response_error, standardised
from itool_data.sample import JSON, AcceptedCall, Sample, ToolCall

Decode = Callable[[Sequence[int]], str]
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


def state_error(text: str, sample: Sample) -> ErrorClass | None:
    """Name what an unfinished response has broken beyond repair; None while it is right.

    Where the gold response is plain text, any call attempt, in any format, is a wrong tools count.
    """
    if not sample.answers:
        return None if detect_format(text) is None else "Tools Count"
    partial = parse_prefix(text)
    error = prefix_error(partial, sample.answers, sample.tools)
    if error is None and _promises_too_much(text, partial, sample.answers):
        return "Parameter Count" if partial.open else "Tools Count"
    return error


def step_error(before: str, step: str, ended: bool, sample: Sample) -> ErrorClass | None:
    """Name what a step breaks after a right state; None if it is right too.

    Args:
        before: the response so far.
        step: what comes next.
        ended: the response's end, end-of-turn included.
        sample: with the gold calls.
    """
    return response_error(before + step, sample, "python") if ended else state_error(before + step, sample)


def mendable(text: str, sample: Sample) -> bool:
    """Whether a response that breaks off anywhere can still become right; yes where it cannot be told."""
    text = text.rstrip(_REPLACEMENT)
    if state_error(text, sample) is not None:
        return False
    if not sample.answers:
        return True
    partial = parse_prefix(text)
    if partial.closed:
        return True
    if partial.open is None:
        return _name_mendable(text[_last_end(partial) :], partial, sample.answers)
    candidates = _compatible(partial.open, sample.answers)
    if partial.reading is not None:
        return _value_mendable(text[partial.reading[1] :], _options(partial, candidates))
    left = [name for answer in candidates for name in answer.arguments if name not in partial.open.arguments]
    return _begins(text[_last_end(partial) :].lstrip(), left)


def fault(before: Sequence[int], right: Sequence[int], wrong: Sequence[int], sample: Sample, decode: Decode) -> Fault:
    """Find the tokens of a wrong step that are at fault: from where it leaves the right one to the unmendable one.

    A token on that way that closes a right value, a call or the response is right where it stands: those up to it
    are not at fault.

    Args:
        before: token ids of the response so far, which is right.
        right: of a right step after it.
        wrong: of the wrong one.
        sample: with the gold calls.
        decode: the tokenizer's decode.
    """
    parts_at = next((i for i, (a, b) in enumerate(zip(right, wrong, strict=False)) if a != b), None)
    if parts_at is None:
        parts_at = min(len(right), len(wrong) - 1)
    texts = [decode((*before, *wrong[: i + 1])) for i in range(len(wrong))]
    last = next((i for i in range(parts_at, len(wrong)) if not mendable(texts[i], sample)), len(wrong) - 1)
    closed = [_closings(text, sample) for text in (decode((*before, *wrong[:parts_at])), *texts[parts_at:last])]
    first = parts_at + max((i for i in range(1, len(closed)) if closed[i] > closed[i - 1]), default=0)
    return Fault(parts_at, first, last)


def _closings(text: str, sample: Sample) -> tuple[int, bool, bool]:
    """How many calls are complete, whether the response is, and whether an accepted value is that ends in a bracket."""
    partial = parse_prefix(text)
    whole = False
    if partial.open is not None and partial.reading is not None:
        literal = text[partial.reading[1] :].rstrip()
        options = _options(partial, _compatible(partial.open, sample.answers))
        value = _parsed(literal) if literal.endswith(("]", ")", "}")) else None
        whole = value is not None and accepted(value[0], options)
    return len(partial.calls), partial.closed, whole


def _last_end(partial: PartialCalls) -> int:
    return partial.step_ends[-1] if partial.step_ends else 0


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


def _promises_too_much(text: str, partial: PartialCalls, answers: Sequence[AcceptedCall]) -> bool:
    """Whether the text ends in a `,` after which no answer has anything left."""
    if partial.closed or partial.reading is not None or not text.rstrip().endswith(","):
        return False
    if partial.open is None:
        return len(partial.calls) == len(answers)
    given = partial.open.arguments.keys()
    return bool(given) and not any(answer.arguments.keys() - given for answer in _compatible(partial.open, answers))


def _name_mendable(tail: str, partial: PartialCalls, answers: Sequence[AcceptedCall]) -> bool:
    """What follows the last complete call, or opens the response: `[`, `]`, `, ` and a name's beginning."""
    tail = tail.strip()
    if len(partial.calls) == len(answers):
        return tail in ("", "]")
    return _begins(tail.lstrip("[,").lstrip(), [answer.name for answer in answers])


def _begins(text: str, names: Iterable[str]) -> bool:
    """Whether a bare name, or one in quotes, begins one of these."""
    if not text or text[0] in "'\"":
        return True
    text = text.rstrip().removesuffix("=").removesuffix("(").rstrip()
    return any(name.startswith(text) for name in names)


def _value_mendable(literal: str, options: Sequence[JSON]) -> bool:
    """Whether what there is of a value can become an accepted one."""
    stripped = literal.rstrip()
    if not stripped:
        return bool(options)
    if stripped[-1] in "'\"])}" and (whole := _parsed(stripped)) is not None:
        return accepted(whole[0], options)
    return any(_may_become(literal, option) for option in options)


def _parsed(literal: str) -> list[JSON] | None:
    """A complete literal's value, in a list; None where it is not complete."""
    try:
        return [*parse(f"[f(a={literal})]")[0].arguments.values()]
    except CallSyntaxError:
        return None


def _may_become(literal: str, option: JSON) -> bool:
    first = literal[0]
    if first == "(":  # what stands in brackets of its own is left open
        return True
    if isinstance(option, str):
        if first in "rRuU" and literal[1:2] in ("'", '"', ""):
            return True
        quoted = first in "'\""
        if quoted and (literal[:3] in ("'''", '"""') or "\\" in literal or literal[1:].count(first)):
            return True
        # Case-folded too, as what a capital sigma is in lower case depends on what comes after it.
        begun = standardised(literal[1:] if quoted else literal).casefold()
        return standardised(option).casefold().startswith(begun)
    if isinstance(option, list):
        return first == "["
    if isinstance(option, dict):
        return first == "{"
    if isinstance(option, bool) or option is None:
        words = {True: ("True", "true"), False: ("False", "false"), None: ("None", "null")}[option]
        return any(word.startswith(literal.rstrip()) for word in words)
    return _number_may_become(literal.rstrip(), option)


def _number_may_become(literal: str, option: float) -> bool:
    """By the ways of writing a number that policies use; one with a letter, or begun with + or `.`, is left open."""
    if literal[0] not in "-0123456789" or any(c in "eExXoObB_" for c in literal):
        return literal[0] in "+-.0123456789"
    ways = {repr(option)}
    if isinstance(option, float):
        ways |= {f"{option:e}"}
        ways |= {f"{option:.{digits}f}" for digits in range(1, 7) if float(f"{option:.{digits}f}") == option}
        ways |= {str(int(option))} if option.is_integer() else set()
    return any(way.startswith(literal) for way in ways)
