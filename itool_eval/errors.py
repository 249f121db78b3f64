"""Official error types -> the paper's seven error classes (paper appendix A.1, docs/bfcl.md §9).

The paper gives no table, so part of this one is inferred; what could be argued about is shown apart: outputs that
attempt no call, calls where none is right, parameters that the schema has but the answer does not take. Left out: how
faults are found (`bfcl/checker.py`).
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from itool_eval.verdicts import Fault, Note, Verdict


class ErrorClass(StrEnum):
    """The paper's seven."""

    PARAMETER_VALUE = "Parameter Value"
    PARAMETER_NAME = "Parameter Name"
    PARAMETER_COUNT = "Parameter Count"
    TOOLS_COUNT = "Tools Count"
    TOOL_NAME = "Tool Name"
    CODE_SYNTAX = "Code Syntax"
    OTHER = "Other"


_CLASSES = {
    "simple_function_checker:missing_required": ErrorClass.PARAMETER_COUNT,
    "simple_function_checker:missing_optional": ErrorClass.PARAMETER_COUNT,
    "simple_function_checker:unexpected_param": ErrorClass.PARAMETER_NAME,
    "simple_function_checker:wrong_func_name": ErrorClass.TOOL_NAME,
    "simple_function_checker:wrong_count": ErrorClass.TOOLS_COUNT,
    "multiple_function_checker:wrong_count": ErrorClass.TOOLS_COUNT,
    "parallel_function_checker_no_order:wrong_count": ErrorClass.TOOLS_COUNT,
    "parallel_function_checker_enforce_order:wrong_count": ErrorClass.TOOLS_COUNT,
    "irrelevance_error:decoder_success": ErrorClass.TOOLS_COUNT,
    "relevance_error:decoder_failed": ErrorClass.CODE_SYNTAX,
    "ast_decoder:decoder_failed": ErrorClass.CODE_SYNTAX,
    "ast_decoder:decoder_wrong_output_format": ErrorClass.CODE_SYNTAX,
    "multi_turn:empty_turn_model_response": ErrorClass.TOOLS_COUNT,
    "api_bank:no_api_call": ErrorClass.CODE_SYNTAX,
    "api_bank:failed_parse_api_call": ErrorClass.CODE_SYNTAX,
    "api_bank:api_name_mismatch": ErrorClass.TOOL_NAME,
    "api_bank:invalid_input_parameter": ErrorClass.PARAMETER_NAME,
    "api_bank:miss_input_argument": ErrorClass.PARAMETER_COUNT,
    "api_bank:input_mismatch": ErrorClass.PARAMETER_VALUE,
    **{f"match:{name}": name for name in ErrorClass},  # the check of the run's own samples says the class itself
}
_VALUE_SCOPES = ("type_error", "value_error", "dict_checker", "list_dict_checker")

# How far the comparison of a call came before it failed: the further, the closer the call was.
_PROGRESS = {
    "simple_function_checker:wrong_func_name": 0,
    "simple_function_checker:missing_required": 1,
    "simple_function_checker:unexpected_param": 2,
    "simple_function_checker:missing_optional": 3,
    "type_error": 4,
}
_FURTHEST = 5

# A name with an opening parenthesis and then an argument or the end, or one of the JSON and tag forms. A name is tried
# from its start only: from everywhere, a reply that repeats a word endlessly would take quadratic time.
_CALL_LIKE = re.compile(
    r"""(?<![\w.])[A-Za-z_][\w.]*+\(\s*(?:\)|[A-Za-z_]\w*\s*[=:]|\*\*|['"\[{\d-])"""
    r"""|"(?:name|function|tool|arguments|parameters)"\s*:|<(?:tool_call|function|functioncall)\b""",
    re.IGNORECASE,
)


def attempts_call(text: str) -> bool:
    """Whether a text looks like a call in some form, well-formed or not; prose and empty replies do not."""
    return _CALL_LIKE.search(text) is not None


def error_class(fault: Fault) -> ErrorClass:
    """The class of one fault (the table of docs/bfcl.md §9)."""
    if fault.error_type == "relevance_error:decoder_failed" and fault.note == "no call attempted":
        return ErrorClass.TOOLS_COUNT
    if fault.error_type.partition(":")[0] in _VALUE_SCOPES:
        return ErrorClass.PARAMETER_VALUE
    return _CLASSES.get(fault.error_type, ErrorClass.OTHER)


def first_fault(verdict: Verdict) -> Fault | None:
    """The fault that decides an output's class; for unmatched calls, that of the closest call left."""
    if verdict.attempts:
        closest = _closest(verdict.attempts[0])
        return closest[0] if closest else None
    return verdict.faults[0] if verdict.faults else None


def all_faults(verdict: Verdict) -> tuple[Fault, ...]:
    """Everything wrong with an output; for unmatched calls, with the closest call to each expected one."""
    if verdict.attempts:
        return tuple(fault for attempt in verdict.attempts for fault in _closest(attempt))
    return verdict.faults


def first_class(verdict: Verdict) -> ErrorClass | None:
    """The class that an invalid output counts as, None for a valid one."""
    fault = first_fault(verdict)
    if fault:
        return error_class(fault)
    return None if verdict.valid else ErrorClass.OTHER


def _closest(attempt: tuple[tuple[Fault, ...], ...]) -> tuple[Fault, ...]:
    """The faults of the call that came furthest; a wrong name counts only if all names are wrong, ties go first."""
    return max(attempt, key=lambda faults: _progress(faults[0]), default=())


def _progress(fault: Fault) -> int:
    scope = fault.error_type.partition(":")[0]
    return _PROGRESS.get(fault.error_type, _PROGRESS.get(scope, _FURTHEST))


@dataclass(frozen=True)
class ErrorTable:
    """How many outputs fail with which class.

    Attributes:
        first: outputs by the class of their deciding fault.
        anywhere: outputs by every class among their faults, so an output can count several times.
        apart: outputs by what is shown apart; these are also in `first`.
        outputs: all outputs, valid ones included.
    """

    first: Counter[ErrorClass]
    anywhere: Counter[ErrorClass]
    apart: Counter[Note]
    outputs: int


def error_table(verdicts: Iterable[Verdict]) -> ErrorTable:
    """Count the error classes of some outputs."""
    table = ErrorTable(Counter(), Counter(), Counter(), 0)
    outputs = 0
    for verdict in verdicts:
        outputs += 1
        fault, decided = first_fault(verdict), first_class(verdict)
        if decided is None:
            continue
        table.first[decided] += 1
        table.anywhere.update({error_class(f) for f in all_faults(verdict)} or {decided})
        if fault and fault.note:
            table.apart[fault.note] += 1
    return ErrorTable(table.first, table.anywhere, table.apart, outputs)
