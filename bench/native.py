"""The embedded model in our own form against two native dialects, after the same warm-up on the same samples.

For each form: right items among the test samples, fragment accuracy along some of them, tokens a prompt, walks a minute
(loading the model and the plan's trial included) and what they find. Samples are those of BFCL that all forms can say
and that are short in all of them, so that every form trains on the same ones and is asked the same ones. The model has
been trained on none of the forms, and has no tokens for their markers, so what differs is what a form costs a model
that has to learn it from some dozens of samples. Left out: models that know a form already.

    python -m bench.native [--run runs/native] [--samples 80] [--items 80] [--fragments 24] [--walks 12]
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from itool_cli.console import make_console
from itool_cli.variants import do_until
from itool_data.config_file import load_config
from itool_data.loop import finished, record, stage_names
from itool_data.policy.load import find_model
from itool_data.policy.open import open_prompter
from itool_data.prompt import Prompter, tokenise
from itool_data.run import Run, open_run, write_run
from itool_data.sample import Sample
from itool_data.sources import load
from itool_data.store.samples import sample_row
from itool_data.store.sql import query
from itool_eval.scores import Tally, wilson

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "laptop.yaml"
FORMS = {
    "own": ["model.format=own"],
    "hermes": ["model.format=native", "model.chat_template=qwen2_5"],
    "qwen-xml": ["model.format=native", "model.chat_template=qwen3_5_nothink"],
}
LONGEST = 600  # tokens of a sample in any of the forms; four in five are longer in the longest
SEARCHED = "mine-1"  # the last stage of each run
SOURCE = "bfcl"  # of all samples, whatever their category


def chosen_samples() -> list[Sample]:
    """BFCL's samples with calls that every form can say in so many tokens."""
    samples = [s for s in load("bfcl") if isinstance(s, Sample) and s.calls]
    for settings in FORMS.values():
        model = load_config(CONFIG, settings).model
        samples = _short(samples, open_prompter(model, find_model(model)))
    return [replace(sample, source=SOURCE) for sample in samples]


def _short(samples: Sequence[Sample], prompter: Prompter) -> list[Sample]:
    said, _ = tokenise(prompter, samples)
    return [t.sample for t in said if len(t) <= LONGEST]


def prepare(folder: Path, form: str, samples: Sequence[Sample], options: argparse.Namespace) -> None:
    """Make the run of a form, with its samples imported."""
    training = sum(sample.split == "train" for sample in samples)
    settings = [
        "data.abstain=0", "loop.rounds=1", f"loop.benchmarks=[test:{SOURCE}]", f"loop.items={options.items}",
        f"eval.fragments={options.fragments}", f"warmup.samples={options.samples}", f"warmup.max_tokens={LONGEST}",
        "warmup.epochs=2", "warmup.lr_mixed=2e-3", "validation.items=0", "eval.max_tokens=160",
        f"replay.fraction={(options.walks - 0.5) / training:.6g}", "replay.hardest=1", "walk.max_step_tokens=48",
        *FORMS[form],
    ]  # fmt: skip
    with write_run(folder, CONFIG, settings) as run:
        if run.store.log():
            return
        run.store.commit("import", {"samples": [sample_row(sample) for sample in samples]}, source=SOURCE)
    record(folder, "import", time.monotonic(), True)


def measured(run: Run) -> dict[str, Any]:
    """What is reported of a form's run."""

    def one(sql: str) -> dict[str, Any]:
        row: dict[str, Any] = query(run.store, sql).to_pylist()[0]
        return row

    return {
        "items": one(
            "SELECT count(*) AS n, count(*) FILTER (valid) AS ok, avg(tokens_prompt) AS tokens FROM predictions"
        ),
        "steps": one('SELECT count(*) AS n, count(*) FILTER ("right") AS ok FROM decisions'),
        "walks": one("SELECT count(*) AS n, sum(proved) AS proved, sum(tokens_decoded) AS decoded FROM trees"),
        "minutes": finished(run.store.log(), stage_names(run.config.loop))[SEARCHED] / 60,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.native", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/native"), help="where the run folders are")
    parser.add_argument("--samples", type=int, default=80, help="of the warm-up")
    parser.add_argument("--items", type=int, default=80, help="test samples that are asked whole")
    parser.add_argument("--fragments", type=int, default=24, help="test samples whose every step is asked")
    parser.add_argument("--walks", type=int, default=12, help="samples that are walked along")
    options = parser.parse_args()
    console: Console = make_console()
    table = Table(
        "form", "right items", "right next steps", "tokens a prompt", "walks a minute", "proved pairs a walk",
        "per 1,000 decoded",
    )  # fmt: skip
    samples = chosen_samples()
    for form in FORMS:
        folder = options.run / form
        prepare(folder, form, samples, options)
        do_until(console, folder, SEARCHED)
        found = measured(open_run(folder))
        items, steps, walks = found["items"], found["steps"], found["walks"]
        interval = wilson(Tally(items["ok"], items["n"]))
        table.add_row(
            form,
            f"{items['ok']}/{items['n']} ({100 * interval.low:.0f} to {100 * interval.high:.0f} %)",
            f"{steps['ok']}/{steps['n']} ({100 * steps['ok'] / max(steps['n'], 1):.1f} %)",
            f"{items['tokens']:.0f}",
            f"{walks['n'] / found['minutes']:.1f}",
            f"{walks['proved'] / max(walks['n'], 1):.1f}",
            f"{1000 * walks['proved'] / max(walks['decoded'], 1):.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
