"""What this machine's GPU has to show, in at most eight minutes: is it right, how fast, in how much memory.

    python -m bench.gpu [--run runs/gpu] [--minutes 8] [--only STEP …]

Steps go in the order of their worth, each in a process of its own and for so long at most; its figures are printed as a
line of JSON and kept in the run's folder, so that a second call goes on where the first was; at the end comes a table
of the memory that steps held beside what was estimated. The last step, the replication's main comparison, is sized by
the time that is left; whole it is `python -m bench.replication --plan third`. Where there is no GPU the same steps run
at toy size. Without a network: docs/gpu.md.
"""

import argparse
import importlib
import json
import math
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

# A process that has used CUDA cannot be forked. With this torch only asks the driver's library whether there is a GPU;
# and what a step imports beyond this it imports itself, for bitsandbytes asks the GPU when it is imported.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"

import torch
import transformers.models.llama.modeling_llama  # noqa: F401  (once, for all steps)

from bench.gpu.setting import CPU, GPU, Setting
from bench.gpu.table import memory_table
from bench.shared import prepared_run
from itool_data.run import write_run

RESULTS = "bench-gpu.jsonl"


class Step(NamedTuple):
    """A measurement: the seconds that it may take on a GPU, its module and function, the seconds that it must have."""

    name: str
    seconds: float
    module: str
    function: str
    least: float = 5


STEPS = (
    Step("answers", 60, "agreement", "answers_and_scores"),
    Step("losses", 60, "agreement", "losses_and_gradients"),
    Step("searches", 100, "decoding", "searches"),
    Step("layouts", 45, "learning", "layouts"),
    Step("against-trl-dpo", 60, "learning", "against_dpo"),
    Step("against-trl-simpo", 90, "learning", "against_simpo"),
    Step("vllm", 150, "engine", "vllm"),
    Step("comparison", math.inf, "comparison", "comparison", 120),  # begun in less it would stay too small to say much
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS], metavar="STEP")
    options = parser.parse_args()
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    until = time.monotonic() + 60 * options.minutes
    on_gpu = torch.cuda.is_available()
    prepared_run(options.run, (GPU if on_gpu else CPU).warmup)
    results = options.run / RESULTS
    done = {line["step"] for line in _read(results)}
    failed = False
    for step in STEPS:
        if step.name in done or (options.only and step.name not in options.only):
            continue
        left = until - time.monotonic()
        if left < step.least:
            print(f"{step.name} and what follows: not enough time is left; call it again", flush=True)
            break
        failed |= not _measure(step, options.run, results, min(left, step.seconds if on_gpu else left))
    print(*memory_table(_read(results)), sep="\n", flush=True)
    sys.exit(failed)


def _read(results: Path) -> list[dict[str, Any]]:
    """The lines of the steps that are done."""
    return [json.loads(line) for line in results.read_text("utf-8").splitlines()] if results.is_file() else []


def _measure(step: Step, folder: Path, results: Path, seconds: float) -> bool:
    """Do a step in a process of its own; return whether it left figures."""
    known = results.stat().st_size if results.is_file() else 0
    process = multiprocessing.get_context("fork").Process(target=_child, args=(step, folder, results, seconds))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        print(f"{step.name}: stopped after {seconds:.0f} s", flush=True)
    return results.is_file() and results.stat().st_size > known


def _child(step: Step, folder: Path, results: Path, seconds: float) -> None:
    started = time.monotonic()
    sizes = GPU if torch.cuda.is_available() else CPU
    measure = getattr(importlib.import_module(f"bench.gpu.{step.module}"), step.function)
    with write_run(folder, None, []) as run:
        figures = measure(Setting(run, sizes, seconds))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    rounded = {name: float(f"{f:.4g}") if isinstance(f, float) else f for name, f in figures.items()}
    line = json.dumps({"step": step.name, "device": device, "seconds": round(time.monotonic() - started)} | rounded)
    print(line, flush=True)
    with results.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main()
