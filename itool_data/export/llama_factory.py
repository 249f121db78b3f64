"""LLaMA-Factory: ShareGPT's form with tools and `dataset_info.json`, and steps as a tokenised data set.

Calls are a turn of the role `function_call`, whose value is a JSON list of them; results are an `observation`. Turns
must alternate there, so results of parallel calls are one observation, joined by what LLaMA-Factory itself puts between
them, where the model's tags hold them apart. Only the last turn is learnt (`mask_history`): each turn is a sample of
its own. A step has no end of turn, so steps go past its templates: `tokenized_path` loads token ids and labels as they
are, and its DPO, IPO, ORPO and SimPO train on them.

Source: `data/README.md` of LLaMA-Factory, and 0.9.5's `data/converter.py`, `data/processor/pairwise.py`.
"""

from pathlib import Path
from typing import Any

from itool_data.dialects import DialectName
from itool_data.export.files import json_text, write_lines, write_settings, writing
from itool_data.export.material import Material, Message, Question

# Its templates are its own: the one for a family of models, by what their calls look like.
TEMPLATES: dict[DialectName, str] = {
    "hermes": "qwen", "qwen-xml": "qwen3_5", "llama": "llama3", "lfm2": "lfm2", "glm": "glm4_moe", "gemma": "gemma4",
    "deepseek": "deepseek3", "mistral": "mistral", "harmony": "gpt_oss",
}  # fmt: skip
TAGGED = ("hermes", "qwen-xml")  # results stand in <tool_response> tags
BETWEEN = "\n</tool_response>\n<tool_response>\n"
UNEVEN = "samples and pairs whose turns do not alternate, or whose parallel results cannot be joined"
JOINED = "conversations whose parallel results are joined into one observation"
IGNORED = -100


def write(material: Material, folder: Path) -> None:
    """Write the files of LLaMA-Factory's layout into an empty folder."""
    info: dict[str, Any] = {}
    columns = {"messages": "conversations", **({"tools": "tools"} if material.native else {})}
    samples = [
        {"conversations": [*turns, _turn(sample.answer)], **_tools(sample.asked)}
        for sample in material.samples
        if (turns := _turns(sample.asked, material))
    ]
    if samples:
        write_lines(folder / "sft.jsonl", samples)
        info["itool_sft"] = {"file_name": "sft.jsonl", "formatting": "sharegpt", "columns": columns}
        _settings(material, folder, "sft", {"dataset": "itool_sft", "mask_history": True})
    pairs = [
        {"conversations": turns, "chosen": _turn(p.chosen), "rejected": _turn(p.rejected), **_tools(p.asked)}
        for p in material.pairs
        if (turns := _turns(p.asked, material))
    ]
    if pairs:
        write_lines(folder / "pairs.jsonl", pairs)
        both = {**columns, "chosen": "chosen", "rejected": "rejected"}
        info["itool_pairs"] = {
            "file_name": "pairs.jsonl", "formatting": "sharegpt", "ranking": True, "columns": both,
        }  # fmt: skip
        _settings(material, folder, "dpo", {"dataset": "itool_pairs"})
    with writing(folder / "dataset_info.json") as stream:
        stream.write(f"{json_text(info)}\n")
    if material.steps:
        _write_steps(material.steps, folder / "steps")
        # It asks for a name, and reads none of it where the tokenised set is there.
        _settings(material, folder, "steps", {"dataset": "itool_pairs", "tokenized_path": "steps"})


def _turns(asked: Question, material: Material) -> list[dict[str, str]]:
    """A conversation as turns that alternate; empty, and counted, where it cannot be said so."""
    turns: list[dict[str, str]] = []
    joined = False
    for message in asked.messages:
        turn = _turn(message)
        if turns and turn["from"] == turns[-1]["from"] == "observation" and material.dialect in TAGGED:
            turns[-1]["value"] += BETWEEN + turn["value"]
            joined = True
        else:
            turns.append(turn)
    asking = [turn["from"] in ("human", "observation") for turn in turns if turn["from"] != "system"]
    systems = [n for n, turn in enumerate(turns) if turn["from"] == "system"]
    if systems not in ([], [0]) or asking != [n % 2 == 0 for n in range(len(asking))] or not asking or not asking[-1]:
        material.notes[UNEVEN] += 1
        return []
    if joined:
        material.notes[JOINED] += 1
    return turns


def _turn(message: Message) -> dict[str, str]:
    if calls := message.get("tool_calls"):
        return {"from": "function_call", "value": json_text([_call(call["function"]) for call in calls])}
    roles = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
    return {"from": roles[message["role"]], "value": message["content"]}


def _call(function: dict[str, Any]) -> dict[str, Any]:
    return {"name": function["name"], "arguments": function["arguments"]}


def _tools(asked: Question) -> dict[str, str]:
    return {"tools": json_text(asked.tools)} if asked.tools else {}


def _write_steps(steps: list[dict[str, Any]], folder: Path) -> None:
    """As its own preprocessing of a preference set writes them."""
    from datasets import Dataset, DatasetDict, Features, List, Value
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    rows = []
    for step in steps:
        row: dict[str, Any] = {"images": None, "videos": None, "audios": None}
        for side in ("chosen", "rejected"):
            ids = [*step["prompt_ids"], *step[f"{side}_ids"]]
            row[f"{side}_input_ids"], row[f"{side}_attention_mask"] = ids, [1] * len(ids)
            row[f"{side}_labels"] = [IGNORED] * len(step["prompt_ids"]) + step[f"{side}_ids"]
        rows.append(row)
    kinds = {"input_ids": "int32", "attention_mask": "int8", "labels": "int64"}
    columns = {f"{side}_{name}": List(Value(kind)) for side in ("chosen", "rejected") for name, kind in kinds.items()}
    media = {name: Value("null") for name in ("images", "videos", "audios")}
    table = Dataset.from_list(rows, features=Features({**columns, **media}))
    DatasetDict({"train": table}).save_to_disk(str(folder))


def _settings(material: Material, folder: Path, name: str, data: dict[str, Any]) -> None:
    lora = material.config.preference
    # In our own form there are no functions to show, and it makes a template out of the model's own.
    template = {"template": TEMPLATES[material.dialect]} if material.dialect in TEMPLATES else {}
    settings = {
        "model_name_or_path": material.model,
        "stage": "sft" if name == "sft" else "dpo",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_target": "all",
        "dataset_dir": ".",
        **data,
        **template,
        "cutoff_len": material.longest,
        "output_dir": name if name != "steps" else "steps-trained",
    }
    check = "; `template` must be the one of your model" if material.native else ""
    write_settings(folder / f"{name}.yaml", settings, f"in this folder: llamafactory-cli train {name}.yaml{check}")
