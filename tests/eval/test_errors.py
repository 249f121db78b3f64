"""Error classes: the table of the paper's seven, the closest call, what is shown apart."""

import pytest

from itool_eval.errors import ErrorClass, all_faults, attempts_call, error_class, error_table, first_class
from itool_eval.verdicts import Fault, Verdict

VALUE = Fault("value_error:string", "")
TYPE = Fault("type_error:simple", "")
NAME = Fault("simple_function_checker:wrong_func_name", "")
MISSING = Fault("simple_function_checker:missing_required", "")
UNMATCHED = Fault("parallel_function_checker_no_order:cannot_find_match", "")


@pytest.mark.parametrize(
    ("error_type", "expected"),
    [
        ("type_error:nested", ErrorClass.PARAMETER_VALUE),
        ("value_error:dict_key", ErrorClass.PARAMETER_VALUE),
        ("list_dict_checker:unclear", ErrorClass.PARAMETER_VALUE),
        ("simple_function_checker:missing_optional", ErrorClass.PARAMETER_COUNT),
        ("simple_function_checker:unexpected_param", ErrorClass.PARAMETER_NAME),
        ("multiple_function_checker:wrong_count", ErrorClass.TOOLS_COUNT),
        ("simple_function_checker:wrong_func_name", ErrorClass.TOOL_NAME),
        ("ast_decoder:decoder_wrong_output_format", ErrorClass.CODE_SYNTAX),
        ("irrelevance_error:decoder_success", ErrorClass.TOOLS_COUNT),
        ("multi_turn:empty_turn_model_response", ErrorClass.TOOLS_COUNT),
        ("multi_turn:instance_state_mismatch", ErrorClass.OTHER),
        ("evaluator:exception", ErrorClass.OTHER),
    ],
)
def test_classes(error_type: str, expected: ErrorClass) -> None:
    assert error_class(Fault(error_type, "")) is expected


def test_a_relevance_failure_is_about_syntax_only_if_a_call_was_tried() -> None:
    assert error_class(Fault("relevance_error:decoder_failed", "")) is ErrorClass.CODE_SYNTAX
    assert error_class(Fault("relevance_error:decoder_failed", "", "no call attempted")) is ErrorClass.TOOLS_COUNT


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        (((NAME,), (MISSING, TYPE)), ErrorClass.PARAMETER_COUNT),
        (((MISSING,), (TYPE,), (VALUE,)), ErrorClass.PARAMETER_VALUE),
        (((NAME,), (NAME,)), ErrorClass.TOOL_NAME),
        ((), ErrorClass.OTHER),
    ],
)
def test_unmatched_calls_are_classed_by_the_closest_one(
    attempt: tuple[tuple[Fault, ...], ...], expected: ErrorClass
) -> None:
    assert first_class(Verdict("i", "parallel", (UNMATCHED,), (attempt,))) is expected


def test_all_faults_of_unmatched_calls_are_those_of_the_closest_ones() -> None:
    verdict = Verdict("i", "parallel", (UNMATCHED,), (((NAME,), (VALUE, MISSING)), ((NAME,),)))
    assert all_faults(verdict) == (VALUE, MISSING, NAME)


def test_table_counts_first_all_and_apart() -> None:
    hallucinated = Fault("irrelevance_error:decoder_success", "", "hallucinated call")
    verdicts = [
        Verdict("1", "c"),
        Verdict("2", "c", (MISSING, VALUE, VALUE)),
        Verdict("3", "irrelevance", (hallucinated,)),
        Verdict("4", "c", (Fault("ast_decoder:decoder_failed", "", "no call attempted"),)),
    ]
    table = error_table(verdicts)
    assert table.outputs == 4
    assert table.first == {ErrorClass.PARAMETER_COUNT: 1, ErrorClass.TOOLS_COUNT: 1, ErrorClass.CODE_SYNTAX: 1}
    assert table.anywhere == table.first | {ErrorClass.PARAMETER_VALUE: 1}
    assert table.apart == {"hallucinated call": 1, "no call attempted": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[f(a=1", True),
        ("f()", True),
        ('{"name": "f", "arguments": {}}', True),
        ("<tool_call>", True),
        ("", False),
        ("word" * 20_000, False),
        ("I cannot help (no function fits).", False),
        ("Which function(s) do you mean?", False),
    ],
)
def test_what_looks_like_a_call(text: str, expected: bool) -> None:
    assert attempts_call(text) is expected
