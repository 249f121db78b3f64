"""The store: commits visible at once or not at all, through kills, full disks and damaged files."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from outcomes import Itool, one_line

from itool_data.errors import ItoolError
from itool_data.store.schema import SCHEMAS
from itool_data.store.sql import query
from itool_data.store.tables import LOG_FILES, Store

TABLES = ("trees", "nodes", "pairs")


def tree(number: int, pairs: int = 2) -> dict[str, list[dict[str, object]]]:
    """One small tree's rows."""
    name = f"t{number}"
    return {
        "trees": [{"tree_id": name, "pairs": pairs}],
        "nodes": [{"tree_id": name, "path": str(i)} for i in range(4)],
        "pairs": [{"tree_id": name, "pair_id": f"{name}/{i}", "prompt_ids": [1, 2, i]} for i in range(pairs)],
    }


def counts(store: Store, as_of: int | None = None) -> dict[str, int]:
    sql = "SELECT " + ", ".join(f"(SELECT count(*) FROM {name}) AS {name}" for name in TABLES)
    return query(store, sql, as_of).to_pylist()[0]


def whole(store: Store) -> None:
    """Every version holds exactly the rows that its log promises, and no row is there twice."""
    promised = dict.fromkeys(TABLES, 0)
    for position, commit in enumerate(store.log()):
        assert commit.version == position
        for name, added in commit.rows.items():
            if name in promised:
                promised[name] += added
        assert counts(store, commit.version) == promised
    ids = query(store, "SELECT count(pair_id) - count(DISTINCT pair_id) AS twice FROM pairs").to_pylist()
    assert ids == [{"twice": 0}]


def test_no_commit_no_rows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.log() == []
    assert counts(store) == dict.fromkeys(TABLES, 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["my runs, at 50%", "d\u00e9j\u00e0 vu", "why?", "a*", "'; --"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / name)
    for number in range(2):
        store.commit("mine", tree(number))
    whole(store)
    store.copy(tmp_path / f"{name} too", 0)
    assert counts(Store(tmp_path / f"{name} too")) == {"trees": 1, "nodes": 4, "pairs": 2}


@pytest.mark.parametrize("name", ["a[1]", "a%20b"])
def test_but_for_what_the_tables_library_cannot_read(itool: Itool, tmp_path: Path, name: str) -> None:
    made = itool("data", "import", "bfcl", "--run", tmp_path / name)
    one_line(made, "cannot be in a path that holds", "choose another folder")


def test_a_commit_shows_in_all_its_tables_and_at_its_version(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(3):
        commit = store.commit("mine", tree(number), round=number)
        assert (commit.version, commit.rows) == (number, {"trees": 1, "nodes": 4, "pairs": 2})
    whole(Store(tmp_path))
    assert counts(store, as_of=0) == {"trees": 1, "nodes": 4, "pairs": 2}
    assert counts(store) == {"trees": 3, "nodes": 12, "pairs": 6}
    log = query(store, "SELECT version, info->>'round' AS round FROM log", as_of=1).to_pylist()
    assert log == [{"version": 0, "round": "0"}, {"version": 1, "round": "1"}]


def test_values_come_back_as_they_went_in(tmp_path: Path) -> None:
    given = {"pair_id": "p", "prompt_ids": [1, 49151], "chosen_text": "a\x00'\n😀", "q_chosen": -0.1}
    row = dict.fromkeys(SCHEMAS["pairs"].names) | given
    store = Store(tmp_path)
    store.commit("mine", {"pairs": [row]})
    assert query(store, "SELECT * FROM pairs").to_pylist() == [row]


@pytest.mark.parametrize(("as_of", "has"), [(2, "it has 0 to 1"), (-1, "it has 0 to 1")])
def test_a_version_that_is_not_there(tmp_path: Path, as_of: int, has: str) -> None:
    store = Store(tmp_path)
    store.commit("mine", tree(0))
    store.commit("mine", tree(1))
    with pytest.raises(ItoolError, match=f"no version {as_of}; {has}"):
        counts(store, as_of)


def test_rows_that_do_not_fit_leave_nothing_behind(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit("mine", tree(0))
    with pytest.raises(pa.ArrowException):
        store.commit("mine", tree(1) | {"nodes": [{"depth": "deep"}]})
    store.commit("mine", tree(2))
    whole(store)


@pytest.mark.parametrize("committed", [True, False])
def test_what_a_killed_writer_left_is_not_seen_and_rolled_back(tmp_path: Path, committed: bool) -> None:
    store = Store(tmp_path)
    if committed:
        store.commit("mine", tree(0))
    # A writer killed after the first of its tables: an append that no row of the log names.
    write_deltalake(
        str(tmp_path / "trees"), pa.Table.from_pylist(tree(1)["trees"], schema=SCHEMAS["trees"]), mode="append"
    )
    assert counts(store)["trees"] == int(committed)
    again = Store(tmp_path)
    assert again.recover() == ["trees"]
    assert again.recover() == []
    again.commit("mine", tree(1))
    assert counts(again)["trees"] == 1 + committed
    whole(again)


def test_old_versions_outlive_the_merging_of_the_log(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commits = LOG_FILES + 3
    for number in range(commits):
        store.commit("mine", {"pairs": [{"pair_id": str(number)}]})
    assert [c.version for c in Store(tmp_path).log()] == list(range(commits))
    for version in (0, LOG_FILES - 1, LOG_FILES, commits - 1):
        rows = query(store, "SELECT count(*) AS n, max(pair_id::int) AS last FROM pairs", as_of=version).to_pylist()
        assert rows == [{"n": version + 1, "last": version}]


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from itool_data.store.tables import Store
from test_store import tree
store = Store(Path(sys.argv[1]))
store.recover()
number = len(store.log())
while True:
    print(store.commit("mine", tree(number)).version, flush=True)
    number += 1
"""


def test_kill_9_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    moments = random.Random(42)
    said = -1
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        first = int(writer.stdout.readline())
        assert first > said, "a committed version came again"
        time.sleep(moments.uniform(0.0, 0.3))
        writer.send_signal(signal.SIGKILL)
        said = max([first, *map(int, writer.stdout.read().split())])
        writer.wait()
        # What the writer said is committed stays committed, before anybody mends anything.
        assert Store(tmp_path).log()[-1].version >= said
    store = Store(tmp_path)
    whole(store)
    store.recover()
    store.commit("mine", tree(len(store.log())))
    whole(store)
    ids = query(store, "SELECT tree_id FROM trees").column("tree_id").to_pylist()
    assert sorted(ids) == sorted(f"t{i}" for i in range(len(store.log())))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def overwrite(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4:-8] = bytes(len(content) - 12)
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def lost(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("damage", [cut, overwrite, empty, lost])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_damaged_file_is_named_and_the_rest_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: object, number: int
) -> None:
    store = Store(tmp_path)
    for i in range(3):
        store.commit("mine", tree(i))
    ids = {file: tree_of(file) for file in map(Path, store.files(store.log()[-1])["pairs"])}
    broken = sorted(ids)[number]
    damage(broken)  # type: ignore[operator]
    rows = query(store, "SELECT tree_id, prompt_ids FROM pairs").to_pylist()
    assert {row["tree_id"] for row in rows} == {f"t{i}" for i in range(3)} - {ids[broken]}
    assert len(rows) == 4
    message = capsys.readouterr().err
    assert str(broken) in message
    assert len(message.splitlines()) == 1
    assert counts(store)["trees"] == 3


def tree_of(file: Path) -> str:
    return pq.read_table(file).column("tree_id")[0].as_py()


def test_all_files_of_a_table_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    store.commit("mine", tree(0))
    cut(Path(store.files(store.log()[-1])["pairs"][0]))
    assert counts(store) == {"trees": 1, "nodes": 4, "pairs": 0}
    assert "damaged" in capsys.readouterr().err


def test_a_damaged_log_is_named_and_nothing_is_rolled_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit("mine", tree(0))
    store.commit("mine", tree(1))
    file = next((tmp_path / "log").glob("*.parquet"))
    kept = file.read_bytes()
    cut(file)
    for ask in (Store(tmp_path).log, Store(tmp_path).recover, lambda: Store(tmp_path).commit("mine", tree(2))):
        with pytest.raises(ItoolError, match=file.name):
            ask()
    file.write_bytes(kept)
    assert Store(tmp_path).recover() == []
    assert counts(Store(tmp_path))["trees"] == 2


def test_a_full_disk_is_said_and_loses_nothing(small_disk: Path) -> None:
    store = Store(small_disk / "tables")
    store.commit("mine", tree(0))
    done, refused = 1, 0
    filler = small_disk / "filler"
    # Little room, then more and more: the disk is full at the first table, at a later one, at the log.
    for room in range(0, 100_000, 4096):
        filler.unlink(missing_ok=True)
        disk = os.statvfs(small_disk)
        filler.write_bytes(bytes(max(0, disk.f_bavail * disk.f_bsize - room)))
        try:
            store.commit("mine", tree(done))
        except ItoolError as error:
            refused += 1
            assert "the disk is full" in str(error)
            assert "\n" not in str(error)
        else:
            done += 1
        assert counts(Store(small_disk / "tables"))["trees"] == done
    assert refused >= 3
    filler.unlink()
    store.commit("mine", tree(done))
    assert counts(store)["trees"] == done + 1
    whole(store)


def test_the_benchmark_ends_with_its_figures(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.store", "--pairs", "3000", "--folder", str(tmp_path)],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures.keys() == {"write_s", "slowest_query_s", "peak_rss_gb"}
    assert all(value > 0 for value in figures.values())
    store = Store(tmp_path)
    whole(store)
    assert query(store, "SELECT count(*) AS n, count(DISTINCT tree_id) AS trees FROM pairs").to_pylist() == [
        {"n": 3000, "trees": 750}
    ]
    assert query(store, "SELECT count(*) AS n FROM pairs ANTI JOIN trees USING (tree_id)").to_pylist() == [{"n": 0}]


def test_a_table_that_was_begun_with_fewer_columns_is_read_and_goes_on(tmp_path: Path) -> None:
    """Runs of an earlier version: what they lack is null, and new rows have it."""
    fewer = pa.schema([field for field in SCHEMAS["trees"] if field.name not in ("proved", "dropped_unproved")])
    write_deltalake(str(tmp_path / "trees"), pa.Table.from_pylist([{"tree_id": "old", "pairs": 3}], schema=fewer))
    store = Store(tmp_path)
    store.commit("mine", {"trees": [{"tree_id": "new", "pairs": 2, "proved": 1}]}, round=1)
    rows = query(store, "SELECT tree_id, pairs, proved FROM trees ORDER BY tree_id").to_pylist()
    assert rows == [{"tree_id": "new", "pairs": 2, "proved": 1}, {"tree_id": "old", "pairs": 3, "proved": None}]
