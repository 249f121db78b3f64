"""The sources: real files with their counts, bad rows that are named while the rest goes on (BFCL apart)."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itool_data.abstain import variants
from itool_data.dialects import parse
from itool_data.errors import ItoolError
from itool_data.prompt import prompt_messages
from itool_data.sample import Message, Reject, Sample, ToolCall
from itool_data.sources import load
from itool_data.sources.tools import json_type, normalise

# ---- good rows, each in its data set's own form


NAME = "Market Trends API"  # of the function in ToolACE's row


def toolace_row(*turns: tuple[str, str]) -> dict:
    tools = [
        {
            "name": NAME,
            "description": "Get trends",
            "parameters": {
                "type": "dict",
                "properties": {"trend_type": {"description": "kind", "type": "string"}, "top": {"type": "int"}},
                "required": ["trend_type"],
            },
            "required": None,
        }
    ]
    system = (
        "You are an expert in composing functions. The current time is 2025-01-25 16:20:00.Here is a list of functions "
        f"in JSON format that you can invoke:\n{json.dumps(tools)}. \nShould you decide to return the calls. \n"
        "Put it in the format of [func1(params_name=params_value, params_name2=params_value2...), func2(params)]"
    )
    turns = turns or (("user", "Trends?"), ("assistant", '[Market Trends API(trend_type="GAINERS", top=3)]'))
    return {"system": system, "conversations": [{"from": who, "value": value} for who, value in turns]}


def xlam_row() -> dict:
    parameters = {
        "type": {"description": "kind", "type": "str"},
        "ids": {"description": "ids", "type": "List[int], optional"},
        "region": {"description": "region", "type": "str", "default": "us"},
    }
    return {
        "id": 7,
        "query": "Giveaways?",
        "tools": json.dumps([{"name": "giveaways", "description": "Get giveaways", "parameters": parameters}]),
        "answers": json.dumps([{"name": "giveaways", "arguments": {"type": "beta", "ids": [1]}}]),
    }


def openai_row() -> dict:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    return {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Weather "}, {"type": "text", "text": "in Rome?"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            {"role": "assistant", "content": "Sunny."},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "description": "", "parameters": schema}}],
    }


def seal_row() -> dict:
    api = {
        "api_name": "getBeds",
        "api_description": "Count beds",
        "parameters": {"facility": {"type": "str", "description": ""}, "ward": {"type": "int", "description": ""}},
        "required": ["facility"],
    }
    asked = f'Please choose.\n\nInput:\napi_list = {[api]!r}\ntask_instruction = "Beds in "St. Mary"?"\nOutput:\n'
    gold = [{"api": "getBeds", "parameters": {"facility": "St. Mary"}, "responses": ["API_call_0"]}]
    return {"id": "dev-1", "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": repr(gold)}]}


def apibank_row() -> dict:
    api = {"apiCode": "ToolSearcher", "description": "", "parameters": {"keywords": {"type": "str"}}, "response": {}}
    found = {"name": "Beds", "description": "", "input_parameters": {"at": {"type": "list(str)"}}}
    asked = f"User: Beds?\nAPI-Request: [ToolSearcher(keywords='beds')]->{found!r}\nGenerate API Request: "
    instruction = "Generate.\nThe current year is 2023.\n\nAPI descriptions:\n"
    output = "API-Request: [Beds(at='['St. Mary', 'Ward 1']')]"
    return {"instruction": instruction, "input": f"{json.dumps(api)}\n{asked}", "output": output}


TALK = [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello."}]


def sharegpt_row() -> dict:
    schema = {"type": "object", "properties": {"with": {"type": "array", "items": {"type": "string"}}}}
    call = {"name": "recipes", "arguments": {"with": ["rice"]}}
    turns = ("human", "Recipes?"), ("function_call", json.dumps(call)), ("observation", "fry"), ("gpt", "Fried rice.")
    return {
        "conversations": [{"from": who, "value": value} for who, value in turns],
        "tools": json.dumps([{"name": "recipes", "description": "Recipes", "parameters": schema}]),
    }


def toolrl_row() -> dict:
    said = {"description": "a town", "type": "str", "default": ""}
    parameters = json.dumps({"to": said, "by": {**said, "default": "train"}})
    dialogue = (
        "<user> Fares to Bonn? </user>\n\n<think> I call <tool_call> now. </think>\n<tool_call>\n"
        '{"name": "Find Fares", "parameters": {"to": "Bonn"}}\n</tool_call>\n<obs> 12 euros </obs>\n\n'
        "<think> Done. </think>\n<response> 12 euros. </response>\n\n<user> Rome and Oslo? </user>"
    )
    calls = "\n".join(json.dumps({"name": "Find Fares", "parameters": {"to": town}}) for town in ("Rome", "Oslo"))
    return {
        "instruction": f"1. Name: Find Fares\nDescription: Fares\nby train\nParameters: {parameters}\n\n**Steps**",
        "input": f"**Dialogue Records History**\n{dialogue}",
        "output": f"<think> Two. </think>\n<tool_call>\n{calls}\n</tool_call>",
    }


ROWS = {
    "toolace": toolace_row, "xlam": xlam_row, "": openai_row, "seal_tools": seal_row, "apibank": apibank_row,
    "sharegpt": sharegpt_row, "toolrl": toolrl_row,
}  # fmt: skip


def write(folder: Path, name: str, rows: list) -> str:
    """Write rows (or raw bytes) as JSON lines; return the source string."""
    file = folder / "rows.jsonl"
    file.write_bytes(b"\n".join(r if isinstance(r, bytes) else json.dumps(r).encode() for r in rows) + b"\n")
    return f"{name}:{file}" if name else str(file)


def read(folder: Path, name: str, *rows) -> list[Sample | Reject]:
    return list(load(write(folder, name, list(rows))))


def changed(row: dict, path: list, value) -> dict:
    """A copy of the row with one value replaced, or removed (`...`)."""
    row = json.loads(json.dumps(row))
    inner = row
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return row


# ---- what good rows become


def test_toolace_turns_are_samples_with_the_history_before_them(tmp_path):
    turns = [
        ("user", "Trends?"),
        ("assistant", '[Market Trends API(trend_type="GAINERS", top=3)]'),
        ("tool", '[{"name": "Market Trends API", "results": []}]'),
        ("assistant", "There are none."),
    ]
    first, second = read(tmp_path, "toolace", toolace_row(*turns))
    call = ToolCall("Market Trends API", {"trend_type": "GAINERS", "top": 3})
    assert first.calls == (call,)
    assert first.target == "[Market Trends API(trend_type='GAINERS', top=3)]"
    assert first.messages == (Message("system", "The current time is 2025-01-25 16:20:00."), Message("user", "Trends?"))
    assert first.tools[0].parameters == {
        "type": "object",
        "properties": {"trend_type": {"type": "string", "description": "kind"}, "top": {"type": "integer"}},
        "required": ["trend_type"],
    }
    assert (second.target, second.calls) == ("There are none.", ())
    assert second.messages[2:] == (Message("assistant", first.target), Message("tool", turns[2][1]))
    assert (first.source_id, second.source_id) == ("1-1", "1-3")


@pytest.mark.parametrize("name", ["Get Trends (v2)", "Trends[new]", "Trends, all", "a=b", "Trends (US) (v2)"])
@pytest.mark.parametrize("said", ["[{}(trend_type='A')]", "[Other (x)(), {}(trend_type='A')]"])
def test_a_functions_name_stands_bare_in_toolace_whatever_it_holds(tmp_path, name, said):
    row = json.loads(json.dumps(toolace_row(("user", "?"), ("assistant", said.format(name)))).replace(NAME, name))
    row["system"] = row["system"].replace("[{", '[{"name": "Other (x)", "parameters": {}}, {', 1)
    (sample,) = read(tmp_path, "toolace", row)
    assert sample.calls[-1] == ToolCall(name, {"trend_type": "A"})
    assert parse(sample.target) == list(sample.calls)
    row["conversations"][1]["value"] = f"I call [{name}(trend_type='A')]."
    assert isinstance(read(tmp_path, "toolace", row)[0], Reject), "a call amid prose is no prose"


def test_toolace_system_keeps_the_text_which_is_then_the_whole_of_the_own_prompts_system_message(tmp_path):
    row = toolace_row()
    (kept,) = read(tmp_path, "toolace-system", row)
    (cut,) = read(tmp_path, "toolace", row)
    assert (kept.messages[0], kept.source) == (Message("system", row["system"]), "toolace")
    assert (kept.messages[1:], kept.tools, kept.target) == (cut.messages[1:], cut.tools, cut.target)
    system, user = prompt_messages(kept.messages, kept.tools, "signatures")
    assert (system["content"], user["content"]) == (row["system"], "Trends?")
    ours = prompt_messages(kept.messages, kept.tools, "signatures", "ours")
    assert ours == prompt_messages(cut.messages[1:], cut.tools, "signatures")
    # A variant without the function would be told of it by the text.
    assert variants([cut], 1.0, 0) and not variants([kept], 1.0, 0)


def test_xlam_parameters_become_a_schema(tmp_path):
    (sample,) = read(tmp_path, "xlam", xlam_row())
    assert sample.source_id == "7"
    assert sample.target == "[giveaways(type='beta', ids=[1])]"
    assert sample.tools[0].parameters["properties"]["ids"] == {
        "type": "array",
        "items": {"type": "integer"},
        "description": "ids",
    }
    assert sample.tools[0].parameters["required"] == ["type"]


def test_openai_messages(tmp_path):
    first, second = read(tmp_path, "", openai_row())
    assert first.messages == (Message("system", "Be brief."), Message("user", "Weather in Rome?"))
    assert first.target == "[weather(city='Rome')]"
    assert second.target == "Sunny."
    assert second.messages[2:] == (Message("assistant", first.target), Message("tool", "sunny"))
    assert first.source == "rows"


def test_openai_columns_and_arguments_in_either_form(tmp_path):
    row = changed(openai_row(), ["messages", 2, "tool_calls", 0, "function", "arguments"], {"city": "Rome"})
    as_text = {key: json.dumps(value) for key, value in row.items()}
    bare = changed(row, ["tools"], [row["tools"][0]["function"]])
    assert {s.sample_id for s in read(tmp_path, "", row, as_text, bare) if s.calls} == {
        s.sample_id for s in read(tmp_path, "", openai_row()) if s.calls
    }


def test_hub_rows_lose_the_nulls_that_arrow_fills_in(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / ".cache")
    row = changed(openai_row(), ["messages", 1, "content"], "Weather?")
    row = changed(row, ["messages", 2, "tool_calls", 0, "function", "arguments"], {"city": "Rome"})
    other = json.loads(json.dumps(row).replace("city", "town"))
    pq.write_table(pa.Table.from_pylist([row, other]), tmp_path / "rows.parquet")
    samples = list(load(f"hf:{tmp_path}"))
    assert [s.calls[0].arguments for s in samples[::2]] == [{"city": "Rome"}, {"town": "Rome"}]
    assert [list(s.tools[0].parameters["properties"]) for s in samples[::2]] == [["city"], ["town"]]


@pytest.mark.parametrize(("end", "split"), [("", "train"), (":test", "test"), (":validation", "validation")])
def test_a_file_says_what_it_is_for_and_a_hub_split_by_its_name(tmp_path, monkeypatch, end, split):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / ".cache")
    file, folder = tmp_path / "own.jsonl", tmp_path / "hub"
    file.write_text(json.dumps(openai_row()) + "\n")
    assert {s.split for s in load(f"{file}{end}")} == {split}
    assert {s.source for s in load(f"{file}{end}")} == {"own"}
    folder.mkdir()
    (folder / f"{split}.jsonl").write_text(json.dumps(openai_row()) + "\n")
    assert {s.split for s in load(f"hf:{folder}{end}")} == {split}


def test_a_part_of_a_hub_split_is_held_out_as_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / ".cache")
    (tmp_path / "test.jsonl").write_text((json.dumps(openai_row()) + "\n") * 3)
    assert {s.split for s in load(f"hf:{tmp_path}:test[:2]")} == {"test"}


def test_seal_tools_literals(tmp_path):
    (sample,) = read(tmp_path, "seal_tools", seal_row())
    assert sample.messages == (Message("user", 'Beds in "St. Mary"?'),)
    assert sample.calls == (ToolCall("getBeds", {"facility": "St. Mary"}),)
    assert sample.tools[0].parameters["properties"]["ward"]["type"] == "integer"


def test_apibank_finds_tools_and_reads_loose_values(tmp_path):
    (sample,) = read(tmp_path, "apibank", apibank_row())
    assert sample.calls == (ToolCall("Beds", {"at": ["St. Mary", "Ward 1"]}),)
    assert [t.name for t in sample.tools] == ["ToolSearcher", "Beds"]
    assert [m.role for m in sample.messages] == ["system", "user", "assistant", "tool"]
    (sample,) = read(tmp_path, "apibank", changed(apibank_row(), ["output"], "API-Request: [Beds(at=New York)]"))
    assert sample.calls[0].arguments == {"at": "New York"}


def test_sharegpt_calls_and_replies_are_samples(tmp_path):
    call, reply = read(tmp_path, "sharegpt", sharegpt_row())
    assert call.calls == (ToolCall("recipes", {"with": ["rice"]}),)
    assert (reply.target, [m.role for m in reply.messages]) == ("Fried rice.", ["user", "assistant", "tool"])
    assert reply.messages[1] == Message("assistant", call.target)
    several = json.dumps([{"name": "recipes", "arguments": {"with": [what]}} for what in ("rice", "eggs")])
    first = next(iter(read(tmp_path, "sharegpt", changed(sharegpt_row(), ["conversations", 1, "value"], several))))
    assert [c.arguments["with"] for c in first.calls] == [["rice"], ["eggs"]]
    plain = changed(sharegpt_row(), ["tools"], "")
    assert [s.target for s in read(tmp_path, "sharegpt", changed(plain, ["conversations"], TALK))] == ["Hello."]


def test_toolrl_has_calls_without_thoughts(tmp_path):
    (sample,) = read(tmp_path, "toolrl", toolrl_row())
    assert sample.calls == (ToolCall("Find Fares", {"to": "Rome"}), ToolCall("Find Fares", {"to": "Oslo"}))
    assert [(m.role, m.content) for m in sample.messages] == [
        ("user", "Fares to Bonn?"),
        ("assistant", "[Find Fares(to='Bonn')]"),
        ("tool", "12 euros"),
        ("assistant", "12 euros."),
        ("user", "Rome and Oslo?"),
    ]
    (tool,) = sample.tools
    assert (tool.name, tool.description) == ("Find Fares", "Fares\nby train")
    assert tool.parameters["required"] == ["to"] and list(tool.parameters["properties"]) == ["to", "by"]
    answer = "<think> no <tool_call> needed </think><response> To where? </response>"
    assert [s.target for s in read(tmp_path, "toolrl", changed(toolrl_row(), ["output"], answer))] == ["To where?"]


@pytest.mark.parametrize("name", ROWS)
def test_a_json_array_is_read_like_json_lines(tmp_path, name):
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([ROWS[name]()]))
    array = list(load(f"{name}:{file}" if name else str(file)))
    assert array == read(tmp_path, name, ROWS[name]())


# ---- real files


@pytest.mark.parametrize(
    ("source", "samples", "rejects", "split"),
    [
        ("apibank:apibank/level-1-api.json", 399, 0, "test"),
        ("apibank:apibank/level-2-api.json", 135, 0, "test"),
        ("apibank:apibank/lv3-api-train.json", 831, 76, "train"),
        ("seal_tools:seal_tools/dev.json", 697, 3, "train"),
        ("seal_tools:seal_tools/test_in_domain.json", 698, 2, "test"),
        ("sharegpt:glaive/glaive_toolcall_en_demo.json", 957, 0, "train"),
        ("toolrl:toolrl/rlla_sft.json", 391, 9, "train"),
    ],
)
def test_real_files(shared_data, source, samples, rejects, split):
    name, path = source.split(":")
    rows = list(load(f"{name}:{shared_data / path}"))
    good = [row for row in rows if isinstance(row, Sample)]
    assert (len(good), len(rows) - len(good)) == (samples, rejects)
    assert {s.split for s in good} == {split}
    assert len({s.source_id for s in good}) == samples
    assert all(tuple(parse(s.target)) == s.calls for s in good if s.calls)
    plain = {"sharegpt": 746, "toolrl": 54}
    assert sum(not s.calls for s in good) == plain.get(name, 0)


# ---- bad rows

MISSING = ...

# fmt: off
BAD = [
    ("toolace", ["system"], MISSING, "system", "missing"),
    ("toolace", ["system"], "no tools here", "system", "no list of tools"),
    ("toolace", ["system"], 'invoke:\n[{"name": ', "system", "invalid JSON"),
    ("toolace", ["system"], '[{"name": "f", "parameters": {"type": "string"}}]', "system.tools[0].parameters.type", ""),
    ("toolace", ["conversations", 0], "hi", "conversations[0]", "expected an object, found text"),
    ("toolace", ["conversations", 0, "from"], "oracle", "conversations[0].from", "'oracle'"),
    ("toolace", ["conversations", 1, "value"], " ", "conversations[1].value", "empty"),
    ("toolace", ["conversations", 1, "value"], "[f(a=1]", "conversations[1].value", "offset"),
    ("toolace", ["conversations", 1, "value"], "[f(a=1)]", "conversations[1].value", "'f', which is not offered"),
    ("toolace", ["conversations", 1, "value"], "[Market Trends API(x=1)]", "conversations[1].value", "parameter 'x'"),
    ("toolace", ["conversations", 0, "value"], "\ud800", "row", "surrogate"),
    ("xlam", ["query"], MISSING, "query", "missing"),
    ("toolace", ["conversations", 1, "value"], "[]", "conversations[1].value", "no call"),
    ("xlam", ["tools"], '[{"name": "f", "parameters": {"a": 1}}]', "tools[0].parameters.a", "expected an object"),
    ("xlam", ["tools"], '[{"name": "f", "parameters": {"a": {"type": 3}}}]', "tools[0].parameters.a.type", "text"),
    ("xlam", ["answers"], "[]", "answers", "no call"),
    ("xlam", ["answers"], '[{"name": "giveaways"}]', "answers[0].arguments", "missing"),
    ("xlam", ["answers"], '[{"name": "giveaways", "arguments": {"ids": 1e999}}]', "answers", "written"),
    ("xlam", ["answers"], '[{"name": "giveaways", "arguments": {"ids": NaN}}]', "answers", "NaN"),
    ("xlam", ["answers"], "[" * 100_000, "row", "nested too deeply"),
    ("", ["messages"], MISSING, "messages", "missing"),
    ("", ["tools"], MISSING, "messages[2].tool_calls", "calls 'weather', which is not offered"),
    ("", ["tools"], "not JSON", "tools", "invalid JSON"),
    ("", ["tools", 0, "function", "name"], None, "tools[0].name", "expected text, found null"),
    ("", ["tools", 0, "function", "parameters", "properties"], 3, "tools[0].parameters.properties", "an object"),
    ("", ["messages", 1, "role"], "robot", "messages[1].role", "'robot'"),
    ("", ["messages", 1, "content"], [{"type": "image_url"}], "messages[1].content.text", "missing"),
    ("", ["messages", 2, "tool_calls"], "x", "messages[2].tool_calls", "invalid JSON"),
    ("", ["messages", 2, "tool_calls"], {"a": 1}, "messages[2].tool_calls", "expected a list"),
    ("", ["messages", 2, "tool_calls", 0, "function", "arguments"], "{", "messages[2].tool_calls[0].arguments", "JSON"),
    ("", ["messages", 2, "tool_calls", 0, "function", "arguments"], {"x": 1}, "messages[2].tool_calls", "'x'"),
    ("", ["messages", 4, "content"], "", "messages[4].content", "empty"),
    ("", ["messages", 1, "content"], "\udfff", "row", "surrogate"),
    ("seal_tools", ["id"], 1, "id", "expected text"),
    ("sharegpt", ["tools"], '{"a": 1}', "tools", "expected a list"),
    ("sharegpt", ["tools"], "null", "conversations[1].value", "calls 'recipes', which is not offered"),
    ("sharegpt", ["conversations", 0, "from"], "bot", "conversations[0].from", "'bot'"),
    ("sharegpt", ["conversations", 1, "value"], "recipes", "conversations[1].value", "no call"),
    ("sharegpt", ["conversations", 1, "value"], '{"name": "f"}', "conversations[1].value", "calls 'f'"),
    ("sharegpt", ["conversations", 3, "value"], "", "conversations[3].value", "empty"),
    ("toolrl", ["input"], "hi", "input", "no part in tags"),
    ("toolrl", ["output"], "<think> a </think>", "output", "no part in tags"),
    ("toolrl", ["output"], "<tool_call>\n</tool_call>", "output", "no call"),
    ("toolrl", ["output"], "<tool_call>\n{]\n</tool_call>", "output", "invalid JSON"),
    ("toolrl", ["instruction"], "no tools", "output", "not offered"),
    ("seal_tools", ["conversations"], [], "conversations", "expected 2 turns, found 0"),
    ("seal_tools", ["conversations", 0, "value"], "hello", "conversations[0].value", "holds no api_list"),
    ("seal_tools", ["conversations", 1, "value"], "__import__('os')", "conversations[1].value", "not a Python literal"),
    ("seal_tools", ["conversations", 1, "value"], "(" * 100_000, "conversations[1].value", "not a Python literal"),
    ("seal_tools", ["conversations", 1, "value"], "[{'api': 'rm', 'parameters': {}}]", "conversations[1].value", "rm"),
    ("apibank", ["output"], "API-Request: none", "output", "expected one"),
    ("apibank", ["output"], "API-Request: [Beds(where='x')]", "output", "no parameter 'where'"),
    ("apibank", ["instruction"], "API descriptions:\n{", "instruction", "invalid JSON"),
    ("apibank", ["input"], '{"apiCode": "f"}', "input.parameters", "missing"),
]
# fmt: on


@pytest.mark.parametrize(("name", "path", "value", "field", "reason"), BAD)
def test_a_bad_row_is_named_and_the_rest_goes_on(tmp_path, name, path, value, field, reason):
    good = ROWS[name]()
    rows = read(tmp_path, name, good, changed(good, path, value), good)
    rejects = [row for row in rows if isinstance(row, Reject)]
    samples = Counter(row.sample_id for row in rows if isinstance(row, Sample))
    assert {(r.file, r.line, r.field) for r in rejects} == {(str(tmp_path / "rows.jsonl"), 2, field)}
    assert reason in rejects[0].reason
    assert "\n" not in str(rejects[0])
    # Both neighbours are whole.
    assert all(samples[s.sample_id] >= 2 for s in read(tmp_path, name, good))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a": ', "invalid JSON"),
        (b'{"a": "\xff"}', "invalid UTF-8 at byte 7"),
        (b"[" * 100_000, "nested too deeply"),
        (b"3", "expected an object, found a number"),
        (b'{"a": Infinity}', "Infinity is no JSON value"),
        (b'{"a": ' + b"9" * 5000 + b"}", "invalid JSON"),
    ],
)
@pytest.mark.parametrize("name", ROWS)
def test_a_line_that_is_no_row(tmp_path, name, raw, reason):
    rows = read(tmp_path, name, raw, b"", ROWS[name]())
    assert (rows[0].line, rows[0].field) == (1, "row")
    assert reason in rows[0].reason
    assert all(isinstance(row, Sample) for row in rows[1:]) and len(rows) > 1


def test_a_bad_turn_costs_only_itself(tmp_path):
    turns = [("user", "a"), ("assistant", "[f(]"), ("user", "b"), ("assistant", "Sorry.")]
    reject, sample = read(tmp_path, "toolace", toolace_row(*turns))
    assert reject.field == "conversations[1].value"
    assert sample.messages[2:] == (Message("assistant", "[f(]"), Message("user", "b"))


def test_loading_is_lazy(tmp_path):
    source = write(tmp_path, "xlam", [xlam_row()])
    rows = load(source)
    (tmp_path / "rows.jsonl").write_text("")
    assert list(rows) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nope", ["'nope'", "toolace", "hf:USER/NAME"]),
        ("bfcl:x", ["bfcl:x: expected the share"]),
        ("bfcl:1", ["bfcl:1: expected the share"]),
        ("hf:", ["'hf:'"]),
        ("apibank", ["API-Bank", "https://", "apibank:PATH"]),
        ("seal_tools", ["https://", "seal_tools:PATH"]),
        ("sharegpt", ["https://", "sharegpt:PATH"]),
        ("toolrl", ["https://", "toolrl:PATH"]),
        ("toolace:/nowhere/x.json", ["/nowhere/x.json", "No such file"]),
        ("/nowhere/x.jsonl", ["/nowhere/x.jsonl", "No such file"]),
        ("xlam:/nowhere/x.csv", ["/nowhere/x.csv", "'.csv'", ".jsonl"]),
    ],
)
def test_sources_that_cannot_be_read(source, words):
    with pytest.raises(ItoolError) as caught:
        list(load(source))
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


ROW = {
    "messages": [{"role": "user", "content": "Say it.\u2028Twice."}, {"role": "assistant", "content": "It\u00e9."}],
    "tools": [],
}
LINES = "\n".join(json.dumps({**ROW, "id": f"r{i}"}, ensure_ascii=False) for i in range(3))
ARRAY = json.dumps([json.loads(line) for line in LINES.split("\n")], indent=1, ensure_ascii=False)
PRINTED = "\n".join(json.dumps(json.loads(line), indent=2) for line in LINES.split("\n"))


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.jsonl", LINES.encode()),
        ("a.jsonl", LINES.encode("utf-8-sig")),
        ("a.jsonl", LINES.replace("\n", "\r\n").encode()),
        ("a.jsonl", f"\n\n{LINES}\n\n".encode()),
        ("a.jsonl", LINES.encode("utf-16")),
        ("a.json", ARRAY.encode("utf-16")),
        ("a.json", ARRAY.encode()),
        ("a.jsonl", ARRAY.encode()),
        ("a.jsonl", json.dumps(json.loads(ARRAY)).encode()),
        ("a.json", LINES.encode()),
        ("a.json", PRINTED.encode()),
        ("a.jsonl", PRINTED.encode()),
        ("a.jsonl", "\n".join(f"[{line}]" for line in LINES.split("\n")).encode()),
        ("A.JSONL", LINES.encode()),
        ("a.ndjson", LINES.encode()),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("a.JSON.GZ", gzip.compress(ARRAY.encode("utf-16"), mtime=0)),
        ("a.jsonl", gzip.compress(LINES.encode(), mtime=0)),
    ],
)
def test_rows_are_read_in_whatever_form_the_file_has(tmp_path, name, raw):
    (tmp_path / name).write_bytes(raw)
    samples = list(load(str(tmp_path / name)))
    assert [(s.source_id, s.target, s.messages[0].content) for s in samples] == [
        (f"r{i}-1", "It\u00e9.", "Say it.\u2028Twice.") for i in range(3)
    ]
    assert {s.source for s in samples} == {name[:1]}


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"[1", "expected JSON rows, invalid JSON: Expecting ',' delimiter: line 1"),
        (b"3", "expected rows, found a number"),
        (ARRAY.encode()[:-20], "expected JSON rows, invalid JSON"),
        (gzip.compress(LINES.encode(), mtime=0)[:60], "cannot read the data set: Compressed file ended"),
        (b"\xff\xfe\x00", "invalid UTF-16"),
        (b"\x89PNG\r\n\x1a\n\x00", "expected JSON rows, invalid UTF-8 at byte 0"),
    ],
)
def test_a_file_that_holds_no_rows_is_one_line(tmp_path, raw, found):
    (tmp_path / "rows.json").write_bytes(raw)
    with pytest.raises(ItoolError, match=re.escape(found)) as caught:
        list(load(f"toolace:{tmp_path / 'rows.json'}"))
    assert "\n" not in str(caught.value)


def test_the_hub_out_of_reach_is_one_line(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ItoolError, match=r"cannot load the data set Team-ACE/ToolACE.*hf auth login") as caught:
        list(load("toolace"))
    assert "\n" not in str(caught.value)


# ---- schemas


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("dict", {"type": "object"}),
        ("float", {"type": "number"}),
        ("tuple", {"type": "array"}),
        ("list(str)", {"type": "array", "items": {"type": "string"}}),
        ("List[List[int]]", {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}),
        ("Tuple[int, str]", {"type": "array"}),
        ("Dict[str, int]", {"type": "object"}),
        ("Optional[bool]", {"type": "boolean"}),
        ("Union[int, str]", {}),
        ("any", {}),
        ("datetime", {"format": "datetime"}),
        (["string", "null"], {"type": ["string", "null"]}),
        (["any", "null"], {}),
    ],
)
def test_type_names(written, normal):
    assert json_type(written, "type") == normal


def test_schemas_inside_schemas():
    inner = {"type": "dict", "properties": {"x": {"type": "float", "enum": [1, 2]}}}
    schema = {"anyOf": [{"type": "str"}, {"type": "list", "items": inner}], "default": None}
    normal = {"type": "object", "properties": {"x": {"type": "number", "enum": [1, 2]}}}
    assert normalise(schema, "s") == {
        "anyOf": [{"type": "string"}, {"type": "array", "items": normal}],
        "default": None,
    }
    assert normalise(normalise(schema, "s"), "s") == normalise(schema, "s")
