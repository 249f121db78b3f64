"""Preference training on a round's step pairs (paper 3.2): from the store's pairs to an adapter and its record.

A round starts from the newest adapter before it (the warm-up's, or the previous round's), trains on the pairs that this
very policy's search gave, or on those borrowed from another run, and leaves an adapter and its log; `finish` commits
them and makes the adapter the run's newest. A killed run goes on from its last checkpoint, or after the training.
Several processes (`accelerate launch`) train together; the first one alone writes to the run. Left out: the loop itself
(`pair_trainer`), mining, borrowing (`itool_data.publish.borrowed`), and showing progress.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itool_data.errors import ItoolError
from itool_data.policy.load import Adapter, BaseModel, adapter_hash, choose_device, context_of, policy_id
from itool_data.policy.memory import keep_freed_memory
from itool_data.policy.open import open_prompter
from itool_data.publish.borrowed import Origin, borrowed_rows
from itool_data.rejects import record_rejects
from itool_data.run import Run, identity
from itool_data.sample import Reject
from itool_data.store.sql import query
from itool_train.checkpoints import even_points, keep_adapter, last_checkpoint, write_json
from itool_train.lessons import check_tokenizer, material, of_policy, pairs_of, right_steps
from itool_train.losses import anchor_on, takes_pairs
from itool_train.processes import is_first_process
from itool_train.step_pairs import StepPair, divide, ordered_updates
from itool_train.training_rows import training_rows

if TYPE_CHECKING:
    from itool_train.pair_trainer import PairTrainer

STAGE = "preference"


@dataclass(frozen=True)
class Progress:
    """Where the training is; `loss` and `accuracy` are the last update's, the latter None where it had no pairs."""

    update: int
    updates: int
    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class Prepared:
    """A round's pairs, checked and divided, and what the training starts from.

    Attributes:
        round: of the loop.
        start: the adapter to go on from; None before any.
        policy: the base model with it, as rows name it.
        updates: the pairs of every update, of all epochs in turn.
        validation: pairs that are not trained on.
        n_train: pairs that are.
        n_too_long: pairs set aside.
        n_other: pairs of the round that another policy's search gave, passed over.
        origin: the published data set that the pairs are of; None: the run's own search.
    """

    round: int
    start: Adapter | None
    policy: str
    updates: list[list[StepPair]]
    validation: list[StepPair]
    n_train: int
    n_too_long: int
    n_other: int
    origin: Origin | None = None


@dataclass(frozen=True)
class Trained:
    """What a round's training left: it is there until `finish` has committed it.

    Attributes:
        candidates: adapters' folders by the updates after which they were kept: the one that is best on the validation
            pairs, or `validation.checkpoints` of them to choose from.
        rows: of the table `training`.
        work: the folder of what goes with the commit.
    """

    candidates: dict[int, Path]
    rows: list[dict[str, Any]]
    work: Path

    def validation_loss(self, update: int) -> float | None:
        """The loss on the validation pairs after an update (0: before the first); None where it was not taken."""
        taken = {row["update"]: row["loss"] for row in self.rows if row["split"] == "validation"}
        return taken.get(update)


def newest_round(run: Run) -> int:
    """The newest round that has pairs, or right steps where the loss takes these alone.

    Raises:
        ItoolError: if there are none at all.
    """
    table, what = material(run.config.preference)
    newest = query(run.store, f"SELECT max(round) AS round FROM {table}").to_pylist()[0]["round"]
    if newest is None:
        raise ItoolError(f"{run.folder}: no {what}s to train on; `itool mine --run {run.folder}` makes them")
    return int(newest)


def prepare(run: Run, base: BaseModel, round_: int, origin: Origin | None = None) -> Prepared:
    """Read a round's pairs, refuse what does not fit the model, set aside what is too long.

    Args:
        run: open for writing in the first process.
        base: the run's base model.
        round_: of the loop.
        origin: train on the pairs that were taken over from there, instead of the round's own.

    Raises:
        ItoolError: if there are no pairs, or they are another model's, another tokenizer's or another adapter's.
    """
    settings = run.config.preference
    start = run.adapter(base, round_)
    policy = str(policy_id(base, start))
    if origin is not None:
        _refuse_right_steps(run, origin)
    rows = _own_rows(run, round_) if origin is None else borrowed_rows(run, origin, run.config.pairs.proved)
    used = of_policy(run, rows, base, policy, round_) if rows and origin is None else rows
    check_tokenizer(used, base, policy)
    pairs = pairs_of(run, used) if takes_pairs(settings) else []
    if settings.loss == "nll":
        pairs = [replace(pair, rejected=(), rejected_span=None) for pair in pairs]
    pairs += right_steps(run, policy, round_, open_prompter(run.config.model, base))
    if not pairs and origin:
        raise ItoolError(f"--pairs {origin}: none of its pairs is proved (pairs.proved)")
    if not pairs:
        newest = newest_round(run)
        raise ItoolError(
            f"{run.folder}: nothing to train on in round {round_} (the newest are of round {newest}); "
            f"`itool mine --run {run.folder} --round {round_}` makes some"
        )
    limit = min(settings.max_tokens, context_of(base))
    fitting, too_long = [p for p in pairs if len(p) <= limit], [p for p in pairs if len(p) > limit]
    reason = "{} tokens do not fit {}"
    rejects = [Reject("pairs", "", 0, f"pair {p.pair_id}", reason.format(len(p), limit)) for p in too_long]
    record_rejects(run, STAGE, rejects)
    training, validation = divide(fitting, settings.validation, run.config.seed)
    if not training:
        raise ItoolError(
            f"{run.folder}: none of the {len(pairs)} pairs of round {round_} is left to train on: {len(too_long)} do "
            f"not fit {limit} tokens (preference.max_tokens), {len(validation)} are for validation"
        )
    updates = ordered_updates(training, settings.batch, settings.epochs, run.config.seed)
    others = len(rows) - len(used)
    return Prepared(round_, start, policy, updates, validation, len(training), len(too_long), others, origin)


def _own_rows(run: Run, round_: int) -> list[dict[str, Any]]:
    # `pairs.proved` may have been set after a search that kept others too.
    sql = "SELECT * FROM pairs WHERE round = ? AND (proved OR NOT ?) ORDER BY pair_id"
    found: list[dict[str, Any]] = query(run.store, sql, None, [round_, run.config.pairs.proved]).to_pylist()
    return found


def _refuse_right_steps(run: Run, origin: Origin) -> None:
    """Right steps come of the run's own search, and are not published."""
    settings = run.config.preference
    if (settings.loss == "nll" or settings.anchor) and anchor_on(settings) != "chosen":
        name = "loss is nll" if settings.loss == "nll" else f"anchor is {settings.anchor:g}"
        raise ItoolError(
            f"--pairs {origin.name}: preference.{name} over {anchor_on(settings)} right steps, which pairs of another "
            "run come without; set preference.anchor_on to chosen, or take another loss without an anchor"
        )


def train(
    run: Run, base: BaseModel, prepared: Prepared, report: Callable[[Progress], None], say: Callable[[str], None]
) -> Trained | None:
    """Train on prepared pairs, unless that is done already and only `finish` was not.

    Args:
        run: open for writing in the first process.
        base: the run's base model.
        prepared: from `prepare`.
        report: called after every update.
        say: called with what the user should know, such as that memory ran out.

    Returns:
        What the training left; None in other processes than the first.

    Raises:
        ItoolError: if training stopped early; its log and the last good adapter are kept, but not as the run's newest.
    """
    from accelerate.utils.memory import clear_device_cache

    work = run.folder / "work" / f"{STAGE}-{prepared.round}-{_identity(run, prepared)}"
    result = work / "trained.json"
    if not result.is_file():
        _train(run, base, prepared, work, report, say)
        # A trainer refers to itself, and whatever comes next needs its memory.
        clear_device_cache(garbage_collection=True)
    if not is_first_process():
        return None
    left = json.loads(result.read_text(encoding="utf-8"))
    candidates = {int(update): run.folder / adapter for update, adapter in left["candidates"].items()}
    return Trained(candidates, left["rows"], work)


def finish(run: Run, base: BaseModel, prepared: Prepared, trained: Trained, chosen: Mapping[str, object]) -> None:
    """Commit what becomes of a training; only then remove what a killed run would go on from.

    Args:
        run: open for writing.
        base: the run's base model.
        prepared: what was trained on.
        trained: what that left.
        chosen: what the log says of the candidate that was chosen, or refused (`itool_data.run.standing`).
    """
    run.store.commit(STAGE, {"training": trained.rows}, **_info(run, base, prepared), **chosen)
    shutil.rmtree(trained.work)


def _info(run: Run, base: BaseModel, prepared: Prepared) -> dict[str, Any]:
    """What the log says of any training."""
    info = {"round": prepared.round, "base": f"{base.name}@{base.revision}", "objective": run.config.preference.loss}
    return info | _borrowed(prepared)


def _borrowed(prepared: Prepared) -> dict[str, Any]:
    """Where borrowed pairs are from, by a name of its own; nothing where they are the run's."""
    origin = prepared.origin
    return {"borrowed": {"origin": origin.name, "revision": origin.revision}} if origin else {}


def _train(
    run: Run,
    base: BaseModel,
    prepared: Prepared,
    work: Path,
    report: Callable[[Progress], None],
    say: Callable[[str], None],
) -> None:
    """Train, and write down what came of it in `work/trained.json`."""
    from itool_data.sizing.stages import fitting
    from itool_train.losses import WITH_REFERENCE, hyperparameters
    from itool_train.pair_trainer import PairTrainer, Schedule, TrainingStoppedError
    from itool_train.qlora import load_trainable
    from itool_train.trainer_arguments import trainer_arguments

    config = run.config
    settings, device = config.preference, choose_device(config.model)
    if device == "cpu":
        keep_freed_memory()
    longest = max(len(pair) for pair in [*prepared.validation, *(p for update in prepared.updates for p in update)])
    settings = fitting("preference", settings, base, device, longest)
    resume, rate = last_checkpoint(work), hyperparameters(settings)["lr"]
    model = load_trainable(base, prepared.start.path if prepared.start else None, settings, device, config.seed)
    n = len(prepared.updates)
    points = even_points(n, config.validation.candidates)
    schedule = Schedule(prepared.updates, prepared.validation, settings.epochs, points)
    trainer = PairTrainer(
        model,
        trainer_arguments(settings, n, rate, config.seed, device, work, run.folder / "logs", resume is None),
        settings,
        schedule,
        work,
        lambda update, log: report(Progress(update, n, log["loss"], log["accuracy"])),
        say,
    )
    stopped = ""
    try:
        trainer.fit(_reference(trainer, prepared, work) if settings.loss in WITH_REFERENCE else {}, resume)
    except TrainingStoppedError as error:
        stopped = str(error)
    if not is_first_process():
        if stopped:
            raise ItoolError(f"preference training: {stopped}")
        return
    rows = training_rows(trainer.state.log_history, prepared.round, prepared.policy, settings.loss, settings.epochs)
    last = trainer.state.best_global_step
    kept = {
        update: keep_adapter(work / f"candidate-{update}", base, run.folder / "adapters", STAGE)
        for update in ([last] if stopped or not points else sorted(points))
        if update
    }
    if stopped:
        info = _info(run, base, prepared) | {"stopped": stopped}
        for update, adapter in kept.items():
            info |= {"kept": str(adapter.relative_to(run.folder)), "update": update, "content": adapter_hash(adapter)}
        run.store.commit(STAGE, {"training": rows}, **info)
        shutil.rmtree(work)
        left = f"the adapter of update {last} is kept in {kept[last]}" if kept else "no checkpoint was made yet"
        raise ItoolError(f"preference training: {stopped}; {left}")
    candidates = {update: str(adapter.relative_to(run.folder)) for update, adapter in kept.items()}
    write_json(work / "trained.json", {"candidates": candidates, "rows": rows})


def _reference(trainer: "PairTrainer", prepared: Prepared, work: Path) -> dict[str, tuple[float, float]]:
    """Log-probabilities of all pairs under the round's starting adapter: computed once, then read by who goes on."""
    kept = work / "reference.json"
    if kept.is_file():
        known: dict[str, tuple[float, float]] = json.loads(kept.read_text(encoding="utf-8"))
        return known
    trained_on = {pair.pair_id: pair for update in prepared.updates for pair in update}
    reference = trainer.logprobs([*trained_on.values(), *prepared.validation])
    if is_first_process():
        write_json(kept, reference)
    return reference


def _identity(run: Run, prepared: Prepared) -> str:
    """12 hex digits over all that the result depends on: checkpoints of anything else must not be gone on from."""
    pairs = sorted({p.pair_id for update in prepared.updates for p in update})
    beside = {"policy": prepared.policy, "pairs": pairs, "candidates": run.config.validation.candidates}
    return identity(run.config, STAGE, **beside, **_borrowed(prepared))
