"""`itool data import` and `itool data show`: data sets into a run, and how many samples it has (`check`: see there)."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from itool_cli.form_check import check
from itool_cli.options import ConfigFile, Overrides, RunFolder

if TYPE_CHECKING:
    from rich.console import Console

    from itool_data.run import Run

app = typer.Typer(help="Samples of a run.", no_args_is_help=True)
app.command("check")(check)
SHOWN_REJECTS = 5


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="toolace, xlam, bfcl[:SHARE] (SHARE of the training half is set aside for validation), "
            "bfcl-live[:SHARE], apibank:PATH, seal_tools:PATH, sharegpt:PATH, toolrl:PATH, toolace:PATH, "
            "toolace-system[:PATH], xlam:PATH, FILE.jsonl (OpenAI form: messages + tools), or hf:USER/NAME[:SPLIT]."
        ),
    ],
    run: RunFolder,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many samples.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row.")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Read a data set into a run; bad rows are set aside and counted."""
    from itool_cli.console import make_console
    from itool_data.run import write_run

    with write_run(run, config, overrides or []) as opened:
        import_source(make_console(), opened, source, limit, strict)


def import_source(console: "Console", run: "Run", source: str, limit: int | None = None, strict: bool = False) -> None:
    """Read a data set into an open run and say what came of it.

    Args:
        console: where progress and counts go.
        run: open for writing.
        source: as `itool data import` takes it.
        limit: stop after so many samples.
        strict: stop at the first bad row.

    Raises:
        ItoolError: if it has no row that could be used.
    """
    from itool_cli.console import visible
    from itool_cli.progress import Meter
    from itool_data.errors import ItoolError
    from itool_data.run_samples import import_samples

    with Meter(console, f"import {source}", "samples").live() as meter:
        done = import_samples(run, source, limit, strict, meter.update)
    console.print(
        f"{source}: {done.new} new samples, {done.known} already there, {len(done.rejects)} bad rows set aside"
    )
    for note, times in done.notes.most_common():
        console.print(f"  {visible(note)} ({times:,})")
    for reject in done.rejects[:SHOWN_REJECTS]:
        console.print(f"  {visible(str(reject))}")
    if len(done.rejects) > SHOWN_REJECTS:
        reasons = Counter(reject.reason for reject in done.rejects).most_common(1)[0]
        console.print(
            f"  … {len(done.rejects) - SHOWN_REJECTS} more, most often: {visible(reasons[0])} ({reasons[1]}); "
            f'itool sql "SELECT * FROM rejects" --run {run.folder}',
        )
    if done.rejects and not done.new and not done.known:
        raise ItoolError(f"{source}: no row could be used; the first: {done.rejects[0]}")


@app.command()
def show(run: RunFolder) -> None:
    """Show how many samples a run has by source, split and difficulty; `itool show sample` shows one."""
    from rich.table import Table

    from itool_cli.console import make_console, visible
    from itool_data.run import open_run
    from itool_data.store.sql import query

    store = open_run(run).store
    console = make_console()
    rows = query(
        store,
        "SELECT source, split, count(*) AS samples, count(*) FILTER (difficulty = 'easy') AS easy, "
        "count(*) FILTER (difficulty = 'medium') AS medium, count(*) FILTER (difficulty = 'hard') AS hard, "
        "round(avg(a), 1) AS tools, round(avg(c), 1) AS calls FROM samples GROUP BY ALL ORDER BY ALL",
    )
    table = Table(*rows.column_names)
    for row in rows.to_pylist():
        table.add_row(*(visible(str(value)) for value in row.values()))
    console.print(table)
    bad = query(store, "SELECT count(*) AS n FROM rejects").to_pylist()[0]["n"]
    if bad:
        console.print(f"{bad} rows or samples set aside; see the table rejects")
