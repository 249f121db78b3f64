"""The stages of mining over a run folder: import samples, measure perplexity, choose the hardest, search them.

Each stage reads what the store has, does what is missing and commits as it goes, so that the same command after a
kill goes on where the last commit was. Left out: how progress is shown (the callers' `report`), and the training.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from itool_data.config import SearchKind
from itool_data.difficulty import difficulty
from itool_data.errors import ItoolError
from itool_data.jobs import Found, ScoreJob, SearchJob, tables
from itool_data.overlap import NearDuplicate, near_duplicates
from itool_data.perplexity import hardest, replay_buffer
from itool_data.policy.base import Described, derive_seed
from itool_data.prompt import Prompter, Tokenised, tokenise
from itool_data.run import Run
from itool_data.sample import Reject, Sample
from itool_data.search.mcts import Task
from itool_data.search.miner import TREE_SECTIONS
from itool_data.sources import load
from itool_data.store.samples import read_samples, reject_row, sample_row
from itool_data.store.sql import query
from itool_data.validation import drawn, refuse_trained_on
from itool_data.workers.pool import Pool

IMPORT_ROWS = 5000  # rows of one import commit
Report = Callable[[int, int], None]  # done, total


@dataclass
class Imported:
    """What an import did: new samples, samples already there, bad rows by their first words."""

    new: int = 0
    known: int = 0
    rejects: list[Reject] = field(default_factory=list)


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
    seen = {row["sample_id"] for row in query(run.store, "SELECT sample_id FROM samples").to_pylist()}
    reported = _recorded(run, "import")
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
            if _key(item) not in reported:
                rejects.append(reject_row(item, "import"))
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


def set_aside(run: Run, stage: str, too_long: Sequence[Tokenised], limit: int) -> None:
    """Record samples that do not fit a stage's limit of tokens in `rejects`, once each."""
    record_rejects(
        run,
        stage,
        [
            Reject(
                t.sample.source,
                t.sample.source_id,
                0,
                f"sample {t.sample.sample_id}",
                f"{len(t.prompt)} prompt + {len(t.response)} response tokens do not fit {limit}",
            )
            for t in too_long
        ],
    )


def record_rejects(run: Run, stage: str, rejects: Sequence[Reject], **info: object) -> None:
    """Record what a stage set aside in `rejects`, each place and field once; `info` goes to the log."""
    recorded = _recorded(run, stage)
    rows = [reject_row(reject, stage) for reject in rejects if _key(reject) not in recorded]
    if rows:
        run.store.commit(stage, {"rejects": rows}, **info)


def _key(reject: Reject) -> tuple[str, str, int, str]:
    return reject.source, reject.file, reject.line, reject.field


def _recorded(run: Run, stage: str) -> set[tuple[str, str, int, str]]:
    """The keys of a stage's rejects."""
    sql = "SELECT source, file, line, field FROM rejects WHERE stage = ?"
    return {(r["source"], r["file"], r["line"], r["field"]) for r in query(run.store, sql, None, [stage]).to_pylist()}


def training_samples(run: Run) -> list[Sample]:
    """The samples that are trained on and searched: of the split `train`, what `data.*` leaves.

    Near-duplicates of held-out samples go first and are recorded in `rejects`, once each; the pool is drawn from the
    rest.
    """
    settings = run.config.data
    samples = read_samples(run.store, "split = 'train'")
    if settings.max_overlap < 1:
        found = near_duplicates(samples, read_samples(run.store, "split != 'train'"), settings.max_overlap)
        record_rejects(run, "overlap", [_overlap(one) for one in found])
        near = {one.sample.sample_id for one in found}
        samples = [s for s in samples if s.sample_id not in near]
    if settings.only_calls:
        samples = [s for s in samples if s.calls]
    if settings.pool:
        ordered = sorted(samples, key=lambda s: derive_seed(run.config.seed, "pool", s.sample_id))
        pool = {s.sample_id for s in ordered[: settings.pool]}
        samples = [s for s in samples if s.sample_id in pool]
    return samples


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


def warmup_stages(run: Run, prompter: Prompter) -> tuple[dict[str, list[tuple[list[int], list[int]]]], list[Tokenised]]:
    """Choose the warm-up's samples and sort them by difficulty, unless they are to be one mixed stage.

    Returns:
        (prompt ids, response ids) by stage, and the samples that were too long.
    """
    settings, seed = run.config.warmup, run.config.seed
    samples = training_samples(run)
    ordered = sorted(samples, key=lambda s: derive_seed(seed, "warmup", s.sample_id))
    chosen = ordered[: settings.samples or max(1, round(settings.fraction * len(ordered)))]
    mixed = settings.order == "mixed"
    names = ("mixed",) if mixed else ("easy", "medium", "hard")
    stages: dict[str, list[tuple[list[int], list[int]]]] = {name: [] for name in names}
    too_long = []
    for t in tokenise(prompter, chosen):
        if len(t) > settings.max_tokens:
            too_long.append(t)
        else:
            stages["mixed" if mixed else difficulty(t.sample)].append((t.prompt, t.response))
    return stages, too_long


@dataclass
class Buffer:
    """The replay buffer of a round: what is still to be scored, and what does not fit the context."""

    samples: list[Sample]
    missing: list[Tokenised]
    too_long: list[Tokenised]


def _perplexities(run: Run, policy: Described, round_: int) -> dict[str, float]:
    """The round's perplexities under a policy, by sample id."""
    sql = "SELECT sample_id, perplexity FROM perplexity WHERE round = ? AND policy = ?"
    rows = query(run.store, sql, None, [round_, str(policy.policy_id)]).to_pylist()
    return {row["sample_id"]: row["perplexity"] for row in rows}


def replay(run: Run, policy: Described, prompter: Prompter, round_: int) -> Buffer:
    """Draw the round's replay buffer and find what of it has no perplexity under this policy yet."""
    samples = replay_buffer(training_samples(run), run.config.replay.fraction, run.config.seed)
    scored = _perplexities(run, policy, round_)
    missing = tokenise(prompter, [s for s in samples if s.sample_id not in scored])
    fits = [t for t in missing if len(t) <= policy.context]
    return Buffer(samples, fits, [t for t in missing if len(t) > policy.context])


def measure(run: Run, pool: Pool, buffer: Buffer, round_: int, report: Report) -> None:
    """Score the missing samples of a buffer (Eq. 4) and commit every few seconds."""
    set_aside(run, "perplexity", buffer.too_long, pool.context)
    policy = str(pool.policy_id)
    rows: list[dict[str, Any]] = []
    done, total = 0, len(buffer.missing)
    last = time.monotonic()
    for scores in pool.run(ScoreJob(), buffer.missing):
        rows += [
            {
                "sample_id": s.key,
                "round": round_,
                "policy": policy,
                "n_tokens": s.n_tokens,
                "mean_nll": s.mean_nll,
                "perplexity": s.perplexity,
            }
            for s in scores
        ]
        done += len(scores)
        report(done, total)
        if rows and (done == total or time.monotonic() - last > run.config.mine.commit_seconds):
            run.store.commit("perplexity", {"perplexity": rows}, round=round_, policy=policy)
            rows, last = [], time.monotonic()


def tree_id(run: Run, policy: Described, sample_id: str, round_: int, search: SearchKind) -> str:
    """16 hex digits that name a tree by all its result depends on."""
    settings = run.config.hash(*TREE_SECTIONS)
    return f"{derive_seed(settings, policy.policy_id, sample_id, round_, search):016x}"


def tasks(
    run: Run, policy: Described, prompter: Prompter, buffer: Buffer, round_: int, search: SearchKind, limit: int | None
) -> list[Task]:
    """The searches of a round: the hardest of the buffer's scored samples, longest prompts first.

    Neighbours of like length waste least of a batch, and the long ones do not come last to an empty machine.

    Args:
        run: with the scores.
        policy: whose scores count.
        prompter: with its tokenizer.
        buffer: of the round.
        round_: of the loop.
        search: `mcts`, `sample` or `best-of-n`.
        limit: search so many instead of `replay.hardest` of the buffer.
    """
    in_buffer = {s.sample_id: s for s in buffer.samples}
    scores = [(i, h) for i, h in _perplexities(run, policy, round_).items() if i in in_buffer]
    chosen = hardest(scores, 1.0)[:limit] if limit is not None else hardest(scores, run.config.replay.hardest)
    prompts = tokenise(prompter, [in_buffer[sample_id] for sample_id in chosen])
    room = policy.context - run.config.mcts.max_tokens
    set_aside(run, "mine", [t for t in prompts if len(t.prompt) > room], room)
    fitting = [t for t in prompts if len(t.prompt) <= room]
    return as_tasks(run, policy, sorted(fitting, key=lambda t: (-len(t.prompt), t.sample.sample_id)), round_, search)


def as_tasks(run: Run, policy: Described, chosen: Sequence[Tokenised], round_: int, search: SearchKind) -> list[Task]:
    """The searches of given samples, in their order."""
    return [
        Task(
            tree_id(run, policy, t.sample.sample_id, round_, search), t.sample, tuple(t.prompt), run.config.seed, round_
        )
        for t in chosen
    ]


def unfinished(run: Run, wanted: Sequence[Task]) -> list[Task]:
    """The tasks that have no tree yet."""
    done = {row["tree_id"] for row in query(run.store, "SELECT tree_id FROM trees").to_pylist()}
    return [t for t in wanted if t.tree_id not in done]


def mine(run: Run, pool: Pool, wanted: Sequence[Task], search: SearchKind) -> Iterator[list[Found]]:
    """Search tasks and commit finished trees in groups; yields at every step the trees finished in it, mostly none.

    Whatever is finished when the caller stops (Ctrl-C included) is committed first.
    """
    waiting: list[Found] = []
    policy = str(pool.policy_id)
    round_ = wanted[0].round if wanted else 0
    last = time.monotonic()

    def commit() -> None:
        nonlocal waiting, last
        finished, waiting, last = waiting, [], time.monotonic()
        if finished:
            run.store.commit("mine", tables(finished), round=round_, policy=policy, search=search)

    settings = run.config.mine
    together = settings.commit_trees * pool.size  # a commit takes the same time whatever its size
    try:
        for finished in pool.run(SearchJob(run.config, search), wanted):
            waiting += finished
            if len(waiting) >= together or time.monotonic() - last > settings.commit_seconds:
                commit()
            yield finished
    finally:
        commit()
