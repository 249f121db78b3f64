r"""A response's token ids -> steps, the smallest pieces that the search chooses.

    python   [f( | a=1, |  b='x') | , g( | ) | ]
    hermes   <tool_call>\n{"name": "f", "arguments": { | "a": 1, |  "b": "x"} | }\n</tool_call> |
    plain    It is late. |  Good night!

The ends of call steps are found by the reader of `dialects/`, which knows what is inside a string or a bracket. What
follows a syntax error is one step; a text that breaks before its first arguments is plain text from there on. Where a
step ends never depends on what comes later, but for the forced end of an unfinished text and for a sentence's, which
wants white space or the text's end after it.

In the own form a text of another form is cut as that one's (a policy that is not warmed up answers in any), and prose
is cut into sentences. In a model's own dialect a text before the calls is one step, and so is a text without calls;
where another call may follow, the end of turn after a call is a step of its own, as it is what is chosen instead.

Left out: what the tokens mean. The search and the trainer see token ids only; text is derived and never re-tokenised.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise, takewhile
from operator import eq

from itool_data.dialects import OWN, DialectName, PartialCalls, parse_prefix
from itool_data.form import Decode, Form

# White space, then whatever ends nothing, then the end; always matches, so that `finditer` is linear.
_SENTENCE = re.compile(r"\s*+(?:[^.!?\n]++|[.!?](?!\s|\Z))*+(?:[.!?\n]|\Z)")
_OPENING = re.compile(r"\s*+(?:(?P<hermes><tool_call>)|(?P<json>(?:\[\s*+)?+\{)|(?P<python>\[))")
_OPENED: dict[str | None, DialectName] = {"hermes": "hermes", "json": "json", "python": "python"}

_CHARACTER = 4  # bytes, and so tokens, that a UTF-8 character may have


def step_ends(text: str, dialect: DialectName = OWN) -> list[int]:
    """Find the offsets (exclusive) where the steps of a response end, in order; the last is the text's end."""
    ends, _ = _ends(text, dialect)
    if text and ends[-1:] != [len(text)]:
        ends.append(len(text))
    return ends


def _ends(text: str, dialect: DialectName) -> tuple[list[int], PartialCalls | None]:
    """Where steps end by themselves, and the calls whose steps they are; None: they are sentences."""
    if dialect != OWN:
        partial = parse_prefix(text, dialect)
        return list(partial.step_ends), partial
    opening = _OPENING.match(text)
    read_to = 0
    if opening is not None:
        partial = parse_prefix(text, _OPENED[opening.lastgroup])
        if partial.step_ends:
            return list(partial.step_ends), partial
        read_to = partial.read_to
    return [match.end() for match in _SENTENCE.finditer(text, read_to) if match.end() > match.start()], None


def until_step_end(before: Sequence[int], form: Form) -> Callable[[tuple[int, ...]], bool]:
    """Make what says of a continuation whether its first step is finished (`Request.until`).

    A call step is as soon as its last character is there, or with the first that no syntax allows; a sentence once
    anything follows it. Where the response is closed, the end-of-turn is still to come and belongs to the step.
    `first_step` then cuts off what was drawn beyond.

    Args:
        before: token ids of the response so far.
        form: of the response.
    """
    start = len(form.decode(before))

    def finished(ids: tuple[int, ...]) -> bool:
        text = form.decode((*before, *ids))
        ends, calls = _ends(text, form.dialect)
        if calls is not None and calls.error and not text.endswith("\ufffd"):  # a part of a character
            return True
        # The last sentence ends where the text breaks off, be it in a number or a word.
        certain = ends if calls is not None else [end for end in ends if end < len(text)]
        return not (calls is not None and calls.closed) and any(end > start for end in certain)

    return finished


def first_step(before: Sequence[int], continuation: Sequence[int], form: Form) -> tuple[int, ...]:
    """The continuation's tokens up to the first step end after `before`, in the response as a whole."""
    end = 0
    for step in split_steps((*before, *continuation), form):
        end += len(step)
        if end > len(before):
            return tuple(continuation[: end - len(before)])
    return tuple(continuation)


def split_steps(ids: Sequence[int], form: Form) -> list[list[int]]:
    """Cut a response's token ids into steps; put together, the steps are `ids` again.

    A step ends with the token that holds its last character. A token that holds several ends closes them all, and
    what comes after the last character (the end-of-turn token) belongs to the last step, unless another call might have
    come instead.

    Args:
        ids: the response's token ids.
        form: of the response.
    """
    text = form.decode(ids)
    token_ends = _token_ends(ids, form.decode, text)
    cuts = {0}
    ends, calls = _ends(text, form.dialect)
    open_end = calls is not None and calls.whole and not calls.closed and bool(calls.calls)
    for end in ends:
        token = bisect_left(token_ends, end)
        if token < len(ids) and (token_ends[token] < len(text) or open_end):
            cuts.add(token + 1)
    bounds = [*sorted(cuts), len(ids)]
    return [list(ids[a:b]) for a, b in pairwise(bounds) if a < b]


def _token_ends(ids: Sequence[int], decode: Decode, text: str) -> list[int]:
    """Find for each token how many characters of `text` are complete with it.

    Short windows are decoded: the tokens since the last match with `text` (a character's bytes may be spread over
    several) after those of the match before, because some decoders treat the first token apart. What is not in `text`
    at that place, such as U+FFFD for half a character, does not count.
    """
    ends: list[int] = []
    known = waiting = 0  # tokens from `known` are decoded as context, tokens from `waiting` are yet to match
    matched = 0  # characters of `text` before `waiting`
    for i in range(len(ids)):
        piece = decode(ids[known : i + 1])[len(decode(ids[known:waiting])) :]
        if piece and known == waiting and text.startswith(whole := decode(ids[: i + 1])):
            piece = whole[matched:]  # Without a context only the whole prefix is sure.
        common = _common_prefix(piece, text[matched : matched + len(piece)])
        ends.append(matched + common)
        if piece and common == len(piece):
            matched += common
            known, waiting = waiting, i + 1
        elif not piece and i - waiting >= _CHARACTER:  # Special tokens decode to nothing, and may be many.
            known = waiting = i + 1 - _CHARACTER
    return ends


def _common_prefix(a: str, b: str) -> int:
    return sum(takewhile(bool, map(eq, a, b)))
