"""Axolotl: samples of the type `chat_template`, and whole pairs as text.

Messages and functions are JSON text, which Axolotl reads: as columns, each call would get the arguments of all others.
History is marked `training: false`: each turn is a sample of its own. Its DPO over conversations
(`chat_template.default`) keeps roles and contents alone, neither calls nor functions; so pairs are the text that the
chat template made, of no `type`, which Axolotl hands to TRL as it is. TRL puts an end of text behind whatever does not
end with one, so there is no step form.

Source: https://docs.axolotl.ai (Dataset formats, RLHF), and 0.19's `prompt_strategies/chat_template.py`,
`utils/data/rl.py`.
"""

from pathlib import Path
from typing import Any

from itool_data.export.files import json_text, write_lines, write_settings, writing
from itool_data.export.material import WITHIN, Material, Message

TEMPLATE = "chat_template.jinja"
NO_STEPS = "pairs of steps within a response: not exported, as Axolotl's trainer would end the turn after the step"


def write(material: Material, folder: Path) -> None:
    """Write the files of Axolotl's layout into an empty folder."""
    if within := material.notes.pop(WITHIN, 0):
        material.notes[NO_STEPS] = within
    samples = []
    for sample in material.samples:
        messages = [*map(_untrained, sample.asked.messages), sample.answer]
        tools = {"tools": json_text(sample.asked.tools)} if sample.asked.tools else {}
        samples.append({"messages": json_text(messages), **tools})
    if samples:
        write_lines(folder / "sft.jsonl", samples)
        chat = {"type": "chat_template", "field_messages": "messages", "message_field_training": "training"}
        _settings(material, folder, "sft", {"datasets": [{"path": "sft.jsonl", "ds_type": "json", **chat}]})
    pairs = [
        {"prompt": pair.prompt_text, "chosen": pair.chosen_text, "rejected": pair.rejected_text}
        for pair in material.pairs
    ]
    if pairs:
        write_lines(folder / "pairs.jsonl", pairs)
        data = {"rl": "dpo", "datasets": [{"path": "pairs.jsonl", "split": "train"}]}
        _settings(material, folder, "dpo", data)
    if material.template:
        with writing(folder / TEMPLATE) as stream:
            stream.write(material.template)


def _untrained(message: Message) -> Message:
    return {**message, "training": False} if message["role"] == "assistant" else message


def _settings(material: Material, folder: Path, name: str, data: dict[str, Any]) -> None:
    lora = material.config.preference
    template: dict[str, Any] = {"chat_template": "tokenizer_default"}
    if material.template:
        template = {"chat_template": "jinja", "chat_template_jinja": TEMPLATE}
    if given := material.config.model.template_kwargs:
        template["chat_template_kwargs"] = dict(given)
    settings = {
        "base_model": material.model,
        **data,
        **template,
        "eot_tokens": material.ends,
        "sequence_len": material.longest,
        "adapter": "lora",
        "lora_r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_target_linear": True,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": lora.batch,
        "num_epochs": lora.epochs,
        "learning_rate": lora.lr or 1e-5,
        "output_dir": name,
    }
    write_settings(folder / f"{name}.yaml", settings, f"in this folder: axolotl train {name}.yaml")
