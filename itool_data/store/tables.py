"""A run's Delta tables as one store: a commit writes to several tables and becomes visible all at once or not at all.

Each table is a Delta table of its own; a further Delta table, `log`, gets one row a commit that names the version of
every table. Readers take their file lists from a log row, so what a killed process left half-written is never seen,
and the next writer rolls it back (Delta's restore) before it writes. A commit's number is its row in `log`, which is
also the version that `--as-of` takes. One writer at a time: `itool_data.run` holds the lock, and a writer that finds a
version it did not write itself stops. The log's own small files are merged now and then, because every reader reads all
of it.

The tables may be on an object store (`s3://bucket/prefix`): what makes a version then is a put that fails where the
object exists, which delta-rs asks for by default. All access is delta-rs's own, with credentials and endpoint from its
environment variables (AWS_…). Left out: vacuum, which would take old versions away.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from pyarrow import fs

from itool_data.errors import ItoolError
from itool_data.store.schema import LOG_SCHEMA, SCHEMAS

LOG = "log"
LOG_FILES = 64  # the log's files are merged when there are so many
ONCE = CommitProperties(max_commit_retries=0)  # a version that another process made first is an error
# Every append reads the log entries since the last checkpoint; at Delta's own 100 they take most of a commit's time.
CHECKPOINTS = {"delta.checkpointInterval": "10"}
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


UNNAMEABLE = re.compile(r"[\[\]]|%[0-9A-Fa-f]{2}")  # what delta-rs takes for parts of a URL, and is lost with


class Store:
    """The tables under one folder.

    Args:
        place: a folder, such as `RUN/tables`, or an object store's `s3://bucket/prefix`; need not exist before the
            first commit.
        writable: whether this process holds the run's lock; without that nothing may be committed.

    Attributes:
        filesystem: where `files` are, if not on this machine's disks.

    Raises:
        ItoolError: delta-rs cannot work with such a path.
    """

    def __init__(self, place: Path | str, writable: bool = True):
        self.place = str(place)
        self.writable = writable
        self._remote = "://" in self.place
        if not self._remote and (odd := UNNAMEABLE.search(self.place)):
            raise ItoolError(f"{place}: Delta tables cannot be in a path that holds {odd[0]!r}; choose another folder")
        # An unreachable store is to be said after seconds, not after delta-rs's own three minutes.
        self._options = {"max_retries": "4", "retry_timeout": "30s"} if self._remote else None
        self.filesystem = fs.PyFileSystem(DeltaStorageHandler(self.place, self._options)) if self._remote else None
        self._last: Commit | None = None
        self._half_done = False
        self._seen: dict[str, int] = {}  # the versions of the tables after this writer's last look

    def _open(self, name: str, version: int | None = None) -> DeltaTable | None:
        path = f"{self.place}/{name}"
        # Asked first, because opening a missing folder would create it.
        if not self._remote and not Path(path, "_delta_log").is_dir():
            return None
        try:
            return DeltaTable(path, version=version, storage_options=self._options)
        except TableNotFoundError:
            return None  # killed before its first commit
        except (OSError, DeltaError) as error:
            raise ItoolError(f"{path}: not a readable Delta table: {_first_line(error)}") from None

    def _files(self, table: DeltaTable) -> list[str]:
        """A table's files by their paths in the filesystem, which delta-rs gives as parts of a URI."""
        return [uri.removeprefix(f"{self.place}/") if self._remote else unquote(uri) for uri in table.file_uris()]

    def log(self, as_of: int | None = None) -> list[Commit]:
        """All commits up to one (the newest by default), oldest first.

        Raises:
            ItoolError: if there is no such commit, or a file of the log is damaged.
        """
        table = self._open(LOG)
        files = self._files(table) if table is not None else []
        rows = [row for file in files for row in _read_log(file, self.filesystem)]
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
            raise ItoolError(f"{self.place}: no version {as_of}; {has}")
        return commits[: as_of + 1]

    def files(self, commit: Commit | None) -> dict[str, list[str]]:
        """The Parquet files of every table at a commit (None: before the first); a table not yet written has none."""
        versions = commit.table_versions if commit else {}
        found = {}
        for name in SCHEMAS:
            table = self._open(name, versions[name]) if name in versions else None
            found[name] = self._files(table) if table is not None else []
        return found

    def recover(self) -> list[str]:
        """Roll back what a killed writer left beyond the last commit; returns the names of the tables mended.

        Only the holder of the run's lock may call this.

        Raises:
            ItoolError: if the disk is full.
        """
        commits = self.log()
        self._last = commits[-1] if commits else None
        self._seen = {}
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
        assert self.writable, f"{operation}: {self.place} was opened for reading"
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
        here, there = self.filesystem or fs.LocalFileSystem(), fs.LocalFileSystem()
        root = "" if self._remote else f"{self.place}/"
        with copy._writing():
            for name, files in self.files(commits[-1]).items():
                if files:
                    own = folder / name / "_delta_log"
                    own.mkdir(parents=True)
                    fs.copy_files(f"{root}{name}/_delta_log", str(own), here, there)
                    for file in files:
                        fs.copy_files(file, str(folder / name / Path(file).name), here, there)
            copy._append(LOG, log_table(commits))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say in one line why the disk refused."""
        try:
            yield
        except CommitFailedError:
            raise self._two_writers() from None
        except (OSError, DeltaError) as error:
            if any(sign in str(error) for sign in FULL_DISK):
                raise ItoolError(
                    f"{self.place}: the disk is full; free some space and run the same command again, "
                    "everything committed so far is kept"
                ) from None
            raise ItoolError(f"{self.place}: cannot write: {_first_line(error)}") from None

    def _two_writers(self) -> ItoolError:
        return ItoolError(
            f"{self.place}: another process writes to these tables; let one of them end, "
            "then run the same command again"
        )

    def _log_tail(self) -> Commit | None:
        """The newest commit; read once, then remembered, as only this process writes."""
        if self._last is None:
            commits = self.log()
            self._last = commits[-1] if commits else None
        return self._last

    def _append(self, name: str, data: pa.Table) -> int:
        # Opened anew each time: a DeltaTable that lives on replays every commit since it was opened at each append.
        table = self._open(name)
        if table is not None and table.version() != self._seen.get(name, table.version()):
            raise self._two_writers()
        if table is None:
            path = f"{self.place}/{name}"
            write_deltalake(
                path, data, configuration=CHECKPOINTS, storage_options=self._options, commit_properties=ONCE
            )
            self._seen[name] = 0
            return 0
        if name == LOG and len(table.file_uris()) >= LOG_FILES:
            table.optimize.compact()
        # A table that was begun with fewer columns than there are today gets them.
        write_deltalake(table, data, mode="append", schema_mode="merge", commit_properties=ONCE)
        self._seen[name] = int(table.version())
        return self._seen[name]


def _read_log(file: str, filesystem: fs.FileSystem | None) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pq.ParquetFile(file, filesystem=filesystem).read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ItoolError(
            f"{file}: this file of the run's log is damaged ({_first_line(error)}); restore it from a copy"
        ) from None
    return rows


def _first_line(error: Exception) -> str:
    """An error's first line; where it is one of an object store, which nests them, its last line too."""
    lines = [re.sub(r"\x1b\[\d*m|↳", "", line).strip() for line in str(error).strip().splitlines()]
    lines = lines or [type(error).__name__]
    return f"{lines[0]}: {lines[-1]}" if "↳" in str(error) else lines[0]
