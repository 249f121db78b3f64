"""What our trainings ask of transformers' Trainer: schedule, checkpoints, device, trackers (paper B.1, Table 6).

Left out: batches and number format, which are ours (`pair_trainer`, `qlora`).
"""

import os
from pathlib import Path

from transformers import TrainingArguments

from itool_data.config import TrainingSettings
from itool_data.errors import ItoolError


def trainer_arguments(
    settings: TrainingSettings,
    updates: int,
    learning_rate: float,
    seed: int,
    device: str,
    work: Path,
    logs: Path,
    from_start: bool,
) -> TrainingArguments:
    """The Trainer's arguments: cosine schedule, a tenth of the updates to warm up where there are ten.

    Args:
        settings: gradient checkpointing, where to report to.
        updates: how many there are.
        learning_rate: the schedule's highest.
        seed: of everything random.
        device: `cpu` or `cuda`.
        work: folder for checkpoints, which are written when a callback asks for one.
        logs: folder for the trackers that write files.
        from_start: validate before the first update.

    Raises:
        ItoolError: if a tracker is unknown or not installed.
    """
    _check_trackers(settings.report_to)
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(logs))
    on_gpu, wanted = device == "cuda", settings.gradient_checkpointing
    args = TrainingArguments(
        output_dir=str(work),
        num_train_epochs=1,
        per_device_train_batch_size=1,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        # Below 1 it is a share of the updates. The first one's rate is then 0: a large share of few updates.
        warmup_steps=0.1 if updates >= 10 else 0,
        logging_steps=1,
        save_strategy="no",
        save_total_limit=1,
        eval_on_start=from_start,
        seed=seed,
        bf16=False,  # the model computes in its own dtype
        gradient_checkpointing=on_gpu if wanted is None else wanted,
        use_cpu=not on_gpu,
        ddp_backend="gloo" if not on_gpu and "WORLD_SIZE" in os.environ else None,
        report_to=settings.report_to or "none",
        disable_tqdm=True,
    )
    # One process trains on one GPU; the Trainer would multiply the batch by all the GPUs that it sees.
    args._n_gpu = min(args.n_gpu, 1)
    return args


def _check_trackers(names: list[str]) -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise ItoolError(f"report_to: no tracker {name!r}; there are {', '.join(INTEGRATION_TO_CALLBACK)}")
        try:
            INTEGRATION_TO_CALLBACK[name]()
        except (RuntimeError, ImportError) as error:
            raise ItoolError(f"report_to: {name} cannot be used: {str(error).splitlines()[0]}") from None
