"""Folders that training leaves: the checkpoint to go on from, and the finished adapters under their content's names."""

import json
import shutil
from pathlib import Path
from typing import Any

from itool_data.policy.load import BaseModel, adapter_hash, write_identity


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint; the trainer's state is what is written last."""
    complete = [c for c in folder.glob("checkpoint-*") if (c / "trainer_state.json").is_file()]
    return str(max(complete, key=lambda c: int(c.name.rpartition("-")[2]))) if complete else None


def best_at(checkpoint: str | None) -> int | None:
    """The update whose adapter was the best so far when a checkpoint was written; None before any."""
    if checkpoint is None:
        return None
    state = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))
    best: int | None = state["best_global_step"]
    return best


def even_points(updates: int, n: int) -> frozenset[int]:
    """The updates at n even shares of a training, its end included."""
    return frozenset(max(1, round(updates * i / n)) for i in range(1, n + 1))


def save_adapter(model: Any, folder: Path) -> None:
    """Save an adapted model's adapter as it is now, whole or not at all; what a killed run saved there is replaced."""
    unfinished = folder.with_suffix(".new")
    for old in (unfinished, folder):
        shutil.rmtree(old, ignore_errors=True)
    model.save_pretrained(str(unfinished))
    unfinished.rename(folder)


def write_json(path: Path, content: Any) -> None:
    """Write what a killed run goes on from, whole or not at all."""
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(content), encoding="utf-8")
    unfinished.replace(path)


def keep_adapter(source: Path, base: BaseModel, adapters: Path, kind: str) -> Path:
    """Copy a trained adapter to `adapters/KIND-<content hash>`, whole or not at all, and say which base it is for."""
    final = adapters / f"{kind}-{adapter_hash(source)}"
    if not final.is_dir():
        adapters.mkdir(parents=True, exist_ok=True)
        unfinished = final.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(source, unfinished)
        write_identity(unfinished, base)
        unfinished.rename(final)
    return final
