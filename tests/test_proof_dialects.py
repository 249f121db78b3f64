"""What breaks off can be mended or not, and which tokens are at fault, in each dialect of deployed models."""

from typing import Any

import pytest
from toys import CharTokenizer

from itool_data.form import Form
from itool_data.match import response_error
from itool_data.proof import fault, mendable, state_error, step_error
from itool_data.sample import JSON, AcceptedCall, Sample, Tool, ToolCall

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "tags": {"type": "array"}},
    "required": ["city"],
}
TOOLS = (Tool("find", "", SCHEMA), Tool("book", "", SCHEMA))
ACCEPTED: dict[str, list[JSON]] = {"city": ["Nairobi", "Nairobi, Kenya"], "days": [80], "tags": [["a"]]}
ANSWER = AcceptedCall("find", ACCEPTED, frozenset({"days", "tags"}))
CITY = Sample("toy", "", (), TOOLS, "", (ToolCall("find", {"city": "Nairobi"}),), (ANSWER,))
PROSE = Sample("toy", "", (), TOOLS, "It is late.")

# By dialect: the call up to its arguments; a text, a number and a list as arguments; what parts two arguments; what
# follows the last argument and ends the call.
OPENING = {
    "hermes": '<tool_call>\n{"name": "find", "arguments": {',
    "llama": '{"name": "find", "parameters": {',
    "lfm2": "<|tool_call_start|>[find(",
    "qwen-xml": "<tool_call>\n<function=find>\n",
    "glm": "<tool_call>find\n",
    "gemma": "<|tool_call>call:find{",
    "deepseek": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>find\n```json\n{",
    "mistral": "[TOOL_CALLS]find[ARGS]{",
    "harmony": "<|channel|>commentary to=functions.find <|constrain|>json<|message|>{",
    "atem": ' to=find<|message|><atem:function_calls>\n<atem:invoke name="find">\n',
}
JSON_VALUES = ('"city": "', '"', '"days": ', "", '"tags": ')
VALUES = {
    **dict.fromkeys(("hermes", "llama", "deepseek", "mistral", "harmony"), JSON_VALUES),
    "lfm2": ("city='", "'", "days=", "", "tags="),
    "qwen-xml": (
        "<parameter=city>\n", "\n</parameter>\n", "<parameter=days>\n", "\n</parameter>\n", "<parameter=tags>\n",
    ),
    "glm": (
        "<arg_key>city</arg_key>\n<arg_value>", "</arg_value>\n", "<arg_key>days</arg_key>\n<arg_value>",
        "</arg_value>\n", "<arg_key>tags</arg_key>\n<arg_value>",
    ),
    "gemma": ('city:<|"|>', '<|"|>', "days:", "", "tags:"),
    "atem": (
        '<atem:parameter name="city">', "</atem:parameter>\n", '<atem:parameter name="days">', "</atem:parameter>\n",
        '<atem:parameter name="tags">',
    ),
}  # fmt: skip
COMMA = {**dict.fromkeys(OPENING, ", "), "qwen-xml": "", "glm": "", "gemma": ",", "atem": ""}
CLOSING = {
    "hermes": "}}\n</tool_call>",
    "llama": "}}",
    "lfm2": ")]<|tool_call_end|>",
    "qwen-xml": "</function>\n</tool_call>",
    "glm": "</tool_call>",
    "gemma": "}<tool_call|>",
    "deepseek": "}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "mistral": "}",
    "harmony": "}",
    "atem": "</atem:invoke>\n</atem:function_calls>",
}
ANOTHER = {
    "hermes": "\n<tool_call>", "llama": ";", "qwen-xml": "\n<tool_call>", "glm": "\n<tool_call>",
    "gemma": "<|tool_call>", "mistral": "[TOOL_CALLS]", "atem": "<|eom|><|start|>assistant",
}  # fmt: skip
DIALECTS: list[Any] = list(OPENING)


def city(dialect: str, value: str, closed: bool = True) -> str:
    """The call up to an argument of text, closed or not."""
    before, after, *_ = VALUES[dialect]
    return OPENING[dialect] + before + value + (after if closed else "")


def days(dialect: str, value: str) -> str:
    return city(dialect, "Nairobi") + COMMA[dialect] + VALUES[dialect][2] + value


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_right_response_is_right_up_to_every_character(dialect: Any) -> None:
    text = days(dialect, "80") + VALUES[dialect][3] + CLOSING[dialect]
    for cut in range(len(text) + 1):
        assert mendable(text[:cut], CITY, dialect), text[:cut]
    assert response_error(text, CITY, dialect) is None


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_text_and_a_number_can_be_mended_until_they_are_another(dialect: Any) -> None:
    for value, can in (("Nai", True), ("nai", True), ("Nairobi, K", True), ("Nairobi, U", False), ("Mom", False)):
        assert mendable(city(dialect, value, closed=False), CITY, dialect) == can, value
    for value, can in (("Nairobi", True), ("Nairobi, Kenya", True), ("Nair", False), ("", False)):
        assert mendable(city(dialect, value), CITY, dialect) == can, value
    for value, can in (("8", True), ("80", True), ("800", False), ("9", False)):
        assert mendable(days(dialect, value), CITY, dialect) == can, value
    lists = city(dialect, "Nairobi") + COMMA[dialect] + VALUES[dialect][4]
    for value, can in (("[", True), ("3", False)):
        assert mendable(lists + value, CITY, dialect) == can, value


@pytest.mark.parametrize("dialect", DIALECTS)
def test_names_can_be_mended_while_they_begin_a_right_one(dialect: Any) -> None:
    before = OPENING[dialect].partition("find")[0]
    for name, can in (("fi", True), ("find", True), ("fo", False), ("book", False), ("finder", False)):
        assert mendable(before + name, CITY, dialect) == can, name
    key = VALUES[dialect][0].partition("city")[0]
    for name, can in (("ci", True), ("da", True), ("town", False), ("citys", False)):
        assert mendable(OPENING[dialect] + key + name, CITY, dialect) == can, name
    given = city(dialect, "Nairobi") + COMMA[dialect] + key
    for name, can in (("da", True), ("ci", False)):
        assert mendable(given + name, CITY, dialect) == can, name


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_missing_too_much_or_broken_has_its_class(dialect: Any) -> None:
    close, (_, _, key, end, _) = CLOSING[dialect], VALUES[dialect]
    assert response_error(days(dialect, "80") + end + close, CITY, dialect) is None
    assert response_error(OPENING[dialect] + key + "80" + end + close, CITY, dialect) == "Parameter Count"
    assert response_error(city(dialect, "Mombasa") + close, CITY, dialect) == "Parameter Value"
    assert response_error(city(dialect, "Nairobi").replace("find", "book") + close, CITY, dialect) == "Tool Name"
    assert response_error(city(dialect, "Nairobi"), CITY, dialect) == "Code Syntax"
    # No call at all is one too few, and any call is one too many where gold is prose.
    assert response_error("It is late.", CITY, dialect) == "Tools Count"
    assert response_error(city(dialect, "Nairobi") + close, PROSE, dialect) == "Tools Count"
    assert response_error("It is late.", PROSE, dialect) is None


@pytest.mark.parametrize("dialect", ANOTHER)
def test_going_on_after_the_last_call_promises_too_much(dialect: Any) -> None:
    text = city(dialect, "Nairobi") + CLOSING[dialect]
    assert state_error(text, CITY, dialect) is None
    assert step_error(text, "", True, CITY, dialect) is None
    assert step_error(text, ANOTHER[dialect], False, CITY, dialect) == "Tools Count"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_tokens_at_fault_are_those_of_the_value(dialect: Any) -> None:
    tokens = CharTokenizer()
    form = Form(tokens.decode, dialect)
    before = OPENING[dialect] + VALUES[dialect][0]
    right, wrong = (value + VALUES[dialect][1] for value in ("Nairobi", "Nakuru"))
    found = fault(*([ord(c) for c in text] for text in (before, right, wrong)), CITY, form)
    assert wrong[found.first : found.last + 1] == "k" and found.parts_at == 2


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("before", ["Let me look.\n", "<think>\n[find(city='x')] or {}?\n</think>\n\n"])
def test_a_text_before_the_calls_breaks_nothing(dialect: Any, before: str) -> None:
    if dialect == "llama":
        pytest.skip("Llama's calls have no marker, so they open the response")
    if dialect == "atem":  # a message of its own
        before = f" to=self<|message|>{before}<|eom|><|start|>assistant"
    text = before + city(dialect, "Nairobi") + CLOSING[dialect]
    assert all(mendable(text[:cut], CITY, dialect) for cut in range(len(text)))
    assert response_error(text, CITY, dialect) is None
