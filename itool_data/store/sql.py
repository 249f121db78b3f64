"""SQL over a version of a run's tables: DuckDB views on that version's own Parquet files, never a glob.

Files on an object store are read through delta-rs, as Arrow data sets, of which DuckDB takes the columns and rows that
it needs. A statement can read these tables and nothing else: DuckDB may open their files only, and a statement that
could write to them is none that is run. Left out: writing, and anything across runs (attach the files yourself:
`Store.files`).
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
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
# A pivot over the values of a column is two statements to DuckDB, and so is what it is part of: a COPY, for one.
PIVOTS = ("PIVOT", "PIVOT_WIDER", "SELECT", "FROM", "WITH")
ASK = "ask with SELECT, DESCRIBE, SUMMARIZE or SHOW TABLES"
# Extensions would be looked for outside, and a Python variable of this module is no table.
CLOSED = (
    "SET enable_external_access = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",
)


def query(store: Store, sql: str, as_of: int | None = None, parameters: list[Any] | None = None) -> pa.Table:
    """Run one SQL statement over the tables as they were at a commit.

    A damaged Parquet file is named on standard error and left out; the rest is read.

    Args:
        store: the run's tables.
        sql: one statement; tables by their names, and `log`.
        as_of: the commit's number, the newest by default.
        parameters: values for `?` in the statement.

    Raises:
        ItoolError: if the statement is wrong, with DuckDB's own first line, or asks for more than rows of the tables.
    """
    commits = store.log(as_of)
    files = store.files(commits[-1] if commits else None)
    try:
        return _run(commits, files, store.filesystem, sql, parameters)
    except MISTAKES as error:
        raise ItoolError(f"SQL: {_first_line(error)}") from None
    except duckdb.Error as error:
        # Refused is what is none of the tables' files, and one of them that is lost.
        refused = isinstance(error, duckdb.PermissionException)
        damaged = [
            file
            for paths in files.values()
            for file in paths
            if not (Path(file).exists() if refused else _readable(file, store.filesystem))
        ]
        if not damaged:
            hint = "; only the run's own tables can be read (SHOW TABLES lists them)" if refused else ""
            raise ItoolError(f"SQL: {_first_line(error)}{hint}") from None
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
        _check(connection, sql)
        own_files = [] if filesystem is not None else [file for paths in files.values() for file in paths]
        connection.execute(f"SET allowed_paths = [{_quoted(own_files)}]")
        for setting in CLOSED:
            connection.execute(setting)
        for name, schema in SCHEMAS.items():
            seen = TABLES[name].seen
            whole = f"all_{name}" if seen else name
            if files[name] and filesystem is not None:
                # DuckDB would need an extension to read them itself.
                connection.register(whole, dataset(files[name], schema, format="parquet", filesystem=filesystem))
            elif files[name]:
                listed = _quoted(files[name])
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
        connection.execute("SET lock_configuration = true")
        return connection.sql(sql, params=parameters or []).to_arrow_table()


def _check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Let through one statement that asks for rows."""
    statements = connection.extract_statements(sql)
    if not statements:
        raise ItoolError(f"SQL: an empty statement gives no rows; {ASK}")
    if len(statements) > 1:
        raise ItoolError(f"SQL: {len(statements)} statements; give one at a time")
    try:
        kind = statements[0].type
    except ValueError:  # one that DuckDB's Python side has no name for, such as UPDATE EXTENSIONS
        kind = duckdb.StatementType.INVALID
    offset = next(offset for offset, token in duckdb.tokenize(sql) if token == duckdb.token_type.keyword)
    word = re.split(r"\W", sql.encode()[offset:].decode(), maxsplit=1)[0].upper()  # offsets count bytes
    if kind == duckdb.StatementType.SELECT or (kind == duckdb.StatementType.MULTI and word in PIVOTS):
        return
    raise ItoolError(f"SQL: {word} is refused, as the tables can only be read; {ASK}, and write rows with --out FILE")


def _quoted(files: Sequence[str]) -> str:
    return ", ".join("'" + file.replace("'", "''") + "'" for file in files)


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
