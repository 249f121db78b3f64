"""A wheel of the tree, without the tree: everything is in it, and the commands work from it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bench.toy_loop import write_config

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"cli": "itool_cli", "configs": "itool_configs"}  # installed under another name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: a build writes into its tree.
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("no git checkout to build from")
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "bench/", "docs/")):
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "tree" / name).write_bytes((ROOT / name).read_bytes())
    words = "-m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist ./tree"
    command = [sys.executable, *words.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    (built,) = (folder / "dist").glob("*.whl")
    return built


def test_every_module_every_config_and_the_reports_page_are_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for top in ("itool_data", "itool_train", "itool_eval", "cli", "configs"):
        files = [f for f in (ROOT / top).rglob("*") if f.is_file() and "__pycache__" not in f.parts]
        assert files
        for file in files:
            name = file.relative_to(ROOT).as_posix()
            assert name.replace(top, FOLDERS.get(top, top), 1) in inside, name


def test_commands_work_from_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    away = tmp_path / "away"
    away.mkdir()

    def itool(*words: object) -> str:
        code = "import itool_cli, sys; print(itool_cli.__path__, file=sys.stderr); import itool_cli.main as m; m.main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            cwd=away, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True,
        )  # fmt: skip
        assert str(site) in done.stderr.splitlines()[0], "it is the wheel's code"
        assert not done.returncode, done.stderr
        return done.stdout

    assert "name: embedded" in itool("config", "show", "-c", "laptop")
    assert "Llama-3.1-8B" in itool("config", "show", "-c", "paper/llama-3.1-8b")
    config = write_config(tmp_path, rounds=0)
    assert "all stages" in itool("run", config, "--run", "run")
    itool("report", "--run", "run")
    assert (away / "run" / "report.html").stat().st_size > 100_000
