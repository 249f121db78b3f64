"""The checker on small items made by hand: order of checks, quirks of types and values, matching."""

from typing import Any

import pytest

from itool_eval.bfcl import convert_java, convert_javascript
from itool_eval.bfcl.categories import Checker, Language
from itool_eval.bfcl.checker import OFFICIAL_RAISES, check
from itool_eval.bfcl.decoded import Call, OfficialRaisesError
from itool_eval.bfcl.items import Answer, Item
from itool_eval.bfcl.quirks import impossible
from itool_eval.verdicts import Verdict


def function(name: str = "f", required: tuple[str, ...] = (), **types: Any) -> dict[str, Any]:
    properties = {p: t if isinstance(t, dict) else {"type": t} for p, t in types.items()}
    return {"name": name, "parameters": {"type": "dict", "properties": properties, "required": list(required)}}


def array(kind: str) -> dict[str, Any]:
    return {"type": "array", "items": {"type": kind}}


def item(*answers: tuple[str, Answer], functions: list[dict[str, Any]]) -> Item:
    return Item("x_0", "x", [], functions, answers)


def one(kind: Any, options: list[Any], value: Any, language: Language = Language.PYTHON) -> str | None:
    """The error type of the call f(a=value)."""
    case = item(("f", {"a": options}), functions=[function(a=kind)])
    return check(case, [Call("f", {"a": value})], Checker.SIMPLE, language).error_type


def test_checks_come_in_the_official_order() -> None:
    case = item(
        ("f", {"a": [1], "b": [2], "c": [3]}),
        functions=[function(required=("a",), a="integer", b="integer", c="integer")],
    )

    def error_types(**arguments: Any) -> list[str]:
        verdict = check(case, [Call("f", dict(arguments))], Checker.SIMPLE, Language.PYTHON)
        return [fault.error_type.partition(":")[2] for fault in verdict.faults]

    assert error_types(a=1, b=2, c=3) == []
    assert error_types(b="x", z=1) == ["missing_required", "simple", "unexpected_param", "missing_optional"]
    assert error_types(z=1, b=5, a=1, c=3) == ["unexpected_param", "others"]
    assert error_types(a=1, b=2) == ["missing_optional"]


def test_the_functions_own_name_counts_for_single_functions_and_the_answers_for_several() -> None:
    case = item(("g", {}), functions=[function("f"), function("g")])
    f, g = [Call("f", {})], [Call("g", {})]
    assert check(case, f, Checker.SIMPLE, Language.PYTHON).valid
    assert check(case, g, Checker.MULTIPLE, Language.PYTHON).valid
    assert check(case, f, Checker.MULTIPLE, Language.PYTHON).error_type == "simple_function_checker:wrong_func_name"
    assert check(case, f * 2, Checker.MULTIPLE, Language.PYTHON).error_type == "multiple_function_checker:wrong_count"
    assert (
        check(case, [], Checker.ANY_ORDER, Language.PYTHON).error_type
        == "parallel_function_checker_no_order:wrong_count"
    )


def test_an_answer_that_names_no_function_fails_the_item_only() -> None:
    case = item(("h", {}), functions=[function("f")])
    assert check(case, [Call("h", {})], Checker.MULTIPLE, Language.PYTHON).error_type == OFFICIAL_RAISES


@pytest.mark.parametrize(
    ("kind", "options", "value", "error"),
    [
        ("integer", [1], True, "type_error:simple"),
        ("boolean", [True], 1, "type_error:simple"),
        ("float", [1.0], 1, None),
        ("integer", [1], 1.0, "type_error:simple"),
        (array("float"), [[1.0, 2.5]], [1, 2.5], "type_error:nested"),
        (array("float"), [[1, 2.5]], [1, 2.5], None),
        (array("integer"), [[1], ""], ["x"], "value_error:list/tuple"),
        (array("integer"), [[1], ""], [], None),
        (array("integer"), [], [1], "type_error:simple"),
        (array("string"), [["New York"]], ["new-york"], None),
        (array("string"), [["a", "b"]], ["b", "a"], "value_error:list/tuple"),
        ({"type": "tuple", "items": {"type": "integer"}}, [[1]], (1,), None),
        ("integer", ["x"], "x", None),
        ("integer", ["x"], "X", "value_error:others"),
        ("string", [None, "x"], None, None),
        ("string", [None, "x"], "X", "value_error:others"),
        ("string", ["It's 5.", ""], "it\"s5", None),
        ("string", ["x", ""], " ,./-_*^", None),
        ("string", ["a:b"], "a b", "value_error:string"),
        ("dict", [{"k": ["v"], "o": [1, ""]}], {"k": "V."}, None),
        ("dict", [{"k": [1]}], {"k": True}, None),
        ("dict", [{"k": ["v"]}], {"z": 1}, "value_error:dict_key"),
        ("dict", [{"k": ["v"]}], {"k": "w"}, "value_error:dict_value"),
        ("dict", [{"k": ["v"], "l": [1]}], {"k": "w"}, "value_error:dict_key"),
        ("dict", [{"k": ["v"]}, {"k": ["w"], "l": [1]}], {"k": "x"}, "value_error:dict_key"),
        ("dict", [""], {}, "dict_checker:unclear"),
        (array("dict"), [[{"k": [1]}]], [{"k": 1}, {"k": 1}], "value_error:list_dict_count"),
        (array("dict"), [[{"k": [1]}], ""], [], None),
        (array("dict"), [[{"k": [1]}]], [{"k": 2}], "value_error:dict_value"),
    ],
)  # fmt: skip
def test_types_and_values(kind: Any, options: list[Any], value: Any, error: str | None) -> None:
    assert one(kind, options, value) == error


def test_java_and_javascript_values_come_as_text() -> None:
    assert one("long", [5], "5L", Language.JAVA) is None
    assert one("long", [5], "5", Language.JAVA) == "type_error:simple"
    assert one("long", [5], 5, Language.JAVA) == "type_error:java"
    assert one("float", [3.0], "3", Language.JAVASCRIPT) is None
    assert one("float", [3.0], 3, Language.JAVASCRIPT) == "type_error:js"
    assert one("Set", [[]], "x", Language.JAVA) == OFFICIAL_RAISES


@pytest.mark.parametrize(
    ("text", "kind", "item_kind", "value"),
    [
        ("-7", "integer", None, -7),
        ("7L", "integer", None, "7L"),
        ("1e3f", "float", None, 1000.0),
        ("3", "double", None, 3.0),
        ("True", "boolean", None, "True"),
        ('new String[]{"a"}', "Array", "String", ['"a"']),
        ("new int[]{1, x}", "Array", "integer", [1, "x"]),
        ('new ArrayList<>(Arrays.asList("a","b"))', "ArrayList", "String", ["a", "b"]),
        ("new ArrayList<>() {{ add(1); add(2); }}", "ArrayList", "integer", [1, 2]),
        ("new ArrayList<>()", "ArrayList", "any", []),
        ('new HashMap<A, B>() {{ put("k", 1); put("l", x); }}', "HashMap", None, {"k": 1, "l": "x"}),
        ("new HashMap<>()", "HashMap", None, {}),
        ("map", "HashMap", None, "map"),
    ],
)
def test_java_conversions(text: str, kind: str, item_kind: str | None, value: Any) -> None:
    assert convert_java.convert(text, kind, item_kind) == value


@pytest.mark.parametrize(
    ("text", "kind", "item_kind", "value"),
    [
        ("'x'", "String", None, "x"),
        ("12n", "Bigint", None, 12),
        ("3.5", "integer", None, "3.5"),
        ("[1, 2]", "array", "integer", [1, 2]),
        ("new Array('a', b)", "array", "String", ["a", "b"]),
        ("[[1, 'a'], [true]]", "array", "array", [[1, "a"], [True]]),
        ("[1, 2", "array", "integer", "[1, 2"),
        ("{a: 1, 'b': 'x', c: [1, 2]}", "dict", None, {"a": 1, "b": "x", "c": [1, 2]}),
        ("{a: {b: 1}}", "dict", None, {"a": "{b: 1"}),
        ("{\na: 1}", "dict", None, "{\na: 1}"),
    ],
)
def test_javascript_conversions(text: str, kind: str, item_kind: str | None, value: Any) -> None:
    assert convert_javascript.convert(text, kind, item_kind) == value


def test_a_number_that_python_cannot_read_is_what_the_official_converter_raises_on() -> None:
    with pytest.raises(OfficialRaisesError):
        convert_java.convert("1" * 5000, "integer")


def any_order(*values: int) -> Verdict:
    case = item(("f", {"x": [1, 2]}), ("f", {"x": [1]}), functions=[function(x="integer")])
    return check(case, [Call("f", {"x": value}) for value in values], Checker.ANY_ORDER, Language.PYTHON)


def test_matching_is_greedy_and_says_where_that_matters() -> None:
    assert any_order(2, 1).valid
    greedy = any_order(1, 2)
    assert greedy.error_type == "parallel_function_checker_no_order:cannot_find_match"
    assert greedy.note == "another matching passes"
    assert any_order(1, 3).note == ""


def test_an_item_without_an_accepted_value_is_impossible() -> None:
    fine = item(("f", {"a": [1], "z": [""]}), functions=[function(required=("a",), a="integer")])
    empty = item(("f", {"a": []}), functions=[function(required=("a",), a="integer")])
    unknown = item(("f", {"z": [1]}), functions=[function(a="integer")])
    assert impossible(fine, Checker.SIMPLE) is None
    assert impossible(empty, Checker.SIMPLE)
    assert impossible(unknown, Checker.SIMPLE)
