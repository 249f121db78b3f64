"""The training loop over step pairs: transformers' Trainer, with an update of ours.

The Trainer brings the optimiser, the cosine schedule, checkpoints that a killed run goes on from, several processes and
`report_to`. Ours are: an update's pairs go through the model in batches of at most so many tokens, which are halved
when memory runs out; the gradient of their mean loss is summed over the processes; every update's figures are logged;
training stops at a loss that is no number, or when the chosen steps' log-probability collapses; and the adapter that is
best on the validation pairs is kept (paper B.1), or those of given updates, to choose from. All epochs are one pass
over a list of updates, so that going on in the middle is skipping some. Left out: which pairs, which model, and what
becomes of the result (`preference`).
"""

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from itool_data.config import PreferenceSettings
from itool_data.errors import ItoolError
from itool_train.checkpoints import best_at, even_points, last_checkpoint, save_adapter
from itool_train.collate import Batch, pair_batches, step_logprobs
from itool_train.losses import WITH_REFERENCE, hyperparameters
from itool_train.objective import FIGURES, Totals, contributions, means, totals
from itool_train.processes import is_due
from itool_train.step_pairs import StepPair, shares
from itool_train.tree_batch import tree_batches

VALIDATIONS = 2  # an epoch
COLLAPSE_WINDOW = 5  # updates whose mean is held against the first update

Log = dict[str, Any]  # FIGURES by name
T = TypeVar("T")


class TrainingStoppedError(ItoolError):
    """Training stopped because going on would only spoil the model."""


@dataclass(frozen=True)
class Schedule:
    """The pairs of every update of all epochs, and those that only validate.

    Attributes:
        updates: the pairs of each.
        validation: the pairs that are not trained on.
        epochs: that the updates make.
        points: the updates whose adapters are kept; empty: the one that is best on the validation pairs alone.
    """

    updates: list[list[StepPair]]
    validation: list[StepPair]
    epochs: int
    points: frozenset[int] = frozenset()

    def validates(self, update: int) -> bool:
        """Whether to validate after so many updates: at even shares of an epoch, at its end, and at the points."""
        return update in even_points(len(self.updates), self.epochs * VALIDATIONS) | self.points


class PairTrainer(Trainer):  # type: ignore[misc]
    """Trains an adapted model on scheduled pairs.

    Args:
        model: from `qlora.load_trainable`.
        args: the Trainer's.
        settings: the loss and its parameters, batching, guard rails.
        schedule: what to train and to validate on.
        work: folder for checkpoints; the adapters that are kept are in `candidate-UPDATE` there.
        report: called with every update's log.
        say: called with what the user should know, such as that memory ran out.
        rate: the setting that the learning rate comes from, for messages.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        settings: PreferenceSettings,
        schedule: Schedule,
        work: Path,
        report: Callable[[int, Log], None],
        say: Callable[[str], None],
        rate: str = "preference.lr",
    ):
        super().__init__(model=model, args=args, callbacks=[_Clock(settings.checkpoint_seconds, schedule)])
        self.remove_callback(PrinterCallback)
        self._settings = settings
        self._parameters = hyperparameters(settings)
        self._schedule = schedule
        self._rate = rate
        self._work = work
        self._report = report
        self._say = say
        self._lay_out: Callable[[Sequence[StepPair], int], list[Batch]] = pair_batches
        if settings.batching == "tree":
            self._lay_out = partial(tree_batches, together=args.device.type == "cuda")
        self._max_tokens = settings.micro_tokens
        self._reference: dict[str, tuple[float, float]] = {}
        self._log: Log = {}
        self._started = 0.0

    # -- one update --------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[list[StepPair]]:
        """Every process gets all pairs of every update; `training_step` takes its share."""
        return DataLoader(self._schedule.updates, batch_size=1, collate_fn=itemgetter(0))  # type: ignore[arg-type]

    def training_step(self, model: Any, inputs: list[StepPair], num_items_in_batch: Any = None) -> Tensor:
        """Accumulate the gradient of an update's loss; return that loss.

        Raises:
            TrainingStoppedError: if the loss or the gradient is no number; the weights are still those before it.
        """
        self._started = time.monotonic()
        of = totals(inputs)

        def backward(batch: Batch, pairs: Sequence[StepPair]) -> Tensor:
            loss, figures = self._loss(batch, pairs, of)
            self.accelerator.backward(loss.sum())
            return figures

        self._log = self._means(self._in_batches(inputs, backward))
        gradients = [self._summed_gradient(p) for p in self.model.parameters() if p.requires_grad]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if not (math.isfinite(self._log["loss"]) and math.isfinite(norm)):
            done = self.state.global_step
            # Weights under which the loss is no number are worth nothing.
            if done and math.isfinite(self._log["loss"]) and not self.state.best_global_step:
                self._keep(None)
            raise TrainingStoppedError(
                f"the loss is not a number at update {done + 1} (loss {self._log['loss']:g}, gradient {norm:g}); "
                f"lower {self._rate}"
            )
        return torch.tensor(self._log["loss"], device=self.args.device)

    def _summed_gradient(self, parameter: Tensor) -> Tensor:
        if parameter.grad is None:  # this process had no pair
            parameter.grad = torch.zeros_like(parameter)
        if self.accelerator.num_processes > 1:
            parameter.grad.copy_(self.accelerator.reduce(parameter.grad, "sum"))
        return parameter.grad

    def _in_batches(self, pairs: Sequence[StepPair], each: Callable[[Batch, Sequence[StepPair]], T]) -> list[T]:
        """Call `each` on batches of this process's share of the pairs, anew with smaller ones when memory runs out."""
        own = shares(pairs, self.accelerator.num_processes)[self.accelerator.process_index]
        if self._lay_out is pair_batches:
            own.sort(key=len)  # rows that go through the model together are padded to the longest
        while True:
            self.model.zero_grad()
            results: list[T] = []
            done = 0
            try:
                for batch in self._lay_out(own, self._max_tokens):
                    results.append(each(batch.to(self.args.device), own[done : done + batch.n_pairs]))
                    done += batch.n_pairs
                return results
            except RuntimeError as error:
                self._halve(error, own)

    def _loss(self, batch: Batch, pairs: Sequence[StepPair], of: Totals) -> tuple[Tensor, Tensor]:
        """What a batch's items add to the loss of an update of such totals, [n], and the sums of FIGURES, float64."""
        # Not DistributedDataParallel's wrapper: it adds up gradients in every backward pass and so waits for as many
        # passes in each process, but processes have different numbers of pairs. `training_step` adds them up, once.
        policy = step_logprobs(self.model, batch)
        reference = None
        if self._reference:
            known = torch.tensor([self._reference[p.pair_id] for p in pairs], device=self.args.device)
            reference = policy._replace(chosen=known[:, 0], rejected=known[:, 1])
        loss, sums = contributions(self._settings, self._parameters, pairs, policy, reference, of)
        tokens = torch.tensor([batch.input_ids.numel(), batch.padding], dtype=torch.float64, device=sums.device)
        return loss, torch.cat([sums, tokens])

    def _halve(self, error: RuntimeError, pairs: Sequence[StepPair]) -> None:
        """After running out of memory: allow half of the tokens a pass, or raise the error if it is another one."""
        from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

        if not should_reduce_batch_size(error):
            raise error
        batches = self._lay_out(pairs, self._max_tokens)
        largest = max(batch.input_ids.numel() for batch in batches)
        if all(batch.n_pairs == 1 for batch in batches):
            section = self._rate.partition(".")[0]
            raise ItoolError(
                f"out of memory with one pair of {largest} tokens a pass; set {section}.max_tokens below {largest}"
            ) from None
        self._max_tokens = largest // 2
        clear_device_cache(garbage_collection=True)
        self._say(f"out of memory with {largest} tokens a pass; going on with {self._max_tokens}")

    def _means(self, sums: list[Tensor]) -> Log:
        """FIGURES over all processes' items."""
        own = sum(sums, torch.zeros(len(FIGURES), dtype=torch.float64, device=self.args.device))
        return means(dict(zip(FIGURES, self.accelerator.reduce(own, "sum").tolist(), strict=True)))

    # -- over many updates -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def logprobs(self, pairs: Sequence[StepPair]) -> dict[str, tuple[float, float]]:
        """Chosen and rejected log-probability of pairs by their ids, each process computing a share."""
        from accelerate.utils import gather_object

        def read(batch: Batch, pairs: Sequence[StepPair]) -> list[tuple[str, tuple[float, float]]]:
            steps = step_logprobs(self.model, batch)
            both = zip(steps.chosen.tolist(), steps.rejected.tolist(), strict=True)
            return list(zip([p.pair_id for p in pairs], both, strict=True))

        found = self._in_batches(pairs, read)
        return dict(gather_object([item for items in found for item in items]))

    def fit(self, reference: dict[str, tuple[float, float]], resume: str | None) -> None:
        """Train, from the start or from a checkpoint; `state.best_global_step` then says whose adapter was kept last.

        Args:
            reference: what `logprobs` gave of all pairs at the round's start, for the losses that need it.
            resume: a checkpoint's folder.
        """
        assert bool(reference) == (self._settings.loss in WITH_REFERENCE)
        self._reference = reference
        self.train(resume_from_checkpoint=resume)

    @torch.no_grad()
    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Log the validation pairs' figures; keep the adapter at a point, or without points if none was better.

        Where there are no such pairs, the last one is the best.

        Raises:
            TrainingStoppedError: if their loss is no number.
        """
        self._started = time.monotonic()
        value = None
        if self._schedule.validation:
            of = totals(self._schedule.validation)
            sums = self._in_batches(self._schedule.validation, lambda b, pairs: self._loss(b, pairs, of)[1])
            figures = self._means(sums)
            value = figures["loss"]
            self.log({f"eval_{name}": figure for name, figure in figures.items()})
            if not math.isfinite(value):
                raise TrainingStoppedError(
                    f"the validation loss is not a number after update {self.state.global_step}; lower {self._rate}"
                )
        best, update = self.state.best_metric, self.state.global_step
        better = update > 0 and (value is None or best is None or value < best)
        if update in self._schedule.points if self._schedule.points else better:
            self._keep(value)
        return {}

    def _keep(self, value: float | None) -> None:
        """Keep the adapter as it is now, with its validation loss, and without points no other one."""
        update = self.state.global_step
        self.state.best_metric, self.state.best_global_step = value, update
        if not self.is_world_process_zero():
            return
        save_adapter(self.model, self._work / f"candidate-{update}")
        if self._schedule.points:
            return
        # Who goes on from the last checkpoint has the one that was the best there.
        needed = {f"candidate-{best}" for best in (update, best_at(last_checkpoint(self._work)))}
        for other in self._work.glob("candidate-*"):
            if other.name not in needed:
                shutil.rmtree(other)

    def log(self, logs: Log, start_time: float | None = None) -> None:
        """Add an update's own figures to what the Trainer logs, report them, and watch for a collapse.

        Raises:
            TrainingStoppedError: if the chosen steps' log-probability has fallen too far.
        """
        of_update = "loss" in logs
        if of_update:
            logs.update(self._log)
        if of_update or "eval_loss" in logs:
            logs["seconds"] = time.monotonic() - self._started
        super().log(logs, start_time)
        if of_update:
            self._report(self.state.global_step, logs)
            self._watch()

    def _watch(self) -> None:
        chosen = [entry["chosen_logprob"] for entry in self.state.log_history if "chosen_logprob" in entry]
        recent = chosen[1:][-COLLAPSE_WINDOW:]
        now = sum(recent) / len(recent) if recent else chosen[0]
        if self._settings.collapse and chosen[0] - now > self._settings.collapse:
            raise TrainingStoppedError(
                f"the chosen steps' log-probability a token has collapsed from {chosen[0]:.2f} to {now:.2f} by update "
                f"{len(chosen)}; lower preference.lr, or allow more by preference.collapse"
            )

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the Trainer's estimate knows nothing of pairs."""
        return 0


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Asks for checkpoints by the clock and for validations by the schedule."""

    def __init__(self, seconds: float, schedule: Schedule):
        self._seconds = seconds
        self._schedule = schedule
        self._saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_evaluate = self._schedule.validates(state.global_step)
        if is_due(self._saved, self._seconds):
            self._saved = time.monotonic()
            control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # Done after the last update already.
        control.should_evaluate = control.should_save = False
