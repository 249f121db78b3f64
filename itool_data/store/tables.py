"""A run's Delta tables as one store: a commit writes to several tables and becomes visible all at once or not at all.

Each table is a Delta table of its own; a further Delta table, `log`, gets one row a commit that names the version of
every table. Readers take their file lists from a log row, so what a killed process left half-written is never seen,
and the next writer rolls it back (Delta's restore) before it writes. A commit's number is its row in `log`, which is
also the version that `--as-of` takes. One writer at a time: `itool_data.run` holds the lock. Left out: compaction and
vacuum, which would take old versions away.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from itool_data.errors import ItoolError
from itool_data.store.schema import LOG_SCHEMA, SCHEMAS

LOG = "log"
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


class Store:
    """The tables under one folder.

    Args:
        folder: `RUN/tables`; need not exist before the first commit.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._tables: dict[str, DeltaTable] = {}
        self._last: Commit | None = None

    def _open(self, name: str, version: int | None = None) -> DeltaTable | None:
        path = self.folder / name
        try:
            # Asked first, because opening a missing folder would create it.
            return DeltaTable(str(path), version=version) if (path / "_delta_log").is_dir() else None
        except TableNotFoundError:
            return None  # killed before its first commit
        except DeltaError as error:
            raise ItoolError(f"{path}: not a readable Delta table: {_first_line(error)}") from None

    def log(self) -> list[Commit]:
        """All commits, oldest first."""
        table = self._open(LOG)
        if table is None:
            return []
        rows = table.to_pyarrow_table().to_pylist()
        commits = [
            Commit(
                r["version"],
                r["time"],
                r["operation"],
                json.loads(r["rows"]),
                json.loads(r["table_versions"]),
                json.loads(r["info"]),
            )
            for r in rows
        ]
        return sorted(commits, key=lambda c: c.version)

    def files(self, as_of: int | None = None) -> dict[str, list[str]]:
        """The Parquet files of every table at a commit (the newest by default); a table not yet written has none.

        Raises:
            ItoolError: if there is no such commit.
        """
        commits = self.log()
        if as_of is not None and not 0 <= as_of < len(commits):
            raise ItoolError(f"{self.folder}: no version {as_of}; it has {len(commits)} (0 to {len(commits) - 1})")
        if not commits:
            return {name: [] for name in SCHEMAS}
        versions = commits[-1 if as_of is None else as_of].table_versions
        found = {}
        for name in SCHEMAS:
            table = self._open(name, versions[name]) if name in versions else None
            found[name] = table.file_uris() if table is not None else []
        return found

    def recover(self) -> list[str]:
        """Roll back what a killed writer left beyond the last commit; returns the names of the tables mended.

        Only the holder of the run's lock may call this.
        """
        commits = self.log()
        versions = commits[-1].table_versions if commits else {}
        mended = []
        for name in SCHEMAS:
            table = self._open(name)
            if table is None:
                continue
            if name not in versions:
                if table.file_uris():
                    table.delete()
                    mended.append(name)
                continue
            committed = self._open(name, versions[name])
            if committed is not None and set(table.file_uris()) != set(committed.file_uris()):
                table.restore(versions[name])
                mended.append(name)
        self._tables.clear()
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
            ItoolError: if the disk is full; everything up to the previous commit is kept.
        """
        commits = self._log_tail()
        versions = dict(commits.table_versions) if commits else {}
        counts = {}
        try:
            for name, data in rows.items():
                table = data if isinstance(data, pa.Table) else pa.Table.from_pylist(list(data), schema=SCHEMAS[name])
                if table.num_rows:
                    versions[name] = self._append(name, table)
                    counts[name] = table.num_rows
            commit = Commit(commits.version + 1 if commits else 0, datetime.now(UTC), operation, counts, versions, info)
            row = {
                "version": commit.version,
                "time": commit.time,
                "operation": operation,
                "rows": json.dumps(counts),
                "table_versions": json.dumps(versions),
                "info": json.dumps(info),
            }
            self._append(LOG, pa.Table.from_pylist([row], schema=LOG_SCHEMA))
        except (OSError, DeltaError) as error:
            if any(sign in str(error) for sign in FULL_DISK):
                raise ItoolError(
                    f"{self.folder}: the disk is full; free some space and run the same command again, "
                    "everything committed so far is kept"
                ) from None
            raise ItoolError(f"{self.folder}: cannot write: {_first_line(error)}") from None
        self._last = commit
        return commit

    def _log_tail(self) -> Commit | None:
        """The newest commit; read once, then remembered, as only this process writes."""
        if self._last is None:
            commits = self.log()
            self._last = commits[-1] if commits else None
        return self._last

    def _append(self, name: str, data: pa.Table) -> int:
        table = self._tables.get(name) or self._open(name)
        if table is None:
            write_deltalake(str(self.folder / name), data)
            table = DeltaTable(str(self.folder / name))
        else:
            write_deltalake(table, data, mode="append")
        self._tables[name] = table
        return int(table.version())


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
