"""Native function calling: the official tools, the official verdicts, and whole runs of it.

`official_native.jsonl` holds results of BFCL's own form for its FC models with the official verdict on each: of every
category and error type two, out of 37,431 that were compared (right calls, damaged ones, texts).
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai_server import OpenAIServer, Said
from outcomes import Itool
from toys import PROMPTER

from bench.native_forms import prompter
from itool_data.errors import ItoolError
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.run import open_run
from itool_data.sample import Message, Sample, ToolCall
from itool_data.store.sql import query
from itool_eval import conversation
from itool_eval.bfcl import native
from itool_eval.bfcl.benchmark import bfcl_scorers
from itool_eval.bfcl.categories import Language, Version, single_turn
from itool_eval.bfcl.items import load_items
from itool_eval.bfcl.multi_turn_driver import MultiTurnDriver
from itool_eval.bfcl.multi_turn_items import MultiTurnItem, load_multi_turn_items
from itool_eval.chat import PolicyChat, Reply, offered
from itool_eval.predictions import read_evaluated

OFFICIAL = Path(__file__).with_name("official_native.jsonl")
# Of what the official `convert_to_tool` makes of every single-turn item, in the order of CATEGORIES.
DIGESTS = {
    Version.V3: "1135843f207dc45ca9b94454265544f3ff5964274ff8a1d7dc4dfad9e1d30da4",
    Version.V4: "02e80723df23ef37189a907c0b4d1b814ffbae83b8ed38a8954317164a67c393",
}


@pytest.mark.parametrize("version", Version)
def test_the_tools_are_the_official_ones(bfcl_folder: Path, bfcl_v4_folder: Path, version: Version) -> None:
    folder = bfcl_folder if version is Version.V3 else bfcl_v4_folder
    digest = hashlib.sha256()
    for category in single_turn(version):
        language = category.language if category.has_answers else Language.PYTHON
        for item in load_items(folder, version, category.name):
            tools = native.tools(item.functions, language)
            digest.update(json.dumps(tools, sort_keys=True).encode())
    assert digest.hexdigest() == DIGESTS[version]


def test_types_names_and_descriptions() -> None:
    number = {"type": "float", "description": "How much."}
    inner = {"type": "dict", "properties": {"x": number}}
    schema = {"properties": {"a": number, "b": {"type": "tuple", "description": "", "items": inner}}, "required": ["a"]}
    (tool,) = native.tools([{"name": "a.b", "description": "Does.", "parameters": schema}], Language.PYTHON)
    assert tool["function"]["name"] == "a_b" and "Python 3" in tool["function"]["description"]
    cast = {"type": "number", "format": "float", "description": "How much. This is a float type value."}
    items = {"type": "object", "properties": {"x": cast}}
    assert tool["function"]["parameters"] == {
        "type": "object",
        "properties": {"a": cast, "b": {"type": "array", "description": "", "items": items}},
        "required": ["a"],
    }
    assert schema["properties"]["a"] == number, "the document itself stays as it was"


def test_the_official_verdict_and_error_type(bfcl_folder: Path) -> None:
    scorers = {category: s for s in bfcl_scorers(Version.V3, native_calls=True) for category in s.categories}
    rows = [json.loads(line) for line in OFFICIAL.read_text("utf-8").splitlines()]
    differences = []
    for row in rows:
        verdict = scorers[row["category"]].score(row["category"], row["id"], row["result"])
        if (verdict.valid, verdict.error_type) != (row["official_valid"], row["official_error_type"]):
            differences.append((row, verdict))
    assert differences == []
    assert len({(row["category"], row["official_error_type"]) for row in rows}) > 90


def test_calls_are_read_with_the_names_that_were_called(bfcl_folder: Path) -> None:
    single, several = bfcl_scorers(Version.V3, native_calls=True)
    assert single.calls("simple", [{"a_b": '{"x": 1}'}]) == [native.Call("a_b", {"x": 1})]
    assert single.calls("simple", "[a_b(x=1)]") is None and single.calls("simple", [{"f": "{"}]) is None
    turns = [[[{"ls": '{"a": true}'}], "Done."], [[{"pwd": "{}"}, {"f": "["}], [{"pwd": "{}"}]]]
    assert several.calls("multi_turn_base", turns) == [native.Call("ls", {"a": True}), native.Call("pwd", {})]


def test_a_malformed_native_call_counts_as_abstention_and_is_noted(bfcl_folder: Path) -> None:
    (single, _) = bfcl_scorers(Version.V3, native_calls=True)
    verdict = single.score("irrelevance", "irrelevance_0", [{"f": "{"}])
    assert verdict.valid and verdict.note == "malformed call taken for abstention"
    assert not single.score("irrelevance", "irrelevance_0", "[f(a=1)]").note


def gold(calls: list[str]) -> tuple[tuple[str, str], ...]:
    """The answer's calls as a model would make them natively."""
    from itool_eval.bfcl.decode_python import decode

    return tuple((call.name, json.dumps(call.arguments)) for call in decode(f"[{', '.join(calls)}]", Version.V3))


def without_positions(folder: Path, category: str) -> list[MultiTurnItem]:
    """Multi-turn items whose answers name all arguments, as native calls do."""
    return [
        item
        for item in load_multi_turn_items(folder, Version.V3, category)
        if not any(ast.parse(call, mode="eval").body.args for turn in item.answers for call in turn)  # type: ignore[attr-defined]
    ]


@pytest.mark.parametrize("category", ["multi_turn_base", "multi_turn_miss_func"])
def test_a_conversation_of_native_calls(bfcl_folder: Path, category: str) -> None:
    items = without_positions(bfcl_folder, category)[:6]
    driver = MultiTurnDriver(bfcl_folder, Version.V3, native_calls=True)
    (_, scorer) = bfcl_scorers(Version.V3, native_calls=True)
    for item in items:
        held, prompts = driver.conversation(item), []
        replies = [r for turn in item.answers for r in ([gold(turn)] if turn else []) + ["Done."]]
        try:
            prompts.append(next(held))
            for reply in replies:
                text, calls = ("", reply) if isinstance(reply, tuple) else (reply, ())
                prompts.append(held.send(conversation.Said(text, calls)))
        except StopIteration as end:
            assert scorer.score(item.category, item.id, end.value).valid
            assert end.value[0][-1] == "Done."
        assert prompts[0].messages == item.turns[0], "no text of the harness before it"
        names = [{tool["function"]["name"] for tool in prompt.tools} for prompt in prompts]
        withheld = {name for missed in item.missed_functions.values() for name in missed}
        assert not withheld & names[0] and withheld <= names[-1]
        for message, after in zip(prompts[-1].messages, prompts[-1].messages[1:], strict=False):
            if message["role"] == "assistant" and "tool_calls" in message:
                assert after["role"] == "tool" and after["tool_call_id"] == message["tool_calls"][0]["id"]
        ids = [call["id"] for m in prompts[-1].messages for call in m.get("tool_calls", ())]
        assert len(set(ids)) == len(ids) > 0


MULTI_TURN = ["multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context"]


@pytest.mark.parametrize(
    ("template", "category", "n"),
    [
        *(("qwen2_5", category, 3) for category in MULTI_TURN),
        *((template, "multi_turn_miss_func", 1) for template in ("qwen3_5_nothink", "gemma4_v5", "muse_glimmer")),
    ],
)
def test_a_conversation_with_a_policy_of_ours_in_its_native_form(
    bfcl_folder: Path, template: str, category: str, n: int
) -> None:
    """Each reply is read as the template writes it, and comes back in the next prompt with what was returned."""
    own = prompter(template)
    driver = MultiTurnDriver(bfcl_folder, Version.V3, native_calls=True)
    (_, scorer) = bfcl_scorers(Version.V3, native_calls=True)
    for item in without_positions(bfcl_folder, category)[:n]:
        held = driver.conversation(item)
        prompt, before, shown = next(held), (), ""
        replies = [calls for turn in item.answers for calls in ([gold(turn)] if turn else []) + [()]]
        for number, calls in enumerate(replies):
            ids = own.chat_ids(prompt.messages, prompt.tools)
            results = [message["content"] for message in prompt.messages if message["role"] == "tool"]
            assert len(results) == sum(map(len, replies[:number])) and all(r in own.text(ids) for r in results)
            # The functions that a turn brings stand at the prompt's beginning, and others take thoughts out.
            if template == "qwen2_5" and prompt.tools == before:
                assert own.text(ids).startswith(shown)
            made = tuple(ToolCall(name, json.loads(arguments)) for name, arguments in calls)
            said = own.gold_ids(
                Sample("", "", (Message("user", "Hi"),), tuple(map(offered, prompt.tools)), "Done.", made)
            )
            chat = PolicyChat(ScriptedPolicy({tuple(ids): {tuple(said): 1.0}}, context=100_000), own)
            chat.submit("1", prompt, len(said))
            ((_, reply),) = chat.step()
            assert isinstance(reply, Reply)
            assert reply.said == conversation.Said("" if calls else "Done.", reply.said.calls)
            assert [(name, json.loads(a)) for name, a in reply.said.calls] == [(c.name, c.arguments) for c in made]
            before, shown = prompt.tools, own.text([*ids, *said[:-1]])
            try:
                prompt = held.send(reply.said)
            except StopIteration as end:
                assert number == len(replies) - 1 and scorer.score(category, item.id, end.value).valid


@pytest.fixture
def server(bfcl_folder: Path) -> Iterator[OpenAIServer]:
    server = OpenAIServer({}, lambda text: []).start()
    server.context = 100_000
    yield server
    server.stop()


def calls_the_first(body: dict[str, Any]) -> Said:
    """Right where the one function needs no argument that the question would have to tell; sometimes a text."""
    if len(body["messages"][-1]["content"]) % 3 == 0:
        return "[calculate_triangle_area(base=10, height=5)]"
    function = body["tools"][0]["function"]
    arguments = {name: 10 for name in function["parameters"]["required"]}
    return [(function["name"], json.dumps(arguments))]


def run_fc(itool: Itool, run: Path, server: OpenAIServer, benchmark: str, *options: object) -> str:
    code, out, err = itool(
        "eval", "run", benchmark, "--run", run, "--policy", "openai", "--base-url", server.url, "--limit", 12, *options
    )
    assert not code, err
    return out


def test_a_run_is_stored_apart_shown_exported_and_scored_again(
    itool: Itool, tmp_path: Path, server: OpenAIServer
) -> None:
    server.chat = calls_the_first
    categories = ("--categories", "simple,irrelevance,live_relevance")
    out = run_fc(itool, tmp_path / "run", server, "bfcl-v3-fc", *categories)
    assert "native function calling (FC): compare with FC only" in out
    assert all(body["tools"] and body["messages"][0]["role"] != "system" for _, body in server.bodies)
    server.chat = lambda body: "No."
    run_fc(itool, tmp_path / "run", server, "bfcl-v3", *categories)
    both = {e.benchmark: e for e in read_evaluated(open_run(tmp_path / "run"))}
    assert set(both) == {"bfcl-v3", "bfcl-v3-fc"} and [len(e.verdicts) for e in both.values()] == [12, 12]
    # A text is no native call, however it reads, and a call is stored in the official form.
    results = both["bfcl-v3-fc"].results
    assert {type(result) for result in results} == {str, list}
    sql = "SELECT category, output, calls, valid FROM predictions WHERE benchmark = 'bfcl-v3-fc'"
    for row in query(open_run(tmp_path / "run").store, sql).to_pylist():
        said = json.loads(row["output"])
        assert (row["calls"] is None) == isinstance(said, str)
        assert row["valid"] or row["category"] != "irrelevance" or isinstance(said, list)

    code, out, _ = itool("eval", "export", "--run", tmp_path / "run", "--to", tmp_path / "to")
    assert not code
    (folder,) = (tmp_path / "to").glob("*-FC")
    code, out, err = itool("eval", "score", "bfcl-v3-fc", folder, "--out", tmp_path / "again.jsonl")
    assert not code, err
    assert "compare with FC only" in out
    again = {line["id"]: line["error_type"] for line in map(json.loads, (tmp_path / "again.jsonl").open())}
    assert again == {v.id: v.error_type for v in both["bfcl-v3-fc"].verdicts}


def test_v4_and_java(itool: Itool, tmp_path: Path, server: OpenAIServer, bfcl_v4_folder: Path) -> None:
    server.chat = calls_the_first
    run_fc(itool, tmp_path, server, "bfcl-v4-fc", "--categories", "simple_java")
    kinds = {
        p["type"]
        for _, body in server.bodies
        for p in body["tools"][0]["function"]["parameters"]["properties"].values()
    }
    assert kinds == {"string"}
    (evaluated,) = read_evaluated(open_run(tmp_path))
    assert "type_error:java" in {verdict.error_type for verdict in evaluated.verdicts}


def test_a_policy_without_a_server_has_no_native_calls() -> None:
    chat = PolicyChat(ScriptedPolicy({}), PROMPTER)
    with pytest.raises(
        ItoolError,
        match=r"set model.format to native .* --policy openai",
    ):
        chat.submit("1", conversation.Prompt([{"role": "user", "content": "Hi"}], ({"type": "function"},)), 5)
