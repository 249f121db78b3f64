"""`itool doctor` on this machine, and on ones that it is made to look like."""

import os
from importlib.metadata import version
from pathlib import Path

import pytest
from outcomes import Itool

NVIDIA_SMI = "#!/bin/sh\necho 'NVIDIA H100 80GB HBM3'\necho 'NVIDIA H100 80GB HBM3'\n"


def test_it_names_what_is_there_and_what_is_used_and_no_secret(itool: Itool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "AWS_ACCESS_KEY_ID"):
        monkeypatch.setenv(name, "sesame")
    code, out, err = itool("doctor")
    assert (code, err) == (0, "")
    lines = [[cell.strip() for cell in line.split("│")] for line in out.splitlines() if "│" in line]
    rows = {cells[2]: cells[3] for cells in lines}
    assert rows["transformers"] == version("transformers")
    assert rows["extra ray"] == "there"
    assert rows["OPENAI_API_KEY"] == "set" and rows["Hub token"] == "there" and "sesame" not in out
    assert rows["model.policy"].startswith("transformers")
    assert rows["model.device"].startswith(("cpu", "cuda"))


def test_a_gpu_that_torch_cannot_use_is_a_problem(
    itool: Itool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if "+cpu" not in version("torch"):
        pytest.skip("needs torch's CPU build")
    program = tmp_path / "nvidia-smi"
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    code, out, _ = itool("doctor")
    assert code == 0
    assert "problem: nvidia-smi shows 2 GPUs, but torch is its CPU build" in out
    assert "NVIDIA H100 80GB HBM3: not usable" in out and "nothing is wrong" not in out


def test_a_full_disk_is_a_problem(itool: Itool, monkeypatch: pytest.MonkeyPatch, small_disk: Path) -> None:
    monkeypatch.setenv("ITOOL_CACHE", str(small_disk / "cache"))
    code, out, _ = itool("doctor")
    assert code == 0
    assert f"problem: {small_disk / 'cache'}: 0.0 GB free" in out
