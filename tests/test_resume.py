"""Mining that is stopped again and again, at any moment and in any way, makes what it makes in one go."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import scripted_mine
from scripted_mine import SAMPLES, SETTINGS
from toys import PROMPTER

from bench import prefork
from itool_data.kinds import SearchKind
from itool_data.policy.base import Completion
from itool_data.run import open_run, write_run
from itool_data.store.sql import query
from itool_data.store.tables import Store
from itool_data.workers.pool import Desk, LocalPool

Rows = dict[str, list[dict[str, Any]]]
LINES = {"mcts": 20, "walk": 6}  # of a command's output before it is stopped, at most: the walk is done in fewer steps
TABLES = {
    "perplexity": "SELECT * FROM perplexity ORDER BY ALL",
    "pass_rates": "SELECT * FROM pass_rates ORDER BY sample_id",
    "trees": "SELECT * EXCLUDE (seconds) FROM trees ORDER BY tree_id",
    "nodes": "SELECT * FROM nodes ORDER BY tree_id, path",
    "pairs": "SELECT * FROM pairs ORDER BY pair_id",
    "fragments": "SELECT * FROM all_fragments ORDER BY sample_id, tree_id, number",
}


def mined(folder: Path) -> Rows:
    """All rows of a run in a fixed order, but for the time a tree took."""
    store = open_run(folder).store
    return {name: query(store, sql).to_pylist() for name, sql in TABLES.items()}


def mine_at_once(folder: Path, search: SearchKind = "mcts", max_draws: int = 8, open_trees: int = 4) -> Rows:
    with write_run(folder, None, [*SETTINGS[search], f"mine.open_trees={open_trees}"]) as run:
        scripted_mine.mine(run, LocalPool(Desk(scripted_mine.policy(max_draws=max_draws), PROMPTER)), search)
    return mined(folder)


@pytest.fixture(scope="module", params=["mcts", "walk"])
def search(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def expected(search: SearchKind, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    return mine_at_once(tmp_path_factory.mktemp("at_once"), search)


def test_what_is_expected_is_worth_comparing(expected: Rows, search: SearchKind) -> None:
    assert len(expected["perplexity"]) == SAMPLES
    if search == "mcts":
        assert len(expected["trees"]) == SAMPLES
    else:
        rates = [row["right_draws"] for row in expected["pass_rates"]]
        assert len(rates) == SAMPLES and 5 < len(expected["trees"]) == sum(0 < right < 4 for right in rates) < SAMPLES
        walked = [row for row in expected["fragments"] if row["tree_id"]]
        assert len(walked) == 3 * len(expected["trees"])
        assert all(row["proved"] for row in expected["pairs"])
        assert any("~1" in row["pair_id"] for row in expected["pairs"])
    # Half of the answers are right: the gold response's perplexity is 2^(1/n) over its n tokens, the end included.
    for row in expected["perplexity"]:
        assert row["perplexity"] == pytest.approx(2 ** (1 / row["n_tokens"]))
    values = [row for row in expected["pairs"] if row["prefix_text"] == "[f("]
    assert len(values) > len(expected["trees"]) / 4
    gold = {s.sample_id: s.target for s in map(scripted_mine.sample, range(SAMPLES))}
    for row in values:
        assert gold[row["sample_id"]].startswith("[f(" + row["chosen_text"].rstrip(",)]"))
    assert {row["error_class"] for row in values} >= {"Parameter Value", "Parameter Count"}


@pytest.mark.parametrize(("max_draws", "open_trees"), [(1, 1), (1, 32), (3, 4), (64, 1), (64, 32)])
def test_the_batch_does_not_change_the_result(
    tmp_path: Path, expected: Rows, search: SearchKind, max_draws: int, open_trees: int
) -> None:
    assert mine_at_once(tmp_path, search, max_draws, open_trees) == expected


def tree_ids(folder: Path) -> list[str]:
    return query(Store(folder / "tables"), "SELECT tree_id FROM trees").column("tree_id").to_pylist()


def test_stopped_at_any_moment_it_goes_on_to_the_same_result(
    tmp_path: Path, expected: Rows, search: SearchKind
) -> None:
    moments = random.Random(search)
    kept: set[str] = set()
    stops = []
    folder, said = tmp_path / "run", tmp_path / "said"
    while len(stops) < 40:
        command = [str(folder), "--delay", "0.005", "--search", search]
        process = prefork.start(said, scripted_mine.main, command)
        lines = moments.randint(2, LINES[search])
        while process.is_alive() and not (said.is_file() and said.read_bytes().count(b"\n") >= lines):
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.03))
        prefork.end(process, moments.choice([signal.SIGKILL, signal.SIGINT]))
        now = tree_ids(folder)
        assert len(now) == len(set(now)), "a tree was searched twice"
        assert kept <= set(now), "a committed tree is gone"
        kept = set(now)
        if process.exitcode == 0:
            break
        assert process.exitcode in (-signal.SIGKILL, 130), said.read_text()
        stops.append(process.exitcode)
        said.unlink()
    assert len(stops) >= 3
    assert mined(folder) == expected
    assert [c.version for c in open_run(folder).store.log()] == list(range(len(open_run(folder).store.log())))


class Interrupted(scripted_mine.Slow):
    """Ctrl-C comes in the middle of a step."""

    left = 25

    def step(self) -> list[Completion]:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return super().step()


def test_ctrl_c_keeps_every_finished_tree(tmp_path: Path, expected: Rows, search: SearchKind) -> None:
    # A commit only at the end, so that what is kept is what the interrupt itself saved.
    settings = [*SETTINGS[search], "mine.open_trees=4", "mine.commit_trees=1000", "mine.commit_seconds=1000"]
    with pytest.raises(KeyboardInterrupt), write_run(tmp_path, None, settings) as run:
        scripted_mine.mine(run, LocalPool(Desk(scripted_mine.policy(Interrupted), PROMPTER)), search)
    assert 0 < len(tree_ids(tmp_path)) < len(expected["trees"])
    assert mine_at_once(tmp_path, search) == expected
