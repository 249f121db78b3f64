"""SQL over a version of a run's tables: DuckDB views on that version's own Parquet files, never a glob.

Files on an object store are read through delta-rs, as Arrow data sets, of which DuckDB takes the columns and rows that
it needs. Left out: writing, and anything across runs (attach the files yourself: `Store.files`).
"""

import sys
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import dataset
from pyarrow.fs import FileSystem

from itool_data.errors import ItoolError
from itool_data.store.schema import SCHEMAS, TABLES
from itool_data.store.tables import Commit, Store, log_table

# Errors of the statement itself; any other may come from a damaged file, and only then are all files looked at.
MISTAKES = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)


def query(store: Store, sql: str, as_of: int | None = None, parameters: list[Any] | None = None) -> pa.Table:
    """Run one SQL statement over the tables as they were at a commit.

    A damaged Parquet file is named on standard error and left out; the rest is read.

    Args:
        store: the run's tables.
        sql: one statement; tables by their names, and `log`.
        as_of: the commit's number, the newest by default.
        parameters: values for `?` in the statement.

    Raises:
        ItoolError: if the statement is wrong, with DuckDB's own first line.
    """
    commits = store.log(as_of)
    files = store.files(commits[-1] if commits else None)
    try:
        return _run(commits, files, store.filesystem, sql, parameters)
    except MISTAKES as error:
        raise ItoolError(f"SQL: {_first_line(error)}") from None
    except duckdb.Error as error:
        damaged = [file for paths in files.values() for file in paths if not _readable(file, store.filesystem)]
        if not damaged:
            raise ItoolError(f"SQL: {_first_line(error)}") from None
    for file in damaged:
        print(f"warning: {file} is damaged and left out; restore it from a copy to get its rows back", file=sys.stderr)
    whole = {name: [f for f in paths if f not in damaged] for name, paths in files.items()}
    try:
        return _run(commits, whole, store.filesystem, sql, parameters)
    except duckdb.Error as error:
        raise ItoolError(f"SQL: {_first_line(error)}") from None


def _run(
    commits: Sequence[Commit],
    files: dict[str, list[str]],
    filesystem: FileSystem | None,
    sql: str,
    parameters: list[Any] | None,
) -> pa.Table:
    with duckdb.connect() as connection:
        for name, schema in SCHEMAS.items():
            seen = TABLES[name].seen
            whole = f"all_{name}" if seen else name
            if files[name] and filesystem is not None:
                # DuckDB would need an extension to read them itself.
                connection.register(whole, dataset(files[name], schema, format="parquet", filesystem=filesystem))
            elif files[name]:
                listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files[name])
                rows = f"SELECT * FROM read_parquet([{listed}])"
                # Files are in the order of their commits, forwards or backwards, so the oldest is at an end.
                if any(_lacks_columns(file, schema) for file in {files[name][0], files[name][-1]}):
                    connection.register(f"no_{name}", schema.empty_table())
                    own = f"SELECT * FROM read_parquet([{listed}], union_by_name=true)"
                    rows = f'SELECT * FROM "no_{name}" UNION ALL BY NAME {own}'
                connection.execute(f'CREATE VIEW "{whole}" AS {rows}')
            else:
                connection.register(whole, schema.empty_table())
            if seen:
                connection.execute(f'CREATE VIEW "{name}" AS SELECT * FROM "{whole}" {seen}')
        connection.register("log", log_table(commits))
        result = connection.sql(sql, params=parameters or [])
        if result is None:
            raise ItoolError("SQL: the statement gives no rows; ask with SELECT, DESCRIBE or SHOW TABLES")
        return result.to_arrow_table()


def _lacks_columns(file: str, schema: pa.Schema) -> bool:
    """Whether a table was begun by an itool that did not have all of today's columns, which are null there."""
    try:
        return not set(schema.names) <= set(pq.read_schema(file).names)
    except (OSError, pa.ArrowException):
        return False  # a damaged file is found by reading it


def _readable(file: str, filesystem: FileSystem | None) -> bool:
    try:
        pq.read_table(file, filesystem=filesystem)
    except (OSError, pa.ArrowException):
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
