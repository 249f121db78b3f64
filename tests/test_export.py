"""`itool export`: what other trainers read is what was mined, and what they cannot be told is counted.

TRL reads the files back itself. LLaMA-Factory, ms-swift and Axolotl pin other versions of what itool is built on: here
their files are held against the layouts that they document, and `python -m bench.export` has their own code read them.
"""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_run import SAMPLES, native_run, one_call, own_run
from outcomes import Itool, one_line

from bench.native_forms import tokenizer
from bench.toy_loop import tiny_model
from itool_cli.main import app
from itool_data.config import Config
from itool_data.export import axolotl, llama_factory, ms_swift
from itool_data.export.material import Material, Question, SampleRow
from itool_data.run import open_run, write_run
from itool_data.store.sql import query

TRAINERS = ("trl", "llama-factory", "axolotl", "ms-swift")


@pytest.fixture(scope="module", params=["native", "own"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and a folder beside it for each trainer."""
    folder = tmp_path_factory.mktemp(request.param)
    (native_run if request.param == "native" else own_run)(folder / "run")
    for trainer in TRAINERS:
        arguments = ["export", "--run", str(folder / "run"), "--format", trainer, "--out", str(folder / trainer)]
        app(arguments, standalone_mode=False)
    return folder


def is_native(folder: Path) -> bool:
    return folder.name.startswith("native")


def mined(folder: Path) -> dict[str, dict[str, Any]]:
    rows = query(open_run(folder / "run").store, "SELECT * FROM pairs ORDER BY pair_id").to_pylist()
    return {row["pair_id"]: row for row in rows}


def lines(path: Path) -> list[dict[str, Any]]:
    # Not `splitlines`, for which some characters that JSON leaves as they are end a line.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


# --- TRL --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path_factory.mktemp("model"), len(tokenizer()), 2048))


def parquet(path: Path, cache: Path) -> Any:
    from datasets import load_dataset

    return load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(cache))


def arguments(folder: Path) -> dict[str, Any]:
    return {"output_dir": str(folder / "out"), "report_to": [], "use_cpu": True, "bf16": False, "max_length": None}


def test_trl_makes_of_whole_pairs_the_tokens_that_were_mined(exported: Path, model: Any, tmp_path: Path) -> None:
    from trl import DPOConfig, DPOTrainer

    pairs = parquet(exported / "trl" / "pairs.parquet", tmp_path)
    assert len(pairs)
    trainer = DPOTrainer(
        model=model, args=DPOConfig(**arguments(tmp_path)), train_dataset=pairs, processing_class=tokenizer()
    )
    for read in trainer.train_dataset:
        step = mined(exported)[read["pair_id"]]
        for side in ("chosen", "rejected"):
            wanted, found = step["prompt_ids"] + step[f"{side}_ids"], read["prompt_ids"] + read[f"{side}_ids"]
            assert found[: len(wanted)] == wanted and wanted[-1] == tokenizer().eos_token_id
            assert tokenizer().decode(found[len(wanted) :]) == "\n"  # the template's, behind the end of turn


def test_trl_trains_on_steps_as_they_were_mined(exported: Path, model: Any, tmp_path: Path) -> None:
    from trl import DPOConfig

    script = runpy.run_path(str(exported / "trl" / "train_steps.py"), run_name="imported")
    steps = parquet(exported / "trl" / "steps.parquet", tmp_path)
    trainer = script["StepTrainer"](
        model=model,
        args=DPOConfig(**arguments(tmp_path), per_device_train_batch_size=len(steps)),
        train_dataset=steps,
        processing_class=tokenizer(),
    )
    (batch,) = trainer.get_train_dataloader()
    learnt = {
        (tuple(ids[attended == 1].tolist()), tuple(ids[completion == 1].tolist()))
        for ids, attended, completion in zip(
            batch["input_ids"], batch["attention_mask"], batch["completion_mask"], strict=True
        )
    }
    rows = mined(exported).values()
    assert any(not row["chosen_terminal"] for row in rows) and len(rows) == len(steps)
    assert learnt == {
        ((*row["prompt_ids"], *row[f"{side}_ids"]), tuple(row[f"{side}_ids"]))
        for row in rows
        for side in ("chosen", "rejected")
    }


def test_trl_learns_the_gold_answers_with_their_end(exported: Path, model: Any, tmp_path: Path) -> None:
    from trl import SFTConfig, SFTTrainer

    samples = parquet(exported / "trl" / "sft.parquet", tmp_path)
    trainer = SFTTrainer(
        model=model, args=SFTConfig(**arguments(tmp_path)), train_dataset=samples, processing_class=tokenizer()
    )
    by_id = {sample.sample_id: sample for sample in SAMPLES}
    for row, read in zip(samples, trainer.train_dataset, strict=True):
        sample, text = by_id[row["sample_id"]], tokenizer().decode([t for t in read["labels"] if t != -100])
        assert text.endswith("<|im_end|>\n")
        if not is_native(exported):
            assert text == f"{sample.target}<|im_end|>\n"
        assert text.count("<tool_call>") == (len(sample.calls) if is_native(exported) else 0)


def test_the_settings_are_those_of_trls_commands(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trl.scripts import dpo, sft

    monkeypatch.chdir(exported / "trl")
    for name, module in (("sft", sft), ("dpo", dpo)):
        # What it does not know it refuses.
        command = ["--config", f"{name}.yaml", "--bf16", "False"]
        script, training, _, data = module.make_parser().parse_args_and_config(command)
        assert script.dataset_name is None and Path(data.datasets[0].data_files).is_file()
        assert training.max_length > 100


# --- the others, by the layouts that they document --------------------------------------------------------------------


def check_llama_factory(folder: Path) -> int:
    """Every row keeps to ShareGPT's form as LLaMA-Factory reads it; how many there are."""
    info, rows = json.loads((folder / "dataset_info.json").read_text()), 0
    for about in info.values():
        assert about["formatting"] == "sharegpt"
        for row in lines(folder / about["file_name"]):
            rows += 1
            assert set(about["columns"].values()) <= row.keys()
            turns = row["conversations"]
            answers = [row["chosen"], row["rejected"]] if about.get("ranking") else []
            roles = [turn["from"] for turn in turns if turn["from"] != "system"]
            assert all(turn["from"] != "system" for turn in turns[1:])
            for n, role in enumerate(roles):
                assert role in (("human", "observation"), ("gpt", "function_call"))[n % 2]
            assert len(roles) % 2 == bool(answers)
            assert all(answer["from"] in ("gpt", "function_call") for answer in answers)
            for turn in (*turns, *answers):
                assert isinstance(turn["value"], str)
                if turn["from"] == "function_call":
                    assert all(call.keys() == {"name", "arguments"} for call in json.loads(turn["value"]))
    return rows


def test_llama_factory(exported: Path) -> None:
    from datasets import load_from_disk

    folder = exported / "llama-factory"
    assert check_llama_factory(folder) == len(lines(folder / "sft.jsonl")) + len(lines(folder / "pairs.jsonl"))
    assert yaml.safe_load((folder / "sft.yaml").read_text())["mask_history"] is True
    read = load_from_disk(str(folder / "steps"))["train"]
    for row, step in zip(read, sorted(mined(exported).values(), key=lambda r: r["pair_id"]), strict=True):
        for side in ("chosen", "rejected"):
            assert row[f"{side}_input_ids"] == step["prompt_ids"] + step[f"{side}_ids"]
            assert [label for label in row[f"{side}_labels"] if label != -100] == step[f"{side}_ids"]
    names = [row["conversations"][-1]["from"] for row in lines(folder / "sft.jsonl")]
    assert names.count("function_call") == (len(SAMPLES) - 1 if is_native(exported) else 0)
    if is_native(exported):
        joined = next(
            turn for row in lines(folder / "sft.jsonl") for turn in row["conversations"] if "two" in turn["value"]
        )
        assert joined["value"] == '{"found": true}\n</tool_response>\n<tool_response>\ntwo'


def check_ms_swift(row: dict[str, Any]) -> None:
    for messages in (row["messages"], row.get("rejected_messages", row["messages"])):
        assert all(m["role"] in ("system", "user", "assistant", "tool_call", "tool_response") for m in messages)
        assert all(isinstance(m["content"], str) for m in messages)
        history = messages[: max(n for n, m in enumerate(messages) if m["role"] in ("user", "tool_response")) + 1]
        assert all(m.get("loss") is False for m in history if m["role"] in ("assistant", "tool_call"))
        answer = messages[len(history) :]
        assert answer and all(m["role"] in ("assistant", "tool_call") and "loss" not in m for m in answer)
        for message in messages:
            if message["role"] == "tool_call":
                assert json.loads(message["content"]).keys() == {"name", "arguments"}
    assert not row.get("tools") or json.loads(row["tools"])[0]["type"] == "function"


def test_ms_swift(exported: Path) -> None:
    folder = exported / "ms-swift"
    assert len(lines(folder / "sft.jsonl")) == len(SAMPLES) - (not is_native(exported))  # one has results of calls
    for name in ("sft", "pairs"):
        for row in lines(folder / f"{name}.jsonl"):
            check_ms_swift(row)
            assert ("tools" in row) == is_native(exported)
            # The rejected conversation is given whole, functions included: ms-swift takes none from the chosen one.
            assert name == "sft" or row.get("rejected_tools") == row.get("tools")
            assert name == "sft" or row["messages"][:-1] == row["rejected_messages"][: len(row["messages"]) - 1]
    steps = sorted(mined(exported).values(), key=lambda r: r["pair_id"])
    for row, step in zip(lines(folder / "steps.jsonl"), steps, strict=True):
        for key, side in (("messages", "chosen"), ("rejected_messages", "rejected")):
            asked, answer = json.loads(row[key])
            assert asked == {"role": "user", "content": tokenizer().decode(step["prompt_ids"])}
            assert answer == {"role": "assistant", "content": {"token_ids": step[f"{side}_ids"]}}
    assert yaml.safe_load((folder / "steps.yaml").read_text())["template"] == "itool_steps"


def test_axolotl(exported: Path) -> None:
    folder = exported / "axolotl"
    for row in lines(folder / "sft.jsonl"):
        *history, answer = json.loads(row["messages"])
        assert all(m.get("training") is False for m in history if m["role"] == "assistant")
        assert answer["role"] == "assistant" and "training" not in answer
        assert ("tools" in row) == is_native(exported)
    whole = [row for row in mined(exported).values() if row["chosen_terminal"] and row["rejected_terminal"]]
    found = {(row["prompt"] + row["chosen"], row["prompt"] + row["rejected"]) for row in lines(folder / "pairs.jsonl")}
    assert found == {
        tuple(tokenizer().decode(row["prompt_ids"] + row[f"{side}_ids"]) for side in ("chosen", "rejected"))
        for row in whole
    }
    read = yaml.safe_load((folder / "dpo.yaml").read_text())
    assert (read["rl"], read["eot_tokens"]) == ("dpo", ["<|im_end|>"]) and "type" not in read["datasets"][0]
    assert (folder / "chat_template.jinja").is_file() == is_native(exported)
    assert "as Axolotl's trainer would end the turn" in (folder / "README.md").read_text()


# --- what cannot be said ----------------------------------------------------------------------------------------------


def test_what_is_not_given_is_counted_on_the_terminal_and_in_the_folder(itool: Itool, tmp_path: Path) -> None:
    native_run(tmp_path / "run", one_call(tmp_path))
    code, out, _ = itool("export", "--run", tmp_path / "run", "--format", "ms-swift", "--out", tmp_path / "out")
    assert code == 0
    for text in (out, (tmp_path / "out" / "README.md").read_text()):
        assert "2 samples that the chat template cannot say" in text  # two calls in a turn, and two in the history
        assert "pairs of steps within a response" in text
    assert len(lines(tmp_path / "out" / "sft.jsonl")) == len(SAMPLES) - 2


def conversations() -> st.SearchStrategy[list[dict[str, Any]]]:
    call = {"id": "call00000", "type": "function", "function": {"name": "f", "arguments": {"a": [None, "né"]}}}
    message = st.one_of(
        st.builds(
            lambda role, text: {"role": role, "content": text}, st.sampled_from(["user", "assistant"]), st.text()
        ),
        st.builds(lambda n: {"role": "assistant", "content": "", "tool_calls": [call] * n}, st.integers(1, 2)),
        st.builds(lambda text: {"role": "tool", "content": text, "tool_call_id": "call00000", "name": "f"}, st.text()),
    )
    system = st.sampled_from([[], [{"role": "system", "content": "Be brief."}]])
    return st.builds(lambda head, rest: [*head, *rest], system, st.lists(message, max_size=5))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chats=st.lists(conversations(), min_size=1, max_size=4), dialect=st.sampled_from(["hermes", "llama"]))
def test_any_conversation_is_written_rightly_or_counted(
    chats: list[list[dict[str, Any]]], dialect: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    answer = {"role": "assistant", "content": "Yes."}
    tools = [{"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}]
    rows = [
        SampleRow(Question([*chat, {"role": "user", "content": "?"}], tools), answer, "toy", "id") for chat in chats
    ]
    material = Material(Config(), "toy", True, dialect, "", [], rows, longest=10)
    llama_factory.write(material, folder / "lf")
    counted = material.notes[llama_factory.UNEVEN]
    assert check_llama_factory(folder / "lf") + counted == len(chats)
    ms_swift.write(material, folder / "swift")
    for row in lines(folder / "swift" / "sft.jsonl"):
        check_ms_swift(row)
    axolotl.write(material, folder / "axolotl")
    for row, sample in zip(lines(folder / "axolotl" / "sft.jsonl"), rows, strict=True):
        messages = [{k: v for k, v in m.items() if k != "training"} for m in json.loads(row["messages"])]
        assert messages == [*sample.asked.messages, answer]


def test_what_cannot_be_exported_is_one_line(itool: Itool, tmp_path: Path) -> None:
    with write_run(tmp_path / "run", None, []) as run:
        run.store.commit("mine", {"pairs": []}, round=1)
    command = ("export", "--run", tmp_path / "run", "--format", "trl", "--out")
    one_line(itool(*command, tmp_path / "out"), "itool data import")
    one_line(itool(*command, tmp_path), f"--out {tmp_path}", "give a new folder")
