"""Response text <-> ToolCalls: what each call format takes, refuses and says about an unfinished response."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itool_data.dialects import (
    MAX_CALLS,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_LENGTH,
    WRITTEN,
    CallSyntaxError,
    DialectName,
    PartialCalls,
    detect_format,
    parse,
    parse_prefix,
    render,
)
from itool_data.errors import ItoolError
from itool_data.sample import ToolCall

FORMATS: tuple[DialectName, ...] = tuple(WRITTEN)

# JSON cannot hold a surrogate pair as two characters, so texts that have one are left to a test of their own.
texts = st.text(st.characters()).filter(lambda text: not re.search("[\ud800-\udbff][\udc00-\udfff]", text))
texts |= st.sampled_from(
    ["", "'", '"', "\\", "\0\n\r\t", "\ud800", "x'\"\\'y", "a, b=1)", "</tool_call>", "é世😀", "{[("]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
names = texts | st.sampled_from(
    ["f", "g.h", "Get Trending Result", "Today's Quiz", "/songs/{id}", "f(x)", "#a", "é b", "-"]
)
call_lists = st.lists(st.builds(ToolCall, names, st.dictionaries(names, values, max_size=3)), max_size=3)


@pytest.mark.parametrize("fmt", FORMATS)
@settings(deadline=None)
@given(calls=call_lists)
def test_parse_inverts_render(fmt, calls):
    # By repr, because 1, 1.0 and True are equal, and so are 0.0 and -0.0.
    assert repr(parse(render(calls, fmt), fmt)) == repr(calls)


@pytest.mark.parametrize("fmt", FORMATS)
@settings(deadline=None)
@given(calls=call_lists)
def test_rendered_text_has_an_encoding_and_its_own_format(fmt, calls):
    text = render(calls, fmt)
    text.encode()
    assert detect_format(text) == (fmt if calls else None)


@pytest.mark.parametrize("fmt", FORMATS)
@settings(deadline=None, max_examples=30)
@given(calls=call_lists)
def test_every_prefix_of_a_response_can_become_right_and_only_grows(fmt, calls):
    text = render(calls, fmt)
    seen = 0
    for end in range(len(text) + 1):
        partial = parse_prefix(text[:end], fmt)
        assert partial.error is None
        assert partial.closed == (fmt != "hermes" and end == len(text))
        assert list(partial.calls) == calls[: len(partial.calls)]
        if partial.open:
            assert partial.open.name == calls[len(partial.calls)].name
            assert partial.open.arguments.items() <= calls[len(partial.calls)].arguments.items()
        size = sum(1 + len(call.arguments) for call in partial.calls)
        size += 1 + len(partial.open.arguments) if partial.open else 0
        assert size >= seen
        seen = size
    assert list(parse_prefix(text, fmt).calls) == calls


@pytest.mark.parametrize("fmt", ["json", "hermes"])
def test_render_refuses_a_surrogate_pair_that_json_would_join(fmt):
    calls = [ToolCall("f", {"a": "\ud83d\ude00"})]
    assert parse(render(calls, "python"), "python") == calls
    with pytest.raises(ItoolError, match="other calls"):
        render(calls, fmt)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), (1, 2), {1: 2}, {1, 2}, b"x", object(), 10**2000])
def test_render_refuses_what_is_no_json_value(fmt, value):
    with pytest.raises(ItoolError):
        render([ToolCall("f", {"a": value})], fmt)


@pytest.mark.parametrize("fmt", FORMATS)
def test_render_refuses_a_value_that_contains_itself(fmt):
    loop = []
    loop.append(loop)
    with pytest.raises(ItoolError):
        render([ToolCall("f", {"a": loop})], fmt)


def test_render_spells_the_three_formats():
    calls = [ToolCall("Get Trending Result", {"category": "music"}), ToolCall("g.h", {})]
    assert render(calls) == "[Get Trending Result(category='music'), g.h()]"
    assert render(calls, "json") == (
        '[{"name": "Get Trending Result", "arguments": {"category": "music"}}, {"name": "g.h", "arguments": {}}]'
    )
    assert render(calls[1:] * 2, "hermes") == "\n".join(
        ['<tool_call>\n{"name": "g.h", "arguments": {}}\n</tool_call>'] * 2
    )


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("'x'", "x"),
        ('"it\'s"', "it's"),
        (r"'\'\"\\\n\t\x41\u00e9\U0001F600\101\q'", "'\"\\\n\tAé😀A\\q"),
        ("'a\\\nb'", "ab"),
        (r"r'\d\n'", r"\d\n"),
        ("u'x'", "x"),
        ("'a' \"b\"\n 'c'", "abc"),
        ("'''a'b\n''c'''", "a'b\n''c"),
        ('""" "" """', ' "" '),
        ("''", ""),
        ("1_000", 1000),
        ("+5", 5),
        ("-0x1F", -31),
        ("0b11", 3),
        ("1.", 1.0),
        (".5e-1", 0.05),
        ("-0.0", -0.0),
        ("1E3", 1000.0),
        ("True", True),
        ("false", False),
        ("null", None),
        ("None", None),
        ("metric", "metric"),
        ("inf", "inf"),
        ("größe", "größe"),
        ("[1, [2.0], ]", [1, [2.0]]),
        ("(1, 'a')", [1, "a"]),
        ("(1,)", [1]),
        ("(1)", 1),
        ("()", []),
        ("{'a': {'b': None}, }", {"a": {"b": None}}),
        ("{unit: 1}", {"unit": 1}),
        (" [ \n1\t,\r\n2 ] ", [1, 2]),
        ("')]'", ")]"),
    ],
)
def test_python_values(source, value):
    (call,) = parse(f"[f(a={source}, b=0)]")
    assert repr(call) == repr(ToolCall("f", {"a": value, "b": 0}))


REFUSED_PYTHON_VALUES = [
    *["1+1", "1-2", "--1", "007", "1__0", "0x", "1e", "1j", "-inf", "+nan", "1e999", "2024-01-05", "１"],
    *["'a\nb'", r"'\xZ1'", r"'\u12'", r"'\U00110000'", r"'\N{DASH}'", "b'x'", "f'x'", "'a' b", "a b", "not True"],
    *["a.b", "g()", "g(x=1)", "d['k']", "lambda: 1", "x if y", "...", "`x`", "[*x]", "{**d}", "{1, 2}", "{'a'}"],
    *["{1: 2}", "{True: 1}", "[1 2]", "(,)", "[,]", "", ",", "=1"],
]


@pytest.mark.parametrize("source", REFUSED_PYTHON_VALUES)
def test_python_values_that_are_refused(source):
    with pytest.raises(CallSyntaxError, match=r"^offset \d+: expected .*, found "):
        parse(f"[f(a={source}, b=0)]")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Get User's Songs", "Get User's Songs"),
        ("/songs/{id}", "/songs/{id}"),
        ("meeting-notes.v2", "meeting-notes.v2"),
        ("$id", "$id"),
        ("2d", "2d"),
        ("f(x)", "'f(x)'"),
        ("filter[a]", "'filter[a]'"),
        ("a=b", "'a=b'"),
        ("a,b", "'a,b'"),
        ("'90s", '"\'90s"'),
        (" a", "' a'"),
        ("a ", "'a '"),
        ("a\nb", "'a\\nb'"),
        ("", "''"),
    ],
)
def test_python_names_are_bare_or_string_literals(name, written):
    text = f"[{written}({written}=1)]"
    assert render([ToolCall(name, {name: 1})]) == text
    assert parse(text) == [ToolCall(name, {name: 1})]


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        ("", 0, "'['"),
        ("It is sunny.", 0, "'['"),
        ("f(a=1)", 0, "'['"),
        ("[f(a=1)", 7, "','"),
        ("[f(a=1)] ok", 9, "the end of the response"),
        ("[f(a=1)]]", 8, "the end of the response"),
        ("[f(1)]", 4, "'='"),
        ("[f([1])]", 3, "a parameter name"),
        ("[f('x')]", 6, "'='"),
        ("[f(**k)]", 6, "'='"),
        ("[f(a=1, a=2)]", 8, "not given before"),
        ("[f(a=1 b=2)]", 7, "',' or ')'"),
        ("[f(a==1)]", 5, "a value"),
        ("[f(,)]", 3, "a parameter name"),
        ("[,]", 1, "a function name"),
        ("[f(),, g()]", 5, "a function name"),
        ("[[f()]]", 1, "a function name"),
        ("[f]", 2, "'('"),
        ("[f(a='x)]", 9, "closing '"),
    ],
)
def test_python_errors_name_the_offset_and_what_was_expected(text, offset, expected):
    with pytest.raises(CallSyntaxError, match=rf"^offset {offset}: expected .*{re.escape(expected)}"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('[{"name": "f", "arguments": {"a": 1}}]', {"a": 1}),
        ('{"name": "f", "arguments": {"a": 1}}', {"a": 1}),
        ('[{"arguments": {"a": 1}, "name": "f"}]', {"a": 1}),
        ('[{"name": "f", "parameters": {}}]', {}),
        (
            '[{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\\"a\\": [1.5]}"}}]',
            {"a": [1.5]},
        ),
        (' [\n {"name":"f","arguments":{"a":{"b":[true,null,-0.5e1]}}} ] ', {"a": {"b": [True, None, -5.0]}}),
        ('{"name": "f", "arguments": {"a": "\\ud83d\\ude00\\/\\u0000"}}', {"a": "😀/\0"}),
    ],
)
def test_json_forms(text, arguments):
    assert repr(parse(text, "json")) == repr([ToolCall("f", arguments)])
    if not text.lstrip().startswith("["):
        assert repr(parse(f"<tool_call>{text}</tool_call>\n", "hermes")) == repr([ToolCall("f", arguments)])


REFUSED_JSON_VALUES = [
    *["NaN", "-Infinity", "1e999", "01", "+1", ".5", "1_0", "True", "x", "'x'", "[1,]", "(1)", "{a: 1}", "{1: 1}"],
    *['{"a": 1,}', '"\n"', '"\\x41"', '"\\', '"""', '""""""', "", '1, "a": 2'],
]


@pytest.mark.parametrize(
    "text",
    [
        *["{}", "[1]", "null", "[{}]", '{"name": "f"}', '{"arguments": {}}', '{"name": 1, "arguments": {}}'],
        *['{"name": "f", "arguments": []}', '{"name": "f", "arguments": null}', '{"name": "f", "arguments": "x"}'],
        *['{"name": "f", "arguments": "{"}', '{"name": "f", "arguments": "{} {}"}', '{"name": "f", "arguments": {},}'],
        *['{"name": "f", "name": "g", "arguments": {}}', '{"name": "f", "arguments": {}, "parameters": {}}'],
        *['{"name": "f", "arguments": {}, "parameters": "{}"}', '{"function": {"function": {"name": "f"}}}'],
        *['{"name": "f", "arguments": {}} x', '{"name": "f", "arguments": {}}, {"name": "f", "arguments": {}}'],
        *[f'{{"name": "f", "arguments": {{"a": {value}}}}}' for value in REFUSED_JSON_VALUES],
    ],
)
def test_json_that_is_refused(text):
    with pytest.raises(CallSyntaxError, match=r"^offset \d+: expected "):
        parse(text, "json")
    with pytest.raises(CallSyntaxError, match=r"^offset \d+: expected "):
        parse(f"<tool_call>{text}</tool_call>", "hermes")


@pytest.mark.parametrize("text", ["<tool_call>", "<tool_call></tool_call>", "hi <tool_call>{}"])
def test_hermes_wants_whole_blocks(text):
    with pytest.raises(CallSyntaxError):
        parse(text, "hermes")


@pytest.mark.parametrize("text", ["hi", '{"name": "f", "arguments": {}}', "a <tool_", ""])
def test_hermes_takes_what_has_no_block_for_text(text):
    assert parse(text, "hermes") == []
    assert parse_prefix(text, "hermes").begins is None


def nested(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        (f"[f(a={nested(MAX_DEPTH)})]", f"[f(a={nested(MAX_DEPTH + 1)})]"),
        (f"[f(a={'9' * MAX_DIGITS})]", f"[f(a={'9' * (MAX_DIGITS + 1)})]"),
        (f"[{'f(), ' * MAX_CALLS}]", f"[{'f(), ' * (MAX_CALLS + 1)}]"),
        ("[]" + " " * (MAX_LENGTH - 2), "[]" + " " * (MAX_LENGTH - 1)),
    ],
)
def test_limits(within, beyond):
    parse(within)
    with pytest.raises(CallSyntaxError, match=r"expected .*at most"):
        parse(beyond)
    assert "at most" in parse_prefix(beyond).error


@pytest.mark.parametrize(
    ("text", "calls", "open_call", "ok"),
    [
        ("", [], None, True),
        ("[Get Wea", [], None, True),
        ("[f(", [], ToolCall("f", {}), True),
        ("[f(a=1", [], ToolCall("f", {}), True),
        ("[f(a=1,", [], ToolCall("f", {"a": 1}), True),
        ("[f(a=1e", [], ToolCall("f", {}), True),
        ("[f(a='x, b=2)", [], ToolCall("f", {}), True),
        ("[f(a='\\", [], ToolCall("f", {}), True),
        ("[f(a=[1, 2], b=3)", [ToolCall("f", {"a": [1, 2], "b": 3})], None, True),
        ("[f(a=1), g", [ToolCall("f", {"a": 1})], None, True),
        ("[f(a=1, 2)]", [], ToolCall("f", {"a": 1}), False),
        ("[f(a=1)] and", [ToolCall("f", {"a": 1})], None, False),
        ("Hello", [], None, False),
    ],
)
def test_prefix_says_what_is_complete(text, calls, open_call, ok):
    partial = parse_prefix(text)
    assert (list(partial.calls), partial.open, partial.error is None) == (calls, open_call, ok)
    assert not partial.closed


def test_prefix_of_xml_may_go_on_after_any_block():
    text = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    for end in range(len(text)):
        assert parse_prefix(text[:end], "hermes").error is None
    assert not parse_prefix(text, "hermes").closed
    assert parse_prefix(text + "x", "hermes").error is not None


@settings(deadline=None)
@given(
    text=st.text(st.sampled_from("[]()f{}a=1,'\" \\.\n-\0"), max_size=20).map("[f(a=".__add__),
    fmt=st.sampled_from(FORMATS),
)
def test_prefix_closes_exactly_where_parse_succeeds(text, fmt):
    partial = parse_prefix(text, fmt)
    try:
        calls = parse(text, fmt)
    except CallSyntaxError as e:
        assert not partial.closed
        assert partial.error in (None, str(e))
    else:
        begins = None if fmt == "hermes" else 0  # no text here opens a block
        ends = partial.step_ends
        assert partial == PartialCalls(
            tuple(calls), begins=begins, whole=True, closed=fmt != "hermes", step_ends=ends, read_to=len(text)
        )


@pytest.mark.parametrize(
    ("text", "fmt"),
    [
        ("Sunny, [as I said] (twice).", None),
        ("[Note] f(x) is (a=1) even", None),
        ("a [link](http://x)", None),
        ("", None),
        ("[]", None),
        ('{"temperature": 3}', None),
        ("[f(a=1", "python"),
        ("[f(", "python"),
        ("[Get It()]", "python"),
        ("Sure! [f(a=1)]", "python"),
        ("[f(a='<tool_call>')]", "python"),
        ("['f(x)'('a b'=1)]", "python"),
        ('[{"name": "f", "arguments": {', "json"),
        ('{"function": {"name": "f", "arguments": "{}"}}', "json"),
        ("I will.\n<tool_call>\n{", "hermes"),
    ],
)
def test_detect_format(text, fmt):
    assert detect_format(text) == fmt
