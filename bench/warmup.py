"""The warm-up in one process, in two that train together (gloo), and in padded rows: losses, padding, tokens a second.

Run `python -m bench.warmup`. A run with BFCL imported is copied and trained by `itool train warmup` each time, with one
thread a process. The last line is JSON: `one_tokens`, `two_tokens`, `rows_tokens`: trained tokens a second, the model's
loading included; `one_padding`, `two_padding`, `rows_padding`: share of what goes through the model; `two_difference`,
`rows_difference`: the largest difference of an update's loss to that of one process. `rows` has several samples a pass
(`batching: pairs`). Left out: GPUs, and NCCL.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itool_cli.launch import launch
from itool_data.run import open_run
from itool_data.store.sql import query

ROWS = ("warmup.batching=pairs", "warmup.micro_tokens=2048")


@dataclass(frozen=True)
class Measured:
    """One warm-up: its updates' losses, its tokens a second, and its share of padding."""

    losses: list[float]
    rate: float
    padding: float


def measure(imported: Path, folder: Path, processes: int, settings: Sequence[str] = ()) -> Measured:
    shutil.copytree(imported, folder)
    words: list[object] = ["train", "warmup", "--run", folder]
    for setting in settings:
        words += ["--set", setting]
    if processes > 1:
        launch(words, processes)
    else:
        _itool(*words)
    run = open_run(folder)
    stages: list[dict[str, Any]] = run.store.log()[-1].info["stages"]
    rows = query(run.store, "SELECT loss FROM training WHERE split = 'train' ORDER BY \"update\"").to_pylist()
    (stage,) = stages
    found = Measured([row["loss"] for row in rows], stage["tokens"] / stage["seconds"], stage["padding"])
    print(f"{folder.name}: {found.rate:.0f} tokens/s, {found.padding:.1%} padding, {len(rows)} updates", flush=True)
    return found


def _itool(*words: object) -> None:
    code = "from itool_cli.main import main; main()"
    subprocess.run([sys.executable, "-c", code, *map(str, words)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=96)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="itool-bench-") as name:
        imported = Path(name, "imported")
        command: list[object] = ["data", "import", "bfcl", "--run", str(imported), "-c", "laptop"]
        for setting in ("validation.items=0", f"warmup.samples={options.samples}", "warmup.batch=16"):
            command += ["--set", setting]
        _itool(*command)
        one, two = (measure(imported, Path(name, word), n) for word, n in (("one", 1), ("two", 2)))
        rows = measure(imported, Path(name, "rows"), 1, ROWS)
    figures: dict[str, float] = {}
    for word, found in (("one", one), ("two", two), ("rows", rows)):
        figures |= {f"{word}_tokens": round(found.rate, 1), f"{word}_padding": round(found.padding, 3)}
        if found is not one:
            worst = max(abs(a - b) for a, b in zip(one.losses, found.losses, strict=True))
            figures[f"{word}_difference"] = float(f"{worst:.2g}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
