"""Decoded calls against an item's accepted calls (docs/bfcl.md §5).

One call is compared in the official order, and the first fault is the official error; the comparison goes on only to
tell what else is wrong. Left out: decoding (`decode_*.py`), single values (`values.py`), categories where the right
answer is to call nothing, or anything (`single_turn.py`).
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from itool_eval.bfcl.categories import Checker, Language
from itool_eval.bfcl.decoded import Call, OfficialRaisesError
from itool_eval.bfcl.items import Answer, Item
from itool_eval.bfcl.values import argument_fault, shown
from itool_eval.verdicts import Fault, Note, Verdict

# The official checker ends with an exception, and with it the whole official run; here only the item fails.
OFFICIAL_RAISES = "evaluator:exception"
_CALL = "simple_function_checker"
_ANY_ORDER = "parallel_function_checker_no_order"


def check(item: Item, calls: list[Call], checker: Checker, language: Language) -> Verdict:
    """Decide whether the calls are what the item accepts.

    Args:
        item: the test case with its accepted calls.
        calls: what the model called.
        checker: how the item's category counts and matches calls.
        language: what the calls are written in.
    """
    if len(calls) != (expected := 1 if checker is Checker.SIMPLE else len(item.answers)):
        scope = {Checker.SIMPLE: _CALL, Checker.MULTIPLE: "multiple_function_checker"}.get(checker, _ANY_ORDER)
        return _failed(item, Fault(f"{scope}:wrong_count", f"{len(calls)} calls where {expected} are expected"))
    if checker is Checker.ANY_ORDER:
        return _check_any_order(item, calls, language)
    # A single function's own name counts, even where the answer names it otherwise (simple_363 of v3).
    document = item.functions[0] if checker is Checker.SIMPLE else _document(item, 0)
    return _failed(item, *call_faults(calls[0], document, item.answers[0][1], language))


def call_faults(call: Call, document: dict[str, Any] | None, answer: Answer, language: Language) -> Iterator[Fault]:
    """Everything wrong with one call, in the order in which the official checker looks.

    Args:
        call: the call.
        document: the expected function's document, None if the item offers none.
        answer: the accepted values of each of its parameters.
        language: what the call is written in.
    """
    if document is None:
        yield Fault(OFFICIAL_RAISES, "the answer names a function that the item does not offer")
        return
    if call.name != document["name"]:
        yield Fault(f"{_CALL}:wrong_func_name", f"{call.name!r} is called, {document['name']!r} is expected")
        return
    given, schemas = call.arguments, document["parameters"]["properties"]
    missing = [p for p in document["parameters"]["required"] if p not in given]
    for parameter in missing:
        yield Fault(f"{_CALL}:missing_required", f"{parameter}: required, not given")
    for parameter, value in given.items():
        if parameter in schemas and parameter in answer:
            try:
                fault = argument_fault(parameter, value, answer[parameter], schemas[parameter], language)
            except OfficialRaisesError as error:
                fault = Fault(OFFICIAL_RAISES, f"{parameter}: {error}")
            if fault:
                yield fault
        elif parameter in schemas:
            yield Fault(
                f"{_CALL}:unexpected_param",
                f"{parameter}: a parameter of the schema that the answer does not take",
                "parameter of the schema",
            )
        else:
            yield Fault(f"{_CALL}:unexpected_param", f"{shown(parameter)}: not a parameter")
    for parameter, options in answer.items():
        if parameter not in given and "" not in options and parameter not in missing:
            yield Fault(
                f"{_CALL}:missing_optional", f"{parameter}: not given, although no accepted answer leaves it out"
            )


def _failed(item: Item, *faults: Fault) -> Verdict:
    return Verdict(item.id, item.category, faults)


def _document(item: Item, expected: int) -> dict[str, Any] | None:
    return next((d for d in item.functions if d["name"] == item.answers[expected][0]), None)


def _check_any_order(item: Item, calls: list[Call], language: Language) -> Verdict:
    """Give each expected call the first call left that passes, without ever taking one back (officially so)."""
    count = len(calls)

    @cache
    def faults_of(expected: int, index: int) -> tuple[Fault, ...]:
        return tuple(call_faults(calls[index], _document(item, expected), item.answers[expected][1], language))

    left = list(range(count))
    attempts: dict[int, tuple[tuple[Fault, ...], ...]] = {}
    for expected in range(count):
        tried = []
        for index in left:
            faults = faults_of(expected, index)
            if not faults:
                left.remove(index)
                break
            if faults[0].error_type == OFFICIAL_RAISES and not attempts:
                return _failed(item, faults[0])
            tried.append(faults)
        else:
            attempts[expected] = tuple(tried)
    if not attempts:
        return Verdict(item.id, item.category)
    first = min(attempts)
    fault = Fault(
        f"{_ANY_ORDER}:cannot_find_match", f"no call matches expected call {first + 1}, {item.answers[first][0]}"
    )
    passes = [[not faults_of(expected, index) for index in range(count)] for expected in range(count)]
    note: Note = "another matching passes" if _can_match_all(passes) else ""
    return Verdict(item.id, item.category, (fault,), tuple(attempts.values()), note)


def _can_match_all(passes: list[list[bool]]) -> bool:
    """Whether some assignment of calls to expected calls passes everywhere (augmenting paths)."""
    owner: dict[int, int] = {}

    def place(expected: int, seen: set[int]) -> bool:
        for index, fits in enumerate(passes[expected]):
            if fits and index not in seen:
                seen.add(index)
                if index not in owner or place(owner[index], seen):
                    owner[index] = expected
                    return True
        return False

    return all(place(expected, set()) for expected in range(len(passes)))
