"""BFCL v4's vector store: what its encoder makes of texts, what it finds, and questions about what it holds."""

import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from openai_server import OpenAIServer
from outcomes import Itool
from transformers import AutoModel, AutoTokenizer

from bench.tiny_encoder import put_encoder
from itool_data.run import open_run
from itool_data.store.sql import query
from itool_eval.bfcl.memory import MemoryDriver
from itool_eval.bfcl.memory_stores import MemoryStores
from itool_eval.bfcl.simulators import limited_work
from itool_eval.bfcl.vector_search import MAX_TOKENS, encoder_folder, stand_ins
from itool_eval.predictions import read_evaluated

TEXTS = ["the boss is ann", "her kids are five", "trip to rome"]


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return put_encoder(tmp_path / "cache")


def encode(folder: Path, texts: list[str]) -> np.ndarray:
    module = stand_ins(folder)["sentence_transformers"]
    return module.SentenceTransformer("x", device="cpu").encode(texts, normalize_embeddings=True)


def test_a_texts_vector_is_the_mean_of_its_tokens_states_and_of_length_1_whatever_is_beside_it(encoder: Path) -> None:
    vectors = encode(encoder, [*TEXTS, "tea " * 100])
    model, tokenizer = AutoModel.from_pretrained(encoder).eval(), AutoTokenizer.from_pretrained(encoder)
    for text, vector in zip(TEXTS, vectors, strict=False):
        with torch.inference_mode():
            mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        assert vector == pytest.approx((mean / mean.norm()).numpy(), abs=1e-6)
    assert vectors.dtype == np.float32 and vectors.shape == (4, 32)
    words = MAX_TOKENS - 2  # beside the marks at both ends
    long = encode(encoder, ["tea " * words, "tea " * words + "money rome", "tea " * (words - 1)])
    assert long[1] == pytest.approx(long[0], abs=1e-6) and np.abs(long[2] - long[0]).max() > 1e-6


def test_the_store_finds_what_is_nearest_and_forgets_what_is_removed(bfcl_v4_folder: Path, encoder: Path) -> None:
    assert encoder_folder() == encoder
    simulator = MemoryStores(bfcl_v4_folder).by_class["MemoryAPI_vector"]
    store = simulator.create()
    with limited_work():  # in which a call of a conversation runs
        added = [store.core_memory_add(text) for text in TEXTS]
    assert added == [{"id": 0}, {"id": 1}, {"id": 2}]
    for i, text in enumerate(TEXTS):
        found = store.core_memory_retrieve(text, 2)["result"]
        assert (found[0]["id"], found[0]["text"], len(found)) == (i, text, 2)
        best, next_best = (one["similarity_score"] for one in found)
        assert best == pytest.approx(1, abs=1e-6) and next_best < best
    assert store.core_memory_remove(0) == {"status": "ID 0 removed from store."}
    assert store.core_memory_update(1, "the boss is ann")["status"]
    found = store.core_memory_retrieve("the boss is ann")["result"]
    assert [one["id"] for one in found] == [1, 2]
    # Of equals the first are taken, and the last of these stands first, as in faiss.
    again = [store.archival_memory_add("trip to rome")["id"] for _ in range(4)]
    found = store.archival_memory_retrieve("trip to rome", 3)["result"]
    assert [one["id"] for one in found] == again[2::-1]
    with pytest.raises(AssertionError):
        store.core_memory_retrieve("ann", 0)


def test_a_memory_of_vectors_goes_from_conversation_to_conversation(bfcl_v4_folder: Path, encoder: Path) -> None:
    driver = MemoryDriver(bfcl_v4_folder)
    first, second = driver.chains["memory_vector/notetaker"][:2]
    replies = [["[core_memory_add(text='the boss is ann')]", "Done."], ["[archival_memory_add(text='trip to rome')]"]]
    memory = driver.after(first, {}, replies)
    assert memory == {
        "core_memory": {"next_id": 1, "store": {"0": "the boss is ann"}},
        "archival_memory": {"next_id": 1, "store": {"0": "trip to rome"}},
    }
    (system, *_) = next(driver.conversation(second, memory)).messages
    assert '"0": "the boss is ann"' in system["content"] and "trip to rome" not in system["content"]
    memory = driver.after(second, memory, [["[core_memory_add(text='her kids are five')]"]])
    assert memory["core_memory"] == {"next_id": 2, "store": {"0": "the boss is ann", "1": "her kids are five"}}


def recalls(body: dict[str, Any]) -> str:
    """Keeps all that the user says, and answers with what is found for `trip`."""
    system, last = body["messages"][0]["content"], body["messages"][-1]["content"]
    if "similarity_score" in last:
        return last
    if '"id"' in last or '"error"' in last:
        return "Done."
    if "For your final answer" in system:
        return "[archival_memory_retrieve(query='trip', top_k=1)]"
    return f"[archival_memory_add(text={last[:100]!r})]"


def test_questions_about_vectors_are_asked_where_the_encoder_is_at_hand(
    itool: Itool, tmp_path: Path, server: OpenAIServer, bfcl_v4_folder: Path, encoder: Path
) -> None:
    server.chat, server.context = recalls, 1_000_000
    run = tmp_path / "run"
    options = ("--policy", "openai", "--base-url", server.url, "--categories", "memory_vector", "--limit", 1)
    code, _, err = itool("eval", "run", "bfcl-v4", "--run", run, *options)
    assert not code, err
    sql = "SELECT item, output FROM predictions WHERE category = 'memory_vector_prereq'"
    held = {row["item"]: json.loads(row["output"]) for row in query(open_run(run).store, sql).to_pylist()}
    (evaluated,) = read_evaluated(open_run(run))
    (verdict,), (result,) = evaluated.verdicts, evaluated.results
    driver = MemoryDriver(bfcl_v4_folder)
    memory, missing = driver.filled(f"memory_vector/{verdict.id.split('-')[1]}", held)
    kept = list(memory["archival_memory"]["store"].values())
    assert missing is None and len(kept) >= 5
    assert any(text[:20] in result[0][1] for text in kept)
