"""What the warm-up and the preference training ask of transformers' Trainer alike: schedule, checkpoints, device.

Left out: what only one of them asks for (batches, number format, trackers), which stands where it is trained.
"""

from pathlib import Path
from typing import Any


def common_arguments(learning_rate: float, seed: int, device: str, work: Path) -> dict[str, Any]:
    """Keyword arguments of `TrainingArguments` (paper B.1, Table 6: cosine, a tenth of the updates to warm up).

    Args:
        learning_rate: the schedule's highest.
        seed: of everything random.
        device: `cpu` or `cuda`.
        work: folder for checkpoints, which are written when a callback asks for one.
    """
    on_gpu = device == "cuda"
    return {
        "output_dir": str(work),
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,  # below 1 it is a share of the updates
        "logging_steps": 1,
        "save_strategy": "no",
        "save_total_limit": 1,
        "seed": seed,
        "gradient_checkpointing": on_gpu,
        "use_cpu": not on_gpu,
        "disable_tqdm": True,
    }
