"""A run's samples: imported, those that are trained on and searched, and those by which its trainings are chosen.

Left out: what a data set's rows look like (`sources/`), and what is done with the samples (`choosing.py`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from itool_data import abstain
from itool_data.errors import ItoolError
from itool_data.overlap import NearDuplicate, near_duplicates
from itool_data.policy.base import derive_seed
from itool_data.rejects import key_of, record_rejects, recorded
from itool_data.run import Run
from itool_data.sample import Note, Reject, Sample
from itool_data.sources import load
from itool_data.store.samples import read_samples, reject_row, sample_row
from itool_data.store.sql import query
from itool_data.validation import drawn, refuse_trained_on

IMPORT_ROWS = 5000  # rows of one import commit
Report = Callable[[int, int], None]  # done, total


@dataclass
class Imported:
    """What an import did: new samples, samples already there, bad rows, and how often what was left out of rows."""

    new: int = 0
    known: int = 0
    rejects: list[Reject] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


def import_samples(run: Run, source: str, limit: int | None, strict: bool, report: Report) -> Imported:
    """Read a data set into the run.

    Args:
        run: open for writing.
        source: as `itool_data.sources.load` takes it.
        limit: stop after so many samples.
        strict: stop at the first bad row.
        report: called with the samples read so far, of 0 (unknown).

    Raises:
        ItoolError: at a bad row when strict; nothing of this import is kept then.
    """
    done = Imported()
    seen = _sample_ids(run)
    reported = recorded(run, "import")
    samples: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []

    def flush() -> None:
        if samples or rejects:
            run.store.commit("import", {"samples": samples, "rejects": rejects}, source=source)
            samples.clear()
            rejects.clear()

    for item in load(source, run.config.data.validation):
        if isinstance(item, Reject):
            if strict:
                raise ItoolError(f"{item}; without --strict it is set aside and the rest goes on")
            done.rejects.append(item)
            if key_of(item) not in reported:
                rejects.append(reject_row(item, "import"))
        elif isinstance(item, Note):
            done.notes[item.text] += 1
        elif item.sample_id in seen:
            done.known += 1
        else:
            seen.add(item.sample_id)
            samples.append(sample_row(item))
            done.new += 1
        report(done.new + done.known, limit or 0)
        if not strict and len(samples) >= IMPORT_ROWS:
            flush()
        if limit is not None and done.new + done.known >= limit:
            break
    flush()
    return done


def _sample_ids(run: Run) -> set[str]:
    return {row["sample_id"] for row in query(run.store, "SELECT sample_id FROM samples").to_pylist()}


def training_samples(run: Run) -> list[Sample]:
    """The samples that are trained on and searched: of the split `train`, what `data.*` leaves, and variants of these.

    Near-duplicates of held-out samples go first; the pool is drawn from the rest, and variants are of what is in it.
    """
    settings = run.config.data
    imported = read_samples(run.store, "split = 'train' AND NOT starts_with(source, ?)", [abstain.PREFIX])
    samples = _unlike_held_out(run, imported)
    if settings.only_calls:
        samples = [s for s in samples if s.calls]
    if settings.pool:
        ordered = sorted(samples, key=lambda s: derive_seed(run.config.seed, "pool", s.sample_id))
        pool = {s.sample_id for s in ordered[: settings.pool]}
        samples = [s for s in samples if s.sample_id in pool]
    return [*samples, *_variants(run, samples)] if settings.abstain else samples


def _variants(run: Run, samples: Sequence[Sample]) -> list[Sample]:
    """The variants of training samples that `data.abstain` asks for; who may write commits each to `samples` once."""
    share = run.config.data.abstain
    # Borrowed functions can make a variant like a held-out sample that its own sample is not like.
    found = _unlike_held_out(run, abstain.variants(samples, share, run.config.seed))
    if not run.store.writable:
        return found
    known = _sample_ids(run)
    rows = [sample_row(variant) for variant in found if variant.sample_id not in known]
    if rows:
        run.store.commit("abstain", {"samples": rows}, share=share)
    return found


def _unlike_held_out(run: Run, samples: list[Sample]) -> list[Sample]:
    """The samples that are no near-duplicates of held-out ones; these are recorded in `rejects`, once each."""
    threshold = run.config.data.max_overlap
    if threshold == 1:
        return samples
    found = near_duplicates(samples, read_samples(run.store, "split != 'train'"), threshold)
    record_rejects(run, "overlap", [_overlap(one) for one in found])
    near = {one.sample.sample_id for one in found}
    return [s for s in samples if s.sample_id not in near]


def validation_samples(run: Run) -> list[Sample]:
    """The samples by which the run's trainings are chosen: `validation.items` of the split `validation`.

    Raises:
        ItoolError: if there is none, or a training sample asks the same as one of them.
    """
    held_out = read_samples(run.store, "split = 'validation'")
    if not held_out:
        raise ItoolError(
            f"{run.folder}: validation.items is {run.config.validation.items}, but no sample is set aside for that; "
            "import bfcl:0.1, or any other data set with data.validation=0.1 set before"
        )
    chosen = drawn(held_out, run.config.validation.items)
    refuse_trained_on(chosen, training_samples(run))
    return chosen


def _overlap(found: NearDuplicate) -> Reject:
    held_out = found.held_out
    reason = f"overlap {found.similarity:.2f} with the {held_out.split} sample {held_out.source} {held_out.source_id}"
    return Reject(found.sample.source, found.sample.source_id, 0, f"sample {found.sample.sample_id}", reason)
