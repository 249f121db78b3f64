"""A run over a tiny random model whose table `pairs` is filled by hand, and its training."""

import os
import random
import signal
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.toy_loop import tiny_model
from itool_cli.choose import choose
from itool_cli.loaded import Policies
from itool_data.policy.load import BaseModel, find_model
from itool_data.run import Run, open_run, write_run
from itool_train import preference
from itool_train.processes import is_first_process

END = 2
SETTINGS = ["preference.quantization=none", "preference.batch=8", "preference.lr=0.01", "preference.rank=4"]


def pair_rows(policy: str, samples: int = 12, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of `pairs` as a search leaves them: a few pairs a sample, each below the chosen step of the one before."""
    draw = random.Random(seed)
    rows = []
    for s in range(samples):
        prompt = [draw.randrange(3, 100) for _ in range(draw.randrange(6, 14))]
        for depth in range(draw.randrange(1, 4)):
            chosen, rejected = ([draw.randrange(3, 100) for _ in range(draw.randrange(1, 5))] for _ in range(2))
            rows.append(pair_row(policy, f"s{s:02d}", f"{s}/{depth}", prompt, chosen, rejected))
            prompt = prompt + chosen
    return rows


def pair_row(
    policy: str, sample: str, name: str, prompt: list[int], chosen: list[int], rejected: list[int], round_: int = 1
) -> dict[str, Any]:
    texts = [" ".join(f"t{i}" for i in ids if i != END) for ids in (chosen, rejected)]
    return {
        "pair_id": name, "tree_id": sample, "sample_id": sample, "round": round_, "policy": policy,
        "prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected,
        "chosen_text": texts[0], "rejected_text": texts[1],
    }  # fmt: skip


def make_run(folder: Path, rows: list[dict[str, Any]] | None = None, *settings: str) -> Path:
    """A run with a model of its own beside it and pairs of that model."""
    model = folder.parent / "tiny"
    if not model.is_dir():
        tiny_model(model)
    with write_run(folder, None, [f"model.name={model}", *SETTINGS, *settings]) as run:
        base = find_model(run.config.model)
        rows = pair_rows(f"{base.name}@{base.revision}") if rows is None else rows
        if rows:
            run.store.commit("mine", {"pairs": rows}, round=1)
    return folder


def finish(run: Run, base: BaseModel, prepared: preference.Prepared, trained: preference.Trained) -> None:
    choice = choose(Console(quiet=True), run, Policies(), None, prepared.start, trained.candidates)
    preference.finish(run, base, prepared, trained, choice.info)


def train(run: Run, report: Any = lambda progress: None, say: Any = print) -> preference.Trained | None:
    """Round 1, as the command trains it."""
    base = find_model(run.config.model)
    prepared = preference.prepare(run, base, 1)
    trained = preference.train(run, base, prepared, report, say)
    if trained is not None:
        finish(run, base, prepared, trained)
    return trained


def train_until(folder: Path, kill_at: int = -1) -> None:
    """Train round 1, for a process of its own, which prints its updates' losses and is killed after one of them."""

    def report(progress: preference.Progress) -> None:
        print(progress.update, f"{progress.loss:.9f}", flush=True)
        if progress.update == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    if is_first_process():
        with write_run(folder, None, []) as run:
            train(run, report)
    else:
        train(open_run(folder), report)
