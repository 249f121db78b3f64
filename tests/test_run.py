"""A run folder: one writer at a time, the settings it was made with, and settings errors in one line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

from itool_data.config_file import load_config
from itool_data.errors import ItoolError
from itool_data.run import DEPENDS, identity, open_run, write_run
from itool_data.store.schema import SCHEMAS

HOLDER = """
import sys, time
from pathlib import Path
from itool_data.run import write_run
with write_run(Path(sys.argv[1]), None, []) as run:
    print("holding", flush=True)
    time.sleep(600)
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holding\n"
    return holder


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_second_writer_is_refused_until_the_first_ends(tmp_path: Path, end: signal.Signals) -> None:
    folder = tmp_path / "run"
    holder = hold(folder)
    try:
        with pytest.raises(ItoolError) as refused, write_run(folder, None, []):
            pass
        for part in (str(folder), f"process {holder.pid}", f"itool {folder}", "in use"):
            assert part in str(refused.value)
        assert "\n" not in str(refused.value)
        assert open_run(folder).config.seed == 42, "reading needs no lock"
    finally:
        holder.send_signal(end)
        holder.wait()
    with write_run(folder, None, []) as run:
        run.store.commit("import", {})
    assert len(open_run(folder).store.log()) == 1


def test_opening_for_writing_mends_what_a_killed_writer_left(tmp_path: Path) -> None:
    with write_run(tmp_path, None, []) as run:
        run.store.commit("mine", {"trees": [{"tree_id": "a"}]})
    table = str(tmp_path / "tables" / "trees")
    write_deltalake(table, pa.Table.from_pylist([{"tree_id": "b"}], schema=SCHEMAS["trees"]), mode="append")
    with write_run(tmp_path, None, []):
        assert DeltaTable(table).to_pyarrow_table().column("tree_id").to_pylist() == ["a"]


# What the run has committed, what is changed then, and what the refusal must name ("" where it goes through).
CHANGES = [
    ([], "mcts.width=4", ""),
    (["import"], "mcts.width=4", ""),
    (["import"], "seed=7", ""),
    (["warmup"], "mcts.width=4", ""),
    (["warmup"], "warmup.rank=8", "warmup.rank: 16 -> 8"),
    (["warmup"], "model.tools=json", "model.tools: signatures -> json"),
    (["warmup"], "seed=7", "seed: 42 -> 7"),
    (["perplexity"], "replay.fraction=0.25", "replay.fraction: 0.5 -> 0.25"),
    (["perplexity"], "warmup.rank=8", ""),
    (["mine"], "replay.select=doubt", "replay.select: perplexity -> doubt"),
    (["pass-rate"], "walk.temperature=0.5", "walk.temperature: 1.0 -> 0.5"),
    (["mine"], "mcts.width=4", "mcts.width: 3 -> 4"),
    (["mine"], "reward.weight=0", "reward.weight: 1.0 -> 0.0"),
    (["mine"], "pairs.min_delta_q=0.2", "pairs.min_delta_q: 0.1 -> 0.2"),
    (["import", "warmup", "mine"], "warmup.epochs=1", "warmup.epochs: 3 -> 1"),
    (["warmup", "perplexity", "mine"], "model.device=cpu", ""),
    (["warmup", "perplexity", "mine"], "model.rows=7", ""),
    (["warmup", "perplexity", "mine"], "mine.open_trees=4", ""),
    (["warmup", "perplexity", "mine"], "mine.commit_trees=1", ""),
]


@pytest.mark.parametrize(("committed", "change", "named"), CHANGES)
def test_settings_that_results_depend_on_are_fixed_by_the_first_commit(
    tmp_path: Path, committed: list[str], change: str, named: str
) -> None:
    with write_run(tmp_path, None, []) as run:
        for operation in committed:
            run.store.commit(operation, {})
    if named:
        with pytest.raises(ItoolError) as refused, write_run(tmp_path, None, [change]):
            pass
        assert f"({named})" in str(refused.value)
        assert "--force" in str(refused.value)
        assert "\n" not in str(refused.value)
        assert open_run(tmp_path).config == load_config(None, []), "a refusal changes nothing"
    if change.startswith("model.tools"):  # what there is would be taken for the other form's
        with pytest.raises(ItoolError, match="another form"), write_run(tmp_path, None, [change], force=True):
            pass
        return
    with write_run(tmp_path, None, [change], force=bool(named)) as run:
        assert run.config == load_config(None, [change])
    assert open_run(tmp_path).config == load_config(None, [change])


def test_a_training_that_stopped_fixes_no_settings(tmp_path: Path) -> None:
    with write_run(tmp_path, None, ["preference.lr=1"]) as run:
        run.store.commit("preference", {}, stopped="the loss is not a number; lower preference.lr")
    with write_run(tmp_path, None, ["preference.lr=0.1"]) as run:
        run.store.commit("preference", {}, adapter="a", content="b")
    with pytest.raises(ItoolError, match=r"preference\.lr"), write_run(tmp_path, None, ["preference.lr=0.2"]):
        pass


@pytest.mark.parametrize(("change", "same"), [("model.rows=7", True), ("warmup.checkpoint_seconds=9", True),
                                              ("warmup.rank=8", False), ("seed=7", False)])  # fmt: skip
def test_what_a_killed_training_goes_on_from_is_named_by_what_it_depends_on(change: str, same: bool) -> None:
    names = [identity(load_config(None, changes), *DEPENDS["warmup"]) for changes in ([], [change])]
    assert (names[0] == names[1]) == same


def test_a_run_from_before_there_were_native_forms_keeps_its_own(tmp_path: Path) -> None:
    with write_run(tmp_path, None, []) as run:
        run.store.commit("warmup", {})
    settings = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert settings["model"].pop("format") == "auto"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    assert open_run(tmp_path).config.model.format == "own"
    with pytest.raises(ItoolError, match="own -> native"), write_run(tmp_path, None, ["model.format=native"]):
        pass
    with write_run(tmp_path, None, []) as run:
        assert run.config.model.format == "own"
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["model"]["format"] == "own"


def test_every_difference_is_named(tmp_path: Path) -> None:
    with write_run(tmp_path, None, []) as run:
        run.store.commit("mine", {})
    other = tmp_path / "other.yaml"
    other.write_text("seed: 1\nmcts: {width: 5, depth: 2}\nmodel: {device: cpu}\n")
    with pytest.raises(ItoolError) as refused, write_run(tmp_path, other, []):
        pass
    assert "(seed: 42 -> 1; mcts.depth: 3 -> 2; mcts.width: 3 -> 5)" in str(refused.value)


def test_a_run_keeps_its_settings_without_being_told_again(tmp_path: Path) -> None:
    with write_run(tmp_path, None, ["mcts.width=4"]) as run:
        run.store.commit("mine", {})
    with write_run(tmp_path, None, ["mcts.width=4", "mine.open_trees=2"]):
        pass
    with write_run(tmp_path, None, []) as run:
        assert (run.config.mcts.width, run.config.mine.open_trees) == (4, 2)


def test_no_run_to_read(tmp_path: Path) -> None:
    with pytest.raises(ItoolError, match="no run here; make one with `itool data import"):
        open_run(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_run_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ItoolError, match=f"{tmp_path}/file.*: cannot") as refused,
        write_run(tmp_path / "file", None, []),
    ):
        pass
    assert "\n" not in str(refused.value)


# Overrides, and what the one line must hold.
BAD_OVERRIDES = [
    ("mcts.width=1", ["mcts.width", "greater than or equal to 2", "got 1"]),
    ("mcts.width=wide", ["mcts.width", "integer", "got 'wide'"]),
    ("mcts.width=2.5", ["mcts.width", "integer", "got 2.5"]),
    ("mcts.temperature=0", ["mcts.temperature", "greater than 0", "got 0"]),
    ("mcts.temperature=.nan", ["mcts.temperature", "got nan"]),
    ("pairs.min_q_chosen=.inf", ["pairs.min_q_chosen", "finite", "got inf"]),
    ("replay.fraction=1.5", ["replay.fraction", "less than or equal to 1", "got 1.5"]),
    ("reward.outcome=both", ["reward.outcome", "'terminal' or 'prefix'", "got 'both'"]),
    ("reward.literal_order=7", ["reward.literal_order", "boolean", "got 7"]),
    ("model.name=7", ["model.name", "string", "got 7"]),
    ("model.device=tpu", ["model.device", "'auto', 'cpu' or 'cuda'", "got 'tpu'"]),
    ("warmup.micro_batch=3", ["warmup.micro_batch", "not a setting"]),
    ("mcts.widht=4", ["mcts.widht", "not a setting"]),
    ("mtcs.width=4", ["mtcs", "not a setting"]),
    ("mcts=4", ["mcts", "got 4"]),
    ("seed.x=4", ["seed", "got {'x': 4}"]),
    ("mcts.width", ["mcts.width", "expected key=value"]),
    ("=4", ["expected key=value"]),
    ("mcts.width=[", ["mcts.width=[", "not a YAML value"]),
    ("mcts.width=", ["mcts.width", "integer", "got None"]),
]


@pytest.mark.parametrize(("override", "parts"), BAD_OVERRIDES)
def test_a_bad_override_is_one_line(override: str, parts: list[str]) -> None:
    with pytest.raises(ItoolError) as refused:
        load_config(None, [override])
    assert "--set" in str(refused.value)
    assert "\n" not in str(refused.value)
    for part in parts:
        assert part in str(refused.value)


BAD_FILES = [
    (b"mcts: {width: 1}", ["mcts.width", "greater than or equal to 2", "got 1"]),
    (b"mcts: {widht: 4}", ["mcts.widht", "not a setting"]),
    (b"mcts: 4", ["mcts", "mapping of settings", "got 4"]),
    (b"seed: many", ["seed", "integer", "got 'many'"]),
    (b"mcts: {width: 3", ["not YAML", "line 1"]),
    (b"a: b: c", ["not YAML", "line 1"]),
    (b"seed: !!python/object/apply:os.system ['true']", ["not YAML"]),
    (b"\xff\xfe\x00", ["not YAML"]),
    (b"- 1\n- 2", ["mapping", "got list"]),
    (b"just words", ["mapping", "got str"]),
    (b"1: 2", ["keys should be strings, got 1"]),
]


@pytest.mark.parametrize(("content", "parts"), BAD_FILES)
def test_a_bad_config_file_is_one_line(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(content)
    with pytest.raises(ItoolError) as refused:
        load_config(file, [])
    assert "\n" not in str(refused.value)
    for part in (str(file), *parts):
        assert part in str(refused.value)


@pytest.mark.parametrize("kind", ["missing", "folder", "unreadable"])
def test_a_config_file_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "settings.yaml"
    if kind == "folder":
        file.mkdir()
    elif kind == "unreadable":
        file.write_text("seed: 1")
        file.chmod(0)
        if os.access(file, os.R_OK):
            pytest.skip("this user may read every file")
    with pytest.raises(ItoolError, match=r"settings\.yaml: ") as refused:
        load_config(file, [])
    assert "\n" not in str(refused.value)


def test_overrides_lie_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("mcts: {width: 5, depth: 2}\nmodel:\n")
    config = load_config(file, ["mcts.width=7", "model.name=HuggingFaceTB/SmolLM2-135M-Instruct"])
    assert (config.mcts.width, config.mcts.depth, config.mcts.iterations) == (7, 2, 5)
    assert config.model.name == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert load_config(file, []).model.name == "embedded"


def test_an_empty_file_is_the_defaults_and_settings_survive_the_way_through_yaml(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("")
    assert load_config(file, []) == load_config(None, [])
    changed = load_config(None, ["mcts.c=0.25", "warmup.lr_easy=1e-3", "reward.judge=other"])
    file.write_text(changed.to_yaml())
    assert load_config(file, []) == changed
