"""What people write in the OpenAI form and ShareGPT's: calls wherever they stand, marks, thoughts, schemas."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itool_data.dialects import parse
from itool_data.sample import Note, Reject, Sample, ToolCall
from itool_data.sources import load
from itool_data.sources.rows import BadRowError
from itool_data.sources.schemas import parameters_schema
from itool_data.sources.turns import read_turn

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "", "parameters": SCHEMA}}
ASKED = {"role": "user", "content": "Weather in Rome?"}
ROME = [ToolCall("weather", {"city": "Rome"})]


def openai(folder: Path, *messages: dict[str, Any], tools: Any = (TOOL,), **columns: Any) -> list[Any]:
    row = {"messages": [ASKED, *messages], "tools": tools, **columns}
    (folder / "rows.jsonl").write_text(json.dumps(row))
    return list(load(str(folder / "rows.jsonl")))


def sharegpt(folder: Path, *turns: tuple[str, Any], **columns: Any) -> list[Any]:
    row = {"conversations": [{"from": who, "value": value} for who, value in turns], **columns}
    (folder / "rows.json").write_text(json.dumps([row]))
    return list(load(f"sharegpt:{folder / 'rows.json'}"))


def said(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


# --- calls wherever they stand ----------------------------------------------------------------------------------------

WRITTEN = [
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>',
    '<tool_call>{"arguments": {"city": "Rome"}, "name": "weather"}</tool_call>',
    '{"name": "weather", "arguments": {"city": "Rome"}}',
    '{"name": "weather", "parameters": {"city": "Rome"}}',
    '[{"name": "weather", "arguments": "{\\"city\\": \\"Rome\\"}"}]',
    '{"tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}]}',
    '```json\n{"name": "weather", "arguments": {"city": "Rome"}}\n```',
    "[weather(city='Rome')]",
    "weather(city='Rome')",
    '<|python_tag|>{"name": "weather", "parameters": {"city": "Rome"}}',
    "<|tool_call_start|>[weather(city='Rome')]<|tool_call_end|>",
    "<tool_call>\n<function=weather>\n<parameter=city>\nRome\n</parameter>\n</function>\n</tool_call>",
    "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n</tool_call>",
    '[TOOL_CALLS]weather[ARGS]{"city": "Rome"}',
    '<think>They want Rome.</think>\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>',
    'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>',
]


@pytest.mark.parametrize("text", WRITTEN)
@pytest.mark.parametrize("form", ["openai", "gpt", "function_call"])
def test_a_call_written_as_text_is_a_call(tmp_path, form, text):
    if form == "openai":
        found = openai(tmp_path, said(text))
    else:
        found = sharegpt(tmp_path, ("human", "Weather?"), (form, text), tools=json.dumps([TOOL]))
    (sample,) = [item for item in found if isinstance(item, Sample)]
    assert list(sample.calls) == ROME and parse(sample.target) == ROME
    assert not [item for item in found if isinstance(item, Reject)]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "weather", "arguments": {"city": \n</tool_call>',
        '{"name": "weather", "arguments": {"city": }',
        "[weather(city=Rome and more)]",
        "Sure! [weather(city='Rome')] is what I call.",
        'I call {"name": "weather", "arguments": {"city": "Rome"}} now.',
        '<functioncall> {"name": "weather", "arguments": \'{"city": "Rome"}\'} <|endoftext|>',
        '<function=weather>{"city": "Rome"}</function>',
        "<tool_code>\nweather(city='Rome')\n</tool_code>",
        "Thought: look.\nAction: weather\nAction Input: Rome",
        "[forecast(city='Rome')]",
        '{"name": "forecast", "arguments": {}}',
        "<think>It is Rome.",
    ],
)
def test_text_that_attempts_a_call_is_never_prose(tmp_path, text):
    (found,) = openai(tmp_path, said(text))
    assert isinstance(found, Reject) and found.field == "messages[1].content"


@pytest.mark.parametrize(
    "text",
    [
        "It is sunny.", "See [the forecast](https://example.com/weather(1)).", "[1] and [2]", '{"weather": "sunny"}',
        "You may ask for the weather (of any city).", "Use f(x) = [x, 2x].", "[]", "a < b and <b>bold</b>",
    ],
)  # fmt: skip
def test_prose_stays_prose(tmp_path, text):
    (found,) = openai(tmp_path, said(text))
    assert isinstance(found, Sample) and not found.calls and found.target == text


def test_the_older_form_of_functions_and_calls(tmp_path):
    call = {"name": "weather", "arguments": '{"city": "Rome"}'}
    result = {"role": "function", "name": "weather", "content": "sunny"}
    found = openai(
        tmp_path, said("Let me look.", function_call=call), result, said("Sunny."),
        tools=None, functions=[TOOL["function"]],
    )  # fmt: skip
    first, note, last = found
    assert list(first.calls) == ROME and note == Note("text beside calls is left out")
    assert (last.target, last.messages[-1].role) == ("Sunny.", "tool")


@pytest.mark.parametrize("written", ["[weather (v2)(city='Rome')]", "weather (v2)(city='Rome')"])
def test_a_name_with_brackets_stands_bare_where_it_is_on_offer(tmp_path, written):
    tool = {"type": "function", "function": {**TOOL["function"], "name": "weather (v2)"}}
    (sample,) = openai(tmp_path, said(written), tools=(tool,))
    assert sample.calls == (ToolCall("weather (v2)", {"city": "Rome"}),)


@pytest.mark.parametrize("arguments", ["", "{}", "null", None, {}, [], ...])
@pytest.mark.parametrize(
    "parameters",
    [None, {}, [], "", "{}", "null", {"type": "object"}, {"type": "object", "properties": []}, ...,
     {"type": "object", "properties": None, "required": None}],
)  # fmt: skip
def test_every_spelling_of_no_parameters_is_the_same(tmp_path, arguments, parameters):
    function = {"name": "now"} | ({} if parameters is ... else {"parameters": parameters})
    call = {"name": "now"} | ({} if arguments is ... else {"arguments": arguments})
    (sample,) = openai(tmp_path, said("", tool_calls=[{"function": call}]), tools=[function])
    assert sample.target == "[now()]"
    assert sample.tools[0].parameters == {"type": "object", "properties": {}, "required": []}


@pytest.mark.parametrize("tools", [None, "null", "", "[]", [], ...])
def test_no_functions_on_offer_are_no_fault_of_a_reply(tmp_path, tools):
    (sample,) = openai(tmp_path, said("Hello."), tools=tools) if tools is not ... else openai(tmp_path, said("Hello."))
    assert sample.target == "Hello."


# --- marks and thoughts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [{"weight": 0}, {"weight": 0.0}, {"loss": False}, {"train": False}, {"weight": "0"},
                                  {"training": False}])  # fmt: skip
def test_a_turn_that_is_not_to_be_learnt_is_history_only(tmp_path, mark):
    wrong = said("", tool_calls=[{"function": {"name": "weather", "arguments": {"city": "Rmoe"}}}], **mark)
    right = said("", tool_calls=[{"function": {"name": "weather", "arguments": {"city": "Rome"}}}], weight=1)
    note, sample = openai(tmp_path, wrong, {"role": "tool", "content": "unknown"}, right)
    assert note == Note("turns that say they are not to be learnt are history only")
    assert list(sample.calls) == ROME and sample.messages[1].content == "[weather(city='Rmoe')]"


def test_thoughts_are_left_out_wherever_they_stand_and_counted(tmp_path):
    found = openai(
        tmp_path, said("One moment.", reasoning_content="Rome.", tool_calls=[{"function": {"name": "weather"}}]),
        {"role": "tool", "content": "11"}, said("<think>\nSay it.\n</think>\n\n11 degrees.", extra=1), meta="x",
    )  # fmt: skip
    assert [s.target for s in found if isinstance(s, Sample)] == ["[weather()]", "11 degrees."]
    assert Counter(item.text for item in found if isinstance(item, Note)) == {
        "thoughts are left out": 2, "text beside calls is left out": 1, "column 'meta' is not used": 1,
    }  # fmt: skip


def test_a_thought_whose_beginning_is_the_templates_is_left_out_too(tmp_path):
    sample, note = openai(tmp_path, said("They want Rome.\n</think>\n\n11 degrees."))
    assert note == Note("thoughts are left out") and sample.target == "11 degrees."


def test_columns_and_hermes_system_texts(tmp_path):
    found = sharegpt(
        tmp_path, ("human", "Weather?"), ("gpt", "It rains."), system="Be brief.", tools=[TOOL], score=3
    )  # fmt: skip
    assert found[0] == Note("column 'score' is not used")
    assert [(m.role, m.content) for m in found[1].messages] == [("system", "Be brief."), ("user", "Weather?")]
    _, sample = sharegpt(
        tmp_path, ("system", "In verse."), ("human", "Weather?"), ("gpt", "Rain."), system="Be brief.", x=1
    )
    assert sample.messages[0].content == "Be brief.\n\nIn verse." and sample.messages[1].role == "user"
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    note, asked, answered = sharegpt(
        tmp_path, ("system", f"You call functions. <tools> {json.dumps([TOOL])} </tools> Write <tool_call>…"),
        ("human", "Weather?"), ("gpt", call), ("tool", "<tool_response>\nsunny\n</tool_response>"), ("gpt", "Sunny."),
    )  # fmt: skip
    assert note == Note("system texts that list the functions are left out")
    assert list(asked.calls) == ROME and [m.role for m in asked.messages] == ["user"]
    assert answered.messages[-1].content == "sunny"


# --- schemas ----------------------------------------------------------------------------------------------------------

ADDRESS = {"type": "object", "properties": {"street": {"type": "string"}, "zip": {"type": "string"}}}
DEFS = {"$defs": {"Address": ADDRESS}}
REF = {"$ref": "#/$defs/Address"}


@pytest.mark.parametrize(
    ("written", "properties"),
    [
        ({**REF, **DEFS}, ADDRESS["properties"]),
        ({"type": "object", "allOf": [REF], **DEFS}, ADDRESS["properties"]),
        ({"allOf": [REF, {"properties": {"x": {"type": "integer"}}}], **DEFS},
         {**ADDRESS["properties"], "x": {"type": "integer"}}),
        ({"properties": {"to": REF, "more": {"type": "array", "items": REF}}, **DEFS},
         {"to": ADDRESS, "more": {"type": "array", "items": ADDRESS}}),
        ({"properties": {"to": {"anyOf": [REF, {"type": "null"}], "default": None}}, **DEFS},
         {"to": {**ADDRESS, "type": ["object", "null"], "default": None}}),
        ({"properties": {"to": {"description": "where", "$ref": "#/definitions/A"}}, "definitions": {"A": ADDRESS}},
         {"to": {**ADDRESS, "description": "where"}}),
        ({"anyOf": [REF, {"type": "object", "properties": {"x": {"type": "integer"}}}], **DEFS},
         {**ADDRESS["properties"], "x": {"type": "integer"}}),
        ({"text": {"type": "string", "description": "a"}, "top": {"type": "int, optional", "default": 5}},
         {"text": {"type": "string", "description": "a"}, "top": {"type": "int", "default": 5}}),
        ({"type": {"type": "string"}, "properties": {"type": "string", "description": "a parameter"}},
         {"type": {"type": "string"}, "properties": {"type": "string", "description": "a parameter"}}),
    ],
)  # fmt: skip
def test_schemas_in_whatever_form_have_their_parameters(written, properties):
    found = parameters_schema(written, "parameters")
    assert found["properties"] == properties
    assert "$ref" not in json.dumps(found) and "$defs" not in found


def test_a_flat_map_requires_what_has_no_default_or_what_says_so():
    flat = {"text": {"type": "str"}, "top": {"type": "int, optional"}, "by": {"type": "str", "default": "a"}}
    assert parameters_schema(flat, "p")["required"] == ["text"]
    marked = {"text": {"type": "str", "required": True}, "top": {"type": "int", "required": False}}
    assert parameters_schema(marked, "p")["required"] == ["text"]


def test_a_tool_says_its_parameters_by_another_name_or_is_refused_for_having_none(tmp_path):
    call = said("", tool_calls=[{"function": {"name": "weather", "arguments": {"city": "Rome"}}}])
    for name in ("input_schema", "inputSchema"):
        (sample,) = openai(tmp_path, call, tools=[{"name": "weather", "description": "", name: SCHEMA}])
        assert list(sample.calls) == ROME and sample.tools[0].parameters["properties"] == SCHEMA["properties"]
    (bad,) = openai(tmp_path, call, tools=[{"name": "weather", "parameters": {"city": "string"}}])
    assert (bad.field, bad.reason) == ("tools[0].parameters", "expected a schema with properties, found 'city'")


def test_a_schema_that_is_part_of_itself_and_one_that_refers_to_nothing():
    tree = {"type": "object", "properties": {"inner": {"$ref": "#/$defs/T"}}, "$defs": {}}
    tree["$defs"] = {"T": {"type": "object", "properties": {"inner": {"$ref": "#/$defs/T"}, "n": {"type": "integer"}}}}
    found = parameters_schema(tree, "p")
    assert found["properties"]["inner"]["properties"] == {"inner": {}, "n": {"type": "integer"}}
    with pytest.raises(BadRowError, match="refers to #/\\$defs/X, which is not there"):
        parameters_schema({"properties": {"a": {"$ref": "#/$defs/X"}}}, "p")


def test_nulls_that_stand_for_nothing_go_and_those_that_say_something_stay(tmp_path):
    schema = {
        "type": "object", "required": ["must"],
        "properties": {
            "must": {"type": "string"}, "may": {"type": "string"}, "null": {"type": ["string", "null"]},
            "default": {"type": "string", "default": None}, "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "deep": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            "gone": None,
        },
    }  # fmt: skip
    arguments = dict.fromkeys(schema["properties"], None) | {"deep": {"a": "x", "b": None}, "of another tool": None}
    function = {"name": "f", "parameters": schema}
    (sample,) = openai(
        tmp_path, said("", tool_calls=[{"function": {"name": "f", "arguments": arguments}}]), tools=[function]
    )
    kept = {"must": None, "null": None, "default": None, "either": None, "deep": {"a": "x"}}
    assert sample.calls[0].arguments == kept
    assert "gone" not in sample.tools[0].parameters["properties"]


@given(text=st.text(st.sampled_from("<>[]{}()\"'=:,/_ \nabtool_calfunctinweathrmgs|`"), max_size=60))
def test_any_text_is_calls_prose_or_refused(text):
    try:
        turn = read_turn(text, (), False, (), "field")
    except BadRowError as bad:
        assert bad.reason
    else:
        assert list(turn.calls) == (parse(turn.text) if turn.calls else [])
