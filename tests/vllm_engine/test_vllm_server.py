"""A real vLLM server on loopback with the embedded model: mined, evaluated, and met with faults, kills and a restart.

Its settings are those of docs/servers.md. What vLLM gives is compared with the transformers policy.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_proxy import Fault, FaultProxy
from outcomes import Itool
from tiny_lora import tiny_lora

from bench.toy_loop import write_source
from itool_data.assets import embedded_model
from itool_data.config import ModelSettings
from itool_data.policy.base import Policy, Request, generate
from itool_data.policy.load import Adapter, adapter_hash, find_model, policy_id, write_identity
from itool_data.policy.open import open_policy, open_prompter
from itool_data.policy.openai import PIECE
from itool_data.policy.served import adapter_name
from itool_data.run import open_run, write_run
from itool_data.store.sql import query
from itool_data.store.tables import Store

STARTS = 300  # seconds within which a server is there
SMALL = [
    "--set", "mcts.iterations=2", "--set", "mcts.width=2", "--set", "mcts.max_tokens=16", "--set", "reward.weight=0",
    "--set", "mine.commit_trees=1", "--set", "model.rows=4", "--set", "pairs.min_q_chosen=-1",
]  # fmt: skip
PROMPT = [{"role": "user", "content": "Name the capital of France and one of its rivers. " * 12}]


class VllmServer:
    """vLLM as a process of its own, on one port, whenever it is started; with further options of its command."""

    def __init__(self, log: Path, *options: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._log = log
        self._options = options

    def start(self) -> None:
        own = {
            "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "0", "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_NO_USAGE_STATS": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        }  # fmt: skip
        command = [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(embedded_model()),
            "--host", "127.0.0.1", "--port", str(self.port), "--dtype", "float32", "--max-model-len", "2048",
            "--enforce-eager", "--no-enable-chunked-prefill", "--enable-prompt-tokens-details", "--enable-lora",
            "--max-lora-rank", "8",
            "--enable-auto-tool-choice", "--tool-call-parser", "hermes", *self._options,
        ]  # fmt: skip
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | own, stdout=log, stderr=log, start_new_session=True
            )
        started = time.monotonic()
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                late = time.monotonic() - started > STARTS
                assert self._process.poll() is None and not late, self._log.read_text()[-2000:]
                time.sleep(0.5)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    server = VllmServer(tmp_path_factory.mktemp("vllm") / "log")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def local() -> Policy:
    """The transformers policy of the same model."""
    return open_policy(ModelSettings(device="cpu"), find_model(ModelSettings()), None)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder = tmp_path_factory.mktemp("adapter") / "warmup-1"
    base = find_model(ModelSettings())
    tiny_lora(base.path, strength=0.02).save_pretrained(folder)
    write_identity(folder, base)
    return Adapter(folder, adapter_hash(folder))


def settings(vllm: VllmServer) -> ModelSettings:
    return ModelSettings(policy="openai", base_url=vllm.url, rows=8)


def served(vllm: VllmServer, adapter: Adapter | None = None) -> Policy:
    return open_policy(settings(vllm), find_model(ModelSettings()), adapter)


def prompt_ids() -> list[int]:
    return open_prompter(ModelSettings(), find_model(ModelSettings())).chat_ids(PROMPT)


def test_log_probabilities_are_the_models_own_however_it_was_drawn(vllm: VllmServer, local: Policy) -> None:
    policy, prompt = served(vllm), prompt_ids()
    (completion,) = generate(policy, [Request("a", prompt, [2**64 - 1, 5], 12, 1.5)])
    for draw in completion.draws:
        assert policy.score([prompt], [draw.ids])[0] == pytest.approx(draw.logprobs, abs=1e-3)
        assert local.score([prompt], [draw.ids])[0] == pytest.approx(draw.logprobs, abs=1e-2)
    options = [[token] for token in completion.draws[0].ids[:4]]
    expected = [score[0] for score in local.score([prompt] * 4, options)]
    assert [score[0] for score in policy.score([prompt] * 4, options)] == pytest.approx(expected, abs=1e-2)


def test_a_seed_is_a_draw_and_the_prompt_is_computed_once(vllm: VllmServer) -> None:
    policy, prompt = served(vllm), prompt_ids()
    assert len(prompt) > 128
    first, again = (generate(policy, [Request(str(i), prompt, [1, 2, 3], 8, 1.0)])[0] for i in range(2))
    assert [d.ids for d in first.draws] == [d.ids for d in again.draws] and len({d.ids for d in first.draws}) == 3
    assert again.reused >= 3 * 128 and again.prefilled == 3 * len(prompt) - again.reused


def test_greedy_draws_are_those_of_transformers(vllm: VllmServer, local: Policy) -> None:
    prompt = prompt_ids()
    drawn = [generate(policy, [Request("g", prompt, [0], 24, 0.0)])[0].draws[0] for policy in (served(vllm), local)]
    assert drawn[0].ids == drawn[1].ids and drawn[0].finish == drawn[1].finish


def test_a_draw_that_the_caller_ends_is_put_together_of_pieces(vllm: VllmServer, local: Policy) -> None:
    prompt = prompt_ids()
    request = Request("g", prompt, [0], 24, 0.0, until=lambda ids: len(ids) == 2 * PIECE + 3)
    pieced, whole = (generate(policy, [request])[0].draws[0] for policy in (served(vllm), local))
    assert (pieced.ids, pieced.finish) == (whole.ids, whole.finish)
    assert pieced.logprobs == pytest.approx(whole.logprobs, abs=1e-2)
    drawn = Request("d", prompt, [1, 2, 3], 20, 1.0, until=lambda ids: False)
    first, again = (generate(served(vllm), [drawn])[0] for _ in range(2))
    assert [d.ids for d in first.draws] == [d.ids for d in again.draws] and len({d.ids for d in first.draws}) == 3
    for draw in first.draws:
        assert local.score([prompt], [draw.ids])[0] == pytest.approx(draw.logprobs, abs=1e-2)


def test_an_adapter_is_loaded_by_request_and_draws_otherwise(vllm: VllmServer, adapter: Adapter) -> None:
    prompt = prompt_ids()
    base, adapted = served(vllm), served(vllm, adapter)
    assert str(adapted.policy_id) == f"{base.policy_id}+{adapter.content}"
    local = open_policy(ModelSettings(device="cpu"), find_model(ModelSettings()), adapter)
    continuation = generate(base, [Request("g", prompt, [0], 8, 0.0)])[0].draws[0].ids
    scores = [policy.score([prompt], [continuation])[0] for policy in (base, adapted, local)]
    assert scores[1] == pytest.approx(scores[2], abs=2e-2)
    assert scores[1] != pytest.approx(scores[0], abs=5e-2)


def imported(itool: Itool, folder: Path) -> Path:
    """A run with the toy samples."""
    source = write_source(folder / "toy.jsonl")
    code, _, err = itool("data", "import", source, "--run", folder / "run", *SMALL)
    assert not code, err
    return folder / "run"


def mine(run: Path, url: str) -> list[str]:
    own = ["--policy", "openai", "--base-url", url, "--samples", "3"]
    return [sys.executable, "-m", "itool_cli.main", "mine", "--run", str(run), *own]


def mined(run: Path) -> dict[str, list[dict[str, Any]]]:
    """Trees, nodes and pairs but for floating-point numbers, which rounding may move."""
    store = open_run(run).store
    nodes = "SELECT tree_id, path, step_ids, visits, terminal, outcome FROM nodes ORDER BY tree_id, path"
    pairs = "SELECT pair_id, prompt_ids, chosen_ids, rejected_ids FROM pairs ORDER BY pair_id"
    return {"nodes": query(store, nodes).to_pylist(), "pairs": query(store, pairs).to_pylist()}


def trees(run: Path) -> list[str]:
    ids: list[str] = query(Store(run / "tables"), "SELECT tree_id FROM trees").column("tree_id").to_pylist()
    return ids


def test_mining_twice_gives_the_same_trees_with_faults_and_a_kill_in_between(
    itool: Itool, tmp_path: Path, vllm: VllmServer
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        imported(itool, tmp_path / name)
    first, second = tmp_path / "first" / "run", tmp_path / "second" / "run"
    subprocess.run(mine(first, vllm.url), check=True)
    assert len(trees(first)) == 3 and len(mined(first)["nodes"]) > 6

    kinds = [Fault("status", 429, "0.2"), None, Fault("drop"), None, Fault("cut"), None, Fault("refuse"), None, None]
    proxy = FaultProxy(vllm.url, lambda number, body: kinds[number % len(kinds)]).start()
    client = subprocess.Popen(mine(second, proxy.url))
    while not trees(second) and client.poll() is None:
        time.sleep(0.02)
    client.kill()
    client.wait()
    kept = trees(second)
    subprocess.run(mine(second, proxy.url), check=True)
    proxy.stop()
    assert kept and set(kept) <= set(trees(second)) and len(trees(second)) == 3
    assert mined(second) == mined(first)


def test_a_restarted_server_is_waited_for_and_given_the_adapter_again(
    itool: Itool, tmp_path: Path, vllm: VllmServer, adapter: Adapter
) -> None:
    run = imported(itool, tmp_path)
    with write_run(run, None, []) as opened:
        (run / "adapters").mkdir(exist_ok=True)
        (run / "adapters" / "warmup-1").symlink_to(adapter.path)
        opened.store.commit("warmup", {}, adapter="adapters/warmup-1")
    client = subprocess.Popen(mine(run, vllm.url), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not trees(run) and client.poll() is None:
        time.sleep(0.02)
    assert client.poll() is None, client.communicate()[0]
    vllm.kill()
    vllm.start()
    said, _ = client.communicate(timeout=600)
    assert client.returncode == 0, said
    assert len(trees(run)) == 3
    names = query(open_run(run).store, "SELECT DISTINCT policy FROM trees").to_pylist()
    assert names == [{"policy": str(policy_id(find_model(ModelSettings()), adapter))}]
    with urllib.request.urlopen(f"{vllm.url}/models", timeout=30) as listed:
        assert adapter_name(adapter) in {model["id"] for model in json.load(listed)["data"]}


def ask(itool: Itool, run: Path, *options: object) -> str:
    code, out, err = itool("eval", "run", *options, "--run", run, "--set", "eval.max_tokens=24")
    assert not code, err
    return out


def outputs(run: Path) -> list[dict[str, Any]]:
    sql = "SELECT item, output, tokens_prompt, tokens_output, finish FROM predictions ORDER BY item"
    return query(open_run(run).store, sql).to_pylist()


def test_evaluation_gives_the_answers_and_counts_the_tokens_of_transformers(
    itool: Itool, tmp_path: Path, vllm: VllmServer
) -> None:
    asked = ("bfcl-v3-own-prompt", "--categories", "simple", "--limit", 6)
    ask(itool, tmp_path / "server", *asked, "--policy", "openai", "--base-url", vllm.url)
    ask(itool, tmp_path / "here", *asked, "--set", "model.device=cpu")
    assert outputs(tmp_path / "server") == outputs(tmp_path / "here")


def test_native_tools_are_taken_and_what_is_too_long_is_set_aside(
    itool: Itool, tmp_path: Path, vllm: VllmServer
) -> None:
    server = ("--policy", "openai", "--base-url", vllm.url)
    out = ask(itool, tmp_path / "fc", "bfcl-v3-fc", "--categories", "simple", "--limit", 2, *server)
    assert "native function calling (FC)" in out and len(outputs(tmp_path / "fc")) == 2
    out = ask(itool, tmp_path / "long", "bfcl-v3", "--categories", "multi_turn_base", "--limit", 2, *server)
    assert "2 items set aside" in out and "maximum context length is 2048" in out
    (row,) = query(open_run(tmp_path / "long").store, "SELECT count(*) AS n FROM rejects").to_pylist()
    assert row["n"] == 2
