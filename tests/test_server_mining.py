"""Mining over an OpenAI-compatible server: the same trees whatever happens to the connection, the client or the server;
and servers that cannot be mined, each refused in one line.
"""

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from fault_proxy import Fault
from openai_server import OpenAIServer, serve_toy, toy_server
from outcomes import Itool, one_line
from tiny_lora import tiny_lora

from bench import prefork
from bench.toy_loop import write_config
from itool_cli.main import app
from itool_data.policy import served
from itool_data.policy.load import Adapter, adapter_hash, find_model, write_identity
from itool_data.policy.open import open_prompter
from itool_data.policy.served import adapter_name
from itool_data.run import open_run, write_run
from itool_data.sample import Sample
from itool_data.sources import load
from itool_data.store.sql import query
from itool_data.store.tables import Store

Rows = dict[str, list[dict[str, Any]]]


@dataclass
class Toy:
    """A config over the toy model and samples, and a run that holds them."""

    config: Path
    run: Path


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = tmp_path_factory.mktemp("served")
    config = write_config(folder)
    settings = json.loads(config.read_text())
    settings["mine"] |= {"open_trees": 4}
    settings["model"] |= {"patience": 300.0, "timeout": 60.0, "rows": 8}
    config.write_text(json.dumps(settings))
    return Toy(config, folder / "run")


@pytest.fixture
def server(toy: Toy) -> Iterator[OpenAIServer]:
    server = toy_server(toy.config).start()
    yield server
    server.stop()


def prepare(itool: Itool, toy: Toy, folder: Path) -> Path:
    """A run with the samples."""
    code, _, err = itool(
        "data",
        "import",
        json.loads(toy.config.read_text())["loop"]["sources"][0],
        "--run",
        folder,
        "--config",
        toy.config,
    )
    assert not code, err
    return folder


def mine(itool: Itool, run: Path, url: str, *options: object) -> tuple[int, str, str]:
    return itool("mine", "--run", run, "--policy", "openai", "--base-url", url, *options)


def mined(folder: Path) -> Rows:
    """All rows of a run in a fixed order, but for the time a tree took and what was kept of prompts."""
    store = open_run(folder).store
    return {
        "perplexity": query(store, "SELECT * FROM perplexity ORDER BY ALL").to_pylist(),
        "trees": query(store, "SELECT * EXCLUDE (seconds) FROM trees ORDER BY tree_id").to_pylist(),
        "nodes": query(store, "SELECT * FROM nodes ORDER BY tree_id, path").to_pylist(),
        "pairs": query(store, "SELECT * FROM pairs ORDER BY pair_id").to_pylist(),
    }


@pytest.fixture(scope="module")
def expected(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """What the search finds when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("expected") / "run"
    server = toy_server(toy.config).start()
    source = json.loads(toy.config.read_text())["loop"]["sources"][0]
    run = ["--run", str(folder)]
    app(["data", "import", source, *run, "--config", str(toy.config)], standalone_mode=False)
    app(["mine", *run, "--policy", "openai", "--base-url", server.url], standalone_mode=False)
    server.stop()
    return mined(folder)


def test_a_search_over_a_server_finds_pairs_and_says_what_it_took(expected: Rows, toy: Toy) -> None:
    assert len(expected["trees"]) == 6 and expected["pairs"]
    base = find_model(open_settings(toy))
    assert {row["policy"] for row in expected["trees"]} == {f"{base.name}@{base.revision}"}
    for tree in expected["trees"]:
        ids = [n for n in expected["nodes"] if n["tree_id"] == tree["tree_id"]]
        assert tree["tokens_decoded"] >= sum(len(n["step_ids"] or ()) for n in ids) > 0
        assert tree["tokens_prefilled"] > 0


def open_settings(toy: Toy) -> Any:
    from itool_data.config_file import load_config

    return load_config(toy.config, []).model


def a_bit_of_everything(number: int, body: bytes) -> Fault | None:
    """Every third request or so fails, each kind in turn."""
    kinds = [
        Fault("status", 429, "0.2"), None, Fault("drop"), None, None, Fault("status", 503), Fault("cut"), None,
        Fault("refuse"), None, Fault("status", 500, "0"), None,
    ]  # fmt: skip
    return kinds[number % len(kinds)] if number < 120 else None


def test_faults_change_nothing_but_the_time(itool: Itool, toy: Toy, tmp_path: Path, proxied, expected: Rows) -> None:
    proxy = proxied(a_bit_of_everything)
    run = prepare(itool, toy, tmp_path / "run")
    code, _, err = mine(itool, run, proxy.url)
    assert not code, err
    assert mined(run) == expected
    assert {seen.fault.kind for seen in proxy.seen if seen.fault} == {"status", "drop", "cut", "refuse"}


def miner(run: Path, url: str) -> BaseProcess:
    """The command in a process of its own."""
    words = ("mine", "--run", run, "--policy", "openai", "--base-url", url)
    return prefork.start(run.with_name("said"), prefork.command, *words)


def trees(run: Path) -> set[str]:
    return set(query(Store(run / "tables"), "SELECT tree_id FROM trees").column("tree_id").to_pylist())


def test_a_client_that_is_killed_goes_on(
    itool: Itool, toy: Toy, tmp_path: Path, server: OpenAIServer, expected: Rows
) -> None:
    run = prepare(itool, toy, tmp_path / "run")
    server.delay = 0.005
    moments = random.Random(3)
    kills = 0
    while len(trees(run)) < 6:
        asked = len(server.bodies)
        process = miner(run, server.url)
        # Some requests into its work, wherever that is.
        wanted = asked + moments.randint(40, 120)
        while process.is_alive() and len(server.bodies) < wanted:
            time.sleep(0.01)
        prefork.end(process, moments.choice([signal.SIGKILL, signal.SIGINT]))
        assert process.exitcode in (0, -signal.SIGKILL, 130), run.with_name("said").read_text()
        kills += process.exitcode != 0
    assert kills
    assert mine(itool, run, server.url)[0] == 0
    assert mined(run) == expected


def test_a_server_that_restarts_is_waited_for(itool: Itool, toy: Toy, tmp_path: Path, expected: Rows) -> None:
    run = prepare(itool, toy, tmp_path / "run")
    said = tmp_path / "server"
    first = prefork.start(said, serve_toy, toy.config, 0, 0.02)
    while not (said.is_file() and said.read_text().endswith("\n")):
        time.sleep(0.05)
    url = said.read_text().split()[-1]
    client = miner(run, url)
    while not trees(run) and client.is_alive():
        time.sleep(0.05)
    assert client.is_alive(), run.with_name("said").read_text()
    first.kill()
    first.join()
    time.sleep(1)
    second = prefork.start(said, serve_toy, toy.config, int(url.rpartition(":")[2].partition("/")[0]), 0.02)
    client.join(timeout=600)
    second.kill()
    second.join()
    assert client.exitcode == 0, run.with_name("said").read_text()
    assert mined(run) == expected


def test_a_server_that_stays_away_ends_in_one_line_and_keeps_what_is_finished(
    itool: Itool, toy: Toy, tmp_path: Path, proxied, expected: Rows
) -> None:
    run = prepare(itool, toy, tmp_path / "run")
    proxy = proxied(lambda number, body: None)

    def gone_after_some_trees(number: int, body: bytes) -> Fault | None:
        return Fault("status", 503) if trees(run) else None

    proxy.plan = gone_after_some_trees
    one_line(
        mine(itool, run, proxy.url, "--set", "model.patience=1"),
        proxy.url,
        "HTTP 503: overloaded",
        "model.patience",
        "the same command goes on",
    )
    kept = trees(run)
    assert 0 < len(kept) < 6
    proxy.plan = lambda number, body: None
    assert mine(itool, run, proxy.url)[0] == 0
    assert kept < trees(run) and mined(run) == expected


@pytest.mark.parametrize("what", ["scored", "drawn"])
def test_a_sample_on_which_the_server_always_fails_is_set_aside_and_the_others_are_mined(
    itool: Itool, toy: Toy, tmp_path: Path, proxied, expected: Rows, what: str
) -> None:
    trees = {tree["sample_id"]: tree for tree in expected["trees"]}
    samples = [s for s in load(json.loads(toy.config.read_text())["loop"]["sources"][0]) if isinstance(s, Sample)]
    bad = next(sample for sample in samples if sample.sample_id in trees)
    prompt = open_prompter(open_settings(toy), find_model(open_settings(toy))).prompt_ids(bad)

    def fail(number: int, body: bytes) -> Fault | None:
        asked = json.loads(body)
        is_it = list(asked["prompt"][: len(prompt)]) == list(prompt) and (what == "scored" or "seed" in asked)
        return Fault("status", 500) if is_it else None

    proxy = proxied(fail)
    run = prepare(itool, toy, tmp_path / "run")
    code, out, err = mine(itool, run, proxy.url, "--set", "model.patience=0.5")
    assert not code, err
    (reject,) = query(open_run(run).store, "SELECT stage, field, reason FROM rejects").to_pylist()
    assert bad.sample_id in reject["field"] and "HTTP 500: overloaded" in reject["reason"]
    assert reject["stage"] == ("perplexity" if what == "scored" else "mine")
    assert "1 samples set aside (table rejects), the first: " in out
    found = {tree["sample_id"]: tree for tree in mined(run)["trees"]}
    del trees[bad.sample_id]
    assert bad.sample_id not in found and {i: found[i] for i in trees} == trees


@pytest.fixture(scope="module")
def adapted(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """An adapter of the toy model."""
    folder = tmp_path_factory.mktemp("adapted") / "warmup-1"
    base = find_model(open_settings(toy))
    tiny_lora(base.path).save_pretrained(folder)
    write_identity(folder, base)
    return Adapter(folder, adapter_hash(folder))


@pytest.fixture
def with_adapter(itool: Itool, toy: Toy, tmp_path: Path, adapted: Adapter) -> Path:
    """A run whose warm-up made the adapter."""
    folder = prepare(itool, toy, tmp_path / "run")
    with write_run(folder, None, []) as run:
        (folder / "adapters").mkdir(exist_ok=True)
        (folder / "adapters" / "warmup-1").symlink_to(adapted.path)
        run.store.commit("warmup", {}, adapter="adapters/warmup-1")
    return folder


def models_asked(server: OpenAIServer) -> set[str]:
    return {body["model"] for path, body in server.bodies if path == "/v1/completions"}


def test_the_runs_adapter_is_loaded_under_its_hash_and_is_what_is_mined(
    itool: Itool, with_adapter: Path, adapted: Adapter, server: OpenAIServer
) -> None:
    code, _, err = mine(itool, with_adapter, server.url)
    assert not code, err
    assert models_asked(server) == {adapter_name(adapted)} and adapted.content in adapter_name(adapted)
    (row,) = query(open_run(with_adapter).store, "SELECT DISTINCT policy FROM trees").to_pylist()
    assert row["policy"].endswith(f"+{adapted.content}")


def test_an_adapter_that_a_restart_lost_is_loaded_again(
    itool: Itool, with_adapter: Path, adapted: Adapter, server: OpenAIServer, proxied
) -> None:
    def lose(number: int, body: bytes) -> None:
        if number in (20, 60):
            server.adapters.clear()

    code, _, err = mine(itool, with_adapter, proxied(lose).url)
    assert not code, err
    loads = [body for path, body in server.bodies if path == "/v1/load_lora_adapter"]
    assert len(loads) >= 3 and models_asked(server) == {adapter_name(adapted)}


def test_the_whole_method_mines_and_evaluates_every_rounds_adapter_on_the_server(
    itool: Itool, toy: Toy, tmp_path: Path, server: OpenAIServer
) -> None:
    run, on_server = tmp_path / "run", ["model.policy=openai", f"model.base_url={server.url}", "loop.rounds=1"]
    code, out, err = itool("run", toy.config, "--run", run, *(word for s in on_server for word in ("--set", s)))
    assert not code, err
    made = [c.info["adapter"] for c in open_run(run).store.log() if "adapter" in c.info]
    hashes = [adapter_hash(run / folder) for folder in dict.fromkeys(made)]
    assert len(hashes) == 2 and models_asked(server) == {f"itool-{content}" for content in hashes}
    sql = "SELECT policy, count(*) AS n FROM predictions GROUP BY 1"
    evaluated = {row["policy"].partition("+")[2]: row["n"] for row in query(open_run(run).store, sql).to_pylist()}
    assert evaluated == dict.fromkeys(hashes, 12)
    assert "round 1" in out


def test_a_server_that_cannot_serve_the_adapter_is_refused_and_its_base_model_never_asked(
    itool: Itool, with_adapter: Path, adapted: Adapter, server: OpenAIServer
) -> None:
    server.loads = False
    wanted = f"--lora-modules {adapter_name(adapted)}="
    one_line(mine(itool, with_adapter, server.url), server.url, "does not serve this run's adapter", wanted)
    assert not models_asked(server)
    assert not query(open_run(with_adapter).store, "SELECT 1 FROM trees").num_rows


def test_another_adapter_under_the_runs_name_is_refused(
    itool: Itool, toy: Toy, with_adapter: Path, adapted: Adapter, server: OpenAIServer, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    tiny_lora(find_model(open_settings(toy)).path, strength=0.2).save_pretrained(other)
    server.adapters[adapter_name(adapted)] = str(other)
    one_line(mine(itool, with_adapter, server.url), str(other), adapter_name(adapted))
    server.adapters[adapter_name(adapted)] = str(adapted.path)
    assert mine(itool, with_adapter, server.url)[0] == 0


def without(**attributes: object) -> Callable[[OpenAIServer], None]:
    def change(server: OpenAIServer) -> None:
        for name, value in attributes.items():
            setattr(server, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(token_ids=False), "does not give token ids and log-probabilities"),
        (without(raw_logprobs=False), "--logprobs-mode raw_logprobs"),
        (without(_tokenise=lambda text: [5, 6, 7]), "its tokenizer is not that of model"),
        (without(root="/models/another"), "serves toy-model, and none of it is model; set model.served_name"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_be_mined_says_why(
    itool: Itool, toy: Toy, tmp_path: Path, server: OpenAIServer, change, said: str
) -> None:
    run = prepare(itool, toy, tmp_path / "run")
    change(server)
    one_line(mine(itool, run, server.url), server.url, said)


def test_a_served_name_says_which_model_is_the_base(
    itool: Itool, toy: Toy, tmp_path: Path, server: OpenAIServer
) -> None:
    run = prepare(itool, toy, tmp_path / "run")
    server.root = "/models/another"
    code, _, err = mine(itool, run, server.url, "--set", "model.served_name=toy-model", "--samples", "1")
    assert not code, err


@pytest.mark.parametrize(
    "listed",
    [{"data": []}, {"error": "not here"}, ["toy-model"], {"data": [{"id": "toy-model", "max_model_len": None}]}, None],
)
def test_a_given_name_needs_no_list_of_models(
    itool: Itool, toy: Toy, tmp_path: Path, server: OpenAIServer, listed: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "OPENING_PATIENCE", 0.5)
    run, route = prepare(itool, toy, tmp_path / "run"), server._route
    monkeypatch.setattr(server, "_route", lambda path, body: listed if path == "/v1/models" else route(path, body))
    server.root = "/models/another"
    one_line(mine(itool, run, server.url), "model.served_name")
    one_line(mine(itool, run, server.url, "--set", "model.served_name=wrong"), "The model `wrong` does not exist")
    code, _, err = mine(itool, run, server.url, "--set", "model.served_name=toy-model", "--samples", "1")
    assert not code, err


def test_what_is_sampled_is_asked_for_in_full(itool: Itool, toy: Toy, tmp_path: Path, server: OpenAIServer) -> None:
    """A model's own generation_config.json must not change the draws, nor a seed that vLLM does not take stop them."""
    run = prepare(itool, toy, tmp_path / "run")
    assert mine(itool, run, server.url, "--samples", "1")[0] == 0
    drawn = [body for path, body in server.bodies if path == "/v1/completions" and body["max_tokens"] > 1]
    assert drawn
    for body in drawn:
        assert (body["top_p"], body["min_p"], body["repetition_penalty"], body["presence_penalty"]) == (1, 0, 1, 0)
        assert 0 <= body["seed"] < 2**63
    assert len({body["seed"] for body in drawn}) > len(drawn) / 2
