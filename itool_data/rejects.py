"""What a stage sets aside, recorded once in the table `rejects`: a row, a sample or a pair that it cannot use.

Left out: why (the stages).
"""

from collections.abc import Sequence

from itool_data.prompt import Tokenised
from itool_data.run import Run
from itool_data.sample import Reject, Sample
from itool_data.store.samples import reject_row
from itool_data.store.sql import query

Key = tuple[str, str, int, str]  # source, file, line, field


def not_fitting(tokenised: Tokenised, limit: int) -> Reject:
    """A sample that does not fit a limit of tokens."""
    lengths = f"{len(tokenised.prompt)} prompt + {len(tokenised.response)} response tokens"
    return of_sample(tokenised.sample, f"{lengths} do not fit {limit}")


def of_sample(sample: Sample, reason: str) -> Reject:
    """A sample that cannot be used, and why."""
    return Reject(sample.source, sample.source_id, 0, f"sample {sample.sample_id}", reason)


def record_rejects(run: Run, stage: str, rejects: Sequence[Reject], **info: object) -> None:
    """Record what a stage set aside in `rejects`, each place and field once; `info` goes to the log.

    Nothing is recorded by who has opened the run for reading, such as all but one of several processes that train.
    """
    if not run.store.writable:
        return
    known = recorded(run, stage) if rejects else set()
    rows = [reject_row(reject, stage) for reject in rejects if key_of(reject) not in known]
    if rows:
        run.store.commit(stage, {"rejects": rows}, **info)


def recorded(run: Run, stage: str) -> set[Key]:
    """What a stage has set aside already."""
    sql = "SELECT source, file, line, field FROM rejects WHERE stage = ?"
    return {(r["source"], r["file"], r["line"], r["field"]) for r in query(run.store, sql, None, [stage]).to_pylist()}


def key_of(reject: Reject) -> Key:
    """What a reject is recorded once by: its place and field."""
    return reject.source, reject.file, reject.line, reject.field
