"""Do calls match the accepted answers, and if not, which kind of error is it (paper Appendix A.1).

Calls match answers in any order. A call matches an answer when the names are equal, every given argument has an
accepted value and only optional arguments are missing. Values are compared with BFCL's tolerance, at every depth:
strings without the characters ` ,./-_*^`, in lower case, with `'` as `"`; an int where a float is accepted, but no
float for an int, and a bool equals bools only; lists in order; dicts key by key.

**A dict with several accepted values a key** is one accepted value of this form:

    {"$options": {key: [accepted value, ...], ...}}

It accepts a dict whose keys all stand there with an accepted value each; a key may be left out where `""` is among its
values. A list of such dicts is a list of such forms. Any other dict, nested in one or not, is meant literally.

Left out: BFCL's verdicts with their official names and quirks (`itool_eval/bfcl`); and the class "Other", which nothing
here can lead to.
"""

from collections.abc import Sequence
from math import inf
from typing import Literal

from itool_data.dialects import CallSyntaxError, DialectName, PartialCalls, detect_format, parse
from itool_data.sample import JSON, AcceptedCall, Sample, Tool, ToolCall

ErrorClass = Literal[
    "Parameter Value", "Parameter Name", "Parameter Count", "Tools Count", "Tool Name", "Code Syntax", "Other"
]

# What a call and an answer can fail at, by how far the call got: of several errors the furthest is reported.
_FAILURES: tuple[ErrorClass, ...] = (
    "Tool Name",  # another name
    "Parameter Count",  # a parameter that the tool requires is missing
    "Parameter Name",  # a parameter that the answer does not have
    "Parameter Count",  # another parameter of the answer is missing
    "Parameter Value",
)
_MATCH = len(_FAILURES)

_IGNORED = str.maketrans("'", '"', " ,./-_*^")


def calls_match(calls: Sequence[ToolCall], answers: Sequence[AcceptedCall]) -> bool:
    """Say whether some pairing gives each call an answer of its own that accepts it, and leaves none over."""
    return first_error(calls, answers, ()) is None


def first_error(calls: Sequence[ToolCall], answers: Sequence[AcceptedCall], tools: Sequence[Tool]) -> ErrorClass | None:
    """Name what is wrong with a complete response's calls; None when they match.

    The tools say which parameters are required: their lack is the first thing that is checked after the name.
    """
    if len(calls) != len(answers):
        return "Tools Count"
    return _furthest_failure(calls, answers, tools, None)


def prefix_error(partial: PartialCalls, answers: Sequence[AcceptedCall], tools: Sequence[Tool]) -> ErrorClass | None:
    """Name what an unfinished response has broken beyond repair; None if it can still become right.

    Without answers the gold response is plain text: any call begun is one too many, and it is no matter that the
    text has no call syntax.
    """
    if partial.error is not None and answers:
        return "Code Syntax"
    if partial.closed:
        return first_error(partial.calls, answers, tools)
    calls = _begun(partial)
    if len(calls) > len(answers):
        return "Tools Count"
    return _furthest_failure(calls, answers, tools, partial.open)


def prefix_agreement(partial: PartialCalls, answers: Sequence[AcceptedCall]) -> float:
    """Measure in -1..1 how the steps so far agree with the answers (`reward.outcome: prefix`).

    A call under an answer of another name scores -1. Under one of its own name it scores

        (right - wrong) / (right + wrong + open)

    with right = 1 for the name + the accepted assignments, wrong = the other assignments + the mandatory ones that a
    complete call left out, open = the mandatory ones that an unfinished call may still get. The agreement is the mean
    over the calls, paired with the answers for the highest sum. A call too many scores -1; an answer without a call
    scores 0, or -1 once the response is closed. Text that can no longer be parsed scores -1 as a whole.

    So a complete right response is at 1, and each wrong assignment lowers the score. Without answers (the gold
    response is plain text) it is -1 once a call is begun and 0 before.
    """
    calls = _begun(partial)
    if partial.error is not None and answers:
        return -1.0
    if not calls and not answers:
        return 0.0
    scores = [[_agreement(call, answer, call is not partial.open) for answer in answers] for call in calls]
    paired = sum(scores[i][j] for i, j in _best_pairs(scores))
    too_many = max(0, len(calls) - len(answers))
    too_few = max(0, len(answers) - len(calls)) if partial.closed else 0
    return (paired - too_many - too_few) / max(len(calls), len(answers))


def response_matches(text: str, sample: Sample, dialect: DialectName) -> bool:
    """Say whether a complete response is right: its calls match, or neither it nor the gold response calls anything."""
    return response_error(text, sample, dialect) is None


def response_error(text: str, sample: Sample, dialect: DialectName) -> ErrorClass | None:
    """Name what is wrong with a complete response; None when it is right.

    Where the gold response is plain text, any call attempt, in any format and however broken, is a wrong tools count.
    """
    if not sample.answers:
        return None if detect_format(text) is None else "Tools Count"
    try:
        calls = parse(text, dialect, sample.tools)
    except CallSyntaxError:
        return "Code Syntax"
    return first_error(calls, sample.answers, sample.tools)


def _begun(partial: PartialCalls) -> list[ToolCall]:
    return [*partial.calls, *([] if partial.open is None else [partial.open])]


def _furthest_failure(
    calls: Sequence[ToolCall], answers: Sequence[AcceptedCall], tools: Sequence[Tool], unfinished: ToolCall | None
) -> ErrorClass | None:
    """Pair as many calls as possible with an answer that accepts them; of the others, name the furthest failure."""
    required = {tool.name: frozenset(tool.parameters.get("required") or ()) for tool in tools}
    reached = [
        [_reached(call, answer, required.get(call.name, frozenset()), call is not unfinished) for answer in answers]
        for call in calls
    ]
    pairs = _best_pairs([[float(r == _MATCH) for r in row] for row in reached])
    rows = [i for i, j in pairs if reached[i][j] != _MATCH]
    taken = {j for i, j in pairs if reached[i][j] == _MATCH}
    failures = [reached[i][j] for i in rows for j in range(len(answers)) if j not in taken]
    return _FAILURES[max(failures)] if failures else None


def _reached(call: ToolCall, answer: AcceptedCall, required: frozenset[str], complete: bool) -> int:
    """Say at which of `_FAILURES` a call stops under an answer, checked in BFCL's order; `_MATCH` when at none."""
    if call.name != answer.name:
        return 0
    missing = answer.arguments.keys() - answer.optional - call.arguments.keys() if complete else set()
    if missing & required:
        return 1
    for name, value in call.arguments.items():
        if name not in answer.arguments:
            return 2
        if not accepted(value, answer.arguments[name]):
            return 4
    return 3 if missing else _MATCH


def _agreement(call: ToolCall, answer: AcceptedCall, complete: bool) -> float:
    if call.name != answer.name:
        return -1.0
    right_values = sum(accepted(value, answer.arguments.get(name, ())) for name, value in call.arguments.items())
    right = 1 + right_values
    wrong = len(call.arguments) - right_values
    missing = len(answer.arguments.keys() - answer.optional - call.arguments.keys())
    return (right - wrong - missing * complete) / (right + wrong + missing)


def accepted(value: JSON, options: Sequence[JSON]) -> bool:
    """Say whether one of the accepted values accepts a value."""
    return any(_accepts(option, value) for option in options)


def _accepts(option: JSON, value: JSON) -> bool:
    if isinstance(option, dict) and option.keys() == {"$options"}:
        return isinstance(value, dict) and _accepts_members(option["$options"], value)
    if isinstance(option, dict):
        return (
            isinstance(value, dict)
            and option.keys() == value.keys()
            and all(_accepts(option[key], value[key]) for key in option)
        )
    if isinstance(option, list):
        return isinstance(value, list) and len(option) == len(value) and all(map(_accepts, option, value))
    if isinstance(option, str):
        return isinstance(value, str) and standardised(option) == standardised(value)
    if isinstance(option, float):
        return isinstance(value, int | float) and not isinstance(value, bool) and option == value
    return type(option) is type(value) and bool(option == value)


def _accepts_members(options: dict[str, list[JSON]], value: dict[str, JSON]) -> bool:
    given = all(key in options and accepted(member, options[key]) for key, member in value.items())
    return given and all(key in value or "" in values for key, values in options.items())


def standardised(text: str) -> str:
    """A text as it is compared: without BFCL's ignored characters, in lower case."""
    return text.translate(_IGNORED).lower()


def _best_pairs(scores: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pair rows with columns, each at most once and as many as there are, for the highest sum of scores.

    The Hungarian algorithm in O(rows^2 * columns), rows being the shorter side (Kuhn 1955, Munkres 1957).
    """
    rows, columns = len(scores), len(scores[0]) if scores else 0
    if rows > columns:
        return [(i, j) for j, i in _best_pairs(list(zip(*scores, strict=True)))]
    # Rows are placed one after the other, and a column that is wanted twice is settled by moving its owner on: the
    # cheapest such chain of moves is searched as Dijkstra would, in costs less the prices of both sides, which keeps
    # them from being negative. Rows and columns count from 1: column 0 holds the row that is being placed.
    row_price, column_price = [0.0] * (rows + 1), [0.0] * (columns + 1)
    owner = [0] * (columns + 1)
    for new in range(1, rows + 1):
        owner[0], column = new, 0
        slack, came_from = [inf] * (columns + 1), [0] * (columns + 1)
        reached, free = [0], set(range(1, columns + 1))
        while owner[column]:
            row = owner[column]
            for j in free:
                cost = -scores[row - 1][j - 1] - row_price[row] - column_price[j]
                if cost < slack[j]:
                    slack[j], came_from[j] = cost, column
            column = min(free, key=slack.__getitem__)
            step = slack[column]
            for j in reached:
                row_price[owner[j]] += step
                column_price[j] -= step
            for j in free:
                slack[j] -= step
            free.remove(column)
            reached.append(column)
        while column:  # a free column is reached: every row of the chain moves one column on, towards it
            owner[column] = owner[came_from[column]]
            column = came_from[column]
    return [(owner[j] - 1, j - 1) for j in range(1, columns + 1) if owner[j]]
