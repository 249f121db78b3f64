"""Easy-to-hard warm-up (paper 3.1, Eq. 1-3): LoRA SFT on the easy, then the medium, then the hard samples.

TRL's SFTTrainer does the training; the loss is on the response's tokens only (Eq. 2), end-of-turn included. Each
stage has its own learning rate and a cosine schedule, writes checkpoints, and leaves its adapter behind, so that a
killed run goes on inside the stage it was in, and each stage can be evaluated (Figure 5). A single stage `mixed` of all
difficulties is what the order is compared with. Left out: choosing the samples and among the adapters (the caller does
both), and full fine-tuning.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itool_data.config import WarmupSettings
from itool_data.errors import ItoolError
from itool_data.policy.load import BaseModel
from itool_data.policy.memory import keep_freed_memory
from itool_train.checkpoints import even_points, keep_adapter, last_checkpoint, save_adapter, write_json
from itool_train.trainer_arguments import common_arguments

STAGES = ("easy", "medium", "hard", "mixed")


@dataclass(frozen=True)
class Example:
    """A sample as token ids, its prompt and its response apart."""

    prompt: Sequence[int]
    response: Sequence[int]


@dataclass(frozen=True)
class Progress:
    """Where the training is: updates done of all stages' updates, and the last loss."""

    stage: str
    update: int
    updates: int
    loss: float


@dataclass(frozen=True)
class StageResult:
    """What a stage was and did.

    Attributes:
        stage: its name.
        samples: how many it has.
        tokens: of all its passes.
        learning_rate: the schedule's highest.
        loss: the mean over its last tenth of updates.
        seconds: that it took.
        adapter: its folder's name.
        curve: each update's `loss`, `learning_rate` and `grad_norm`.
        padding: share of what went through the model, since the last start.
    """

    stage: str
    samples: int
    tokens: int
    learning_rate: float
    loss: float
    seconds: float
    adapter: str
    curve: list[dict[str, float]]
    padding: float = 0.0


def updates_of(n_examples: int, settings: WarmupSettings) -> int:
    """Updates that a stage of so many examples makes."""
    return -(-n_examples // settings.batch) * settings.epochs


def curve_rows(results: Sequence[StageResult], policy: str) -> list[dict[str, Any]]:
    """The stages' updates, numbered through, as rows of the table `training`: round 0, objective `sft-STAGE`.

    Args:
        results: of the stages in turn.
        policy: what the warm-up started from.
    """
    updates = [(result.stage, update) for result in results for update in result.curve]
    return [
        {
            "round": 0,
            "policy": policy,
            "objective": f"sft-{stage}",
            "split": "train",
            "update": number,
            "loss": update["loss"],
            "learning_rate": update.get("learning_rate"),
            "gradient_norm": update.get("grad_norm"),
        }
        for number, (stage, update) in enumerate(updates, 1)
    ]


def warm_up(
    base: BaseModel,
    stages: dict[str, list[Example]],
    settings: WarmupSettings,
    seed: int,
    device: str,
    work: Path,
    adapters: Path,
    report: Callable[[Progress], None],
    candidates: int = 1,
) -> tuple[dict[int, Path], list[StageResult]]:
    """Train the stages in turn.

    Args:
        base: the model to adapt.
        stages: examples by difficulty, or all of them as `mixed`; an empty stage is passed over.
        settings: learning rates, sizes, LoRA's rank.
        seed: of the order of the examples and the adapter's initial weights.
        device: `cpu` or `cuda`.
        work: folder for checkpoints; what it holds from a killed run of the same data is gone on from, so it must stay
            until the result is committed.
        adapters: each stage's adapter goes to `adapters/warmup-<content hash>`.
        report: called after every update.
        candidates: keep the adapter at so many even shares of all updates, the end included.

    Returns:
        The folders of these adapters by the updates after which they were kept, and what the stages did.

    Raises:
        ItoolError: if there is nothing to train on, or the loss is not a number.
    """
    wanted = [name for name in STAGES if stages.get(name)]
    if not wanted:
        raise ItoolError("warm-up: no training samples; `itool data import SOURCE --run DIR` brings some")
    import transformers
    from accelerate.utils.memory import clear_device_cache

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if device == "cpu":
        keep_freed_memory()
    total = sum(updates_of(len(stages[name]), settings) for name in wanted)
    on_the_way = even_points(total, candidates) - {total}
    before = 0
    previous: Path | None = None
    results: list[StageResult] = []
    for name in wanted:
        folder = work / name
        record = folder / "stage.json"
        if not record.is_file():

            def tell(update: int, loss: float, name: str = name, before: int = before) -> None:
                report(Progress(name, before + update, total, loss))

            def pass_by(update: int, model: Any, before: int = before) -> None:
                if before + update in on_the_way:
                    save_adapter(model, work / f"candidate-{before + update}")

            result = _train_stage(
                base, name, stages[name], settings, seed, device, folder, previous, adapters, tell, pass_by
            )
            write_json(record, result.__dict__)
            # A trainer refers to itself, and whatever comes next needs its memory.
            clear_device_cache(garbage_collection=True)
        results.append(StageResult(**json.loads(record.read_text(encoding="utf-8"))))
        before += updates_of(len(stages[name]), settings)
        previous = adapters / results[-1].adapter
    assert previous is not None
    kept = {update: work / f"candidate-{update}" for update in sorted(on_the_way)}
    return {update: keep_adapter(kept[update], base, adapters, "warmup") for update in kept} | {
        total: previous
    }, results


def _train_stage(
    base: BaseModel,
    name: str,
    examples: list[Example],
    settings: WarmupSettings,
    seed: int,
    device: str,
    folder: Path,
    previous: Path | None,
    adapters: Path,
    tell: Callable[[int, float], None],
    pass_by: Callable[[int, Any], None],
) -> StageResult:
    import torch
    from datasets import Dataset
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
    from trl import SFTConfig, SFTTrainer

    rates = {
        "easy": settings.lr_easy,
        "medium": settings.lr_medium,
        "hard": settings.lr_hard,
        "mixed": settings.lr_mixed,
    }
    rate = rates[name]
    started = time.monotonic()
    set_seed(seed)
    on_gpu = device == "cuda"
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.bfloat16 if on_gpu else torch.float32)
    if previous is None:
        lora = LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = get_peft_model(model, lora)
    else:
        model = PeftModel.from_pretrained(model, str(previous), is_trainable=True)

    class Watch(TrainerCallback):  # type: ignore[misc]
        """Reports progress, stops on a loss that is no number, keeps adapters, asks for checkpoints by the clock."""

        saved = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                loss = float(logs["loss"])
                tell(state.global_step, loss)
                if loss != loss:
                    raise ItoolError(
                        f"warm-up: the loss is not a number at update {state.global_step} of {name}; lower lr_{name}"
                    )

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            pass_by(state.global_step, model)
            if time.monotonic() - self.saved >= settings.checkpoint_seconds:
                self.saved = time.monotonic()
                control.should_save = True

    padding = _Padding()
    rows = [
        {"input_ids": [*e.prompt, *e.response], "labels": [-100] * len(e.prompt) + list(e.response)} for e in examples
    ]
    args = SFTConfig(
        **common_arguments(rate, seed, device, folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=min(settings.micro_batch, settings.batch),
        gradient_accumulation_steps=max(1, settings.batch // settings.micro_batch),
        # In a random order more than half of a pass over several samples is padding.
        train_sampling_strategy="group_by_length" if settings.micro_batch > 1 else "random",
        bf16=on_gpu,
        max_length=None,
        report_to="none",
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    # One process trains on one GPU; the Trainer would multiply the batch by all the GPUs that it sees.
    args._n_gpu = min(args.n_gpu, 1)
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base.path),
        callbacks=[Watch()],
    )
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.data_collator = padding.watch(trainer.data_collator)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    trainer.model.save_pretrained(str(folder / "adapter"))
    # The Trainer's own log reaches back over a kill.
    names = ("loss", "learning_rate", "grad_norm")
    curve = [{k: entry[k] for k in names if k in entry} for entry in trainer.state.log_history if "loss" in entry]
    tail = [update["loss"] for update in curve[-max(1, len(curve) // 10) :]]
    return StageResult(
        name,
        len(examples),
        sum(len(e.prompt) + len(e.response) for e in examples) * settings.epochs,
        rate,
        sum(tail) / len(tail) if tail else float("nan"),
        time.monotonic() - started,
        keep_adapter(folder / "adapter", base, adapters, "warmup").name,
        curve,
        padding.share,
    )


class _Padding:
    """Counts the tokens of batches, and those of them that are padding."""

    def __init__(self) -> None:
        self._tokens = self._padding = 0

    @property
    def share(self) -> float:
        """Padding / tokens."""
        return self._padding / max(self._tokens, 1)

    def watch(self, collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The same collator, with what it makes counted."""

        def counted(rows: Any) -> Any:
            batch = collate(rows)
            self._tokens += batch["attention_mask"].numel()
            self._padding += int((batch["attention_mask"] == 0).sum())
            return batch

        return counted
