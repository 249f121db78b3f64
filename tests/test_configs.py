"""`extends` in config files, and the files in configs/."""

from pathlib import Path

import pytest

from itool_data.config_file import load_config
from itool_data.errors import ItoolError
from itool_train.losses import hyperparameters

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def write(folder: Path, **files: str) -> Path:
    """Write files NAME.yaml; returns the first."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


def test_a_file_changes_what_it_extends_setting_by_setting(tmp_path):
    top = write(
        tmp_path,
        top="extends: middle.yaml\nmcts:\n  width: 5\n",
        middle="extends: bottom.yaml\nmcts:\n  width: 4\n  depth: 2\nseed: 7\n",
        bottom="seed: 1\nmcts:\n  c: 0.5\nreward:\n  weight: 0\n",
    )
    config = load_config(top, ["mcts.depth=6"])
    assert (config.seed, config.mcts.width, config.mcts.depth, config.mcts.c) == (7, 5, 6, 0.5)
    assert config.reward.weight == 0


def test_null_takes_a_setting_back_to_its_default(tmp_path):
    top = write(
        tmp_path,
        top="extends: bottom.yaml\npreference:\n  loss: dpo\n  gamma: null\n",
        bottom="preference:\n  gamma: 0.5\n",
    )
    assert hyperparameters(load_config(top, []).preference) == {"lr": 3e-7, "beta": 0.1}


def test_a_path_is_meant_from_the_file_that_says_it(tmp_path):
    (tmp_path / "below").mkdir()
    write(tmp_path, base="seed: 5\n")
    assert load_config(write(tmp_path / "below", top="extends: ../base.yaml\n"), []).seed == 5


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "extends: a.yaml\n"}, "a.yaml: extends a.yaml, which extends this file"),
        ({"a": "extends: b.yaml\n", "b": "extends: a.yaml\n"}, "b.yaml: extends a.yaml, which extends this file"),
        ({"a": "extends: b.yaml\n"}, "b.yaml: no such config file"),
        ({"a": "extends: [b.yaml]\n"}, r"a.yaml: extends must be the path of a config file, got \['b.yaml'\]"),
        ({"a": "extends: b.yaml\n", "b": "- 1\n"}, "b.yaml: a config is a mapping of sections, got list"),
        ({"a": "extends: b.yaml\n", "b": "mcts: 3\n"}, "mcts must be a mapping of settings, got 3"),
        ({"a": "extends: b.yaml\nmcts:\n  width: 3\n", "b": "mcts:\n  breadth: 3\n"}, "mcts.breadth is not a setting"),
    ],
)
def test_what_is_wrong_with_extends_is_said_in_one_line(tmp_path, files, message):
    with pytest.raises(ItoolError, match=message) as error:
        load_config(write(tmp_path, **files), [])
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_config_of_the_project_loads_and_its_loss_takes_its_parameters(path):
    config = load_config(path, [])
    assert hyperparameters(config.preference)["lr"] > 0


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("llama-3.2-3b", {"model"}),
        ("qwen2.5-7b", {"model"}),
        ("qwen2.5-1.5b", {"model"}),
        ("base-sft", {"warmup"}),
        ("xlam", {"loop"}),
        ("bfcl-half", {"loop"}),
    ],
)
def test_the_paper_s_other_runs_differ_in_what_they_are_named_for(name, sections):
    paper, other = (load_config(CONFIGS / "paper" / f"{n}.yaml", []).model_dump() for n in ("llama-3.1-8b", name))
    assert {section for section, values in other.items() if values != paper[section]} == sections
