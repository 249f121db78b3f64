"""ms-swift: `messages` and `tools`, preference pairs with `rejected_messages`, and steps with a template of none.

A call is a message of the role `tool_call`, a parallel one another such message; results are `tool_response`s, told
apart by their order. History is marked `loss: false`: each turn is a sample of its own. Pairs give the whole rejected
conversation, because `rejected_response` stands for everything after the last user's message, results of calls
included; it has functions only where they are given once more, as `rejected_tools`. A step is a prompt as text and a
response as token ids, under a template that adds nothing to them, which `steps_template.py` registers; ms-swift has no
place for a prompt's token ids, so that is tokenised again.

Source: https://swift.readthedocs.io (Custom dataset, Agent support), and 4.6's `swift/dataset/preprocessor/core.py`.
"""

from pathlib import Path
from typing import Any

from itool_data.export.files import json_text, write_lines, write_settings, writing
from itool_data.export.material import Material, Message, Question

RESULTS = "samples and whole pairs with results of calls in our own form, which only templates for agents can say"
TEMPLATE = '''"""A template that adds nothing: a step is not the end of a turn."""

from swift.template import TemplateMeta, register_template

register_template(TemplateMeta("itool_steps", prefix=[], prompt=["{{QUERY}}"], chat_sep=None, suffix=[]))
'''


def write(material: Material, folder: Path) -> None:
    """Write the files of ms-swift's layout into an empty folder."""
    samples = [
        {"messages": [*_history(s.asked), *_messages(s.answer)], **_tools(s.asked)}
        for s in material.samples
        if _can_be_said(s.asked, material)
    ]
    if samples:
        write_lines(folder / "sft.jsonl", samples)
        _settings(material, folder, "sft", "sft", {"dataset": ["sft.jsonl"]})
    pairs = [
        {
            "messages": [*_history(pair.asked), *_messages(pair.chosen)],
            "rejected_messages": [*_history(pair.asked), *_messages(pair.rejected)],
            **_tools(pair.asked),
            **{f"rejected_{name}": tools for name, tools in _tools(pair.asked).items()},
        }
        for pair in material.pairs
        if _can_be_said(pair.asked, material)
    ]
    if pairs:
        write_lines(folder / "pairs.jsonl", pairs)
        _settings(material, folder, "dpo", "rlhf", {"rlhf_type": "dpo", "dataset": ["pairs.jsonl"]})
    if material.steps:
        # Messages as JSON text: a reader of columns takes no content that is now text, now token ids.
        rows = (
            {"messages": _step(step, "chosen"), "rejected_messages": _step(step, "rejected")} for step in material.steps
        )
        write_lines(folder / "steps.jsonl", rows)
        with writing(folder / "steps_template.py") as stream:
            stream.write(TEMPLATE)
        own = {"template": "itool_steps", "external_plugins": ["steps_template.py"]}
        _settings(material, folder, "steps", "rlhf", {"rlhf_type": "dpo", "dataset": ["steps.jsonl"], **own})


def _can_be_said(asked: Question, material: Material) -> bool:
    """Whether ms-swift has words for a conversation; counted where not: results, outside of a model's own form."""
    said = material.native or all(message["role"] != "tool" for message in asked.messages)
    if not said:
        material.notes[RESULTS] += 1
    return said


def _history(asked: Question) -> list[dict[str, Any]]:
    """A conversation, of which nothing is learnt."""
    return [
        {**one, "loss": False} if one["role"] in ("assistant", "tool_call") else one
        for message in asked.messages
        for one in _messages(message)
    ]


def _messages(message: Message) -> list[dict[str, Any]]:
    if calls := message.get("tool_calls"):
        made = ({"name": c["function"]["name"], "arguments": c["function"]["arguments"]} for c in calls)
        return [{"role": "tool_call", "content": json_text(call)} for call in made]
    role = "tool_response" if message["role"] == "tool" else message["role"]
    return [{"role": role, "content": message["content"]}]


def _step(step: dict[str, Any], side: str) -> str:
    answer = {"role": "assistant", "content": {"token_ids": step[f"{side}_ids"]}}
    return json_text([{"role": "user", "content": step["prompt_text"]}, answer])


def _tools(asked: Question) -> dict[str, str]:
    return {"tools": json_text(asked.tools)} if asked.tools else {}


def _settings(material: Material, folder: Path, name: str, command: str, data: dict[str, Any]) -> None:
    lora = material.config.preference
    settings = {
        "model": material.model,
        **data,
        "split_dataset_ratio": 0,
        "max_length": material.longest,
        "tuner_type": "lora",
        "lora_rank": lora.rank,
        "lora_alpha": lora.alpha,
        "target_modules": ["all-linear"],
        "output_dir": name,
    }
    write_settings(folder / f"{name}.yaml", settings, f"in this folder: swift {command} --config {name}.yaml")
