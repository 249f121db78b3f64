"""Decoding: the official rules of v3 and v4, and what is refused instead of run."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itool_eval.bfcl import decode_java, decode_javascript, decode_python
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.decoded import Call, DecodeError, NoCallError


def python(text: str, version: Version = Version.V3) -> list[Call] | None:
    try:
        return decode_python.decode(text, version)
    except DecodeError:
        return None


def argument(source: str) -> Any:
    calls = python(f"[f(a={source})]")
    return calls[0].arguments["a"] if calls else DecodeError


F = [Call("f", {})]


@pytest.mark.parametrize(
    ("text", "in_v3", "in_v4"),
    [
        ("[f()]", F, F),
        ("f()", F, F),
        ("```\n[f()]\n```", F, F),
        ("```python\n[f()]\n```", None, None),
        ("[f()];", None, None),
        ("[[f()]]", F, None),
        ("(f(), f())", F * 2, None),
        ("{f()}", F, None),
        ("'[f()]'", F, None),
        ("['f()']", F, None),
        ("[f()]]]", F, None),
        ("[ f()]", None, F),
        ("[\n  f(),\n  f()\n]", None, F * 2),
        ("[f()] # note", None, F),
        ("[]", None, []),
        ("", None, []),
        ("()", [], None),
        ("no call", None, None),
        ("[1]", None, None),
    ],
)
def test_versions_differ_in_what_they_strip(text: str, in_v3: list[Call] | None, in_v4: list[Call] | None) -> None:
    assert python(text, Version.V3) == in_v3
    assert python(text, Version.V4) == in_v4


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("a.b.c(x=1)", Call("a.b.c", {"x": 1})),
        ("g().f(a=1)", Call("f", {"a": 1})),
        ("f[0](a=1)", Call("", {"a": 1})),
        ("f(1, *x, a=2)", Call("f", {"a": 2})),
        ("f(**x)", Call("f", {None: "x"})),
    ],
)
def test_names_and_arguments_that_have_none(text: str, call: Call) -> None:
    assert python(text) == [call]


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("'a' 'b'", "ab"),
        ("1_000", 1000),
        ("...", "..."),
        ("+5", -5),
        ("~5", -5),
        ("not True", -1),
        ("-x", DecodeError),
        ("--1", DecodeError),
        ("(1, [2])", (1, [2])),
        ("{'a': b}", {"a": "b"}),
        ("{**a}", DecodeError),
        ("{[1]: 2}", DecodeError),
        ("true", "true"),
        ("g()", "g()"),
        ("g(1)", "g(1)"),
        ("g(b=1)", {"g": {"b": 1}}),
        ("d['k']", "d['k']"),
        ("d[1:2]", "d[1:2]"),
        ("a.b", DecodeError),
        ("{1}", DecodeError),
        ("f'x'", DecodeError),
        ("1 < 2", DecodeError),
        ("lambda: 1", DecodeError),
        ("2 * (3 + 4) ** 2 // 5 % 7 - 1", 4),
        ("~5 + 1", -5),
        ("'a' + 'b' * 2", "abb"),
        ("[1] + [2, 3]", [1, 2, 3]),
        ("'%s-%d' % ('a', 5)", "a-5"),
        ("0.05 / 12", 0.05 / 12),
        ("1 / 0", DecodeError),
        ("1 + x", DecodeError),
        ("1 + len('a')", DecodeError),
    ],
)
def test_values(source: str, value: Any) -> None:
    decoded = argument(source)
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize(
    "source",
    [
        "9**9**9",
        "'a' * 10**9",
        "[[0] * 90000] * 90000",
        "1 << 10**9",
        "'%99999999d' % 1",
        "'%*d' % (99999999, 1)",
        "'a' * 9999" + " + 'b' * 9999" * 300,
        "1" + " + 1" * 400,
        "(" * 5000 + "1" + ")" * 5000,
        "-" * 5000 + "1",
        "9" * 5000,
    ],
)
def test_what_is_too_large_fails_at_once(source: str) -> None:
    # Unbounded, the first of these would take the memory of the machine and the rest minutes.
    assert argument(source) is DecodeError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[A.f(a="x", b=1L)]', Call("A.f", {"a": "x", "b": "1L"})),
        ("[f(a='c');]", Call("f", {"a": "c"})),
        ("[f(a=new int[]{1, 2});]", Call("f", {"a": "new int[]{1,2}"})),
        ('[f(a=new T("x", 1));]', Call("f", {"a": 'new T("x", 1)'})),
        ("[f(a=new HashMap<>() {{ put(1, 2); }});]", Call("f", {"a": "new HashMap<>()"})),
        ("[f(x);]", Call("f", {None: "x"})),
        # The text after a non-ASCII character is read at the offsets of its UTF-8 bytes.
        ('[f(a="é", b="xy");]', Call("f", {"a": 'é"', "=": 'y"'})),
        ("[f(a=1)]", DecodeError),
        ("[f(a=1, a=2);]", DecodeError),
        ("[x = 1;]", NoCallError),
        ("\ud800", DecodeError),
    ],
)
def test_java(text: str, expected: Call | type[Exception]) -> None:
    if isinstance(expected, Call):
        assert decode_java.decode(text) == [expected]
    else:
        with pytest.raises(expected):
            decode_java.decode(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[f(a=\"x\", b='y', c=`z`)]", Call("f", {"a": "x", "b": "y", "c": "`z`"})),
        ("[f(a={b: [1, 2]}, c=é)]", Call("f", {"a": "{b: [1, 2]}", "c": "é"})),
        ("[f(x)]", Call("f", {None: "x"})),
        # Newer releases of the grammar or of tree-sitter decide otherwise on these two.
        ("[f(a=if, b=3)]", Call("f", {"a": "if", "b": "3"})),
        ("{[1, 2]{a: 1; b: 2}", NoCallError),
        ("[f(a=1), g(b=2)]", NoCallError),
        ("[x]", NoCallError),
        ("[f(a=1, a=2)]", DecodeError),
        ("[f(a=]", DecodeError),
        ("\ud800", DecodeError),
    ],
)
def test_javascript(text: str, expected: Call | type[Exception]) -> None:
    if isinstance(expected, Call):
        assert decode_javascript.decode(text) == [expected]
    else:
        with pytest.raises(expected):
            decode_javascript.decode(text)


@settings(deadline=None)
@given(st.text() | st.text(alphabet="[](){}'\"=,.:;+-*af1 \n\\"))
def test_any_text_decodes_or_fails_in_the_one_way(text: str) -> None:
    for version in Version:
        python(text, version)
    for decode in (decode_java.decode, decode_javascript.decode):
        try:
            decode(text)
        except DecodeError:
            continue
