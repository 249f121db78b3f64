"""A run of the whole method at toy size, for the tests and `bench.kills`.

A tiny random model that reads characters, samples of one to four tools, and API-Bank files of a few items.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

from itool_cli.main import app
from itool_data.loop import ends_of
from itool_data.prompt import SYSTEM
from itool_data.run import open_run
from itool_data.store.tables import Commit, Store
from itool_data.variant import fork

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
SETTINGS: dict[str, dict[str, Any]] = {
    "loop": {"rounds": 2},
    # With more passes or another rate, whether a round finds pairs depends on how a CPU rounds.
    "warmup": {"epochs": 5, "batch": 4, "rank": 8, "lr_easy": 0.01, "lr_medium": 0.01, "lr_hard": 0.01},
    "replay": {"fraction": 0.5, "hardest": 0.5},
    "mine": {"commit_trees": 2},
    "mcts": {"width": 4, "iterations": 3, "temperature": 1.0, "max_tokens": 16},
    "reward": {"outcome": "prefix", "weight": 0},
    "pairs": {"min_delta_q": 0.01, "min_q_chosen": -1.0},
    "preference": {"quantization": "none", "lr": 0.001, "batch": 8, "collapse": 0, "rank": 8},
    "eval": {"max_tokens": 16},
}  # fmt: skip


def tiny_model(folder: Path, vocabulary: int = 128, context: int = 256, head: int = 8) -> Path:
    """Save a random two-layer Llama with grouped heads; wide initial weights, so that its choices are not near ties."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # commands' standard error is looked at
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, head_dim=head, max_position_embeddings=context, initializer_range=0.3, bos_token_id=1,
        eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(vocabulary)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="t2", pad_token="t2",
        chat_template="{% for message in messages %}{{ message.content }} t2 {% endfor %}",
    ).save_pretrained(folder)  # fmt: skip
    return folder


def character_model(folder: Path, head: int = 8) -> Path:
    """`tiny_model` with a token a character."""
    tiny_model(folder, 128, 512, head)
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {character: number for number, character in enumerate(CHARACTERS, 3)} | {"<unk>": 0, "<end>": 2}
    letters = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    letters.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    letters.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=letters, eos_token="<end>", pad_token="<end>",
        chat_template="{% for message in messages %}{{ message.content }}\n{% endfor %}>",
    ).save_pretrained(folder)  # fmt: skip
    return folder


def write_source(path: Path, samples: int = 24) -> Path:
    """Samples in the OpenAI form, of all three difficulties: the question names the argument's value."""

    def function(name: str) -> dict[str, object]:
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
        return {"type": "function", "function": {"name": name, "description": "", "parameters": schema}}

    rows = []
    for number in range(samples):
        tools = [function(name) for name in "fghi"[: (1, 2, 4)[number % 3]]]
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": number % 4})}}
        question = {"role": "user", "content": f"{number}: f of {number % 4}"}
        rows.append({"messages": [question, {"role": "assistant", "tool_calls": [call]}], "tools": tools})
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def write_api_bank(folder: Path) -> Path:
    """Twelve items of API-Bank's form; `[f(a=N)]` is what each asks for."""
    folder.mkdir()
    rows = [
        {
            "file": "toy.jsonl", "id": number, "instruction": f"{SYSTEM}f(a: integer)",
            "input": f"{number}: f of {number % 4}",
            "expected_output": f"API-Request: [f(a={number % 4})]",
        }
        for number in range(12)
    ]  # fmt: skip
    (folder / "level-1-api.json").write_text(json.dumps(rows))
    (folder / "level-2-api.json").write_text("[]")
    return folder


def write_config(folder: Path, **loop: object) -> Path:
    """A config for a run over all of these, made in the folder."""
    settings = {key: dict(values) for key, values in SETTINGS.items()}
    settings["model"] = {"name": str(character_model(folder / "model"))}
    settings["loop"] |= {
        "sources": [str(write_source(folder / "toy.jsonl"))],
        "benchmarks": [f"apibank:{write_api_bank(folder / 'apibank')}"],
    } | loop
    path = folder / "toy.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    return path


def run_until(run: Path, stage: str, folder: Path) -> Path:
    """A copy of a finished run as it was when a stage ended."""
    opened = open_run(run)
    fork(opened, ends_of(opened.store.log(), stage)[-1], folder)
    return folder


def go_on(run: str, when: str, operation: str) -> None:
    """Go on with a run, for a process of its own, that dies `after` or `before` the first commit of an operation."""
    commit = Store.commit

    def deadly(store: Store, named: str, *arguments: Any, **info: Any) -> Commit:
        if (when, operation) == ("before", named):
            os.kill(os.getpid(), signal.SIGKILL)
        done = commit(store, named, *arguments, **info)
        if (when, operation) == ("after", named):
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Store.commit = deadly  # type: ignore[assignment, method-assign]
    app(["run", "--run", run])
