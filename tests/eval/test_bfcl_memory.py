"""BFCL v4's memory: what is asked and left behind, memories that are filled in order, and a whole run of it."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from openai_server import OpenAIServer
from outcomes import Itool, one_line

from itool_data.run import open_run
from itool_data.store.sql import query
from itool_eval.bfcl.categories import SET_UP
from itool_eval.bfcl.memory import MemoryDriver, MemoryItem, load_memory_items
from itool_eval.bfcl.memory_stores import BACK_ENDS, Memory, MemoryStores
from itool_eval.conversation import Said
from itool_eval.predictions import read_evaluated

# Conversations with scripted replies, one after another, and a digest of all that the official harness asks in them.
SCRIPTS: list[tuple[str, bool, list[Any], str]] = [
    (
        "memory_kv_prereq_32-notetaker-0",
        False,
        [
            "[core_memory_add(key='boss_name', value='Ann'), core_memory_add(key='kids_name', value='Ann (5)')]",
            "[core_memory_key_search(query='the boss name', k=2)]",
        ],
        "f559981040fa5ef5b17aecc583771f4856af0ba49bc03fbc44f301c74d18d8dd",
    ),
    (
        "memory_kv_prereq_33-notetaker-1",
        False,
        ["[archival_memory_add(key='trip', value='Rome')]"],
        "af7264d254e19c0917e82f1da6b6c8fa1d09bf1b233fe3f5900544eca8ded6ef",
    ),
    (
        "memory_kv_130-notetaker-0",
        False,
        ["[core_memory_retrieve_all()]", "Ann"],
        "6d00d977576dec740119a795ca162fcc4815b1b325316a3b8f056fba31ed6d73",
    ),
    (
        "memory_rec_sum_prereq_32-notetaker-0",
        True,
        [(("memory_append", '{"text": "Ann"}'),)],
        "387b39f2c43f6f39fae47acaa9865dbae34291e9fd70bef8a7544ffb37941506",
    ),
    (
        "memory_rec_sum_130-notetaker-0",
        True,
        [(("memory_retrieve", "{}"),)],
        "a436a5bb25a6880afbcae8e8806d39624e3b027088b23a94552a8fd13b236467",
    ),
]


@pytest.fixture(scope="module")
def items(bfcl_v4_folder: Path) -> dict[str, MemoryItem]:
    categories = [name for back_end in BACK_ENDS for name in (back_end, back_end + SET_UP)]
    return {item.id: item for name in categories for item in load_memory_items(bfcl_v4_folder, name)}


@pytest.fixture(scope="module")
def driver(bfcl_v4_folder: Path) -> MemoryDriver:
    return MemoryDriver(bfcl_v4_folder)


def test_conversations_ask_what_the_official_harness_asks(bfcl_v4_folder: Path, items: dict[str, MemoryItem]) -> None:
    drivers = {native: MemoryDriver(bfcl_v4_folder, native) for native in (False, True)}
    memories: dict[str, Memory] = {}
    for item_id, native, replies, digest in SCRIPTS:
        item = items[item_id]
        memory = memories.get(item.chain, {})
        held, left = drivers[native].conversation(item, memory), list(replies)
        asked = [next(held)]
        with pytest.raises(StopIteration) as ended:
            while True:
                reply = left.pop(0) if left else "Done."
                asked.append(held.send(Said(reply) if isinstance(reply, str) else Said("", reply)))
        text = json.dumps([[prompt.messages, list(prompt.tools)] for prompt in asked], sort_keys=True)
        assert hashlib.sha256(text.encode()).hexdigest() == digest, item_id
        if item.sets_up:
            memories[item.chain] = drivers[native].after(item, memory, ended.value.value)
    assert memories == {
        "memory_kv/notetaker": {
            "core_memory": {"boss_name": "Ann", "kids_name": "Ann(5)"},
            "archival_memory": {"trip": "Rome"},
        },
        "memory_rec_sum/notetaker": {"memory": "Ann"},
    }


def test_a_memory_is_what_the_conversations_held_so_far_leave(
    driver: MemoryDriver, items: dict[str, MemoryItem]
) -> None:
    assert [len(chain) for chain in driver.chains.values()] == [10, 7, 5, 5, 10] * 2
    assert sum(not item.sets_up for item in items.values()) == 2 * 155
    chain = driver.chains["memory_rec_sum/finance"]
    memory, item = driver.filled("memory_rec_sum/finance", {})
    assert (memory, item) == ({}, chain[0])
    results: dict[str, object] = {
        chain[0].id: [["[memory_append(text='a')]", "Done."], ["[memory_append(text='b')", "[memory_append(te"]],
        chain[1].id: "Error during inference: too long",
        chain[3].id: [["[memory_clear()]"]],
    }
    memory, item = driver.filled("memory_rec_sum/finance", results)
    assert (memory, item) == ({"memory": "ab"}, chain[2])


def test_keys_are_found_with_the_official_scores(bfcl_v4_folder: Path) -> None:
    store = MemoryStores(bfcl_v4_folder).by_class["MemoryAPI_kv"].create()
    store._load_scenario(
        {"core_memory": dict.fromkeys(("boss_name", "kids_name_and_age", "trip")), "archival_memory": {}}
    )
    found = store.core_memory_key_search(query="the boss name name")["ranked_results"]
    assert found == [
        (5.735660639137257, "boss_name"),
        (3.8216763468710497, "kids_name_and_age"),
        (2.772588722239781, "trip"),
    ]
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        store.archival_memory_key_search(query="x")


def test_loading_leaves_no_module_behind(bfcl_v4_folder: Path) -> None:
    before = set(sys.modules)
    MemoryStores(bfcl_v4_folder)
    assert not {name for name in set(sys.modules) - before if "bfcl" in name or "bm25" in name}


def remembers(body: dict[str, Any]) -> str:
    """Keeps all that the user says, and answers with the beginning of it."""
    system, last = body["messages"][0]["content"], body["messages"][-1]
    if '"status"' in last["content"] or '"error"' in last["content"]:  # what the call returned
        return "Done."
    if "For your final answer" in system:
        return str(system.partition("previous interactions:\n")[2][:1000])
    return f"[memory_append(text={last['content']!r})]"


def run_memory(
    itool: Itool, run: Path, server: OpenAIServer, categories: str = "memory_rec_sum"
) -> tuple[int, str, str]:
    options = ("--policy", "openai", "--base-url", server.url, "--categories", categories, "--limit", 1)
    return itool("eval", "run", "bfcl-v4", "--run", run, *options)


def test_a_run_fills_the_memories_first_and_goes_on_where_it_stopped(
    itool: Itool, tmp_path: Path, server: OpenAIServer, driver: MemoryDriver, items: dict[str, MemoryItem]
) -> None:
    server.chat, server.context = remembers, 1_000_000
    code, out, err = run_memory(itool, tmp_path / "run", server)
    assert not code, err
    asked = len(server.bodies)
    sql = "SELECT category, item, valid, output FROM predictions ORDER BY category, item"
    rows = query(open_run(tmp_path / "run").store, sql).to_pylist()
    set_up = [row for row in rows if row["category"] == "memory_rec_sum_prereq"]
    assert {row["valid"] for row in set_up} == {None} and len(set_up) >= 5
    (evaluated,) = read_evaluated(open_run(tmp_path / "run"))
    (verdict,), (result,) = evaluated.verdicts, evaluated.results
    memory, missing = driver.filled(items[verdict.id].chain, {row["item"]: json.loads(row["output"]) for row in set_up})
    assert missing is None and len(memory["memory"]) > 500
    assert result == [[memory["memory"][:1000]]]
    assert "not run, left out: web_search_base" in " ".join(out.split())

    code, out, err = run_memory(itool, tmp_path / "run", server)
    assert not code and "1 already answered" in out and len(server.bodies) == asked


def test_items_whose_memory_cannot_be_filled_are_not_asked(
    itool: Itool, tmp_path: Path, server: OpenAIServer, bfcl_v4_folder: Path
) -> None:
    server.chat, server.context = remembers, 100
    code, out, err = run_memory(itool, tmp_path / "run", server)
    assert not code, err
    assert "1 items are not asked: a conversation that fills their memory failed" in out
    assert query(open_run(tmp_path / "run").store, "SELECT 1 FROM predictions").num_rows == 0


def test_a_folder_of_the_official_tool_is_scored_without_what_fills_its_memories(
    itool: Itool, tmp_path: Path, bfcl_v4_folder: Path
) -> None:
    folder = tmp_path / "model" / "agentic" / "memory" / "kv"
    folder.mkdir(parents=True)
    for name, item, result in (
        ("memory_kv_prereq", "memory_kv_prereq_0-customer-0", [["Done."]]),
        (
            "memory_kv",
            "memory_kv_0-customer-0",
            [["[core_memory_list_keys()]", '{"answer": "Michael", "context": ""}']],
        ),
    ):
        file = folder / f"BFCL_v4_{name}_result.json"
        file.write_text(json.dumps({"id": item, "result": result}), encoding="utf-8")
    code, out, err = itool("eval", "score", "bfcl-v4", tmp_path / "model", "--out", tmp_path / "v.jsonl")
    assert not code, err
    assert "1 verdicts" in out and "set aside" not in out and "not comparable" not in out
    assert json.loads((tmp_path / "v.jsonl").read_text("utf-8"))["valid"]


@pytest.mark.parametrize(
    ("category", "why"), [("memory_vector", "all-MiniLM-L6-v2"), ("web_search_base", "searches and reads the web")]
)
def test_what_needs_a_download_or_a_network_is_refused_in_a_line(
    itool: Itool, tmp_path: Path, server: OpenAIServer, bfcl_v4_folder: Path, category: str, why: str
) -> None:
    one_line(run_memory(itool, tmp_path / "run", server, category), why)
