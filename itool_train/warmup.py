"""Easy-to-hard warm-up (paper 3.1, Eq. 1-3): LoRA SFT on the easy, then the medium, then the hard samples.

SFT is the likelihood of whole right responses (Eq. 2), end-of-turn included, by the trainer of the preference training:
packing, several processes, NF4 and running out of memory are its business. Each stage has its own learning rate and a
cosine schedule, writes checkpoints, and leaves its adapter behind, so that a killed run goes on inside the
stage it was in, and each stage can be evaluated (Figure 5). A stage's adapter is the one that is best on samples that
only validate (B.1), where some do, else the last. A single stage `mixed` of all difficulties is what the order is
compared with. Left out: choosing the samples and among the adapters (the caller does both), and full fine-tuning.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from itool_data.config import PreferenceSettings, TrainingSettings, WarmupSettings
from itool_data.errors import ItoolError
from itool_data.policy.load import BaseModel
from itool_data.policy.memory import keep_freed_memory
from itool_train.checkpoints import even_points, keep_adapter, last_checkpoint, write_json
from itool_train.processes import is_first_process
from itool_train.step_pairs import StepPair, divide, ordered_updates
from itool_train.training_rows import training_rows

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
        samples: how many it trained on.
        tokens: of all its passes.
        learning_rate: the schedule's highest.
        loss: the mean over its last tenth of updates.
        seconds: that it took.
        adapter: its folder's name.
        update: after which that was left, of all stages' updates.
        kept: the folders' names of all adapters that it left, by such updates.
        epochs: passes over its samples.
        log: the trainer's, of each update and validation.
        padding: share of the tokens that went through the model.
    """

    stage: str
    samples: int
    tokens: int
    learning_rate: float
    loss: float
    seconds: float
    adapter: str
    update: int
    kept: dict[str, str]
    epochs: int
    log: list[dict[str, Any]]
    padding: float


@dataclass(frozen=True)
class _Stage:
    """What a stage trains and validates on, the updates of those before it, and its own after which adapters are kept.

    Without such points, the adapter that is best on the validation samples is.
    """

    name: str
    updates: list[list[StepPair]]
    validation: list[StepPair]
    before: int
    points: frozenset[int] = frozenset()

    @property
    def end(self) -> int:
        """Its last update."""
        return self.before + len(self.updates)

    def keeping(self, points: frozenset[int]) -> "_Stage":
        """The same, with its share of points of all stages, and its end."""
        own = {p - self.before for p in points if self.before < p < self.end} | {len(self.updates)}
        return replace(self, points=frozenset(own)) if points else self


def curve_rows(results: Sequence[StageResult], policy: str) -> list[dict[str, Any]]:
    """The stages' updates, numbered through, as rows of the table `training`: round 0, objective `sft-STAGE`.

    Args:
        results: of the stages in turn.
        policy: what the warm-up started from.
    """
    rows: list[dict[str, Any]] = []
    for result in results:
        before = max((row["update"] for row in rows), default=0)
        rows += training_rows(result.log, 0, policy, f"sft-{result.stage}", result.epochs, before)
    return rows


def warm_up(
    base: BaseModel,
    stages: dict[str, list[Example]],
    settings: WarmupSettings,
    seed: int,
    device: str,
    work: Path,
    adapters: Path,
    report: Callable[[Progress], None],
    say: Callable[[str], None],
    candidates: int = 0,
) -> tuple[dict[int, Path], list[StageResult]]:
    """Train the stages in turn; several processes do so together, and the first one alone writes.

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
        say: called with what the user should know, such as that memory ran out.
        candidates: leave the adapter at so many even shares of all updates, the end included; 0: the last stage's own.

    Returns:
        The folders of these adapters by the updates after which they were kept, and what the stages did.

    Raises:
        ItoolError: if there is nothing to train on, or the loss is not a number.
    """
    from accelerate.utils import broadcast_object_list
    from accelerate.utils.memory import clear_device_cache

    from itool_data.sizing.stages import fitting

    planned = _plan(stages, settings, seed)
    total = planned[-1].end
    points = even_points(total, candidates)
    longest = max(len(example.prompt) + len(example.response) for some in stages.values() for example in some)
    settings = fitting("warmup", settings, base, device, longest)
    if device == "cpu":
        keep_freed_memory()
    previous: Path | None = None
    results: list[StageResult] = []
    for stage in (each.keeping(points) for each in planned):
        record = work / stage.name / "stage.json"
        if not record.is_file():

            def tell(update: int, loss: float, stage: _Stage = stage) -> None:
                report(Progress(stage.name, stage.before + update, total, loss))

            left = _train(base, stage, settings, seed, device, record.parent, previous, adapters, tell, say)
            if left is not None:
                write_json(record, left.__dict__)
            broadcast_object_list([None])  # the others wait until it is written
            # A trainer refers to itself, and whatever comes next needs its memory.
            clear_device_cache(garbage_collection=True)
        results.append(StageResult(**json.loads(record.read_text(encoding="utf-8"))))
        previous = adapters / results[-1].adapter
    kept = {int(update): adapters / name for result in results for update, name in result.kept.items()}
    wanted = points or {results[-1].update}
    return {update: folder for update, folder in kept.items() if update in wanted}, results


def _plan(stages: dict[str, list[Example]], settings: WarmupSettings, seed: int) -> list[_Stage]:
    """The stages that have samples to train on."""
    planned: list[_Stage] = []
    for name in STAGES:
        examples = [
            StepPair(f"{number:08d}", f"{number:08d}", tuple(e.prompt), tuple(e.response), ())
            for number, e in enumerate(stages.get(name, ()))
        ]
        training, validation = divide(examples, settings.validation, seed)
        if training:
            updates = ordered_updates(training, settings.batch, settings.epochs, seed)
            planned.append(_Stage(name, updates, validation, planned[-1].end if planned else 0))
    if not planned:
        raise ItoolError("warm-up: no training samples; `itool data import SOURCE --run DIR` brings some")
    return planned


def _train(
    base: BaseModel,
    stage: _Stage,
    settings: WarmupSettings,
    seed: int,
    device: str,
    folder: Path,
    previous: Path | None,
    adapters: Path,
    tell: Callable[[int, float], None],
    say: Callable[[str], None],
) -> StageResult | None:
    """Train a stage; None in other processes than the first."""
    from itool_train.pair_trainer import PairTrainer, Schedule, TrainingStoppedError
    from itool_train.qlora import load_trainable
    from itool_train.trainer_arguments import trainer_arguments

    rate = getattr(settings, f"lr_{stage.name}")
    started, resume = time.monotonic(), last_checkpoint(folder)
    logs = adapters.parent / "logs"
    trainer = PairTrainer(
        load_trainable(base, previous, settings, device, seed),
        trainer_arguments(settings, len(stage.updates), rate, seed, device, folder, logs, resume is None),
        _as_preference(settings, rate),
        Schedule(stage.updates, stage.validation, settings.epochs, stage.points),
        folder,
        lambda update, log: tell(update, log["loss"]),
        say,
        f"warmup.lr_{stage.name}",
    )
    try:
        trainer.fit({}, resume)
    except TrainingStoppedError as error:
        raise ItoolError(f"warm-up, {stage.name}: {error}") from None
    if not is_first_process():
        return None
    kept = {
        update: keep_adapter(folder / f"candidate-{update}", base, adapters, "warmup").name
        for update in sorted(stage.points or {trainer.state.best_global_step})
    }
    log = [entry for entry in trainer.state.log_history if "loss" in entry or "eval_loss" in entry]
    updates = [entry for entry in log if "loss" in entry]
    tail = [entry["loss"] for entry in updates[-max(1, len(updates) // 10) :]]
    return StageResult(
        stage=stage.name,
        samples=len({example.pair_id for update in stage.updates for example in update}),
        tokens=sum(len(example) for update in stage.updates for example in update),
        learning_rate=rate,
        loss=sum(tail) / len(tail),
        seconds=time.monotonic() - started,
        adapter=kept[max(kept)],
        update=stage.before + max(kept),
        kept={str(stage.before + update): name for update, name in kept.items()},
        epochs=settings.epochs,
        log=log,
        padding=sum(entry["padding"] for entry in updates) / sum(entry["tokens"] for entry in updates),
    )


def _as_preference(settings: WarmupSettings, rate: float) -> PreferenceSettings:
    """SFT as the preference training's likelihood of whole right responses, with nothing rejected."""
    shared = settings.model_dump(include=set(TrainingSettings.model_fields))
    return PreferenceSettings(**shared, loss="nll", anchor_on="response", lr=rate, collapse=0)
