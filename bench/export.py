"""Other trainers' own code reads what `itool export` wrote: the tokens that they would train on, against those mined.

`python -m bench.export llama-factory|ms-swift|axolotl DIR`, in an environment with that trainer (they pin other
versions of transformers and datasets than itool does; LLaMA-Factory starts all the same with DISABLE_VERSION_CHECK=1),
where DIR holds the exports of one run for that trainer and for TRL, in folders of those names. The tokenizer is the
embedded model's, with Qwen2.5's template where the run's form is native. Prints what was read and how much of it is,
token for token, what was mined; what follows the end of turn (a template's line break) is not compared. Left out:
training, and TRL, which the tests have read its files.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.native_forms import tokenizer
from itool_data.chat_template import template_source

Sequence = tuple[str, list[int], list[int]]  # of what, all token ids, those that are learnt
IGNORED = -100


def mined(folder: Path) -> dict[str, set[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """All sequences of the run, and what is learnt of them: of samples by TRL's rendering, of pairs as mined."""
    from datasets import load_dataset

    found: dict[str, set[Any]] = {"sft": set(), "steps": set()}
    steps = load_dataset("parquet", data_files=str(folder / "trl" / "steps.parquet"), split="train")
    for row in steps:
        for side in ("chosen_ids", "rejected_ids"):
            found["steps"].add((tuple(row["prompt_ids"] + row[side]), tuple(row[side])))
    for row in load_dataset("parquet", data_files=str(folder / "trl" / "sft.parquet"), split="train"):
        given = {"tools": json.loads(row.get("tools") or "null"), **(row.get("chat_template_kwargs") or {})}
        texts = [
            tokenizer().apply_chat_template(chat, tokenize=False, add_generation_prompt=reply, **given)
            for chat, reply in ((row["prompt"], True), (row["prompt"] + row["completion"], False))
        ]
        prompt, whole = (tokenizer()(text, add_special_tokens=False)["input_ids"] for text in texts)
        found["sft"].add((tuple(cut(whole)), tuple(cut(whole)[len(prompt) :])))
    return found


def cut(ids: list[int]) -> list[int]:
    """Without what a template writes behind the last end of turn."""
    ends = [n for n, token in enumerate(ids) if token == tokenizer().eos_token_id]
    return list(ids[: ends[-1] + 1]) if ends and len(ids) - ends[-1] < 3 else list(ids)


def llama_factory(folder: Path, native: bool) -> Iterator[Sequence]:
    """By its converter, its template and its processors."""
    from datasets import load_dataset, load_from_disk
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.data.processor import PairwiseDatasetProcessor, SupervisedDatasetProcessor
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments

    arguments = DataArguments(
        template="qwen" if native else None, dataset_dir=str(folder), mask_history=True, cutoff_len=10_000
    )
    template = get_template_and_fix_tokenizer(tokenizer(), arguments)
    for name, kind in (("itool_sft", SupervisedDatasetProcessor), ("itool_pairs", PairwiseDatasetProcessor)):
        (attributes,) = get_dataset_list([name], str(folder))
        rows = load_dataset("json", data_files=str(folder / attributes.dataset_name), split="train")
        convert = get_dataset_converter(attributes.formatting, attributes, arguments)
        converted = [convert(row) for row in rows]
        batch = {key: [row[key] for row in converted] for key in converted[0]}
        processor = kind(template=template, tokenizer=tokenizer(), processor=None, data_args=arguments)
        read = processor.preprocess_dataset(batch)
        for side in ("",) if name == "itool_sft" else ("chosen_", "rejected_"):
            for ids, labels in zip(read[f"{side}input_ids"], read[f"{side}labels"], strict=True):
                yield name.removeprefix("itool_"), ids, [label for label in labels if label != IGNORED]
    for row in load_from_disk(str(folder / "steps"))["train"]:
        for side in ("chosen", "rejected"):
            labels = [label for label in row[f"{side}_labels"] if label != IGNORED]
            yield "steps", row[f"{side}_input_ids"], labels


def ms_swift(folder: Path, native: bool) -> Iterator[Sequence]:
    """By its preprocessor and its templates."""
    import runpy

    from swift.dataset import load_dataset
    from swift.template.register import TEMPLATE_MAPPING

    runpy.run_path(str(folder / "steps_template.py"))
    own = "qwen2_5" if native else "chatml"
    for name, template_type in (("sft", own), ("pairs", own), ("steps", "itool_steps")):
        meta = TEMPLATE_MAPPING[template_type]
        template = meta.template_cls(None, meta, max_length=10_000)
        template.init_processor(_processor())
        template.set_mode("train" if name == "sft" else "rlhf")
        rows, _ = load_dataset([str(folder / f"{name}.jsonl")], strict=True)
        for row in rows:
            read = template.encode(row)
            for side in ("",) if name == "sft" else ("chosen_", "rejected_"):
                labels = [label for label in read[f"{side}labels"] if label != IGNORED]
                yield name, read[f"{side}input_ids"], labels


def _processor() -> Any:
    """The tokenizer with what ms-swift wants to know of its model."""
    from types import SimpleNamespace

    found = tokenizer()
    found.model_info = SimpleNamespace(max_model_len=10_000, task_type="causal_lm", torch_dtype=None, config=None)
    found.model_meta = SimpleNamespace(is_multimodal=False, is_reward=False, template=None)
    return found


def axolotl(folder: Path, native: bool) -> Iterator[Sequence]:
    """Samples by its prompt strategy; pairs go to TRL as they are."""
    import yaml
    from axolotl.prompt_strategies.chat_template import load
    from axolotl.utils.dict import DictDefault

    settings = yaml.safe_load((folder / "sft.yaml").read_text())
    if "chat_template_jinja" in settings:
        settings["chat_template_jinja"] = (folder / settings["chat_template_jinja"]).read_text()
    (data,) = settings["datasets"]
    strategy = load(tokenizer(), DictDefault(settings | {"train_on_inputs": False}), DictDefault(data))
    rows = [json.loads(line) for line in (folder / "sft.jsonl").read_text().split("\n")[:-1]]
    read = strategy.tokenize_prompt({key: [row[key] for row in rows] for key in rows[0]})  # a batch, as it maps them
    for ids, labels in zip(read["input_ids"], read["labels"], strict=True):
        yield "sft", ids, [label for label in labels if label != IGNORED]
    for line in (folder / "pairs.jsonl").read_text().split("\n")[:-1]:
        row = json.loads(line)
        prompt = tokenizer()(row["prompt"])["input_ids"]
        for side in ("chosen", "rejected"):
            whole = tokenizer()(row["prompt"] + row[side])["input_ids"]
            yield "pairs", whole, whole[len(prompt) :]


READERS: dict[str, Callable[[Path, bool], Iterator[Sequence]]] = {
    "llama-factory": llama_factory,
    "ms-swift": ms_swift,
    "axolotl": axolotl,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trainer", choices=READERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--show", type=int, default=0, help="print so many sequences that differ")
    options = parser.parse_args()
    expected = mined(options.folder)
    native = (options.folder / "axolotl" / "chat_template.jinja").is_file()
    tokenizer().chat_template = template_source("qwen2_5") if native else tokenizer().chat_template
    counts: dict[str, list[int]] = {}
    shown = 0
    for name, ids, learnt in READERS[options.trainer](options.folder / options.trainer, native):
        wanted = expected["sft" if name == "sft" else "steps"]
        same = (tuple(cut(ids)), tuple(cut(learnt))) in wanted
        count = counts.setdefault(name, [0, 0])
        count[0] += 1
        count[1] += int(same)
        if not same and shown < options.show:
            shown += 1
            print(f"--- {name}\n{tokenizer().decode(ids)!r}\nlearnt: {tokenizer().decode(learnt)!r}")
    for name, (read, exact) in counts.items():
        print(f"{options.trainer}, {name}: {read} sequences read, {exact} token for token as mined")


if __name__ == "__main__":
    main()
