"""Matching calls with accepted answers, the paper's error classes, and the agreement of unfinished responses."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itool_data.dialects import PartialCalls, parse, parse_prefix, render
from itool_data.match import (
    calls_match,
    first_error,
    prefix_agreement,
    prefix_error,
    response_error,
    response_matches,
)
from itool_data.sample import AcceptedCall, Sample, Tool, ToolCall

# f takes a and b, which the schema requires, c, which it does not, and d, which may be left out.
F = AcceptedCall("f", {"a": [1], "b": ["x", "y"], "c": [2.5], "d": [True]}, frozenset("d"))
G = AcceptedCall("g", {})
TOOLS = (
    Tool("f", "", {"type": "object", "properties": {}, "required": ["a", "b"]}),
    Tool("g", "", {"type": "object", "properties": {}}),
)


def accepts(value, *options):
    return calls_match([ToolCall("f", {"a": value})], [AcceptedCall("f", {"a": list(options)})])


@pytest.mark.parametrize(
    ("option", "accepted", "refused"),
    [
        ("New York, NY", ["new york ny", "New-York_NY", "new/york.*^ny"], ["new york", "New\tYork NY", 1, None]),
        ("it's", ['IT"S', "I.T's"], ["its"]),
        (5, [5], [5.0, True, "5", 6]),
        (5.0, [5.0, 5], [True, "5.0", 5.1]),
        (1.0, [1], [True]),
        (True, [True], [1, 1.0, "true", False]),
        (0, [0], [False, None, 0.0, ""]),
        (None, [None], [0, False, "", "null"]),
        ([1.0, "A b"], [[1, "ab"], [1.0, "a-B"]], [["ab", 1], [1], [1, "ab", 2], [True, "ab"], "ab"]),
        ([], [[]], [{}, "", None]),
        ({"k": [0.5, {"m": "X"}]}, [{"k": [0.5, {"m": "x"}]}], [{"K": [0.5, {"m": "x"}]}, {"k": [0.5, {}]}, {}, []]),
        ({"k": 1.0}, [{"k": 1}], [{"k": 1, "l": 2}, {"k": True}]),
    ],
)
def test_values(option, accepted, refused):
    assert [accepts(value, option) for value in accepted] == [True] * len(accepted)
    assert [accepts(value, option) for value in refused] == [False] * len(refused)
    assert accepts(accepted[0], "other", option)
    assert not accepts(accepted[0])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"city": "Paris", "days": 2}, True),
        ({"city": "paris", "days": 3}, True),
        ({"city": "Rome"}, True),
        ({"city": "Rome", "days": ""}, True),
        ({"city": "Rome", "days": 4}, False),
        ({"days": 2}, False),
        ({"city": "Rome", "country": "Italy"}, False),
        ({}, False),
        ("Rome", False),
    ],
)
def test_dicts_with_several_accepted_values_a_key(value, expected):
    option = {"$options": {"city": ["Paris", "Rome"], "days": [2, 3, ""]}}
    assert accepts(value, option) == expected
    assert accepts([value, {"city": "Paris"}], [option, option]) == expected
    assert not accepts([value], [option, option])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[f(a=1, b='x', c=2.5)]", None),
        ("[f(d=True, c=2.5, b='Y', a=1)]", None),
        ("[f(a=1, b='x', c=2.5), g()]", "Tools Count"),
        ("[]", "Tools Count"),
        ("[h(a=1, b='x', c=2.5)]", "Tool Name"),
        ("[F(a=1, b='x', c=2.5)]", "Tool Name"),
        ("[f(a=1, c=2.5)]", "Parameter Count"),
        ("[f(a=1, e=5, c=2.5)]", "Parameter Count"),
        ("[f(a=1, b='x', e=5)]", "Parameter Name"),
        ("[f(a=1, b='x', c=2.5, e=5)]", "Parameter Name"),
        ("[f(a=2, b='x', e=5)]", "Parameter Value"),
        ("[f(a=2, b='x')]", "Parameter Value"),
        ("[f(a=1, b='x')]", "Parameter Count"),
        ("[f(a=1, b='z', c=2.5)]", "Parameter Value"),
        ("[f(a=1, b='x', c=2.5, d=1)]", "Parameter Value"),
    ],
)
def test_the_error_of_one_call_is_the_first_in_the_checkers_order(text, error):
    calls = parse(text)
    assert first_error(calls, [F], TOOLS) == error
    assert calls_match(calls, [F]) == (error is None)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[g(), f(a=1, b='x', c=2.5)]", None),
        ("[g(), g()]", "Tool Name"),
        ("[h(), f(a=1, b='z', c=2.5)]", "Parameter Value"),
        ("[g(), f(a=1)]", "Parameter Count"),
        ("[h(), f(a=1, b='x', c=2.5)]", "Tool Name"),
    ],
)
def test_the_error_of_several_calls_is_the_furthest_of_those_left_over(text, error):
    assert first_error(parse(text), [F, G], TOOLS) == error


def test_matching_is_optimal_where_the_official_one_is_greedy():
    answers = [AcceptedCall("f", {"x": [1, 2]}), AcceptedCall("f", {"x": [1]})]
    for x, y, right in [(1, 2, True), (2, 1, True), (1, 1, True), (2, 2, False)]:
        assert calls_match([ToolCall("f", {"x": x}), ToolCall("f", {"x": y})], answers) == right


numbers = st.integers(0, 3)
several_answers = st.lists(
    st.builds(lambda n, o: AcceptedCall(n, {"x": o}), st.sampled_from("fg"), st.lists(numbers)), max_size=5
)
several_calls = st.lists(st.builds(lambda n, x: ToolCall(n, {"x": x}), st.sampled_from("fg"), numbers), max_size=5)


@settings(deadline=None, max_examples=300)
@given(calls=several_calls, answers=several_answers)
def test_calls_match_is_some_pairing_of_all(calls, answers):
    def accepted(call, answer):
        return call.name == answer.name and call.arguments["x"] in answer.arguments["x"]

    right = len(calls) == len(answers) and any(all(map(accepted, calls, order)) for order in permutations(answers))
    assert calls_match(calls, answers) == right


@settings(deadline=None, max_examples=300)
@given(calls=several_calls.filter(bool), answers=several_answers.filter(bool))
def test_prefix_agreement_is_the_best_mean_of_any_pairing(calls, answers):
    def score(call, answer):  # A complete call with one argument: 2 / 2 when right, (1 - 1) / 2 when wrong.
        return -1 if call.name != answer.name else 1 if call.arguments["x"] in answer.arguments["x"] else 0

    if len(calls) < len(answers):
        best = max(sum(map(score, calls, order)) for order in permutations(answers, len(calls)))
    else:
        best = max(sum(map(score, order, answers)) for order in permutations(calls, len(answers)))
    too_many = max(0, len(calls) - len(answers))
    expected = (best - too_many) / max(len(calls), len(answers))
    assert prefix_agreement(PartialCalls(tuple(calls)), answers) == pytest.approx(expected)


# f: name + a, b, c mandatory, so 4 pieces; g: 1 piece.
@pytest.mark.parametrize(
    ("text", "answers", "agreement", "error"),
    [
        ("", [F], 0, None),
        ("[", [F], 0, None),
        ("[f(", [F], 1 / 4, None),
        ("[f(a=2", [F], 1 / 4, None),
        ("[f(a=1,", [F], 2 / 4, None),
        ("[f(a=1, b='y', c=2.5,", [F], 4 / 4, None),
        ("[f(a=1, d=True,", [F], 3 / 5, None),
        ("[f(a=2,", [F], (1 - 1) / 4, "Parameter Value"),
        ("[f(a=2, e=1,", [F], (1 - 2) / 5, "Parameter Value"),
        ("[f(e=1,", [F], (1 - 1) / 5, "Parameter Name"),
        ("[f(a=1)", [F], (2 - 2) / 4, "Parameter Count"),
        ("[f(a=1, b='x')", [F], (3 - 1) / 4, "Parameter Count"),
        ("[f(a=1, b='x', c=2.5)", [F], 1, None),
        ("[f(a=1, b='x', c=2.5)]", [F], 1, None),
        ("[f(a=1, b='x', c=2.5, d=True)]", [F], 1, None),
        ("[h(", [F], -1, "Tool Name"),
        ("[f(a=1, b='x', c=2.5), f(", [F], (1 - 1) / 2, "Tools Count"),
        ("[f(a=1, b='x', c=2.5)", [F, G], 1 / 2, None),
        ("[f(a=1, b='x', c=2.5)]", [F, G], (1 - 1) / 2, "Tools Count"),
        ("[g(", [F, G], 1 / 2, None),
        ("[g(), g(", [F, G], (1 - 1) / 2, "Tool Name"),
        ("[g(), f(a=1,", [F, G], (1 + 2 / 4) / 2, None),
        ("[]", [F], -1, "Tools Count"),
        ("[f(a=1, b='x', 5)", [F], -1, "Code Syntax"),
        ("Sure", [F], -1, "Code Syntax"),
        ("Sure, it is (a=1).", [], 0, None),
        ("[", [], 0, None),
        ("[]", [], 0, None),
        ("[f(", [], -1, "Tools Count"),
        ("[f(), g()]", [], -1, "Tools Count"),
    ],
)
def test_prefix_agreement_and_error_by_hand(text, answers, agreement, error):
    partial = parse_prefix(text)
    assert prefix_agreement(partial, answers) == pytest.approx(agreement)
    assert prefix_error(partial, answers, TOOLS) == error


def test_an_open_json_call_without_a_name_has_broken_nothing():
    partial = parse_prefix('[{"arguments": {"z": 1, ', "json")
    assert prefix_error(partial, [F], TOOLS) is None
    assert prefix_agreement(partial, [F]) == 0


right_calls = st.permutations(
    [
        ToolCall("f", {"a": 1, "b": "x", "c": 2.5}),
        ToolCall("g", {}),
        ToolCall("f", {"a": 1, "b": "y", "c": 2.5, "d": True}),
    ]
)


@pytest.mark.parametrize("fmt", ["python", "json", "hermes"])
@settings(deadline=None)
@given(calls=right_calls)
def test_a_right_response_climbs_to_one_and_breaks_nothing(fmt, calls):
    text = render(calls, fmt)
    before = 0.0
    for end in range(len(text) + 1):
        partial = parse_prefix(text[:end], fmt)
        assert prefix_error(partial, [F, F, G], TOOLS) is None
        agreement = prefix_agreement(partial, [F, F, G])
        assert agreement >= before
        before = agreement
    assert before == 1


@settings(deadline=None)
@given(
    arguments=st.dictionaries(st.sampled_from("abcdexyz"), st.sampled_from([1, "x", 2.5, 9])),
    closed=st.booleans(),
)
def test_each_wrong_assignment_lowers_the_agreement(arguments, closed):
    def agreement(arguments):
        call = ToolCall("f", arguments)
        return prefix_agreement(PartialCalls(calls=(call,)) if closed else PartialCalls(open=call), [F])

    assert -1 <= agreement({**arguments, "wrong": 0}) < agreement(arguments) <= 1
    for name, value in arguments.items():
        if (name, value) in [("a", 1), ("b", "x"), ("c", 2.5)]:
            assert agreement({**arguments, name: "wrong"}) < agreement(arguments)


def sample(*calls, accepted=()):
    return Sample("s", "1", (), TOOLS, "", calls, accepted)


@pytest.mark.parametrize(
    ("text", "fmt", "gold", "error"),
    [
        ("[g()]", "python", sample(ToolCall("g", {})), None),
        (" [g()]\n", "python", sample(ToolCall("g", {})), None),
        ('[{"name": "g", "arguments": {}}]', "json", sample(ToolCall("g", {})), None),
        ('[{"name": "g", "arguments": {}}]', "python", sample(ToolCall("g", {})), "Code Syntax"),
        ("[g(]", "python", sample(ToolCall("g", {})), "Code Syntax"),
        ("I cannot.", "python", sample(ToolCall("g", {})), "Code Syntax"),
        ("", "python", sample(ToolCall("g", {})), "Code Syntax"),
        ("[g(x=1)]", "python", sample(ToolCall("g", {})), "Parameter Name"),
        ("[f(a=1)]", "python", sample(ToolCall("f", {"a": 1, "b": 2})), "Parameter Count"),
        ("[f(a=1, b='Y', c=2.5)]", "python", sample(ToolCall("f", {}), accepted=(F,)), None),
        ("It is late. [As ever] (so).", "python", sample(), None),
        ("", "python", sample(), None),
        ("[g()]", "python", sample(), "Tools Count"),
        ("Well: [g(a=", "python", sample(), "Tools Count"),
        ("<tool_call>{", "python", sample(), "Tools Count"),
    ],
)
def test_responses(text, fmt, gold, error):
    assert response_error(text, gold, fmt) == error
    assert response_matches(text, gold, fmt) == (error is None)
