"""`itool sql` and `itool log`: ask what a run did, now or as it was at an earlier version."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from itool_cli.options import RunFolder


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def sql(
    statement: Annotated[str, typer.Argument(help="One SQL statement (DuckDB); `SHOW TABLES` lists the tables.")],
    run: RunFolder,
    as_of: Annotated[
        int | None, typer.Option("--as-of", help="A version number from `itool log`.", metavar="N")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How rows are written.")] = Format.TABLE,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write to a file instead of the terminal.")] = None,
) -> None:
    """Ask a run's tables with SQL."""
    from itool_data.errors import ItoolError
    from itool_data.run import open_run
    from itool_data.store.sql import query

    rows = query(open_run(run).store, statement, as_of)
    if form is Format.PARQUET:
        import pyarrow.parquet as pq

        if out is None and sys.stdout.isatty():
            raise ItoolError("--format parquet is binary; give a file with --out or redirect the output")
        with _target(out) as target:
            pq.write_table(rows, target)
        return
    text = _table(rows, sys.stdout.isatty() and out is None) if form is Format.TABLE else _text(rows, form)
    with _target(out) as target:
        target.write(text.encode("utf-8", "backslashreplace"))


def log(run: RunFolder) -> None:
    """List a run's versions: when, what, and how many rows it added."""
    from rich.table import Table

    from itool_cli.console import make_console, visible
    from itool_data.run import open_run

    table = Table("version", "time (UTC)", "operation", "rows added", "details")
    for commit in open_run(run).store.log():
        added = ", ".join(f"{name} +{n}" for name, n in commit.rows.items())
        details = ", ".join(f"{k} {v}" for k, v in commit.info.items() if not isinstance(v, dict | list))
        table.add_row(
            str(commit.version), commit.time.strftime("%Y-%m-%d %H:%M:%S"), commit.operation, added, visible(details)
        )
    make_console().print(table)


@contextmanager
def _target(out: Path | None) -> Iterator[BinaryIO]:
    """The file to write to, or standard output."""
    from itool_data.errors import ItoolError

    if out is None:
        yield sys.stdout.buffer
        return
    try:
        with out.open("wb") as file:
            yield file
    except OSError as error:
        raise ItoolError(f"{out}: cannot write: {error.strerror}") from None


def _text(rows: object, form: Format) -> str:
    import pyarrow as pa

    assert isinstance(rows, pa.Table)
    if form is Format.JSON:
        return json.dumps(rows.to_pylist(), ensure_ascii=False, default=str, indent=1) + "\n"
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(rows.column_names)
    for row in rows.to_pylist():
        writer.writerow(
            json.dumps(v, ensure_ascii=False, default=str) if isinstance(v, list | dict) else v for v in row.values()
        )
    return text.getvalue()


def _table(rows: object, terminal: bool) -> str:
    """Rows as a table: as wide as the terminal, or as wide as it must be where the output goes elsewhere."""
    import pyarrow as pa
    from rich.console import Console
    from rich.table import Table

    assert isinstance(rows, pa.Table)
    from itool_cli.console import make_console, visible

    table = Table(*map(visible, rows.column_names))
    for row in rows.to_pylist():
        table.add_row(*(_cell(value) for value in row.values()))
    console = make_console() if terminal else Console(width=100_000, force_terminal=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table, highlight=False)
        console.print(f"{rows.num_rows} row{'' if rows.num_rows == 1 else 's'}", highlight=False)
    return captured.get()


def _cell(value: object) -> str:
    from itool_cli.console import visible

    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and len(value) > 8:
        return f"[{len(value)} items]"
    # A model's text may hold line breaks or a terminal's control codes; both are shown, not obeyed.
    shown: str = visible(str(value))
    return shown
