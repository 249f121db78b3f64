"""Which adapter `--adapter` means."""

import json
from pathlib import Path

import pytest

from itool_cli.policies import choose_adapter
from itool_data.errors import ItoolError
from itool_data.policy.load import BaseModel, write_identity
from itool_data.run import Run, write_run

MODEL = BaseModel(Path("model"), "model", "1")


def adapter(folder: Path, weights: bytes) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 4}), "utf-8")
    (folder / "adapter_model.safetensors").write_bytes(weights)
    write_identity(folder, MODEL)
    return folder


@pytest.fixture
def trained(tmp_path: Path) -> Run:
    """A run with two adapters, the second one newer."""
    with write_run(tmp_path / "run", None, []) as run:
        for name in ("warmup-0aa1", "simpo-0bb1"):
            adapter(run.folder / "adapters" / name, name.encode())
            run.store.commit("warmup", {}, adapter=f"adapters/{name}")
    return run


@pytest.mark.parametrize(
    ("wanted", "name"),
    [(None, "simpo-0bb1"), ("0aa1", "warmup-0aa1"), ("warmup-0aa1", "warmup-0aa1"), ("bb1", "simpo-0bb1")],
)
def test_an_adapter_of_the_run_by_the_end_of_its_name(trained: Run, wanted: str | None, name: str) -> None:
    found = choose_adapter(trained, MODEL, wanted)
    assert found is not None and found.path.name == name


def test_the_base_model_and_a_folder(trained: Run, tmp_path: Path) -> None:
    assert choose_adapter(trained, MODEL, "base") is None
    other = adapter(tmp_path / "other", b"x")
    found = choose_adapter(trained, MODEL, str(other))
    assert found is not None and found.path == other


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("cc", "'cc' is no policy; it has base, warmup-0aa1, simpo-0bb1; or give an adapter's folder"),
        ("1", "'1' fits several policies; it has base, warmup-0aa1, simpo-0bb1"),
    ],
)
def test_a_name_that_fits_none_or_several_lists_them(trained: Run, wanted: str, said: str) -> None:
    with pytest.raises(ItoolError, match=said):
        choose_adapter(trained, MODEL, wanted)
