"""bench.gpu at toy size on whatever there is: every step leaves its figures, and a second call goes on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu import __main__ as command
from bench.gpu.comparison import FOLDER, comparison
from bench.gpu.decoding import KINDS
from bench.gpu.setting import CPU, Setting, beside_estimate
from bench.gpu.table import memory_table
from bench.replication.results import Results
from itool_data.run import open_run, write_run
from itool_data.sizing.need import GIB, Need

STEPS = ["answers", "losses", "searches", "layouts", "against-trl-dpo", "against-trl-simpo", "vllm"]
ESTIMATED = [f"{kind}_{rows}" for rows in CPU.rows for kind in KINDS]
ESTIMATED += [f"{precision}_{layout}" for precision in ("bf16", "nf4") for layout in ("pairs", "tree", "forest")]


def test_every_step_leaves_its_figures_and_a_second_call_goes_on(
    toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(toy_run, run)
    arguments = ["--run", str(run), "--only", *STEPS]
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu", *arguments],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line["step"] for line in lines] == STEPS
    figures = {name: value for line in lines for name, value in line.items()}
    assert figures["fp32_same_answers"] == 1 and figures["fp32_score_difference_most"] == pytest.approx(0, abs=1e-4)
    assert 0 < figures["bf16_score_difference"] < 0.1
    for layout in ("tree", "forest"):
        assert figures[f"fp32_{layout}_loss"] == pytest.approx(0, abs=1e-4)
        assert figures[f"fp32_{layout}_gradient"] == pytest.approx(0, abs=1e-3)
    assert all(value > 0 for name, value in figures.items() if name.endswith(("_tokens", "speedup_vs_trl")))
    assert [name.removesuffix("_gib") for name in figures if name.endswith("_gib")] == ESTIMATED
    for work in ESTIMATED:
        estimated, on_cpu = figures[f"{work}_gib_estimated"], figures["device"] == "CPU"
        assert estimated > 0 and (figures[f"{work}_gib"] is None) == (figures[f"{work}_gib_ratio"] is None) == on_cpu
    assert figures["nf4_tree_gib_estimated"] < figures["bf16_tree_gib_estimated"]
    table = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[1] for line in table] == ["work", *(work.replace("_", " ") for work in ESTIMATED)]

    # A second call that finds the last line missing does that step and no other.
    results = run / command.RESULTS
    results.write_text("".join(results.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")
    again: list[str] = []

    def measure(step: command.Step, *_: object) -> bool:
        again.append(step.name)
        return True

    monkeypatch.setattr(command, "_measure", measure)
    monkeypatch.setattr(sys, "argv", ["bench.gpu", *arguments])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert not end.value.code and again == STEPS[-1:]
    assert capsys.readouterr().out.splitlines() == [table[0], "|" + "---|" * 7, *table[1:]]


def test_the_comparison_is_sized_by_the_time_that_was_left_first_and_goes_on(tmp_path: Path) -> None:
    with write_run(tmp_path / "run", None, []) as run:
        figures = comparison(Setting(run, CPU, 240))
        assert (figures["samples"], figures["items"]) == (8, 4)
        assert figures["walk_minus_sft"] == pytest.approx(figures["walk"] - figures["sft"])
        assert figures["walk_minus_sft_low"] <= figures["walk_minus_sft"] <= figures["walk_minus_sft_high"]
        facts = Results(run.folder / FOLDER / "results").facts.values()
        assert len({row["policy"] for row in facts}) == 3, "two policies after the start's, which `mined` has too"
        assert {len(row["lr"]) for row in facts} == {2} and figures["proved"] > 0
        stages = [name for name in figures if name.endswith("_seconds")]
        assert [name for name in stages if name.startswith("sft")] == [
            "sft-1_evaluate-1_seconds", "sft-1_preference-1_seconds"
        ]  # fmt: skip
        main = open_run(run.folder / FOLDER / "seed-1").store
        before = main.log()
        assert comparison(Setting(run, CPU, 2400)) == figures and main.log() == before


def test_the_table_has_what_was_held_beside_the_estimate() -> None:
    figures = {"walk_16_tokens": 1234.5, "walk_16_utilisation": 0.75, "walk_16_proved": 3.0, "16_tokens": 1646.0}
    figures |= {f"walk_16_{name}": value for name, value in beside_estimate(2.0, Need(1.5 * GIB, 1.0 * GIB)).items()}
    found = list(
        memory_table([{"step": "answers", "device": "a GPU"}, {"device": "a GPU", "step": "searches"} | figures])
    )
    assert found[2:] == ["| a GPU | walk 16 | 1,234.50 | 0.75 | 2.00 | 2.50 | 1.25 |"]
    assert list(memory_table([{"step": "answers", "device": "a GPU", "fp32_same_answers": 1.0}])) == []
