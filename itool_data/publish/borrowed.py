"""Step pairs that another run published, taken over to train on.

The shards of the config `steps` are read from a folder that `itool publish --to` wrote, or from the Hub. Pairs of
another base model, or in another form, are refused all together. A row that does not hold a pair, or whose ids are not
its text in this run's tokens, or whose sample is held out here, is set aside. What is left goes to the table
`borrowed_pairs`, once for each revision of a data set, with where it came from. Left out: training on it.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from itool_data.errors import ItoolError
from itool_data.form import Decode
from itool_data.policy.load import BaseModel, vocabulary_of
from itool_data.prompt import Prompter
from itool_data.publish.same_form import form_name
from itool_data.run import Run
from itool_data.sample import Reject
from itool_data.store.samples import reject_row
from itool_data.store.schema import SCHEMAS
from itool_data.store.sql import query
from itool_data.store.tables import Commit

OPERATION = "borrow"
SHARDS = "data/steps/*.parquet"
BATCH = 1_000  # rows that are Python objects at a time
ROUNDED = 1e-3  # a log-probability may be above 0 by so much
IDS = ("prompt_ids", "chosen_ids", "rejected_ids")
NEEDED = ("pair_id", "sample_id", "policy", *IDS, "prefix_text", "chosen_text", "rejected_text", "rejected_logprob")


@dataclass(frozen=True)
class Origin:
    """A published data set, here.

    Attributes:
        name: `hf:USER/NAME`, or its folder.
        revision: the Hub's commit; of a folder 12 hex digits over its shards.
        folder: where its files are.
    """

    name: str
    revision: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}"

    @property
    def shards(self) -> list[Path]:
        """The files of step pairs, in order."""
        return sorted(self.folder.glob(SHARDS))


def find_origin(source: str) -> Origin:
    """Find a published data set; one on the Hub is downloaded, as far as its step pairs go.

    Args:
        source: `hf:USER/NAME`, or a folder.

    Raises:
        ItoolError: it cannot be had, or has no step pairs.
    """
    kind, _, name = source.partition(":")
    if kind == "hf":
        folder = _from_hub(name)
        origin = Origin(source, folder.name, folder)
    else:
        folder = Path(source).expanduser().resolve()
        origin = Origin(str(folder), "", folder)
    if not origin.shards:
        raise ItoolError(
            f"--pairs {source}: no step pairs ({SHARDS}) there; give a folder that `itool publish --to` wrote, or "
            "hf:USER/NAME of a data set that `itool publish --repo` sent"
        )
    return origin if origin.revision else Origin(origin.name, _hash(origin.shards), folder)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=[SHARDS]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ItoolError(
            f"--pairs hf:{name}: no such data set here or on the Hub ({type(error).__name__}); check the name and the "
            "network, run hf auth login if it is private, or give a folder"
        ) from None


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:12]


def borrow(
    run: Run, base: BaseModel, prompter: Prompter, origin: Origin, report: Callable[[int, int], None]
) -> tuple[Commit, list[Reject]]:
    """Take a data set's pairs over, unless this revision of it was taken over before.

    Args:
        run: open for writing.
        base: its base model.
        prompter: of its form.
        origin: the data set.
        report: called with the rows looked at, of how many.

    Returns:
        The commit that holds them, and what was set aside now.

    Raises:
        ItoolError: the pairs are of another base model or form, the shards cannot be read, or no pair can be used.
    """
    before = taken_over(run, origin)
    if before:
        return before, []
    tables = {str(file.relative_to(origin.folder)): _read(file) for file in origin.shards}
    for table in tables.values():
        _refuse_others(origin, table, base, form_name(prompter))
    check = _Check(prompter.decode, vocabulary_of(base), _held_out(run))
    total, done = sum(table.num_rows for table in tables.values()), 0
    taken, rejects = [], []
    for file, table in tables.items():
        for start in range(0, table.num_rows, BATCH):
            part = table.slice(start, BATCH)
            rows = part.to_pylist()
            faults = [check.fault(row) for row in rows]
            for line, (row, fault) in enumerate(zip(rows, faults, strict=True), start + 1):
                if fault:
                    rejects.append(Reject(origin.name, file, line, f"pair {row['pair_id']}", fault))
            taken.append(_with_origin(part.filter(pa.array([not fault for fault in faults])), origin))
            done += len(rows)
            report(done, total)
    pairs = pa.concat_tables(taken) if taken else SCHEMAS["borrowed_pairs"].empty_table()
    if not pairs.num_rows:
        raise ItoolError(f"{origin}: no pair could be used{f'; the first: {rejects[0]}' if rejects else ''}")
    aside = [reject_row(reject, OPERATION) for reject in rejects]
    own = {"origin": origin.name, "revision": origin.revision}
    return run.store.commit(OPERATION, {"borrowed_pairs": pairs, "rejects": aside}, **own), rejects


def taken_over(run: Run, origin: Origin) -> Commit | None:
    """The commit with which a revision of a data set was taken over; None before."""
    own = {"origin": origin.name, "revision": origin.revision}
    return next((c for c in run.store.log() if c.operation == OPERATION and c.info == own), None)


def borrowed_rows(run: Run, origin: Origin, proved: bool) -> list[dict[str, Any]]:
    """The pairs that were taken over from a revision of a data set, as rows; only those proved, if asked for."""
    sql = "SELECT * FROM borrowed_pairs WHERE origin = ? AND revision = ? AND (proved OR NOT ?) ORDER BY pair_id"
    rows: list[dict[str, Any]] = query(run.store, sql, None, [origin.name, origin.revision, proved]).to_pylist()
    return rows


def borrowed_from(run: Run, name: str, revision: str) -> list[dict[str, Any]]:
    """The runs, their rounds and policies that a data set's pairs are of, as `run`, `round`, `policy` and `pairs`."""
    sql = (
        "SELECT run, round, policy, count(*) AS pairs FROM borrowed_pairs WHERE origin = ? AND revision = ? "
        "GROUP BY ALL ORDER BY ALL"
    )
    groups: list[dict[str, Any]] = query(run.store, sql, None, [name, revision]).to_pylist()
    return groups


def _read(file: Path) -> pa.Table:
    """A shard with the columns that a pair has here, those that it lacks as nulls, and `config_hash` and `form_id`."""
    try:
        table = pq.read_table(file, partitioning=None)
        columns = {
            name: table[name].cast(kind) if name in table.column_names else pa.nulls(table.num_rows, kind)
            for name, kind in {**_kinds("pairs"), "config_hash": pa.string(), "form_id": pa.string()}.items()
        }
    except (OSError, pa.ArrowException) as error:
        raise ItoolError(f"{file}: no readable shard of step pairs: {str(error).splitlines()[0]}") from None
    return pa.table(columns)


def _kinds(table: str) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in SCHEMAS[table]}


def _refuse_others(origin: Origin, table: pa.Table, base: BaseModel, form: str) -> None:
    for policy in table["policy"].unique().to_pylist():
        made_for = (policy or "").partition("+")[0]
        if policy and made_for.rpartition("@")[2] != base.revision:
            raise ItoolError(
                f"{origin}: its pairs are of {made_for}, but the base model is {base.name}@{base.revision}: their "
                "token ids are of another model; set model.name (and model.revision) to it"
            )
    for other in table["form_id"].unique().to_pylist():
        if other is None:
            raise ItoolError(
                f"{origin}: says of pairs not in which form they are; have it published again, where its model is"
            )
        if other != form:
            raise ItoolError(
                f"{origin}: its pairs are in the form {other}, but this run asks in {form}: another chat template, "
                "dialect, date, system message or way to show functions; a run with its model.* settings can use them"
            )


def _held_out(run: Run) -> set[str]:
    rows = query(run.store, "SELECT sample_id FROM samples WHERE split != 'train'").to_pylist()
    return {row["sample_id"] for row in rows}


def _with_origin(pairs: pa.Table, origin: Origin) -> pa.Table:
    named = {"origin": origin.name, "revision": origin.revision}
    columns = {name: pa.array([value] * pairs.num_rows, pa.string()) for name, value in named.items()}
    columns |= {"run": pairs["config_hash"]} | {name: pairs[name] for name in _kinds("pairs")}
    return pa.table(columns, schema=SCHEMAS["borrowed_pairs"])


class _Check:
    """Says of rows, one after the other, why they cannot be trained on.

    Args:
        decode: this run's tokens as text.
        vocabulary: how many token ids its model knows.
        held_out: samples that may not be trained on.
    """

    def __init__(self, decode: Decode, vocabulary: int, held_out: set[str]):
        self._decode = decode
        self._vocabulary = vocabulary
        self._held_out = held_out
        self._seen: set[str] = set()

    def fault(self, row: Mapping[str, Any]) -> str:
        """What is wrong with a row; "" if nothing."""
        return next(self._faults(row), "")

    def _faults(self, row: Mapping[str, Any]) -> Iterator[str]:
        # Each one relies on those before it.
        yield from (f"{name}: missing" for name in NEEDED if row[name] is None or row[name] == [])
        if row["pair_id"] in self._seen:
            yield "it is there twice"
        self._seen.add(row["pair_id"])
        if row["sample_id"] in self._held_out:
            yield f"sample {row['sample_id']} is held out here"
        for name in IDS:
            unknown = [i for i in row[name] if i is None or not 0 <= i < self._vocabulary]
            if unknown:
                yield f"{name}: {unknown[0]} is no token id of a model with {self._vocabulary}"
        for name in ("chosen", "rejected"):
            read = self._decode(row[f"{name}_ids"])
            if read != row[f"{name}_text"]:
                yield f"{name}_ids: read as {read!r}, but the step is {row[f'{name}_text']!r}"
        if not self._decode(row["prompt_ids"]).endswith(row["prefix_text"]):
            yield f"prompt_ids: do not end with the response so far, {row['prefix_text']!r}"
        if row["chosen_ids"] == row["rejected_ids"]:
            yield "rejected_ids: the same as chosen_ids"
        if not -math.inf < row["rejected_logprob"] < ROUNDED:
            yield f"rejected_logprob: {row['rejected_logprob']} is the logarithm of no probability"
        parts, first, last = row["parts_at"], row["fault_first"], row["fault_last"]
        if row["proved"] and (None in (parts, first, last) or not 0 <= first <= last < len(row["rejected_ids"])):
            yield f"fault_last: {first} to {last} are not tokens of the rejected step"
