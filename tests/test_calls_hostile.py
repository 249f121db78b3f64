"""Whatever a model writes gets an answer or a CallSyntaxError: nothing else is raised, nothing runs, all is linear."""

import random

import pytest

from itool_data.dialects import (
    DIALECTS,
    MAX_LENGTH,
    WRITTEN,
    CallSyntaxError,
    DialectName,
    detect_format,
    parse,
    parse_prefix,
    render,
)
from itool_data.sample import ToolCall
from itool_data.steps import step_ends

FORMATS: tuple[DialectName, ...] = tuple(DIALECTS)
STRINGS = 12_000  # of all dialects together; 100,000 took a minute of a core

FRAGMENTS = [
    *["[", "]", "(", ")", "{", "}", ",", "=", ":", "'", '"', "'''", '"""', "\\", "\\u", "\\ud800", "\\x4", "\\N{DASH}"],
    *[
        "f(",
        "f(a=",
        "[f(a=",
        "a=1",
        "**k",
        "*x",
        "lambda: ",
        " if ",
        "...",
        "`",
        "#",
        ";",
        "r'",
        "b'",
        "f'",
        "0x",
        "1e",
        "_",
    ],
    *['{"name": "f", ', '"arguments": {', '"parameters": "{', '"function": {', "<tool_call>", "</tool_call>", "<tool_"],
    *["<|tool_call>call:", '<|"|>', "<tool_call|>", "<function=f>", "<parameter=a>", "</parameter>", "</function>"],
    *["<arg_key>a</arg_key>", "<arg_value>", "</arg_value>", "<|tool_call_start|>[", "]<|tool_call_end|>", "f\n"],
    *[
        "[TOOL_CALLS]f",
        "[ARGS]{",
        "[CALL_ID]",
        "<｜tool▁calls▁begin｜>",
        "function<｜tool▁sep｜>f\n",
        " to=functions.f",
    ],
    *["<|channel|>commentary", "<|message|>{", "<|python_tag|>{", "<think>"],
    *["<|start|>assistant", " to=f", " to=self<|message|>", "<|eom|>", "<atem:function_calls>", "</atem:parameter>"],
    *['<atem:invoke name="f">', '<atem:parameter name="a">', "</atem:invoke>", "</atem:function_calls>"],
    *[
        "true",
        "None",
        "NaN",
        "-Infinity",
        "1e999",
        "-",
        "+",
        ".",
        "!",
        "? ",
        "\n",
        "\r",
        "\t",
        " ",
        "\0",
        "\x85",
        "\u2028",
    ],
    *["\ud800", "\udfff", "\ufffd", "é", "世", "😀", "١", "x" * 50, "9" * 5000, "[" * 100, "{'a':" * 100, "(" * 2000],
]
VALID = [
    ToolCall("f", {"a": 1, "b": [True, None, -2.5e-7, {"k": 'it\'s "x"\n'}]}),
    ToolCall("Get Trending Result", {"category": "music", "ref-number": "é世😀\ud800"}),
    ToolCall("g.h/{id}", {}),
]


def hostile_strings(canary):
    """Seeded strings: fragments thrown together, valid responses with edits, and code that would leave a trace."""
    rng = random.Random(20250907)
    valid = [render(VALID[:n], fmt) for n in (1, 2, 3) for fmt in WRITTEN]
    code = [
        f"__import__('os').system('touch {canary}')",
        f"open('{canary}', 'w')",
        f"'' + __import__('pathlib').Path('{canary}').touch()",
        f"(lambda: exec(\"open('{canary}', 'w')\"))()",
    ]
    for i in range(STRINGS):
        if i % 100 == 0:
            text = rng.choice(
                ["{}", "[{}]", "[f({})]", "[f(a={})]", "[f(a='{}')]", "[{}(a=1)]", "[f(a=[{{'b': {}}}])]"]
            )
            yield text.format(rng.choice(code))
        elif i % 2:
            yield "".join(rng.choices(FRAGMENTS, k=rng.randint(1, 12)))
        else:
            text = rng.choice(valid)
            for _ in range(rng.randint(1, 4)):
                at, end = sorted(rng.choices(range(len(text) + 1), k=2))
                edits = [text[:at], text[at:], text[:at] + text[end:], text[:end] + text[at:]]
                text = rng.choice([*edits, text[:at] + rng.choice(FRAGMENTS) + text[at:]])
            yield text


def read_in_every_way(text):
    """Count the dialects that read calls in a text; any exception but CallSyntaxError goes through."""
    taken = 0
    for fmt in FORMATS:
        partial = parse_prefix(text, fmt)
        try:
            calls = parse(text, fmt)
        except CallSyntaxError:
            assert not partial.closed
        else:
            assert list(partial.calls) == calls
            assert partial.error is None
            taken += bool(calls)
        ends = step_ends(text, fmt)
        assert ends == sorted(set(ends))
        assert ends[-1:] == ([len(text)] if text else [])
    detect_format(text)
    return taken


def test_hostile_strings_get_an_answer_or_a_syntax_error_and_run_nothing(tmp_path):
    canary = tmp_path / "canary"
    taken = [read_in_every_way(text) for text in hostile_strings(canary)]
    assert len(taken) == STRINGS
    # The strings are worth something only if many are wrong and many are right.
    assert 0.02 * STRINGS < sum(map(bool, taken)) < 0.5 * STRINGS
    assert not canary.exists()


LENGTH = MAX_LENGTH // 8


def filled(start, unit):
    return (start + unit * LENGTH)[:LENGTH]


# Were any of these read in quadratic time, it would take minutes, as would a text of the greatest length.
LONG = [
    *[
        "[",
        "(",
        "{",
        "'",
        '"',
        "\\",
        " ",
        "\n",
        "a",
        "9",
        "\0",
        "\ud800",
        ". ",
        "a.",
        "a! ",
        "<tool_call>",
        "[f(",
        "[f(a",
    ],
    *[
        "[ ",
        "[a(b ",
        "['a",
        "['\\",
        "[\"'",
        "[a(",
        "[a( ",
        "['a'(",
        "[f()",
        '{"name"',
        '{"name" ',
        '{"a":',
        "[{",
        '"name":',
    ],
    *["[a b", "[a\n", "\t[", "?)", "<tool_call>\n"],
]
LONG_AFTER = [
    ("[", "f()"),
    ("[", "f(), "),
    ("[f(", "a=1, "),
    ("[f(a=", "9"),
    ("[f(a=", "["),
    ("[f(a=", "'text' "),
    ("[f(a=[", "12345678, "),
    ("[f(a=", "+"),
    ("[f(a='", "a"),
    ("[f(a='", "\\'"),
    ("[f(a='", "\\x41"),
    ("[f(a='''", "''\\"),
    ('[f(a="""', '" "" '),
    ("[f(a=(", " "),
    ("[f(a=b", "_b"),
    ("[f(a={'a':", " "),
    ('{"name": "f", "arguments": {"a": "', "\\\\"),
    ('{"name": "f", "arguments": "', '\\"'),
    ('{"name": "f", "arguments": "', "\\\\\\"),
    ('{"name": "f", "arguments": {"a": [', '{"key": []},'),
    ('{"name": "f", "x": ', "["),
    ("<tool_call>{", '"a":12345678,'),
    ("", " to=a"),
    ("", "<|start|>assistant to=self<|message|>"),
    (' to=f<|message|><atem:function_calls><atem:invoke name="f">', '<atem:parameter name="a">'),
    ("", '{"function":'),
]


@pytest.mark.parametrize(("start", "unit"), [("", unit) for unit in LONG] + LONG_AFTER)
def test_a_long_text_is_read_in_linear_time(start, unit):
    text = filled(start, unit)
    read_in_every_way(text)
    step_ends(text + text)


def test_a_megabyte_of_assignments_is_read_in_linear_time():
    text = "[f(" + ", ".join(f"a{i}='{i}'" for i in range(50_000)) + ")]"
    assert len(text) < MAX_LENGTH
    assert read_in_every_way(text) == 1
    assert len(step_ends(text)) == 50_002
