"""A run's adapter as a model repository: its files, and a card with what it was trained on and its scores.

Scores are in the card's metadata (`model-index`). Left out: the Hub's newer `.eval_results/`, which takes only data
sets that are registered there as benchmarks, under the task names that they define; no such entry of BFCL or API-Bank
is known.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from itool_data.chat_template import template_source
from itool_data.errors import ItoolError
from itool_data.publish.borrowed import borrowed_from
from itool_data.publish.card_text import CITATION, code, licence_section, score_table
from itool_data.publish.licences import SOURCES, base_model, combined, sources
from itool_data.publish.serving import TEMPLATE, serving_section
from itool_data.run import Run, standing
from itool_data.store.sql import query

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class Made:
    """The run's newest adapter.

    Attributes:
        folder: where it lies.
        policy: as rows name the base model with it.
        start: the policy that its training started from; "" for the warm-up.
        round: that made it; 0 for the warm-up.
        borrowed: `origin` and `revision` of the published data set that the round's pairs are of; empty for its own.
    """

    folder: Path
    policy: str
    start: str
    round: int
    borrowed: Mapping[str, str]


def newest_adapter(run: Run) -> Made:
    """The adapter that the run goes on from.

    Raises:
        ItoolError: there is none.
    """
    commit = standing(run.store.log())
    if commit is None:
        raise ItoolError(f"{run.folder}: no adapter to publish; `itool train warmup --run {run.folder}` makes one")
    info = commit.info
    round_ = int(info.get("round", 0))
    start = query(run.store, "SELECT any_value(policy) AS p FROM training WHERE round = ?", None, [round_])
    folder = run.folder / str(info["adapter"])
    if not (folder / WEIGHTS).is_file():
        raise ItoolError(f"{folder}: the run's newest adapter is gone; copy it back, or train again")
    return Made(
        folder, f"{info['base']}+{info['content']}", start["p"][0].as_py() or "", round_, info.get("borrowed", {})
    )


def rank_of(made: Made) -> int:
    """The adapter's rank."""
    return int(json.loads((made.folder / SETTINGS).read_text(encoding="utf-8"))["r"])


def write_model(
    run: Run, made: Made, repo_id: str, scores: Sequence[Mapping[str, Any]], licence: str | None, folder: Path
) -> dict[str, Path]:
    """Write the files of a model repository.

    Args:
        run: the run.
        made: its adapter.
        repo_id: the repository's name, for the example.
        scores: rows of `shards.SCORES`.
        licence: the Hub's identifier, instead of those of the sources and the base model.
        folder: where to; must be empty.

    Returns:
        The files by their paths in the repository.
    """
    base = base_model(run.config.model)
    settings = json.loads((made.folder / SETTINGS).read_text(encoding="utf-8"))
    # PEFT records where the base model lay on the machine that trained.
    settings["base_model_name_or_path"] = base.hub_id or base.name
    own = {
        SETTINGS: json.dumps(settings, indent=2, sort_keys=True),
        "README.md": _card(run, made, repo_id, scores, licence),
    }
    if run.config.model.chat_template:
        own[TEMPLATE] = template_source(run.config.model.chat_template)
    for name, text in own.items():
        (folder / name).write_text(text, encoding="utf-8")
    return {WEIGHTS: made.folder / WEIGHTS, **{name: folder / name for name in own}}


def _card(run: Run, made: Made, repo_id: str, scores: Sequence[Mapping[str, Any]], licence: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    base = base_model(run.config.model)
    made_from = [*sources(run), base]
    licences = combined(made_from)
    own = [row for row in scores if row["policy"] == made.policy]
    name = repo_id.rpartition("/")[2]
    results = [
        EvalResult(
            task_type="text-generation",
            task_name="Function calling",
            dataset_type=SOURCES["bfcl"].hub_id if row["benchmark"].startswith("bfcl") else row["benchmark"],
            dataset_name=row["benchmark"],
            dataset_args={"comparable_with": row["era"]},
            metric_type="accuracy",
            metric_name=f"{row['category']}: {row['formula']}",
            metric_value=row["score"],
            metric_args={"n": row["n"], "interval_95": [row["interval"]["low"], row["interval"]["high"]]},
        )
        for row in own
        if not row["missing"]
    ]
    card = ModelCardData(
        base_model=base.hub_id or None,
        library_name="peft",
        pipeline_tag="text-generation",
        license=licence or (licences[0] if len(licences) == 1 else "other"),
        datasets=[part.hub_id for part in made_from[:-1] if part.hub_id] or None,
        tags=["lora", "tool-use", "function-calling", "mcts", "itool", "arxiv:2501.09766"],
        model_name=name,
        eval_results=results or None,
    )
    before = [row for row in scores if row["policy"] == made.start]
    parts = [
        f"---\n{card.to_yaml()}\n---",
        f"# {code(name)}\n\n{_training(run, made, code(base.name))}",
        _use(repo_id, base.hub_id or base.name),
        serving_section(run.config.model, base.hub_id or base.name, repo_id, rank_of(made)),
        score_table([*before, *own]),
        licence_section(made_from, licence),
        CITATION,
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _training(run: Run, made: Made, base: str) -> str:
    settings = json.loads((made.folder / SETTINGS).read_text(encoding="utf-8"))
    lora = f"A LoRA adapter (rank {settings.get('r')}, α {settings.get('lora_alpha')}) for {base}, made by itool"
    paper = "[iTool](https://arxiv.org/abs/2501.09766)"
    if not made.start:
        return f"{lora}, an implementation of {paper}: the warm-up, SFT on easy, then medium, then hard samples."
    merge = "Merge it into the base model in full precision only, never into a 4-bit one."
    trained = f"{lora}, an implementation of {paper}. Round {made.round} trained {code(made.start)} further on"
    if made.borrowed:
        return (
            f"{trained} step pairs that another run published, by {run.config.preference.loss}. {merge}\n\n"
            f"{_borrowed(run, made.borrowed)}"
        )
    pairs = query(
        run.store,
        "SELECT count(*) AS n FROM pairs WHERE round = ? AND policy = ?",
        None,
        [made.round, made.start],
    )["n"][0].as_py()
    return (
        f"{trained} {pairs:,} step pairs that this policy's own tree search gave, by {run.config.preference.loss}. "
        f"{merge}"
    )


def _borrowed(run: Run, origin: Mapping[str, str]) -> str:
    """Where borrowed pairs came from; a folder is named by its last part."""
    name = origin["origin"] if origin["origin"].startswith("hf:") else PurePath(origin["origin"]).name
    lines = [
        "| the pairs' data set | revision | run | round | policy | pairs |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {code(name)} | {code(origin['revision'])} | {code(row['run'] or '')} | {row['round']} | "
        f"{code(row['policy'])} | {row['pairs']:,} |"
        for row in borrowed_from(run, origin["origin"], origin["revision"])
    ]
    return "\n".join(lines)


def _use(repo_id: str, base: str) -> str:
    snippet = f"""from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{base}")
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), "{repo_id}")"""
    return f"## Use\n\n```python\n{snippet}\n```"
