"""Models and adapters that are not there or do not fit: one line each, through the commands that load them."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from outcomes import Itool, one_line

from itool_data.run import open_run, write_run

MAIN = "from itool_cli.main import main; main()"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder that looks like a base model as far as finding it goes."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("command", ["mine", "train"])
@pytest.mark.parametrize(
    ("gone", "parts"),
    [
        ("config.json", ["model.name", "no config.json"]),
        ("model.safetensors", ["no *.safetensors", "pickled weights are never loaded"]),
    ],
)
def test_a_model_folder_that_holds_no_model(
    itool: Itool, base: Path, run: Path, command: str, gone: str, parts: list[str]
) -> None:
    (base / "pytorch_model.bin").write_bytes(b"pickle")
    (base / gone).unlink()
    words = ["train", "warmup"] if command == "train" else ["mine"]
    one_line(itool(*words, "--run", run, "--force", "--set", f"model.name={base}"), *parts)


def test_a_model_without_a_tokenizer(itool: Itool, base: Path, run: Path) -> None:
    outcome = itool("train", "warmup", "--run", run, "--force", "--set", f"model.name={base}")
    one_line(outcome, f"its tokenizer in {base} cannot be loaded")


def test_weights_that_are_cut_off(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(open_run(toy_run).config.model.name, model)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    outcome = itool("mine", "--run", tmp_path / "run", "--set", f"model.name={model}")
    one_line(outcome, f"{model}: its weights cannot be read", "fetch the model again")


@pytest.mark.parametrize("name", ["/nowhere", "nobody/no-such-model", "no such name"])
def test_no_such_model(tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "mine", "--run", str(tmp_path), "--set", f"model.name={name}"],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}, capture_output=True, text=True,
    )  # fmt: skip
    one_line((done.returncode, done.stdout, done.stderr), f"no model {name!r} here or on the Hub", "embedded")


def adapter(folder: Path, config: object, identity: object = None) -> None:
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"adapter")
    (folder / "adapter_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if identity is not None:
        (folder / "itool_adapter.json").write_text(json.dumps(identity))


@pytest.mark.parametrize(
    ("config", "identity", "parts"),
    [
        (None, None, ["no adapter here"]),
        ({"base_model_name_or_path": "other/model"}, None, ["an adapter for other/model", "base model is base@"]),
        ({"r": 8}, {"base": "other", "revision": "1"}, ["an adapter for other@1", "base model is base@"]),
        ({"r": 8}, {"base": "base", "revision": "1"}, ["an adapter for base@1"]),
        ("{", None, ["JSON cannot be read"]),
        ([1], None, ["JSON cannot be read"]),
        ({"r": 8}, None, ["JSON cannot be read"]),
    ],
)
def test_an_adapter_that_does_not_fit(
    itool: Itool, base: Path, tmp_path: Path, config: object, identity: object, parts: list[str]
) -> None:
    folder = tmp_path / "run"
    with write_run(folder, None, [f"model.name={base}"]) as opened:
        opened.store.commit("warmup", {}, adapter="adapters/first")
    if config is not None:
        adapter(folder / "adapters" / "first", config, identity)
    one_line(itool("train", "warmup", "--run", folder), f"{folder}/adapters/first: ", *parts)


def test_an_adapter_that_fits(itool: Itool, base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with write_run(folder, None, [f"model.name={base}"]) as opened:
        opened.store.commit("warmup", {}, adapter="adapters/first")
    adapter(folder / "adapters" / "first", {"base_model_name_or_path": "base"})
    assert "already done, adapters/first" in itool("train", "warmup", "--run", folder)[1]


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_the_vllm_policy_without_vllm(itool: Itool, base: Path, run: Path) -> None:
    outcome = itool("mine", "--run", run, "--policy", "vllm", "--force", "--set", f"model.name={base}")
    one_line(outcome, "model.policy is vllm, which is not installed", "itool[vllm]", "docs/policies.md")
