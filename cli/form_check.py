"""`itool data check`: would these samples train as they are meant to, in this model's form; exits with 1 where not.

Left out: the looking (`itool_data/form_check.py`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from itool_cli.options import ConfigFile, Overrides

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from itool_data.form_check import SourceCheck

BINS = 8
BAR = 30  # characters


def check(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Data sets, as itool data import takes them.", show_default=False)
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="A run, whose samples and model are looked at.", metavar="DIR")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="A model, instead of the settings'.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Look before any training whether samples would train as they are meant to, in the form that the model has."""
    from itool_cli.console import make_console
    from itool_data.config_file import load_config
    from itool_data.errors import ItoolError
    from itool_data.form_check import check as look
    from itool_data.policy.load import context_of, find_model, stop_ids
    from itool_data.policy.open import choose_form
    from itool_data.run import open_run
    from itool_data.sample import Reject, Sample
    from itool_data.sources import load
    from itool_data.store.samples import read_samples

    console = make_console()
    if bool(sources) == (run is not None):
        raise ItoolError("itool data check wants either --run DIR or the names of data sets")
    path = config or (run / "config.yaml" if run else None)
    named = [f"model.name={model}"] if model else []
    settings = load_config(path, [*named, *(overrides or [])])
    base = find_model(settings.model)
    prompter, reason = choose_form(settings.model, base)
    console.print(f"{base.name}: {reason}")
    rejects = 0
    if run is not None:
        samples: list[Sample] = read_samples(open_run(run).store, "true")
    else:
        items = [item for source in sources or () for item in load(source)]
        samples = [item for item in items if isinstance(item, Sample)]
        rejects = sum(isinstance(item, Reject) for item in items)
    context = context_of(base)
    found = look(samples, prompter, stop_ids(base.path), context)
    console.print(_table(found, context))
    if rejects:
        console.print(f"{rejects} rows are set aside when they are imported")
    for source, one in found.items():
        _details(console, source, one, context)
    wrong = [(source, fault, *seen) for source, one in found.items() for fault, seen in one.wrong.items()]
    for source, fault, n, example in wrong:
        console.print(f"{source} would train wrongly because {fault}: {n} samples, as {example}", style="red")
    left = sum(one.trainable for one in found.values())
    if not left:
        console.print(f"nothing is left to train on of {len(samples)} samples", style="red")
    if wrong or not left:
        raise typer.Exit(1)
    console.print(f"{left} of {len(samples)} samples would train as they are meant to")


def _table(found: "dict[str, SourceCheck]", context: int) -> "Table":
    from rich.table import Table

    table = Table(
        "source", "samples", "refused", f"longer than {context}", "prompt", "response", "turn kept", "shortened"
    )
    for source, one in found.items():
        kept = len(one.prompts) - one.unkept
        table.add_row(
            source,
            str(one.samples),
            str(sum(one.refused.values())),
            str(one.too_long),
            _range(one.prompts),
            _range(one.responses),
            f"{kept}/{len(one.prompts)}",
            str(sum(one.shortened.values())),
        )
    return table


def _range(lengths: Sequence[int]) -> str:
    if not lengths:
        return ""
    ordered = sorted(lengths)
    return f"{ordered[len(ordered) // 2]:,} ({ordered[0]:,} to {ordered[-1]:,})"


def _details(console: "Console", source: str, one: "SourceCheck", context: int) -> None:
    """Why samples are refused, what prompts lack, and how long the whole samples are."""
    for reason, n in one.refused.most_common(3):
        console.print(f"{source}: {n} refused: {reason}")
    for what, n in one.shortened.most_common():
        console.print(f"{source}: {n} times the prompt lacks {what} of a function that is offered")
    if one.unkept:
        console.print(
            f"{source}: {one.unkept} turns are written otherwise once the conversation goes on: a later turn's prompt "
            "does not begin with what was trained (a thought that the template drops, most often)"
        )
    lengths = [p + r for p, r in zip(one.prompts, one.responses, strict=True)]
    if not lengths:
        return
    width = max(1, -(-max(lengths) // BINS))
    counts = [sum(width * i < n <= width * (i + 1) for n in lengths) for i in range(BINS)]
    console.print(f"{source}: tokens of prompt and response together")
    for i, n in enumerate(counts):
        mark = "  beyond the context" if width * i >= context else ""
        console.print(f"  {width * i + 1:>7,} to {width * (i + 1):>7,}  {'█' * round(BAR * n / max(counts))} {n}{mark}")
