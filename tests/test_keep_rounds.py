"""`itool run` with validation items at toy size: rounds that are refused, kills on the way, what is shown."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from outcomes import Itool, one_line
from test_run_loop import ask, count, killed, stages

from bench.toy_loop import run_until, write_config
from itool_cli.main import app
from itool_cli.report import write_report
from itool_data.config_file import load_config
from itool_data.policy.load import find_model
from itool_data.run import open_run, write_run
from itool_data.store.tables import Commit

# Eight samples, of which some come out right after so many epochs.
# Searched by a walk, because four trees find a pair on one machine and none on another, whose sums round otherwise.
KEEP = [
    "data.validation=0.35",
    "validation.items=10",
    "warmup.epochs=20",
    "loop.search=walk",
    "walk.max_step_tokens=12",
]
HARM = ["preference.lr=0.3", "preference.loss=orpo", "preference.epochs=4"]


def sets(settings: list[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose warm-up was asked its validation items, after its first search."""
    folder = tmp_path_factory.mktemp("keep")
    words = ["run", str(write_config(folder)), "--run", str(folder / "run"), "--until", "mine-1", *sets(KEEP)]
    assert not app(words, standalone_mode=False)
    return folder / "run"


def training(folder: Path, operation: str, round_: int = 0) -> Commit:
    commit = open_run(folder).trained(operation, round_)
    assert commit
    return commit


def asked(folder: Path) -> dict[str, int]:
    """How many validation items each policy answered, by its adapter."""
    sql = "SELECT policy, count(*) AS n FROM predictions WHERE benchmark = 'validation' GROUP BY 1"
    return {row["policy"].partition("+")[2]: row["n"] for row in ask(folder, sql)}


def parts(page: Path) -> dict[str, Any]:
    found = re.findall(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', page.read_text())
    return {name: json.loads(text) for name, text in found}


def test_the_warm_up_that_gets_something_right_is_kept(mined: Path) -> None:
    info = training(mined, "warmup").info
    start, half, end = info["candidates"]
    assert (start["update"], half["update"], end["update"]) == (0, 40, 80) and end["right"] > start["right"] == 0
    assert info["adapter"].endswith(info["content"]) and info["verdict"].endswith(" 0 broken: kept")
    samples = count(mined, "samples WHERE split = 'validation'")
    assert set(asked(mined).values()) == {samples} and len(asked(mined)) == 3 and 4 < samples < 11
    assert not list((mined / "work").iterdir())


def test_a_round_that_harms_is_refused_and_the_next_goes_on_from_the_old_adapter_with_other_samples(
    itool: Itool, mined: Path, tmp_path: Path
) -> None:
    folder = run_until(mined, "mine-1", tmp_path / "run")
    code, out, err = itool("run", "--run", folder, *sets(HARM), "--until", "evaluate-2")
    assert code == 0, err
    warm, (first, second) = training(mined, "warmup"), (training(folder, "preference", r) for r in (1, 2))
    for commit in (first, second):
        start, *left = commit.info["candidates"]
        assert "adapter" not in commit.info and len(left) == 2 and start["right"] > max(c["right"] for c in left)
        assert start["policy"].endswith(warm.info["content"])
        assert re.fullmatch(r"\d fixed, \d broken: not kept", commit.info["verdict"])
        assert (folder / commit.info["refused"] / "adapter_model.safetensors").is_file()
    run = open_run(folder)
    base = find_model(run.config.model)
    contents = [run.adapter(base, round_).content for round_ in (1, 2, 3)]  # type: ignore[union-attr]
    assert contents == [warm.info["content"]] * 3
    # The same policy in both rounds: it is measured once, and what it was not searched for before comes first.
    rows = [ask(folder, f"SELECT sample_id, perplexity FROM perplexity WHERE round = {r} ORDER BY 1") for r in (1, 2)]
    assert rows[0] == rows[1] and rows[0]
    searched = [{r["sample_id"] for r in ask(folder, f"SELECT * FROM trees WHERE round = {n}")} for n in (1, 2)]
    assert searched[0] and searched[1] and not searched[0] & searched[1]
    assert "12 items, 12 already answered" in out
    shown = itool("run", "--run", folder)[1]
    assert "round 1 (not kept)" in shown and "round 2 (not kept)" in shown
    assert f"round 1 {first.info['verdict']}; round 2 {second.info['verdict']}" in " ".join(shown.split())
    log = [line.split("│")[5] for line in itool("log", "--run", folder)[1].splitlines() if line.startswith("│")]
    assert f"verdict {first.info['verdict']}" in " ".join(" ".join(log).split())
    page = parts(write_report(run, tmp_path / "page.html"))
    groups = page["data-training"]
    assert [(g["round"], g["kept"], g["refused"] is not None) for g in groups] == [
        (0, warm.info["update"], False), (1, None, True), (2, None, True),
    ]  # fmt: skip
    assert groups[1]["candidates"] == first.info["candidates"]
    (benchmark,) = page["data-benchmarks"]  # the validation items are no score
    assert (benchmark["name"], [policy["label"] for policy in benchmark["policies"]]) == ("apibank", ["warm-up"])
    code, out, err = itool("study", "rounds", "--run", folder)
    assert code == 0 and "round 2" in out and "validation" not in out, err


@pytest.mark.parametrize("when", [("after", "eval"), ("after", "preference")])
def test_a_run_killed_after_a_training_does_not_train_again(
    itool: Itool, mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: tuple[str, str]
) -> None:
    """Between what its adapters were asked, and after its commit but before its stage's."""
    folder = run_until(mined, "mine-1", tmp_path / "run")
    with write_run(folder, None, HARM):
        done = stages(folder)
    killed(folder, *when)
    assert stages(folder) == done and bool(count(folder, "training WHERE round = 1")) == (when[1] == "preference")
    answers = asked(folder)
    assert len(answers) - len(asked(mined)) == (1 if when[1] == "eval" else 2)
    monkeypatch.setattr("itool_train.pair_trainer.PairTrainer.fit", None)
    code, _, err = itool("run", "--run", folder, "--until", "preference-1")
    assert code == 0, err
    assert stages(folder) == [*done, ("preference-1", True)] and count(folder, "training WHERE round = 1")
    assert len(asked(folder)) == len(asked(mined)) + 2 and set(asked(folder).values()) == set(answers.values())


def test_several_processes_train_and_one_asks(
    itool: Itool, mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_until(mined, "mine-1", tmp_path / "run")
    monkeypatch.setattr("itool_train.pair_trainer.PairTrainer.fit", None)  # of this process
    words = (*sets([*HARM, "loop.processes=2"]), "--until", "preference-1")
    code, out, err = itool("run", "--run", folder, *words)
    assert code == 0, err
    first = training(folder, "preference", 1)
    assert "0 of 8 right" in out and "verdict" in first.info and len(asked(folder)) == len(asked(mined)) + 2
    assert itool("run", "--run", folder, *words, "--from", "preference-1")[0] == 0
    again = training(folder, "preference", 1)
    assert again.version > first.version and again.info == first.info


def test_a_refused_round_is_finished_and_trained_again_where_that_is_asked_for(
    itool: Itool, mined: Path, tmp_path: Path
) -> None:
    folder = run_until(mined, "mine-1", tmp_path / "run")
    assert itool("run", "--run", folder, *sets(HARM), "--until", "preference-1")[0] == 0
    updates = count(folder, "training WHERE round = 1")
    code, out, _ = itool("train", "preference", "--run", folder)
    assert code == 0 and f"round 1: already trained, {training(folder, 'preference', 1).info['verdict']}" in out
    assert itool("train", "preference", "--run", folder, "--again")[0] == 0
    assert count(folder, "training WHERE round = 1") == 2 * updates


def test_settings_that_the_choice_depends_on_are_fixed_by_the_first_training(
    itool: Itool, mined: Path, tmp_path: Path
) -> None:
    folder = run_until(mined, "mine-1", tmp_path / "run")
    one_line(itool("run", "--run", folder, "--set", "validation.items=5"), "validation.items: 10 -> 5", "--force")
    one_line(itool("run", "--run", folder, "--set", "data.validation=0"), "data.validation: 0.35 -> 0.0", "--force")


def test_nothing_is_asked_unless_it_is_asked_for() -> None:
    assert load_config(None, []).validation.items == 0
