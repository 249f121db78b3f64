"""`itool run`, `mine` and `eval run` with `--policy vllm`, at toy size; a whole process killed in between."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from outcomes import Itool

from bench import prefork
from bench.toy_loop import character_model, go_on, write_config
from itool_data.loop import stage_names
from itool_data.run import open_run
from itool_data.store.sql import query
from itool_data.variant import fork

HEAD = 32  # vLLM's CPU attention takes no smaller heads


def ask(folder: Path, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = query(open_run(folder).store, sql).to_pylist()
    return rows


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy run's settings, of one round and with vLLM."""
    folder = tmp_path_factory.mktemp("toy")
    path = write_config(folder, rounds=1)
    settings = json.loads(path.read_text())
    settings["model"] |= {"name": str(character_model(folder / "heads", HEAD)), "policy": "vllm"}
    path.write_text(json.dumps(settings))
    return path


@pytest.fixture(scope="module")
def finished(config: Path) -> Path:
    """The whole run."""
    folder = config.parent / "run"
    done = subprocess.run(
        [sys.executable, "-c", "from itool_cli.main import main; main()", "run", str(config), "--run", str(folder)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "stderr").write_text(done.stderr)
    return folder


def test_a_whole_run_gives_the_engine_back_for_training_and_starts_it_again(finished: Path) -> None:
    stages = [c.info.get("stage") for c in open_run(finished).store.log() if c.operation == "stage"]
    assert stages == stage_names(open_run(finished).config.loop)
    policies = ask(finished, "SELECT policy, count(*) AS n FROM predictions GROUP BY 1")
    assert [row["n"] for row in policies] == [12, 12]
    assert ask(finished, "SELECT count(*) AS n FROM training")[0]["n"]


def test_nothing_of_vllm_s_own_talk_reaches_the_terminal(finished: Path) -> None:
    assert (finished / "stderr").read_text() == ""


def test_mining_killed_after_its_first_commit_goes_on_to_the_same_trees(
    itool: Itool, finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    before = [c for c in open_run(finished).store.log() if c.info.get("stage") == "perplexity-1"]
    fork(open_run(finished), before[-1].version, folder)
    prefork.run(tmp_path / "said", go_on, str(folder), "after", "mine", code=-signal.SIGKILL)
    everything = "SELECT tree_id, path, step_ids, visits FROM nodes ORDER BY ALL"
    assert 0 < len(ask(folder, everything)) < len(ask(finished, everything))
    code, out, err = itool("mine", "--run", folder, "--policy", "vllm")
    assert code == 0, err
    assert "search: plan against fact" in out
    assert ask(folder, everything) == ask(finished, everything)
    ids = [row["tree_id"] for row in ask(folder, "SELECT tree_id FROM trees")]
    assert len(ids) == len(set(ids)) == 6


def test_a_benchmark_is_answered_as_by_the_transformers_policy(itool: Itool, finished: Path, tmp_path: Path) -> None:
    answers = []
    for engine in ("vllm", "transformers"):
        folder = tmp_path / engine
        version = open_run(finished).store.log()[0].version
        fork(open_run(finished), version, folder)
        code, _, err = itool(
            "eval", "run", "apibank", "--data", finished.parent / "apibank", "--run", folder, "--policy", engine,
            "--adapter", "base",
        )  # fmt: skip
        assert code == 0, err
        answers.append(ask(folder, "SELECT position, output FROM predictions ORDER BY ALL"))
    assert answers[0] == answers[1] and len(answers[0]) == 12
