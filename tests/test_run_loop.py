"""`itool run` over a whole run at toy size: order, nothing twice, parts of it, interruptions, bad input."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from outcomes import Itool, one_line
from toys import toy_sample

from bench import prefork, toy_loop
from bench.toy_loop import run_until, write_config
from itool_cli.run_tables import round_policies
from itool_data.config import LoopSettings
from itool_data.loop import finished, stage_names
from itool_data.policy.load import find_model
from itool_data.run import open_run, write_run
from itool_data.store.samples import sample_row
from itool_data.store.sql import query

ROUND = ["perplexity-{}", "mine-{}", "preference-{}", "evaluate-{}"]


def stages(folder: Path) -> list[tuple[str, bool]]:
    """The log's rows about stages: which, and whether it was finished."""
    return [
        (commit.info.get("stage", f"from {commit.info.get('again_from')}"), commit.info.get("finished", False))
        for commit in open_run(folder).store.log()
        if commit.operation == "stage"
    ]


def count(folder: Path, table: str) -> int:
    return ask(folder, f"SELECT count(*) AS n FROM {table}")[0]["n"]


def ask(folder: Path, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = query(open_run(folder).store, sql).to_pylist()
    return rows


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"rounds": 0}, ["import", "warmup", "evaluate-0", "report"]),
        ({"rounds": 0, "warmup": False}, ["import", "evaluate-0", "report"]),
        (
            {"rounds": 2},
            ["import", "warmup", "evaluate-0", *(s.format(r) for r in (1, 2) for s in ROUND), "report"],
        ),
        ({"rounds": 1, "warmup": False}, ["import", "evaluate-0", *(s.format(1) for s in ROUND), "report"]),
    ],
)
def test_the_stages_of_a_run(settings, expected):
    assert stage_names(LoopSettings(**settings)) == expected


def test_a_run_does_all_stages_in_order_each_round_from_the_policy_of_the_one_before(toy_run):
    assert stages(toy_run) == [(name, True) for name in stage_names(open_run(toy_run).config.loop)]
    sql = "SELECT round, min(policy) AS policy, count(DISTINCT policy) AS n FROM {} GROUP BY 1"
    measured, searched, trained = (
        ask(toy_run, sql.format(table)) for table in ("perplexity", "trees", "training WHERE round > 0")
    )
    for rows in (measured, searched, trained):
        assert [(row["round"], row["n"]) for row in sorted(rows, key=lambda row: row["round"])] == [(1, 1), (2, 1)]
    makers = {row["round"]: row["policy"] for row in trained}
    assert makers == {row["round"]: row["policy"] for row in searched} == {r["round"]: r["policy"] for r in measured}
    run = open_run(toy_run)
    base = find_model(run.config.model)
    contents = [run.adapter(base, round_).content for round_ in (1, 2, 3)]  # type: ignore[union-attr]
    assert len(set(contents)) == 3 and [makers[1][-12:], makers[2][-12:]] == contents[:2]
    evaluated = ask(toy_run, "SELECT policy, count(*) AS n FROM predictions GROUP BY 1")
    assert {row["policy"][-12:]: row["n"] for row in evaluated} == dict.fromkeys(contents, 12)


def test_a_finished_run_is_not_repeated(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folder = run_until(toy_run, "evaluate-2", tmp_path / "run")
    before = open_run(folder).store.log()
    code, out, err = itool("run", "--run", folder)
    assert code == 0, err
    after = open_run(folder).store.log()
    assert [c.info.get("stage") for c in after[len(before) :]] == ["report"]
    assert out.count("done in") == 11 and "all stages:" in out


def test_until_and_going_on(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folder = run_until(toy_run, "evaluate-0", tmp_path / "run")
    done = stages(folder)
    assert itool("run", "--run", folder, "--until", "evaluate-0")[0] == 0
    assert stages(folder) == done
    assert itool("run", "--run", folder, "--until", "mine-1")[0] == 0
    assert stages(folder) == [*done, ("perplexity-1", True), ("mine-1", True)]
    # The same search gives the same trees, in a run cut in pieces too.
    ids = "SELECT tree_id FROM trees WHERE round = 1 ORDER BY ALL"
    assert ask(folder, ids) == ask(toy_run, ids) and count(folder, "trees") == 6


def test_from_does_a_stage_and_what_follows_again_and_an_interrupted_one_goes_on(
    itool: Itool, toy_run: Path, tmp_path: Path
) -> None:
    folder = run_until(toy_run, "evaluate-2", tmp_path / "run")
    done, updates = stages(folder), count(folder, "training WHERE round = 2")
    assert itool("run", "--run", folder, "--from", "preference-2", "--until", "preference-2")[0] == 0
    assert stages(folder) == [*done, ("from preference-2", False), ("preference-2", True)]
    assert count(folder, "training WHERE round = 2") == 2 * updates
    one_line(
        itool("run", "--run", folder, "--from", "report"),
        "--from report: evaluate-2 before it is not finished; leave --from out",
    )
    assert itool("run", "--run", folder)[0] == 0
    assert stages(folder)[len(done) :] == [
        ("from preference-2", False), ("preference-2", True), ("evaluate-2", True), ("report", True),
    ]  # fmt: skip
    assert count(folder, "training WHERE round = 2") == 2 * updates


def test_fragments_are_asked_after_an_evaluation_and_shown_by_round(
    itool: Itool, toy_run: Path, tmp_path: Path
) -> None:
    folder = run_until(toy_run, "evaluate-2", tmp_path / "run")
    held_out = [toy_sample(f"[f(a={n})]", f"f of {n}") for n in range(3)]
    with write_run(folder, None, []) as run:
        run.store.commit("import", {"samples": [sample_row(s) | {"split": "test"} for s in held_out]})
    wanted = ("--set", "eval.fragments=2")
    assert itool("run", "--run", folder, "--from", "evaluate-2", "--until", "evaluate-2", *wanted)[0] == 0
    decided = ask(folder, "SELECT * FROM decisions ORDER BY sample_id, number")
    assert {row["policy"] for row in decided} == {round_policies(open_run(folder))[2]}
    assert len({row["sample_id"] for row in decided}) == 2
    with write_run(folder, None, []) as run:
        warm = [row | {"policy": round_policies(run)[0], "right": True, "error_class": None} for row in decided]
        run.store.commit("eval", {"decisions": warm})
    code, out, err = itool("run", "--run", folder)
    assert code == 0, err
    shown = out[out.index("fragments of test samples") :]
    n, right = len(decided), sum(row["right"] for row in decided)
    assert re.search(rf"warm-up +│ +│ {n} +│ {n} +│ 100\.0 ", shown)
    assert re.search(rf"round 2 +│ \d+ +│ {right} +│ {n} +│ {100 * right / n:.1f} .*│ 0 +│ {n - right} +│", shown)
    assert "intervals count samples" in shown


def killed(folder: Path, when: str, operation: str) -> None:
    """Go on with a run in a process of its own that dies after (or before) an operation's first commit."""
    prefork.run(folder.with_name("said"), toy_loop.go_on, str(folder), when, operation, code=-signal.SIGKILL)


def test_a_run_killed_inside_a_stage_goes_on_there(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folder = run_until(toy_run, "perplexity-1", tmp_path / "run")
    done = stages(folder)
    killed(folder, "after", "mine")
    assert stages(folder) == done and 0 < count(folder, "trees") < 6
    assert itool("run", "--run", folder, "--until", "mine-1")[0] == 0
    assert stages(folder) == [*done, ("mine-1", True)]
    sql = "SELECT tree_id, path, q FROM nodes WHERE tree_id IN (SELECT tree_id FROM trees WHERE round = 1) ORDER BY ALL"
    assert [row["tree_id"] for row in ask(folder, sql)] == [row["tree_id"] for row in ask(toy_run, sql)]


def test_a_run_killed_after_training_but_before_the_log_says_so_does_not_train_again(
    itool: Itool, toy_run: Path, tmp_path: Path
) -> None:
    folder = run_until(toy_run, "mine-1", tmp_path / "run")
    done = stages(folder)
    killed(folder, "after", "preference")
    updates = count(folder, "training")
    assert stages(folder) == done and updates
    code, out, err = itool("run", "--run", folder, "--until", "preference-1")
    assert code == 0, err
    assert "round 1: already trained" in out
    assert (stages(folder), count(folder, "training")) == ([*done, ("preference-1", True)], updates)


@pytest.mark.parametrize(
    ("before", "stage", "trains"),
    [
        ("import", "warmup", "itool_train.warmup._train"),
        ("mine-1", "preference-1", "itool_train.pair_trainer.PairTrainer.fit"),
    ],
)
def test_a_run_killed_between_a_training_and_its_commit_does_not_train_again(
    itool: Itool, toy_run: Path, tmp_path: Path, monkeypatch: Any, before: str, stage: str, trains: str
) -> None:
    folder = run_until(toy_run, before, tmp_path / "run")
    killed(folder, "before", stage.partition("-")[0])
    losses = f'SELECT objective, "update", loss FROM training WHERE round = {int(stage != "warmup")} ORDER BY ALL'
    assert not ask(folder, losses)
    monkeypatch.setattr(trains, None)
    code, _, err = itool("run", "--run", folder, "--until", stage)
    assert code == 0, err
    ours, whole = ask(folder, losses), ask(toy_run, losses)
    assert [row["loss"] for row in ours] == pytest.approx([row["loss"] for row in whole], abs=1e-4)
    assert not list((folder / "work").iterdir())


@pytest.mark.parametrize("processes", [1, 2])
def test_a_round_that_finds_no_pair_leaves_the_policy_as_it_is(
    itool: Itool, toy_run: Path, tmp_path: Path, processes: int
) -> None:
    folder = run_until(toy_run, "perplexity-1", tmp_path / "run")
    code, out, err = itool(
        "run", "--run", folder, "--set", "pairs.min_q_chosen=5", "--set", "loop.rounds=1", "--set",
        f"loop.processes={processes}",
    )  # fmt: skip
    assert code == 0, err
    assert "round 1 found no pair to train on; the policy stays as it is" in out
    assert "12 items, 12 already answered" in out
    assert count(folder, "pairs") == count(folder, "training WHERE round > 0") == 0 and stages(folder)[-1] == (
        "report",
        True,
    )


def test_right_steps_are_trained_on_though_no_pair_is_found(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folder = run_until(toy_run, "perplexity-1", tmp_path / "run")
    code, _, err = itool(
        "run", "--run", folder, "--until", "preference-1", "--set", "pairs.min_q_chosen=5", "--set",
        "preference.loss=nll",
    )  # fmt: skip
    assert code == 0, err
    assert count(folder, "pairs") == 0 < count(folder, "training WHERE round = 1")


def test_pairs_of_a_policy_that_is_no_more_are_not_a_round_s(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    """As after `--from warmup`, where the new policy finds no pair but the old one's are still in the table."""
    folder = run_until(toy_run, "mine-1", tmp_path / "run")
    with write_run(folder, None, []) as run:
        warmup = next(c.info for c in run.store.log() if "stages" in c.info)
        first = warmup["stages"][0]["adapter"]
        (folder / "adapters").mkdir(exist_ok=True)
        os.symlink(toy_run / first, folder / first)
        content = first.rpartition("-")[2]
        run.store.commit("warmup", {}, adapter=first, content=content, base=warmup["base"])
    assert count(folder, "pairs WHERE round = 1")
    code, out, err = itool("run", "--run", folder, "--until", "preference-1")
    assert code == 0, err
    assert "round 1 found no pair to train on" in out


@pytest.mark.parametrize(("before", "stage", "round_"), [("import", "warmup", 0), ("mine-1", "preference-1", 1)])
def test_several_processes_train_together(
    itool: Itool, toy_run: Path, tmp_path: Path, monkeypatch: Any, before: str, stage: str, round_: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = run_until(toy_run, before, tmp_path / "run")
    code, _, err = itool("run", "--run", folder, "--set", "loop.processes=2", "--until", stage)
    assert code == 0, err
    assert stages(folder)[-1] == (stage, True)
    losses = f'SELECT loss FROM training WHERE round = {round_} ORDER BY split, "update"'
    alone = [row["loss"] for row in ask(toy_run, losses)]
    # Over the warm-up's 60 updates at this rate, sums in another order grow to some 2e-4.
    assert [row["loss"] for row in ask(folder, losses)] == pytest.approx(alone, abs=1e-3)


def test_a_stage_that_fails_says_why_and_counts_its_time(itool: Itool, tmp_path: Path) -> None:
    config = write_config(tmp_path, sources=[str(tmp_path / "absent.jsonl")])
    folder = tmp_path / "run"
    for _ in range(2):
        one_line(itool("run", config, "--run", folder), "absent.jsonl")
    assert stages(folder) == [("import", False)] * 2
    log = open_run(folder).store.log()
    assert finished(log, ["import"]) == {}


def test_bad_input(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    one_line(itool("run"), "needs settings (such as laptop")
    one_line(itool("run", "--run", tmp_path / "none"), "needs settings (such as laptop")
    assert not (tmp_path / "none").exists()
    one_line(itool("run", tmp_path / "none.yaml"), "none.yaml: no such config file")
    folder = run_until(toy_run, "evaluate-0", tmp_path / "run")
    one_line(
        itool("run", "--run", folder, "--until", "mine-3"), "--until mine-3: no such stage; there are import, warmup"
    )
    one_line(itool("run", "--run", folder, "--from", "mine"), "--from mine: no such stage")
    one_line(itool("run", "--run", folder, "--from", "mine-2"), "--from mine-2: perplexity-1 before it is not finished")
    one_line(itool("run", "--run", folder, "--set", "warmup.epochs=1"), "warmup.epochs: 5 -> 1", "--force")
    assert stages(folder)[-1] == ("evaluate-0", True)
