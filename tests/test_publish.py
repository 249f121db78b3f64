"""`itool publish` with the real client against a loopback Hub: what is sent, what is kept, what others read."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pyarrow.parquet as pq
import pytest
import scripted_mine
from hub_server import TOKEN, HubServer, Repository
from huggingface_hub import DatasetCard, ModelCard
from native_run import SAMPLES, native_run, one_call
from outcomes import Itool, one_line
from toys import toy_sample

from bench.native_forms import tokenizer
from itool_cli.main import app
from itool_data.chat_template import template_source
from itool_data.config import ModelSettings
from itool_data.publish.card_text import block, code
from itool_data.publish.licences import UNKNOWN, base_model, sources
from itool_data.publish.shards import CONFIGS
from itool_data.run import Run, open_run, write_run
from itool_data.sample import Message, Sample, Tool
from itool_data.store.samples import sample_row
from itool_data.store.sql import query

SECRET = "held out: "  # begins the question of the one sample of the split `test`
REPO = "me/toy"


@pytest.fixture(scope="module")
def one_round(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mined run with a sample that is held out, a pair of it, and scores."""
    folder = tmp_path_factory.mktemp("one") / "run"
    with write_run(folder, None, scripted_mine.SETTINGS["mcts"]) as run:
        scripted_mine.mine(run, scripted_mine.open_pool(1), round_=1)
        question = Message("user", f"{SECRET}1")
        leak = sample_row(Sample("toy", "t", (question,), toy_sample().tools, "[f(a=1)]", split="test"))
        run.store.commit("import", {"samples": [leak]}, source="toy.jsonl")
        pair = query(run.store, "SELECT * FROM pairs LIMIT 1").to_pylist()[0]
        run.store.commit("mine", {"pairs": [pair | {"pair_id": "leak", "sample_id": leak["sample_id"]}]}, round=1)
        evaluate(run, "scripted@0", [True, False])
    return folder


@pytest.fixture(scope="module")
def two_rounds(one_round: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run after its second round."""
    folder = Path(shutil.copytree(one_round, tmp_path_factory.mktemp("two") / "run"))
    with write_run(folder, None, []) as run:
        scripted_mine.mine(run, scripted_mine.open_pool(1), round_=2)
    return folder


@pytest.fixture(scope="module")
def published(one_round: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first round in a folder."""
    folder = tmp_path_factory.mktemp("published") / "toy"
    app(["publish", "--run", str(one_round), "--to", str(folder)], standalone_mode=False)
    return folder


@pytest.fixture
def copied(one_round: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(one_round, tmp_path / "run"))


def evaluate(run: Run, policy: str, right: list[bool]) -> None:
    """Answers to BFCL's `simple`."""
    fault = [["value_error:string", "x", ""]]
    rows = [
        {
            "benchmark": "bfcl-v3", "policy": policy, "category": "simple", "item": f"simple_{i}", "position": i,
            "output": "[]", "verdict": json.dumps({"faults": [] if valid else fault, "attempts": [], "note": ""}),
        }
        for i, valid in enumerate(right)
    ]  # fmt: skip
    run.store.commit("eval", {"predictions": rows})


def repository(hub: HubServer, kind: str = "datasets", repo: str = REPO) -> Repository:
    return hub.repositories[f"{kind}/{repo}"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that walked along its samples, in a folder."""
    folder = tmp_path_factory.mktemp("walked")
    with write_run(folder / "run", None, scripted_mine.SETTINGS["walk"]) as run:
        scripted_mine.mine(run, scripted_mine.open_pool(1), "walk")
    app(["publish", "--run", str(folder / "run"), "--to", str(folder / "toy")], standalone_mode=False)
    return folder / "toy"


# --- what is in it ------------------------------------------------------------------------------------------------


def test_the_folder_holds_every_trained_on_row_and_nothing_held_out(one_round: Path, published: Path) -> None:
    store = open_run(one_round).store
    n = query(store, "SELECT count(*) AS n FROM pairs WHERE pair_id <> 'leak'")["n"][0].as_py()
    tables = {c: pq.read_table(published / "data" / c) for c in CONFIGS if (published / "data" / c).is_dir()}
    assert n > 20
    assert {c: t.num_rows for c, t in tables.items() if c != "scores"} == {
        "pairs": n, "steps": n, "trees": scripted_mine.SAMPLES, "sft_easy": scripted_mine.SAMPLES,
    }  # fmt: skip
    stored = query(store, "SELECT * FROM pairs WHERE pair_id <> 'leak' ORDER BY pair_id").to_pylist()
    steps = tables["steps"].to_pylist()
    assert all(re.fullmatch(r"python-[0-9a-f]{12}", row.pop("form_id")) for row in steps)
    settings = query(store, "SELECT tree_id, config_hash FROM trees").to_pylist()
    of_tree = {row["tree_id"]: row["config_hash"] for row in settings}
    assert all(row.pop("config_hash") == of_tree[row["tree_id"]] for row in steps)
    form = {"form": "own", "dialect": "python", "template": None}
    assert steps == [row | form for row in stored]
    for pair, row in zip(tables["pairs"].to_pylist(), stored, strict=True):
        assert pair["pair_id"] == row["pair_id"]
        assert pair["prompt"][-1]["content"].startswith("call f with ")
        assert pair["chosen"] == [{"role": "assistant", "content": row["prefix_text"] + row["chosen_text"]}]
        assert pair["rejected"] == [{"role": "assistant", "content": row["prefix_text"] + row["rejected_text"]}]
        assert json.loads(pair["tools"])[0]["function"]["parameters"]["required"] == ["a"]
    for tree in tables["trees"].to_pylist():
        nodes = query(store, "SELECT * FROM nodes WHERE tree_id = ?", None, [tree["tree_id"]]).to_pylist()
        assert len(tree["nodes"]) == tree["n_nodes"] == len(nodes)
        assert tree["nodes"][0]["path"] == ""
        assert {n["path"]: n["step_ids"] for n in tree["nodes"]} == {n["path"]: n["step_ids"] for n in nodes}
    row = next(r for r in tables["scores"].to_pylist() if r["category"] == "simple")
    assert (row["benchmark"], row["round"], row["n"], row["score"]) == ("bfcl-v3", 0, 2, 0.5)
    assert 0 < row["interval"]["low"] < 0.5 < row["interval"]["high"] < 1
    assert not any(SECRET.encode() in content for content in contents(published).values())


def test_datasets_loads_every_config_by_name_and_tag(
    one_round: Path, two_rounds: Path, hub: HubServer, itool: Itool, tmp_path: Path
) -> None:
    itool("publish", "--run", one_round, "--repo", REPO)
    before = query(open_run(one_round).store, "SELECT count(*) AS n FROM pairs")["n"][0].as_py() - 1
    assert itool("publish", "--run", two_rounds, "--repo", REPO)[0] == 0
    script = f"""
import json
from datasets import get_dataset_config_names, load_dataset
names = get_dataset_config_names("{REPO}")
rows = {{name: load_dataset("{REPO}", name, split="train").num_rows for name in names}}
default = load_dataset("{REPO}", split="train")
old = load_dataset("{REPO}", split="train", revision="round-1").num_rows
print(json.dumps([rows, default.column_names[:4], sorted(set(default["round"])), old]))
"""
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows, columns, rounds, old = json.loads(done.stdout.splitlines()[-1])
    assert set(rows) == {"pairs", "steps", "trees", "scores", "sft_easy"}
    assert columns == ["prompt", "chosen", "rejected", "tools"]
    assert rounds == [1, 2]
    assert rows["pairs"] == rows["steps"] > old == before
    assert rows["trees"] == 2 * scripted_mine.SAMPLES


def trl_tokenizer() -> Any:
    """`toys.CharTokenizer` as TRL needs it: the same ids and the same conversation, with an end of turn."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = Tokenizer(models.WordLevel({"<end>": 0, **{chr(i): i for i in range(1, 127)}}, unk_token="<end>"))
    letters.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    letters.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=letters, eos_token="<end>", pad_token="<end>",
        chat_template="{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% if m.role == 'assistant' %}<end>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}",
    )  # fmt: skip


def test_trl_trains_on_the_tokens_that_were_mined(published: Path, tmp_path: Path) -> None:
    """For a step that ends its response; for another, TRL adds the end of turn that the card warns of."""
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from bench.toy_loop import tiny_model

    pairs, steps, samples = (
        load_dataset(str(published), name, split="train", cache_dir=str(tmp_path / "cache"))
        for name in ("pairs", "steps", "sft_easy")
    )
    model = AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path / "model", context=2048))
    common: dict[str, Any] = {"output_dir": str(tmp_path / "trl"), "report_to": [], "use_cpu": True, "bf16": False}
    trainer = DPOTrainer(
        model=model, args=DPOConfig(**common, max_length=None), train_dataset=pairs, processing_class=trl_tokenizer()
    )
    whole = 0
    for read, step in zip(trainer.train_dataset, steps, strict=True):
        for side in ("chosen", "rejected"):
            mined = step["prompt_ids"] + step[f"{side}_ids"]
            ended = step[f"{side}_terminal"]
            assert read["prompt_ids"] + read[f"{side}_ids"] == mined + ([] if ended else [0])
            whole += ended
    assert 0 < whole < 2 * len(steps)
    sft = SFTTrainer(
        model=model, args=SFTConfig(**common, max_length=None), train_dataset=samples, processing_class=trl_tokenizer()
    )
    first = sft.train_dataset[0]
    assert [label for label in first["labels"] if label != -100] == [
        *map(ord, samples[0]["completion"][0]["content"]),
        0,
    ]


# --- in a model's own form ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in Qwen2.5's form, and its data set beside it."""
    folder = tmp_path_factory.mktemp("native")
    native_run(folder / "run")
    app(["publish", "--run", str(folder / "run"), "--to", str(folder / "toy")], standalone_mode=False)
    return folder


def test_native_texts_are_what_was_mined_and_say_their_form(native: Path) -> None:
    tables = {name: pq.read_table(native / "toy" / "data" / name) for name in ("pairs", "steps", "sft_medium")}
    pairs, steps, samples = (table.to_pylist() for table in tables.values())
    assert len(pairs) == len(steps) > 4 and len(samples) == len(SAMPLES)
    for rows in (pairs, steps, samples):
        assert {(row["form"], row["dialect"], row["template"].split("@")[0]) for row in rows} == {
            ("native", "hermes", "qwen2_5")
        }
    decode = tokenizer().decode
    for pair, step in zip(pairs, steps, strict=True):
        assert pair["prompt"].endswith("<|im_start|>assistant\n")
        for side in ("chosen", "rejected"):
            assert pair["prompt"] + pair[side] == decode(step["prompt_ids"] + step[f"{side}_ids"])
            assert pair[side].endswith("<|im_end|>") == step[f"{side}_terminal"]
    both = next(row for row in samples if row["source_id"] == "both")
    assert both["completion"].count("<tool_call>") == 2 and both["completion"].endswith("</tool_call><|im_end|>")
    assert [call["function"]["name"] for call in json.loads(both["conversation"])[-1]["tool_calls"]] == [
        "get.it", "other_fn",
    ]  # fmt: skip
    template = (native / "toy" / "chat_template.jinja").read_text()
    assert template == template_source("qwen2_5")
    card = DatasetCard.load(native / "toy" / "README.md").text
    assert "The model's own" in card and pairs[0]["template"] in card and "`hermes`" in card


def test_trl_reads_the_tokens_that_were_mined_in_native_form(native: Path, tmp_path: Path) -> None:
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from bench.toy_loop import tiny_model

    pairs, steps, samples = (
        load_dataset(str(native / "toy"), name, split="train", cache_dir=str(tmp_path / "cache"))
        for name in ("pairs", "steps", "sft_medium")
    )
    whole = [n for n, step in enumerate(steps) if step["chosen_terminal"] and step["rejected_terminal"]]
    model = AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path / "model", len(tokenizer()), 2048))
    common: dict[str, Any] = {"output_dir": str(tmp_path / "trl"), "report_to": [], "use_cpu": True, "bf16": False}
    dpo = DPOTrainer(
        model=model, args=DPOConfig(**common, max_length=None), train_dataset=pairs, processing_class=tokenizer()
    )
    for n, (read, step) in enumerate(zip(dpo.train_dataset, steps, strict=True)):
        for side in ("chosen", "rejected"):
            added = [] if step[f"{side}_terminal"] else [tokenizer().eos_token_id]
            assert read["prompt_ids"] + read[f"{side}_ids"] == step["prompt_ids"] + step[f"{side}_ids"] + added
            assert n not in whole or not added
    sft = SFTTrainer(
        model=model, args=SFTConfig(**common, max_length=None), train_dataset=samples, processing_class=tokenizer()
    )
    for read, sample in zip(sft.train_dataset, samples, strict=True):
        assert tokenizer().decode([label for label in read["labels"] if label != -100]) == sample["completion"]


def test_what_a_template_cannot_say_is_left_out_and_counted(itool: Itool, tmp_path: Path) -> None:
    native_run(tmp_path / "run", one_call(tmp_path))
    code, out, _ = itool("publish", "--run", tmp_path / "run", "--to", tmp_path / "toy")
    assert code == 0 and "2 samples are in no sft config" in out and "one call a turn" in out
    names = pq.read_table(tmp_path / "toy" / "data" / "sft_medium")["source_id"].to_pylist()
    assert set(names) == {sample.source_id for sample in SAMPLES} - {"both", "again"}
    assert "2 samples that the template cannot say are left out" in (tmp_path / "toy" / "README.md").read_text()


def test_trl_without_a_place_for_tools_sees_the_functions(published: Path) -> None:
    from trl.data_utils import maybe_apply_chat_template

    row = pq.read_table(published / "data" / "pairs").to_pylist()[0]
    text = maybe_apply_chat_template(row, trl_tokenizer())
    assert "f(a: integer, b?: integer) does f" in text["prompt"]
    assert text["chosen"] == row["chosen"][0]["content"] + "<end>"


# --- one commit and one tag a round, and only what is new ---------------------------------------------------------


def test_a_second_publication_sends_only_the_new_round(
    itool: Itool, one_round: Path, two_rounds: Path, hub: HubServer
) -> None:
    assert itool("publish", "--run", one_round, "--repo", REPO)[0] == 0
    first = hub.received
    old = repository(hub).files("main") or {}
    code, out, _ = itool("publish", "--run", two_rounds, "--repo", REPO)
    assert code == 0
    new = repository(hub).files("main") or {}
    fresh = {held.sha256: held.size for held in new.values()}
    for held in old.values():
        fresh.pop(held.sha256, None)
    assert hub.received - first == sum(size for sha, size in fresh.items() if sha)
    assert {path for path in new if "pairs" in path} == {f"data/pairs/train-0000{i}-of-00002.parquet" for i in (0, 1)}
    assert new["data/pairs/train-00000-of-00002.parquet"] == old["data/pairs/train-00000-of-00001.parquet"]
    assert "there under another name" in out
    assert [message for _, message, _ in repository(hub).commits] == ["initial commit", "Round 1", "Round 2"]
    assert repository(hub).files("round-1") == old and repository(hub).files("round-2") == new


def test_a_first_publication_of_two_rounds_makes_two_commits(itool: Itool, two_rounds: Path, hub: HubServer) -> None:
    assert itool("publish", "--run", two_rounds, "--repo", REPO)[0] == 0
    assert [message for _, message, _ in repository(hub).commits[1:]] == ["Round 1", "Round 2"]
    assert set(repository(hub).tags) == {"round-1", "round-2"}
    held = {held.sha256: held.size for _, _, files in repository(hub).commits for held in files.values() if held.sha256}
    assert hub.received == sum(held.values())  # each file once
    both = [repository(hub).files(tag)["README.md"].file.read_text() for tag in ("round-1", "round-2")]
    assert "| 2 | `scripted@0`" in both[1] and "| 2 | `scripted@0`" not in both[0]


def test_publishing_again_sends_and_commits_nothing(itool: Itool, one_round: Path, hub: HubServer) -> None:
    itool("publish", "--run", one_round, "--repo", REPO)
    state, received = list(repository(hub).commits), hub.received
    code, out, _ = itool("publish", "--run", one_round, "--repo", REPO)
    assert (code, repository(hub).commits, hub.received) == (0, state, received)
    assert "new: 0 files" in out and "nothing to send" in out


def test_what_changes_in_a_round_moves_its_tag(itool: Itool, copied: Path, hub: HubServer) -> None:
    itool("publish", "--run", copied, "--repo", REPO)
    with write_run(copied, None, []) as run:
        evaluate(run, "scripted@0+late", [True])
    itool("publish", "--run", copied, "--repo", REPO)
    assert repository(hub).tags == {"round-1": repository(hub).commits[-1][0]}
    assert len(repository(hub).commits) == 3


def test_what_is_not_ours_stays_and_what_is_stale_goes(itool: Itool, one_round: Path, hub: HubServer) -> None:
    itool("publish", "--run", one_round, "--repo", REPO)
    held = hub.store(b"theirs")
    theirs = ["notes.txt", "data/pairs/notes.txt", "data/other/train-00000-of-00001.parquet"]
    files = repository(hub).files("main") or {}
    stale = "data/sft_hard/train-00000-of-00001.parquet"
    repository(hub).commit("by hand", {**files, **dict.fromkeys([*theirs, stale], held)})
    assert itool("publish", "--run", one_round, "--repo", REPO)[0] == 0
    assert set(repository(hub).files("main") or {}) == {*files, *theirs}


def test_a_folder_is_brought_to_the_next_round(itool: Itool, published: Path, two_rounds: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(published, out)
    (out / "notes.txt").write_text("mine")
    itool("publish", "--run", two_rounds, "--to", out)
    itool("publish", "--run", two_rounds, "--to", tmp_path / "again" / "out")
    assert contents(out).pop("notes.txt") == b"mine"
    assert contents(out) == contents(tmp_path / "again" / "out") | {"notes.txt": b"mine"}


def test_a_dry_run_sends_nothing(
    itool: Itool, one_round: Path, two_rounds: Path, hub: HubServer, tmp_path: Path
) -> None:
    code, out, _ = itool("publish", "--run", one_round, "--repo", REPO, "--dry-run")
    assert code == 0 and hub.repositories == {} and hub.received == 0
    assert "data/pairs/train-00000-of-00001.parquet" in out and "unchanged: 0 files" in out and "round-1" in out
    itool("publish", "--run", one_round, "--to", tmp_path / "out", "--dry-run")
    assert not (tmp_path / "out").exists()
    itool("publish", "--run", one_round, "--repo", REPO)
    _, out, _ = itool("publish", "--run", two_rounds, "--repo", REPO, "--dry-run")
    assert "under another name: 3 files" in out and "tagged round-2" in out


def test_private_holds_or_is_refused(itool: Itool, one_round: Path, hub: HubServer) -> None:
    itool("publish", "--run", one_round, "--repo", "me/hidden", "--private")
    assert repository(hub, repo="me/hidden").private
    itool("publish", "--run", one_round, "--repo", REPO)
    assert not repository(hub).private
    one_line(itool("publish", "--run", one_round, "--repo", REPO, "--private"), "is public")


# --- failures -----------------------------------------------------------------------------------------------------


def test_a_commit_that_fails_midway_keeps_what_was_sent(itool: Itool, one_round: Path, hub: HubServer) -> None:
    hub.fail(r"POST .*/commit/", 503)
    failed = itool("publish", "--run", one_round, "--repo", REPO)
    one_line(failed, "committing", "status 503", "kept there", "the same command goes on")
    received = hub.received
    assert received > 0 and len(repository(hub).commits) == 1 and repository(hub).tags == {}
    hub.heal()
    assert itool("publish", "--run", one_round, "--repo", REPO)[0] == 0
    assert hub.received == received
    assert set(repository(hub).tags) == {"round-1"}


def test_a_failure_after_some_files_sends_only_the_others_again(itool: Itool, one_round: Path, hub: HubServer) -> None:
    hub.fail(r"PUT /objects/", 418, after=2)
    one_line(itool("publish", "--run", one_round, "--repo", REPO), "uploading", "status 418")
    hub.heal()
    assert itool("publish", "--run", one_round, "--repo", REPO)[0] == 0
    held = (repository(hub).files("main") or {}).values()
    assert hub.received == sum(h.size for h in held if h.sha256)


@pytest.mark.parametrize("request_", [r"PUT /objects/", r"POST .*/tag/"])
def test_a_killed_publication_is_finished_by_the_same_command(
    itool: Itool, one_round: Path, hub: HubServer, tmp_path: Path, request_: str
) -> None:
    hub.hold = request_
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "itool_cli.main", "publish", "--run", str(one_round), "--repo", REPO]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        assert hub.held.wait(60)
        process.kill()
    hub.hold = ""
    assert itool("publish", "--run", one_round, "--repo", REPO)[0] == 0
    assert [message for _, message, _ in repository(hub).commits[1:]] == ["Round 1"]
    assert repository(hub).tags == {"round-1": repository(hub).commits[-1][0]}
    held = (repository(hub).files("main") or {}).values()
    assert hub.received == sum(h.size for h in held if h.sha256)


def test_a_failure_while_reading_back_leaves_only_the_tag_to_do(itool: Itool, one_round: Path, hub: HubServer) -> None:
    hub.fail(r"(GET|HEAD) .*/resolve/", 418, after=3)
    one_line(itool("publish", "--run", one_round, "--repo", REPO), "reading back", "status 418")
    assert len(repository(hub).commits) == 2 and repository(hub).tags == {}
    hub.heal()
    received = hub.received
    assert itool("publish", "--run", one_round, "--repo", REPO)[0] == 0
    assert hub.received == received
    assert repository(hub).tags == {"round-1": repository(hub).commits[1][0]}


def test_another_content_than_was_sent_is_found(itool: Itool, one_round: Path, hub: HubServer) -> None:
    hub.corrupt = "data/steps/train-00000-of-00001.parquet"
    one_line(itool("publish", "--run", one_round, "--repo", REPO), hub.corrupt, "is not what was sent")
    assert repository(hub).tags == {}


def test_who_may_not_publish_is_told_in_one_line(
    itool: Itool, one_round: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_line(itool("publish", "--run", one_round, "--repo", "you/toy"), "datasets/you/toy", "may not write there")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    one_line(itool("publish", "--run", one_round, "--repo", REPO), "the token is refused", "hf auth login")
    monkeypatch.delenv("HF_TOKEN")
    one_line(itool("publish", "--run", one_round, "--repo", REPO), "no token for", "HF_TOKEN", "--to")
    assert hub.repositories == {}


def test_a_hub_that_is_not_there_is_told_in_one_line(
    itool: Itool, one_round: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    one_line(itool("publish", "--run", one_round, "--repo", REPO), "http://127.0.0.1:9", "cannot be reached", "--to")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    one_line(itool("publish", "--run", one_round, "--repo", REPO, "--dry-run"), "cannot be reached")


def test_a_hub_without_xet_storage_is_told_in_one_line(
    itool: Itool, one_round: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    one_line(itool("publish", "--run", one_round, "--repo", REPO), "HF_HUB_DISABLE_XET=1")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ([], ["--repo USER/NAME, or --to DIR"]),
        (["--repo", REPO, "--to", "x"], ["--repo USER/NAME, or --to DIR"]),
        (["--repo", "toy"], ["--repo toy", "USER/NAME"]),
        (["--repo", "me/a b"], ["--repo me/a b"]),
    ],
)
def test_options_that_make_no_sense(
    itool: Itool, one_round: Path, hub: HubServer, options: list[str], parts: list[str]
) -> None:
    one_line(itool("publish", "--run", one_round, *options), *parts)


def test_a_run_with_nothing_to_publish(itool: Itool, tmp_path: Path) -> None:
    with write_run(tmp_path / "run", None, []):
        pass
    one_line(itool("publish", "--run", tmp_path / "run", "--to", tmp_path / "out"), "no pairs", "itool mine")
    one_line(itool("publish", "--run", tmp_path / "run", "--to", tmp_path / "out", "--adapter"), "no adapter")


def test_the_token_is_written_nowhere(one_round: Path, two_rounds: Path, hub: HubServer, tmp_path: Path) -> None:
    environment = os.environ | {
        "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "hf"), "TMPDIR": str(tmp_path),
    }  # fmt: skip
    said = ""
    for failing in (False, True):
        if failing:
            hub.fail(r"POST .*/tag/", 500)
        run = two_rounds if failing else one_round
        command = [sys.executable, "-m", "itool_cli.main", "--debug", "publish", "--run", str(run), "--repo", REPO]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == failing
        said += done.stdout + done.stderr
    assert "Traceback" in said
    assert TOKEN not in said
    assert not any(TOKEN.encode() in content for content in contents(tmp_path).values())


# --- cards --------------------------------------------------------------------------------------------------------


def test_the_card_says_what_the_run_recorded(one_round: Path, published: Path) -> None:
    card = DatasetCard.load(published / "README.md")
    assert card.data.license == ["apache-2.0", UNKNOWN]  # the base model's, and a file's of one's own
    assert card.data.size_categories == ["n<1K"]
    assert [c["config_name"] for c in card.data.configs if c.get("default")] == ["pairs"]
    n = pq.read_table(published / "data" / "pairs").num_rows
    sizes = {info["config_name"]: info["splits"][0]["num_examples"] for info in card.data["dataset_info"]}
    assert sizes["pairs"] == n
    tree = query(
        open_run(one_round).store, "SELECT sum(dropped_delta_q) AS d, sum(proved) AS p FROM trees"
    ).to_pylist()[0]
    for part in (
        f"| 1 | `scripted@0` | mcts | 20 | {n} | {tree['p']} | {tree['d']} |",
        "50.0%",
        "2501.09766",
        "chosen    ",
        "at most 32 tokens",
    ):
        assert part in card.text


def test_a_licence_of_ones_own(itool: Itool, one_round: Path, tmp_path: Path) -> None:
    itool("publish", "--run", one_round, "--to", tmp_path / "toy", "--license", "cc-by-4.0")
    assert DatasetCard.load(tmp_path / "toy" / "README.md").data.license == "cc-by-4.0"


@pytest.mark.parametrize(
    ("source", "name", "licence"),
    [
        ("bfcl", "BFCL v3", "apache-2.0"),
        ("toolace-system", "ToolACE", "apache-2.0"),
        ("xlam:/home/somebody/x.json", "xLAM function calling 60k", "cc-by-4.0"),
        ("/home/somebody/bfcl.jsonl", "bfcl", UNKNOWN),
        ("hf:a/b:test", "a/b", UNKNOWN),
    ],
)
def test_licences_of_sources_are_known_or_unknown(tmp_path: Path, source: str, name: str, licence: str) -> None:
    with write_run(tmp_path / "run", None, []) as run:
        run.store.commit("import", {"samples": [sample_row(toy_sample())]}, source=source)
    (found,) = sources(run)
    assert (found.name, found.licence) == (name, licence)


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("embedded", "apache-2.0"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3.1"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3"),
        ("Qwen/Qwen2.5-7B-Instruct", "apache-2.0"),
        ("Qwen/Qwen2.5-3B-Instruct", UNKNOWN),
        ("somebody/Qwen3-8B", UNKNOWN),
        ("/models/meta-llama/Llama-3.1-8B-Instruct", UNKNOWN),
    ],
)
def test_licences_of_base_models_are_known_or_unknown(name: str, licence: str) -> None:
    assert base_model(ModelSettings(name=name)).licence == licence


def test_text_of_a_model_stays_text(itool: Itool, tmp_path: Path) -> None:
    """It neither ends the card's metadata nor its code blocks, nor reaches the terminal."""
    hostile = "```\n---\nlicense: mit\n---\n# <script>x</script> | a `b` \x1b[31m"
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    sample = Sample("toy", "0", (Message("user", hostile),), (Tool("f", hostile, schema),), "[f(a=1)]")
    pair = {
        "pair_id": hostile, "tree_id": "t", "sample_id": sample.sample_id, "round": 1, "policy": hostile, "path": "",
        "prefix_text": hostile, "chosen_text": hostile, "rejected_text": hostile, "q_chosen": 1.0, "q_rejected": 0.0,
        "chosen_terminal": True, "rejected_terminal": True, "error_class": hostile,
    }  # fmt: skip
    with write_run(tmp_path / "run", None, []) as run:
        run.store.commit("import", {"samples": [sample_row(sample)]}, source="toy.jsonl")
        run.store.commit("mine", {"pairs": [pair]}, round=1)
    _, out, _ = itool("publish", "--run", tmp_path / "run", "--to", tmp_path / "out")
    assert "\x1b" not in out
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == ["apache-2.0", UNKNOWN]
    fenced = card.text.split("````text\n")[1].split("\n````")[0]
    assert fenced.count(hostile) == 4
    outside = card.text.replace(fenced, "")
    assert "<script>" not in outside.replace(code(hostile), "")
    (published,) = pq.read_table(tmp_path / "out" / "data" / "pairs").to_pylist()
    assert published["chosen"][0]["content"] == 2 * hostile


def test_code_cannot_be_left() -> None:
    assert code("a `b` | c\n") == "`a b c`"
    assert block("x\n````\ny").splitlines()[0] == "`````text"


# --- adapters -----------------------------------------------------------------------------------------------------


def test_an_adapter_is_published_with_its_scores(itool: Itool, tmp_path: Path, hub: HubServer) -> None:
    from peft import PeftModel
    from tiny_lora import tiny_lora
    from transformers import AutoModelForCausalLM

    from bench.toy_loop import tiny_model

    base = tiny_model(tmp_path / "tiny")
    trained = tiny_lora(base)
    with write_run(tmp_path / "run", None, [f"model.name={base}"]) as run:
        trained.save_pretrained(tmp_path / "run" / "adapters" / "warmup-abc")
        info = {"adapter": "adapters/warmup-abc", "content": "abc", "base": "tiny@0"}
        run.store.commit("warmup", {}, **info)
        evaluate(run, "tiny@0+abc", [True, False, False, False])
        evaluate(run, "tiny@0", [False] * 4)
    assert itool("publish", "--run", tmp_path / "run", "--repo", "me/lora", "--adapter")[0] == 0
    assert set(repository(hub, "models", "me/lora").tags) == {"round-0"}
    out = tmp_path / "out"
    itool("publish", "--run", tmp_path / "run", "--to", out, "--adapter")
    files = repository(hub, "models", "me/lora").files("main") or {}
    assert {".gitattributes", *contents(out)} == set(files)
    assert not any(str(tmp_path).encode() in content for content in contents(out).values())
    card = ModelCard.load(out / "README.md")
    assert {r.metric_name.split(":")[0]: r.metric_value for r in card.data.eval_results}["all items"] == 0.25
    assert all(r.metric_args["n"] == 4 for r in card.data.eval_results)
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out)
    weights = {n: p for n, p in trained.named_parameters() if "lora_B" in n}
    assert weights and all(p.equal(dict(loaded.named_parameters())[n]) for n, p in weights.items())


def test_a_card_describes_the_search_that_was_made(walked: Path, published: Path) -> None:
    walk, tree = ((folder / "README.md").read_text() for folder in (walked, published))
    assert "- `walk`, along a right response" in walk and "tree search, a tree a sample" not in walk
    assert "- `mcts`, Monte Carlo tree search, a tree a sample" in tree and "`walk`" not in tree
    steps = pq.read_table(walked / "data" / "steps")
    assert steps.num_rows > 20 and all(steps["proved"].to_pylist())
    trees = pq.read_table(walked / "data" / "trees").num_rows
    assert f"| walk | {trees} | {steps.num_rows} | {steps.num_rows} |" in walk
