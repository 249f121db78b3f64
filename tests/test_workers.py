"""Several workers: what one process makes, made by two to four, through kills of workers and of the process itself."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import scripted_mine
from scripted_mine import SAMPLES, SETTINGS, open_desk
from test_resume import Rows, mine_at_once, mined, tree_ids
from toys import PROMPTER, ids_of

from bench.toy_loop import run_until, write_api_bank
from itool_data.config import SearchKind, WorkerSettings
from itool_data.errors import ItoolError
from itool_data.policy.base import PolicyId
from itool_data.policy.load import Adapter
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.run import open_run, write_run
from itool_data.store.sql import query
from itool_data.workers.actors import RayPool
from itool_data.workers.open import connect
from itool_data.workers.pool import Desk, LocalPool, Pool
from itool_eval.benchmarks import open_benchmark
from itool_eval.predict import answer, prepare

WORKER = "ray::Worker"  # how Ray names the processes of actors.Worker


@pytest.fixture(scope="module", autouse=True)
def surroundings() -> Iterator[None]:
    """Workers import what tests do, and are not killed because something else fills the machine's memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")
        yield


@pytest.fixture(scope="module")
def ray(surroundings: None) -> Iterator[Any]:
    """Ray on this machine, once for all tests."""
    package = connect(WorkerSettings(count=4))
    yield package
    package.shutdown()


@pytest.fixture(scope="module")
def by_search(tmp_path_factory: pytest.TempPathFactory) -> dict[SearchKind, Rows]:
    return {search: mine_at_once(tmp_path_factory.mktemp(search), search) for search in SETTINGS}


@pytest.fixture(scope="module")
def expected(by_search: dict[SearchKind, Rows]) -> Rows:
    return by_search["mcts"]


def pids(above: int = 0) -> list[int]:
    """The worker processes below a process, this one by default."""
    below = psutil.Process(above or os.getpid()).children(recursive=True)
    found = []
    for process in below:
        try:
            if process.name().startswith(WORKER) or " ".join(process.cmdline()).startswith(WORKER):
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def mine(folder: Path, pool: RayPool, search: SearchKind = "mcts") -> Rows:
    with write_run(folder, None, [*SETTINGS[search], "mine.open_trees=4"]) as run:
        scripted_mine.mine(run, pool, search)
    return mined(folder)


@pytest.mark.parametrize("size", [2, 4])
def test_any_number_of_workers_makes_the_same(tmp_path: Path, ray: Any, expected: Rows, size: int) -> None:
    pool = RayPool(open_desk, size)
    try:
        assert mine(tmp_path, pool) == expected
        assert pool.usage.decoded == sum(row["tokens_decoded"] for row in expected["trees"])
    finally:
        pool.close()


def open_api_bank_desk(folder: Path) -> Desk:
    """Every third answer is right."""
    questions = open_benchmark(f"apibank:{folder}", "signatures").questions("level-1")
    prompts = [tuple(PROMPTER.chat_ids(next(question.begin()).messages)) for question in questions]
    return Desk(ScriptedPolicy({p: {ids_of(f"[f(a={n % 3})]"): 1.0} for n, p in enumerate(prompts)}), PROMPTER)


def answers(folder: Path, pool: Pool, source: Path) -> list[dict[str, Any]]:
    """The rows of `predictions` that an evaluation made, but for the time an item took."""
    benchmark = open_benchmark(f"apibank:{source}", "signatures")
    with write_run(folder, None, []) as run:
        asked = prepare(run, str(pool.policy_id), benchmark, benchmark.questions("level-1"))
        verdicts = [verdict for step in answer(run, pool, benchmark, asked) for verdict in step.verdicts]
        sql = "SELECT * EXCLUDE (seconds) FROM predictions ORDER BY category, position"
        rows: list[dict[str, Any]] = query(run.store, sql).to_pylist()
    assert len(verdicts) == len(rows)
    return rows


def test_an_evaluation_on_workers_gives_the_same_answers(tmp_path: Path, ray: Any) -> None:
    source = write_api_bank(tmp_path / "apibank")
    pool = RayPool(partial(open_api_bank_desk, source), 2)
    try:
        found = answers(tmp_path / "workers", pool, source)
    finally:
        pool.close()
    assert found == answers(tmp_path / "here", LocalPool(open_api_bank_desk(source)), source)
    assert 0 < sum(row["valid"] for row in found) < len(found) == 12


class Killer:
    """Kills workers at random moments while something else goes on."""

    def __init__(self, seed: int, kills: int):
        self.killed: list[int] = []
        self._moments = random.Random(seed)
        self._left = kills
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._left:
            time.sleep(self._moments.uniform(0.1, 0.6))
            if targets := [pid for pid in pids() if pid not in self.killed]:
                self.killed.append(self._moments.choice(targets))
                os.kill(self.killed[-1], signal.SIGKILL)
                self._left -= 1


@pytest.mark.parametrize(("seed", "search"), [(1, "mcts"), (2, "mcts"), (3, "walk")])
def test_killed_workers_lose_and_double_nothing(
    tmp_path: Path, ray: Any, by_search: dict[SearchKind, Rows], seed: int, search: SearchKind
) -> None:
    pool = RayPool(partial(open_desk, delay=0.05), 3)
    killer = Killer(seed, kills=3)
    try:
        assert mine(tmp_path, pool, search) == by_search[search]
    finally:
        pool.close()
    assert killer.killed


class Tuned(ScriptedPolicy):
    """Can go on with another adapter where it is told so; else its desk is opened anew."""

    sleeps = False
    policy_id = PolicyId("", "0")

    def use(self, adapter: Adapter | None) -> bool:
        if self.sleeps:
            self.policy_id = replace(self.policy_id, adapter=adapter.content if adapter else "")
        return self.sleeps

    def sleep(self) -> bool:
        return self.sleeps


@dataclass(frozen=True)
class TunedDesk:
    """Opens a desk with an adapter, and says in the policy's name when that was."""

    adapter: Adapter | None
    sleeps: bool

    def __call__(self) -> Desk:
        policy = Tuned({})
        policy.sleeps = self.sleeps
        name = f"opened at {time.monotonic_ns()}"
        policy.policy_id = PolicyId(name, "0", self.adapter.content if self.adapter else "")
        return Desk(policy, PROMPTER)

    def adapter_here(self) -> Adapter | None:
        return self.adapter


@pytest.mark.parametrize("sleeps", [True, False])
def test_workers_stay_over_rounds_and_engines_that_can_sleep_too(ray: Any, sleeps: bool) -> None:
    pool = RayPool(TunedDesk(None, sleeps), 2, opener_of=lambda adapter: TunedDesk(adapter, sleeps))
    try:
        first, before = pids(), pool.policy_id
        assert before.adapter == "" and len(first) >= 2
        for content in ("one", "two"):  # rounds: the adapter is another one after each training
            assert pool.sleep()
            pool.wake()
            assert pool.use(Adapter(Path("adapter"), content))
            assert pool.policy_id.adapter == content
        assert sorted(pids()) == sorted(first)
        assert (pool.policy_id.base == before.base) == sleeps  # the engine is the same, not only its process
    finally:
        pool.close()


class Deadly(scripted_mine.Slow):
    """Dies, as for lack of memory, whenever it is asked the seventh sample's prompt."""

    def step(self) -> list[Any]:
        if any("with 07" in PROMPTER.decode(request.prompt) for request in self._waiting):
            os._exit(1)
        return super().step()


def open_deadly_desk() -> Desk:
    return Desk(scripted_mine.policy(Deadly), PROMPTER)


def test_a_tree_that_kills_its_workers_is_named_and_the_rest_is_kept(tmp_path: Path, ray: Any, expected: Rows) -> None:
    pool = RayPool(open_deadly_desk, 2)
    try:
        with pytest.raises(ItoolError, match="3 workers died at it") as stopped:
            mine(tmp_path, pool)
    finally:
        pool.close()
    (culprit,) = [t["tree_id"] for t in expected["trees"] if f"tree {t['tree_id']}" in str(stopped.value)]
    assert set(tree_ids(tmp_path)) == {t["tree_id"] for t in expected["trees"]} - {culprit}
    assert "\n" not in str(stopped.value)
    assert mine_at_once(tmp_path) == expected


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_the_process_ends_with_its_workers_and_the_next_goes_on(
    tmp_path: Path, expected: Rows, end: signal.Signals
) -> None:
    command = [sys.executable, scripted_mine.__file__, str(tmp_path), "--workers", "2", "--delay", "0.05"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    while process.poll() is None and not tree_ids(tmp_path):
        process.stdout.readline()
    workers = pids(process.pid)
    # Ctrl-C reaches all processes of a terminal, the workers too.
    os.killpg(process.pid, end) if end is signal.SIGINT else process.send_signal(end)
    process.communicate()
    assert process.returncode == (130 if end is signal.SIGINT else -signal.SIGKILL)
    assert len(workers) == 2
    _, alive = psutil.wait_procs([psutil.Process(p) for p in workers if psutil.pid_exists(p)], timeout=30)
    assert not alive
    assert 0 < len(tree_ids(tmp_path)) < SAMPLES
    assert mine_at_once(tmp_path) == expected


def test_on_the_machines_of_a_cluster(tmp_path: Path, toy_run: Path) -> None:
    """The second node finds the model for itself and gets the adapter's files: they come to be in its cache."""
    before, run, cache = toy_run, tmp_path / "run", tmp_path / "cache"
    run_until(before, "perplexity-1", run)
    pipe, script = subprocess.PIPE, Path(__file__).with_name("ray_cluster.py")
    surroundings = os.environ | {"ITOOL_CACHE": str(cache)}
    cluster = subprocess.Popen(
        [sys.executable, script], stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=surroundings
    )
    assert cluster.stdout is not None
    try:
        address = cluster.stdout.readline().strip()
        # In a process of its own, because this one may have joined Ray already.
        main = "from itool_cli.main import main; main()"
        command = [sys.executable, "-c", main, "mine", "--run", str(run), "--workers", "2", "--ray-address", address]
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        cluster.communicate("")
    assert done.returncode == 0, done.stderr
    assert "2 workers, each" in done.stdout
    # Other batches add in another order.
    expected = [
        {name: pytest.approx(v, rel=1e-4) if isinstance(v, float) else v for name, v in row.items()}
        for row in round_1(before)
    ]
    assert round_1(run) == expected
    (policy,) = {row["policy"] for row in round_1(run)}
    assert [folder.name for folder in cache.glob("adapter-*") if folder.is_dir()] == [f"adapter-{policy[-12:]}"]


def round_1(run: Path) -> list[dict[str, Any]]:
    """The first round's nodes and who made them."""
    sql = "SELECT policy, n.* FROM nodes n JOIN trees t USING (tree_id) WHERE round = 1 ORDER BY tree_id, path"
    rows: list[dict[str, Any]] = query(open_run(run).store, sql).to_pylist()
    return rows
