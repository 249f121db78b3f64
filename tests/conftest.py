"""Fixtures shared by all tests."""

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from fault_proxy import Fault, FaultProxy
from hub_server import TOKEN, HubServer
from openai_server import OpenAIServer
from outcomes import Itool, Outcome

from bench.toy_loop import write_config
from itool_cli.main import app, main
from itool_data.assets import bfcl_data
from itool_data.errors import ItoolError
from itool_data.run import write_run

ROOT = Path(__file__).resolve().parent.parent

# Jobs in the background of a shell ignore Ctrl-C, and so does what they start: tests that send it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


def keep_imported() -> None:
    """Leave what is imported by now out of garbage collections.

    A policy that is closed and a training have all garbage collected, which takes a third of a second each time where
    torch, transformers and trl are looked through.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    """What the tests import is there."""
    keep_imported()


def pytest_unconfigure() -> None:
    """Else duckdb says at the end what it takes for leaks."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout (or `ITOOL_TEST_DATA`); skips where it is absent."""
    folder = Path(os.environ.get("ITOOL_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real test data at {folder} (set ITOOL_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def bfcl_items() -> None:
    """Skips where BFCL's items cannot be had."""
    try:
        bfcl_data()
    except ItoolError as error:
        pytest.skip(f"no BFCL data: {error}")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    """A server that knows no sample, for tests that say what it answers."""
    server = OpenAIServer({}, lambda text: []).start()
    server.context = 100_000
    yield server
    server.stop()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub on loopback that the client in this process talks to."""
    folder = tmp_path / "objects"
    folder.mkdir()
    with HubServer(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # What HF_ENDPOINT and HF_HUB_DISABLE_XET set before the import.
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server
        server.shutdown()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with a disk of 2 MB; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def itool(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Itool:
    """Run the command line here; gives its exit code, standard output and standard error."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["itool", *map(str, arguments)])
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsysbinary.readouterr()
        return code, captured.out.decode(), captured.err.decode()

    return call


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds at toy size; tests change copies of it (`bench.toy_loop.run_until`)."""
    folder = tmp_path_factory.mktemp("toy")
    code = app(["run", str(write_config(folder)), "--run", str(folder / "run")], standalone_mode=False)
    assert not code
    keep_imported()
    return folder / "run"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two commits: pair a, then pair b."""
    folder = tmp_path / "run"
    with write_run(folder, None, []) as opened:
        opened.store.commit("mine", {"pairs": [{"pair_id": "a", "q_chosen": 0.5, "prompt_ids": [1, 2]}]}, round=1)
        opened.store.commit("mine", {"pairs": [{"pair_id": 'b,"\n', "q_chosen": None, "prompt_ids": []}]}, round=2)
    return folder


@pytest.fixture
def proxied(request: pytest.FixtureRequest) -> Iterator[Callable[[Callable[[int, bytes], Fault | None]], FaultProxy]]:
    """Makes proxies before the test file's own `server`."""
    server: OpenAIServer = request.getfixturevalue("server")
    made = []

    def make(plan: Callable[[int, bytes], Fault | None]) -> FaultProxy:
        made.append(FaultProxy(server.url, plan).start())
        return made[-1]

    yield make
    for proxy in made:
        proxy.stop()
