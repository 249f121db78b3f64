"""The embedded model in our own form against two native dialects, after the same warm-up on the same samples.

For each form: right items of BFCL's validation share in the run's form, fragment accuracy along test samples, tokens a
prompt, and what walks find. The model has been trained on none of the forms, and has no tokens for their
markers, so what differs is what a form costs a model that has to learn it from a few hundred samples. Left out: models
that know a form already.

    python -m bench.native [--run runs/native] [--samples 160] [--items 120] [--fragments 60] [--walks 24]
"""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from itool_cli.console import make_console
from itool_cli.variants import do_until
from itool_data.run import Run, open_run, write_run
from itool_data.store.sql import query
from itool_eval.scores import Tally, wilson

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "laptop.yaml"
FORMS = {
    "own": ["model.format=own"],
    "hermes": ["model.format=native", "model.chat_template=qwen2_5"],
    "qwen-xml": ["model.format=native", "model.chat_template=qwen3_5_nothink"],
}
# The longest form's samples of this length are what all forms train on.
LONGEST = 640


def prepare(folder: Path, form: str, options: argparse.Namespace) -> None:
    """Make the run of a form, or take its settings over again."""
    settings = [
        "data.only_calls=true", "data.abstain=0", "loop.rounds=1", "loop.benchmarks=[bfcl-v3-own-prompt:validation]",
        "loop.categories=[simple, multiple, parallel, live_simple]", f"loop.items={options.items}",
        f"eval.fragments={options.fragments}", f"warmup.samples={options.samples}", f"warmup.max_tokens={LONGEST}",
        "warmup.epochs=2", "warmup.lr_mixed=2e-3", "validation.items=0", "replay.fraction=0.06",
        f"data.pool={2 * options.samples}", "eval.max_tokens=160", "walk.max_step_tokens=48", *FORMS[form],
    ]  # fmt: skip
    with write_run(folder, CONFIG, settings):
        pass


def measured(run: Run, walks: int) -> dict[str, Any]:
    """What is reported of a form's run."""

    def one(sql: str) -> dict[str, Any]:
        row: dict[str, Any] = query(run.store, sql).to_pylist()[0]
        return row

    items = one("SELECT count(*) AS n, count(*) FILTER (valid) AS ok, avg(tokens_prompt) AS tokens FROM predictions")
    steps = one('SELECT count(*) AS n, count(*) FILTER ("right") AS ok FROM decisions')
    found = one(
        "SELECT count(*) AS n, sum(proved) AS proved, sum(tokens_decoded) AS decoded "
        f"FROM (SELECT * FROM trees LIMIT {walks})"
    )
    return {"items": items, "steps": steps, "walks": found}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.native", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/native"), help="where the run folders are")
    parser.add_argument("--samples", type=int, default=160, help="of the warm-up")
    parser.add_argument("--items", type=int, default=120, help="validation items")
    parser.add_argument("--fragments", type=int, default=60, help="test samples whose every step is asked")
    parser.add_argument("--walks", type=int, default=24, help="walks that are counted")
    options = parser.parse_args()
    console: Console = make_console()
    table = Table(
        "form", "right items", "right next steps", "tokens a prompt", "proved pairs a walk", "per 1,000 decoded"
    )
    for form in FORMS:
        folder = options.run / form
        prepare(folder, form, options)
        do_until(console, folder, "mine-1")
        found = measured(open_run(folder), options.walks)
        items, steps, walks = found["items"], found["steps"], found["walks"]
        interval = wilson(Tally(items["ok"], items["n"]))
        table.add_row(
            form,
            f"{items['ok']}/{items['n']} ({100 * interval.low:.0f} to {100 * interval.high:.0f} %)",
            f"{steps['ok']}/{steps['n']} ({100 * steps['ok'] / max(steps['n'], 1):.1f} %)",
            f"{items['tokens']:.0f}",
            f"{walks['proved'] / max(walks['n'], 1):.1f}",
            f"{1000 * walks['proved'] / max(walks['decoded'], 1):.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
