"""Where steps end in a text, and which token ids they are."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itool_data.dialects import detect_format, parse_prefix, render
from itool_data.form import Form
from itool_data.sample import ToolCall
from itool_data.steps import first_step, split_steps, step_ends, until_step_end


def steps(text):
    return [text[a:b] for a, b in pairwise([0, *step_ends(text)])]


@pytest.mark.parametrize(
    "expected",
    [
        [],
        ["[]"],
        ["[f(", ")", "]"],
        ["[f(", "a=1)", "]"],
        ["[f(", "a=1,", " b='x')", ", g.h(", "c=[1, 2])", "]\n"],
        ["[f(", "a=1,", ")", "]"],
        ["[Get User's Songs(", "a='),]\\'',", ' b="(",', " c=[(1, 2), {'k': 'v,'}],", " d=(1,))", "]"],
        ["[f(", "a='''x', b='y')''')", "]"],
        ["[f(", "a='x' \",\" ',',", " b=1"],
        ["[f(", "a='x, b=1), g()]"],
        ["[f(", "a=1,", " 5, b='x. y')]"],
        ["[f(", "a=1)", "] That is it. Good."],
        ["[{'f': 1}]"],
        [
            '[{"name": "f", "arguments": {',
            '"a": 1,',
            ' "b": {"c": [1, {}]}}',
            "}",
            ', {"name":"g","parameters":{',
            "}",
            "}",
            "]",
        ],
        ['{"name": "f", "arguments": {', '"a": "},{"}', "}"],
        ['{"arguments": {', '"a": 1}', ', "name": "f"}'],
        ['[{"type": "function", "function": {"name": "f", "arguments": {', '"a": 1}', "}}", "]"],
        ['{"name": "f", "arguments": "{\\"a\\": 1, \\"b\\": 2}"}'],
        [
            *['<tool_call>\n{"name": "f", "arguments": {', '"a": 1}', "}\n</tool_call>"],
            *['\n<tool_call>\n{"name": "g", "arguments": {', "}", "}\n</tool_call>"],
        ],
        ["It is late.", " Good night!", "\n\nReally?", " Pi is 3.14, or so...", ' He said "no".', "\n"],
        ["First line\n", "second"],
        ["\n \n One."],
        ["[Note] It is late.", " Good night."],
        ["  \n "],
        ["Use f(a=1), g(b=2)."],
        ["{Well.", " Yes."],
    ],
)
def test_step_ends(expected):
    assert steps("".join(expected)) == expected


pieces = st.sampled_from(
    [
        *[
            "[",
            "]",
            "(",
            ")",
            "{",
            "}",
            ", ",
            "=",
            ": ",
            "'",
            '"',
            "'''",
            "\\",
            "f(",
            "a=1",
            "b='x, y'",
            "[f(",
            "3.14.",
            "\0",
        ],
        *[
            '{"name": "f", "arguments": {',
            '"a": 1',
            "<tool_call>",
            "</tool_call>",
            "Yes. ",
            "No!",
            "\n",
            " ",
            "世",
            "😀",
            "\ud800",
        ],
    ]
)
hostile = st.lists(pieces, max_size=12).map("".join) | st.text(st.characters(), max_size=20)
call_lists = st.lists(
    st.builds(ToolCall, st.sampled_from(["f", "get it"]), st.dictionaries(st.sampled_from("abc"), pieces, max_size=3)),
    max_size=3,
)
calls_text = st.builds(render, call_lists, st.sampled_from(["python", "json", "hermes"]))


@settings(deadline=None, max_examples=300)
@given(text=hostile | calls_text)
def test_step_ends_are_total_and_a_longer_text_keeps_them(text):
    ends = step_ends(text)
    assert ends == sorted(set(ends))
    assert ends[-1:] == ([len(text)] if text else [])
    for cut in range(1, len(text)):
        assert step_ends(text[:cut]) == [end for end in ends if end < cut] + [cut]


# Token ids of the toy tokenizers: index into a list of byte strings; b"" is a special token.


def join(pieces):
    return b"".join(pieces)


def decode_replacing(pieces):
    return join(pieces).decode("utf-8", "replace")


def decode_ignoring(pieces):
    return join(pieces).decode("utf-8", "ignore")


def decode_byte_fallback(pieces):
    """Like Llama 2: every byte of a run that is no UTF-8 as a whole is U+FFFD."""
    runs = re.findall(rb"[\x80-\xff]+|[\x00-\x7f]+", join(pieces))
    return "".join(decode_replacing([run]) if is_utf8(run) else "\ufffd" * len(run) for run in runs)


def is_utf8(data):
    return data.decode("utf-8", "ignore").encode() == data


def decode_backwards(pieces):
    return decode_replacing(pieces)[::-1]


DECODERS = [decode_replacing, decode_ignoring, decode_byte_fallback]


@st.composite
def tokenized(draw):
    """A text with an encoding, and its bytes cut anywhere into tokens, with special tokens strewn in."""
    data = draw(hostile | calls_text).encode("utf-8", "ignore")
    text = data.decode()
    cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=len(data))) | {0, len(data)})
    tokens = [data[a:b] for a, b in pairwise(cuts)]
    for at in draw(st.lists(st.integers(0, len(tokens)), max_size=6)):
        tokens[at:at] = [b""] * draw(st.sampled_from([1, 1, 2, 20]))
    return text, [*tokens, *[b""] * draw(st.integers(0, 12))]


@pytest.mark.parametrize("decode", DECODERS)
@settings(deadline=None, max_examples=300)
@given(case=tokenized())
def test_token_steps_end_where_the_text_steps_end(decode, case):
    text, tokens = case
    vocabulary = sorted(set(tokens))
    ids = [vocabulary.index(token) for token in tokens]
    # By the bytes: a step's last token is the first with which its last character is complete.
    complete = [len(join(tokens[: i + 1]).decode("utf-8", "ignore")) for i in range(len(tokens))]
    lasts = {next(i for i, n in enumerate(complete) if n >= end) for end in step_ends(text)}
    # Where another call may follow a complete response, ending instead is a step of its own.
    read = parse_prefix(text, "hermes")
    open_end = text.lstrip().startswith("<tool_call>") and read.whole and bool(read.calls)
    inner = sorted(i + 1 for i in lasts if complete[i] < len(text) or (open_end and i + 1 < len(ids)))
    expected = [ids[a:b] for a, b in pairwise([0, *inner, len(ids)])] if ids else []
    assert split_steps(ids, Form(lambda window: decode([vocabulary[i] for i in window]))) == expected


@pytest.mark.parametrize("decode", [*DECODERS, decode_backwards])
@settings(deadline=None)
@given(
    tokens=st.lists(
        st.binary(max_size=3) | st.sampled_from([b"[f(", b"a=", b",", b")", b". ", b"\xe4\xb8", b"\xef\xbf\xbd"])
    )
)
def test_any_token_ids_come_back_whole_and_no_step_is_empty(decode, tokens):
    ids = list(range(len(tokens)))
    found = split_steps(ids, Form(lambda window: decode([tokens[i] for i in window])))
    assert [i for step in found for i in step] == ids
    assert all(found)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], []),
        ([b""], [[0]]),
        ([b"[f", b"()", b"]", b""], [[0, 1], [2, 3]]),
        ([b"[f(", b"a=1", b")]", b""], [[0], [1, 2, 3]]),
        ([b"[f(a", b"=1,", b" b=2)", b", g(", b")", b"]", b"", b""], [[0], [1], [2], [3], [4], [5, 6, 7]]),
        ([b"[f(", b"a='\xe4", b"\xb8", b"\x96'", b")", b"]"], [[0], [1, 2, 3, 4], [5]]),
        ([b"[f(", b"\xe4", b"\xb8\x96=1,", b"", b"b=1)]"], [[0], [1, 2], [3, 4]]),
        ([b"[\xe4\xb8\x96(\xe4", b"\xb8\x96=1)", b"]"], [[0], [1], [2]]),
        ([b"[f(", b"a='\xef\xbf\xbd'", b",", b"b='\xef", b"\xbf\xbd')", b"]"], [[0], [1, 2], [3, 4], [5]]),
    ],
)
def test_split_steps(tokens, expected):
    ids = list(range(len(tokens)))
    assert split_steps(ids, Form(lambda window: decode_replacing([tokens[i] for i in window]))) == expected


def test_a_decoder_that_strips_the_first_blank_keeps_the_offsets():
    words = ["", " Yes.", " [f", "(a", " =", " 'x',", " b", "=1", ")]"]
    ids = [2, 0, 3, *[0] * 30, 4, 5, 0, 6, 7, 8, 0]

    def decode(window):
        return "".join(words[i] for i in window).removeprefix(" ")

    assert decode(ids) == "[f(a = 'x', b=1)]"
    assert split_steps(ids, Form(decode)) == [[2, 0, 3], [*[0] * 30, 4, 5], [0, 6, 7, 8, 0]]


@pytest.mark.parametrize("ids", [[0, 0, 1] * 5_000, [1, 2] * 5_000, [0, *[2] * 5_000, 1], [3] * 5_000])
def test_the_number_of_decoded_tokens_grows_with_the_response_only(ids):
    decoded = 0

    def decode(window):
        nonlocal decoded
        decoded += len(window)
        return decode_replacing([[b"a", b",", b"", b"\xe4"][i] for i in window])

    split_steps(ids, Form(decode))
    assert decoded < 10 * len(ids)


# --- draws that end with their step -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "drawn", "finished"),
    [
        ("", "It", False),
        ("", "It is late.", False),  # it may go on as "late.ly"
        ("", "Pi is 3.", False),
        ("", "It is late. ", True),
        ("", "It is late. G", True),
        ("It is late.", "\n", False),  # white space before a sentence is a part of it
        ("It is late.", "\nGood", False),
        ("", "One\n", False),
        ("", "One\nT", True),
        ("", "[f", False),
        ("", "[f(", True),
        ("[f(", "a=1", False),
        ("[f(", "a=1,", True),
        ("[f(", "a=1)", True),
        ("[f(a=1)", ",", False),
        ("[f(a=1)", ", g(", True),
        ("[f(a=1)", "]", False),  # the end-of-turn is still to come
        ("[f(a=1)", "] ", False),
        ("[f(a=1)", "] S", True),  # no syntax allows it, so nothing ends this step any more
        ("[f(a=1)", ";", True),
        ("[f(", "a=1 2", True),
        ("[f(", "a='x' y", True),
    ],
)
def test_a_draw_is_finished_with_its_step(before, drawn, finished):
    ids = [c.encode() for c in before + drawn]
    assert until_step_end(ids[: len(before)], Form(decode_replacing))(tuple(ids[len(before) :])) == finished


@pytest.mark.parametrize("decode", DECODERS)
@settings(deadline=None, max_examples=150)
@given(case=tokenized(), data=st.data())
def test_what_is_drawn_until_a_steps_end_is_that_step_and_hardly_more(decode, case, data):
    text, tokens = case
    steps = split_steps(tokens, Form(decode)) or [[b""]]
    number = data.draw(st.integers(0, len(steps) - 1))
    before = [token for step in steps[:number] for token in step]
    rest = tokens[len(before) :]
    finished = until_step_end(before, Form(decode))
    n = next((n for n in range(1, len(rest) + 1) if finished(tuple(rest[:n]))), len(rest))
    found = first_step(before, rest[:n], Form(decode))
    drawn_text = decode([*before, *rest[:n]])
    partial = parse_prefix(drawn_text, detect_format(drawn_text) or "python")
    if n < len(rest) and partial.error:  # what is broken is cut off somewhere behind where it breaks
        assert found == tuple(rest[: len(found)]) and len(found) <= n
        return
    # Special tokens at the response's end belong to its last step, and a finished draw does not wait for them.
    assert join(found) == join(first_step(before, rest, Form(decode))) == join(steps[number] if tokens else [])
    assert found == tuple(rest[: len(found)])
    if n < len(rest):
        start, end, drawn = (len(decode_ignoring([*before, *some])) for some in ([], found, rest[: n - 1]))
        assert drawn <= end
        if any(start < call_end <= end for call_end in parse_prefix(text).step_ends):
            assert len(found) == n
