"""TRL: conversations as Parquet for `trl sft` and `trl dpo`, and steps as token ids with a short script.

Messages are columns of JSON values (`datasets`' type `Json`): as structs, each call would get the arguments of all
others, as nulls. What the chat template is given besides stands in each row's `chat_template_kwargs`, which TRL's SFT
and DPO trainers pass on. TRL's DPO trainer puts no end of turn behind a conversation, but has no place for a step:
`train_steps.py` gives it the token ids. Left out: CPO (SimPO) and ORPO, which render again and add an end of turn.

Source: https://huggingface.co/docs/trl/dataset_formats, and TRL 1.16's `DPOTrainer._prepare_dataset`.
"""

from pathlib import Path
from typing import Any

from itool_data.export.files import json_text, write_settings, writing
from itool_data.export.material import Material

STEPS = '''"""Steps of responses by TRL's DPO trainer: run this in its folder."""

from datasets import load_dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer


class StepTrainer(DPOTrainer):
    """Takes token ids as they are: a step is not the end of a turn, and TRL would put one behind text."""

    def _prepare_dataset(self, dataset, *_, **__):
        return dataset


if __name__ == "__main__":
    trainer = StepTrainer(
        model={model!r},
        args=DPOConfig(output_dir="steps", max_length={longest}),
        train_dataset=load_dataset("parquet", data_files="steps.parquet", split="train"),
        peft_config=LoraConfig(r={rank}, lora_alpha={alpha}, target_modules="all-linear"),
    )
    trainer.train()
    trainer.save_model("steps")
'''


def write(material: Material, folder: Path) -> None:
    """Write the files of TRL's layout into an empty folder."""
    from datasets import Json, List, Value

    messages, text, ids = List(Json()), Value("string"), List(Value("int32"))
    given, tools = _template_arguments(material), material.native
    extra = {**({"tools": text} if tools else {}), **({"chat_template_kwargs": Json()} if given else {})}

    def common(asked: Any) -> dict[str, Any]:
        row = {"prompt": asked.messages, "tools": json_text(asked.tools), "chat_template_kwargs": given}
        return {name: row[name] for name in ("prompt", *extra)}

    rows = [
        {**common(s.asked), "completion": [s.answer], "source": s.source, "sample_id": s.sample_id}
        for s in material.samples
    ]
    columns = {"prompt": messages, "completion": messages, **extra, "source": text, "sample_id": text}
    if _parquet(folder / "sft.parquet", rows, columns):
        _settings(material, folder, "sft", completion_only_loss=True)
    pairs = [
        {
            **common(pair.asked), "chosen": [pair.chosen], "rejected": [pair.rejected],
            **{name: pair.step[name] for name in ("pair_id", "error_class")},
        }
        for pair in material.pairs
    ]  # fmt: skip
    columns = {"prompt": messages, "chosen": messages, "rejected": messages, **extra}
    if _parquet(folder / "pairs.parquet", pairs, {**columns, "pair_id": text, "error_class": text}):
        _settings(material, folder, "dpo")
    columns = {"prompt_ids": ids, "chosen_ids": ids, "rejected_ids": ids, "pair_id": text, "error_class": text}
    steps = [{name: step[name] for name in columns} for step in material.steps]
    if _parquet(folder / "steps.parquet", steps, columns):
        lora = material.config.preference
        with writing(folder / "train_steps.py") as stream:
            stream.write(STEPS.format(model=material.model, longest=material.longest, rank=lora.rank, alpha=lora.alpha))


def _template_arguments(material: Material) -> dict[str, Any]:
    """What the chat template is given besides messages and functions, where that is anything."""
    settings = material.config.model
    found = dict(settings.template_kwargs)
    if material.template:
        found["chat_template"] = material.template
    return found


def _parquet(path: Path, rows: list[dict[str, Any]], columns: dict[str, Any]) -> bool:
    """Write rows where there are any; whether there were."""
    from datasets import Dataset, Features
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    if rows:
        Dataset.from_list(rows, features=Features(columns)).to_parquet(str(path))
    return bool(rows)


def _settings(material: Material, folder: Path, command: str, **more: Any) -> None:
    lora = material.config.preference
    settings = {
        "model_name_or_path": material.model,
        "datasets": [{"path": "parquet", "data_files": "sft.parquet" if command == "sft" else "pairs.parquet"}],
        "max_length": material.longest,
        "use_peft": True,
        "lora_r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_target_modules": "all-linear",
        "output_dir": command,
        **more,
    }
    write_settings(folder / f"{command}.yaml", settings, f"in this folder: trl {command} --config {command}.yaml")
