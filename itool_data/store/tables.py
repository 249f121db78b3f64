"""A run's Delta tables as one store: a commit writes to several tables and becomes visible all at once or not at all.

Each table is a Delta table of its own; a further Delta table, `log`, gets one row a commit that names the version of
every table. Readers take their file lists from a log row, so what a killed process left half-written is never seen,
and the next writer rolls it back (Delta's restore) before it writes. A commit's number is its row in `log`, which is
also the version that `--as-of` takes. One writer at a time: `itool_data.run` holds the lock. The log's own small files
are merged now and then, because every reader reads all of it. Left out: vacuum, which would take old versions away.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from itool_data.errors import ItoolError
from itool_data.store.schema import LOG_SCHEMA, SCHEMAS

LOG = "log"
LOG_FILES = 64  # the log's files are merged when there are so many
FULL_DISK = ("No space left on device", "os error 28", "Disk quota exceeded")


@dataclass(frozen=True)
class Commit:
    """One row of the log."""

    version: int
    time: datetime
    operation: str
    rows: dict[str, int]
    table_versions: dict[str, int]
    info: dict[str, Any]


def log_table(commits: Sequence[Commit]) -> pa.Table:
    """Commits as rows of the log."""
    rows = [
        {
            "version": c.version,
            "time": c.time,
            "operation": c.operation,
            "rows": json.dumps(c.rows),
            "table_versions": json.dumps(c.table_versions),
            "info": json.dumps(c.info),
        }
        for c in commits
    ]
    return pa.Table.from_pylist(rows, schema=LOG_SCHEMA)


class Store:
    """The tables under one folder.

    Args:
        folder: `RUN/tables`; need not exist before the first commit.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._last: Commit | None = None
        self._half_done = False

    def _open(self, name: str, version: int | None = None) -> DeltaTable | None:
        path = self.folder / name
        try:
            # Asked first, because opening a missing folder would create it.
            return DeltaTable(str(path), version=version) if (path / "_delta_log").is_dir() else None
        except TableNotFoundError:
            return None  # killed before its first commit
        except DeltaError as error:
            raise ItoolError(f"{path}: not a readable Delta table: {_first_line(error)}") from None

    def log(self, as_of: int | None = None) -> list[Commit]:
        """All commits up to one (the newest by default), oldest first.

        Raises:
            ItoolError: if there is no such commit, or a file of the log is damaged.
        """
        table = self._open(LOG)
        rows = [row for file in table.file_uris() for row in _read_log(file)] if table is not None else []
        commits = sorted(
            (
                Commit(
                    r["version"],
                    r["time"],
                    r["operation"],
                    json.loads(r["rows"]),
                    json.loads(r["table_versions"]),
                    json.loads(r["info"]),
                )
                for r in rows
            ),
            key=lambda c: c.version,
        )
        if as_of is None:
            return commits
        if not 0 <= as_of < len(commits):
            has = f"it has 0 to {len(commits) - 1}" if commits else "nothing was committed yet"
            raise ItoolError(f"{self.folder}: no version {as_of}; {has}")
        return commits[: as_of + 1]

    def files(self, commit: Commit | None) -> dict[str, list[str]]:
        """The Parquet files of every table at a commit (None: before the first); a table not yet written has none."""
        versions = commit.table_versions if commit else {}
        found = {}
        for name in SCHEMAS:
            table = self._open(name, versions[name]) if name in versions else None
            found[name] = table.file_uris() if table is not None else []
        return found

    def recover(self) -> list[str]:
        """Roll back what a killed writer left beyond the last commit; returns the names of the tables mended.

        Only the holder of the run's lock may call this.

        Raises:
            ItoolError: if the disk is full.
        """
        commits = self.log()
        self._last = commits[-1] if commits else None
        versions = self._last.table_versions if self._last else {}
        mended = []
        with self._writing():
            for name in SCHEMAS:
                table = self._open(name)
                if table is None:
                    continue
                committed = self._open(name, versions[name]) if name in versions else None
                if set(table.file_uris()) == set(committed.file_uris() if committed is not None else []):
                    continue
                if committed is not None:
                    table.restore(versions[name])
                else:
                    table.delete()
                mended.append(name)
        self._half_done = False
        return mended

    def commit(
        self, operation: str, rows: Mapping[str, Sequence[Mapping[str, Any]] | pa.Table], **info: object
    ) -> Commit:
        """Append rows to tables and make them visible together.

        Args:
            operation: what did it, such as `mine`.
            rows: table -> rows, as dictionaries by column or as an Arrow table; empty ones are skipped.
            **info: JSON values recorded in the log.

        Raises:
            ItoolError: if the disk is full; everything up to the previous commit is kept, and the next call first
                rolls back what this one wrote.
        """
        tables = {
            name: data if isinstance(data, pa.Table) else pa.Table.from_pylist(list(data), schema=SCHEMAS[name])
            for name, data in rows.items()
        }
        if self._half_done:
            self.recover()
        last = self._log_tail()
        versions = dict(last.table_versions) if last else {}
        counts = {name: table.num_rows for name, table in tables.items() if table.num_rows}
        self._half_done = True
        with self._writing():
            for name in counts:
                versions[name] = self._append(name, tables[name])
            commit = Commit(last.version + 1 if last else 0, datetime.now(UTC), operation, counts, versions, info)
            self._append(LOG, log_table([commit]))
        self._last = commit
        self._half_done = False
        return commit

    def copy(self, folder: Path, version: int) -> None:
        """Copy the tables as they were at a commit, with the log up to it, so that another store goes on from there.

        Older versions can still be asked for in the copy. Delta's own logs name later ones, whose files are not
        copied: the next writer rolls them back, as it does what a killed one left.

        Args:
            folder: of the new store; must not hold tables yet.
            version: the commit's number.
        """
        commits = self.log(version)
        copy = Store(folder)
        with copy._writing():
            for name, files in self.files(commits[-1]).items():
                if files:
                    shutil.copytree(self.folder / name / "_delta_log", folder / name / "_delta_log")
                    for file in files:
                        shutil.copy2(file, folder / name)
            copy._append(LOG, log_table(commits))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say in one line why the disk refused."""
        try:
            yield
        except (OSError, DeltaError) as error:
            if any(sign in str(error) for sign in FULL_DISK):
                raise ItoolError(
                    f"{self.folder}: the disk is full; free some space and run the same command again, "
                    "everything committed so far is kept"
                ) from None
            raise ItoolError(f"{self.folder}: cannot write: {_first_line(error)}") from None

    def _log_tail(self) -> Commit | None:
        """The newest commit; read once, then remembered, as only this process writes."""
        if self._last is None:
            commits = self.log()
            self._last = commits[-1] if commits else None
        return self._last

    def _append(self, name: str, data: pa.Table) -> int:
        # Opened anew each time: a DeltaTable that lives on replays every commit since it was opened at each append.
        table = self._open(name)
        if table is None:
            write_deltalake(str(self.folder / name), data)
            return 0
        if name == LOG and len(table.file_uris()) >= LOG_FILES:
            table.optimize.compact()
        write_deltalake(table, data, mode="append")
        return int(table.version())


def _read_log(file: str) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pq.ParquetFile(file).read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ItoolError(
            f"{file}: this file of the run's log is damaged ({_first_line(error)}); restore it from a copy"
        ) from None
    return rows


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
