"""Tables on an object store: a real server of S3's protocol on loopback, writers that are killed, and two of them."""

import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from outcomes import Itool
from test_store import counts, tree, whole

from bench.toy_loop import write_source
from itool_data.errors import ItoolError
from itool_data.store.tables import Store

SERVER = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])"
SECRET = "secret-of-the-tests"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket on a server of its own, which delta-rs finds by the environment, as it finds Amazon's."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-c", SERVER, url.rpartition(":")[2]]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        while server.poll() is None:
            try:
                urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT"))
                break
            except OSError:
                time.sleep(0.1)
        yield "s3://bucket"
    server.kill()
    server.wait()


def test_commits_versions_and_copies(bucket: str, tmp_path: Path) -> None:
    store = Store(f"{bucket}/versions")
    assert store.log() == [] and counts(store) == {"trees": 0, "nodes": 0, "pairs": 0}
    for number in range(3):
        store.commit("mine", tree(number))
    whole(Store(f"{bucket}/versions"))
    store.copy(tmp_path / "copy", 1)
    copy = Store(tmp_path / "copy")
    whole(copy)
    assert counts(copy) == counts(store, as_of=1)
    copy.recover()
    copy.commit("mine", tree(9))
    whole(copy)


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from itool_data.store.tables import Store
from test_store import tree
store = Store(sys.argv[1])
store.recover()
number = len(store.log())
while True:
    print(store.commit("mine", tree(number)).version, flush=True)
    number += 1
"""


def test_kill_9_at_any_moment_loses_and_doubles_nothing(bucket: str) -> None:
    place, moments, said = f"{bucket}/killed", random.Random(3), -1
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, place, str(Path(__file__).parent)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]
        time.sleep(moments.uniform(0.0, 0.6))
        writer.send_signal(signal.SIGKILL)
        lines += writer.communicate()[0].splitlines()
        assert int(lines[0]) > said - 1
        said = max(said, *(int(line) for line in lines if line.strip()))
        assert Store(place).log()[-1].version >= said
    store = Store(place)
    store.recover()
    whole(store)


def test_a_second_writer_is_noticed_before_it_does_harm(bucket: str) -> None:
    first, second = Store(f"{bucket}/two"), Store(f"{bucket}/two")
    for store in (first, second):
        store.recover()
    first.commit("mine", tree(0))
    second.recover()
    second.commit("mine", tree(1))
    with pytest.raises(ItoolError, match="s3://bucket/two: another process writes to these tables"):
        first.commit("mine", tree(2))
    whole(second)
    first.recover()
    first.commit("mine", tree(2))
    whole(first)


def test_a_run_whose_tables_are_there(bucket: str, itool: Itool, tmp_path: Path) -> None:
    run, place = tmp_path / "run", f"{bucket}/a-run"
    source = write_source(tmp_path / "good.jsonl")
    code, out, err = itool("data", "import", source, "--run", run, "--set", f"tables={place}")
    assert code == 0, err
    assert not (run / "tables").exists()
    sql = "SELECT count(*) AS n FROM samples WHERE split = 'train'"
    code, out, _ = itool("sql", sql, "--run", run, "--format", "csv")
    assert (code, out.split()) == (0, ["n", "24"])
    assert "import" in itool("log", "--run", run)[1]
    code, _, err = itool("data", "import", source, "--run", run, "--set", "tables=''")
    assert code == 1 and f"tables: {place} -> {run / 'tables'}" in err
    assert not any(SECRET in file.read_text("utf-8", "replace") for file in run.rglob("*") if file.is_file())


@pytest.mark.parametrize("tables", ["s3://key:secret@bucket/prefix", "s3://bucket", "bucket/prefix"])
def test_what_is_no_place_for_tables_is_said(itool: Itool, tmp_path: Path, tables: str) -> None:
    code, _, err = itool("config", "show", "--set", f"tables={tables}")
    assert code == 1 and err.count("\n") == 1 and "tables" in err


def test_a_store_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ItoolError, match=r"s3://bucket/x/log: not a readable Delta table: .*refused") as error:
        Store("s3://bucket/x").log()
    assert "\n" not in str(error.value)
