"""bench.gpu at toy size on whatever there is: every step leaves its figures, and a second call goes on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = ["answers", "losses", "searches", "layouts", "against-trl-dpo", "vllm"]  # TRL's SimPO wants longer prompts


def measure(run: Path, *steps: str) -> list[dict[str, float | str | None]]:
    command = [sys.executable, "-m", "bench.gpu", "--run", str(run), "--only", *steps]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_every_step_leaves_its_figures_and_a_second_call_goes_on(toy_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(toy_run, run)
    first = measure(run, "answers")
    second = measure(run, *STEPS)
    assert [line["step"] for line in first + second] == STEPS
    figures = {name: value for line in first + second for name, value in line.items()}
    assert figures["fp32_same_answers"] == 1 and figures["fp32_score_difference_most"] == pytest.approx(0, abs=1e-4)
    assert 0 < float(str(figures["bf16_score_difference"])) < 0.1
    for layout in ("tree", "forest"):
        assert figures[f"fp32_{layout}_loss"] == pytest.approx(0, abs=1e-4)
        assert figures[f"fp32_{layout}_gradient"] == pytest.approx(0, abs=1e-3)
    assert all(float(str(value)) > 0 for name, value in figures.items() if name.endswith(("_tokens", "speedup_vs_trl")))
    assert measure(run, *STEPS) == []
