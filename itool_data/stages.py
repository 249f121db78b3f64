"""The stages of mining over a run folder: measure how hard samples are, choose some, search them; and the warm-up's.

Each stage reads what the store has, does what is missing and commits as it goes, so that the same command after a
kill goes on where the last commit was. Left out: how the samples come about (`run_samples.py`), how progress is shown
(the callers' `report`), and the training.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from itool_data.difficulty import difficulty
from itool_data.errors import ItoolError
from itool_data.fragments import fragment_row, refusal
from itool_data.jobs import DrawJob, Found, ScoreJob, SearchJob, tables
from itool_data.kinds import SearchKind
from itool_data.pass_rate import Drawing, PassRate
from itool_data.perplexity import Score
from itool_data.policy.base import Described, derive_seed
from itool_data.prompt import Prompter, Tokenised, tokenise
from itool_data.rejects import not_fitting, of_sample, record_rejects
from itool_data.run import Run
from itool_data.run_samples import Report, training_samples
from itool_data.sample import Reject, Sample
from itool_data.search.miner import tree_sections
from itool_data.search.task import Task
from itool_data.selection import highest, replay_buffer, scores
from itool_data.store.sql import query
from itool_data.workers.pool import Pool

Row = dict[str, Any]
T = TypeVar("T")


def warmup_stages(run: Run, prompter: Prompter) -> tuple[dict[str, list[tuple[list[int], list[int]]]], list[Reject]]:
    """Choose the warm-up's samples and sort them by difficulty, unless they are to be one mixed stage.

    Returns:
        (prompt ids, response ids) by stage, and what is set aside: what is too long, or cannot be said in the form.
    """
    settings, seed = run.config.warmup, run.config.seed
    samples = training_samples(run)
    ordered = sorted(samples, key=lambda s: derive_seed(seed, "warmup", s.sample_id))
    chosen = ordered[: settings.samples or max(1, round(settings.fraction * len(ordered)))]
    mixed = settings.order == "mixed"
    names = ("mixed",) if mixed else ("easy", "medium", "hard")
    stages: dict[str, list[tuple[list[int], list[int]]]] = {name: [] for name in names}
    said, refused = tokenise(prompter, chosen)
    rejects = [of_sample(sample, reason) for sample, reason in refused]
    for t in said:
        if len(t) > settings.max_tokens:
            rejects.append(not_fitting(t, settings.max_tokens))
        else:
            stages["mixed" if mixed else difficulty(t.sample)].append((t.prompt, t.response))
    return stages, rejects


@dataclass
class Buffer:
    """The replay buffer of a round.

    Attributes:
        samples: all of it.
        missing: still to be scored.
        undrawn: whose pass rate is still to be drawn; none where `replay.select` does not ask for it.
        rejects: what does not fit the context, or cannot be said in the form.
    """

    samples: list[Sample]
    missing: list[Tokenised]
    undrawn: list[Tokenised]
    rejects: list[Reject]


def replay(run: Run, policy: Described, prompter: Prompter, round_: int) -> Buffer:
    """Draw the round's replay buffer and find what of it is not measured under this policy yet."""
    _take_over(run, policy, round_)
    settings = run.config.replay
    samples = replay_buffer(training_samples(run), settings.fraction, run.config.seed)
    scored = scores(run.store, "perplexity", round_, str(policy.policy_id))
    drawn = {s.sample_id for s in samples} if settings.select != "pass-rate" else _drawn(run, policy, round_)
    unknown, refused = tokenise(prompter, [s for s in samples if s.sample_id not in scored or s.sample_id not in drawn])
    fits = [t for t in unknown if len(t) <= policy.context]
    return Buffer(
        samples,
        [t for t in fits if t.key not in scored],
        [t for t in fits if t.key not in drawn],
        [
            *(not_fitting(t, policy.context) for t in unknown if len(t) > policy.context),
            *(of_sample(sample, reason) for sample, reason in refused),
        ],
    )


def _take_over(run: Run, policy: Described, round_: int) -> None:
    """Take over what an earlier round measured that began with the same policy, as the one before a refused one did."""
    made_by = [str(policy.policy_id), round_]
    sql = "SELECT max(round) AS round FROM perplexity WHERE policy = ? AND round <= ?"
    latest = query(run.store, sql, None, made_by).to_pylist()[0]["round"]
    if latest is None or latest == round_:
        return
    rows = {
        table: query(
            run.store,
            f"SELECT * REPLACE (?::INTEGER AS round) FROM {table} WHERE policy = ? AND round = ? AND {measured}",
            None,
            [round_, made_by[0], latest],
        ).to_pylist()
        for table, measured in (("perplexity", "true"), ("pass_rates", "true"), ("all_fragments", "tree_id IS NULL"))
    }
    rows["fragments"] = rows.pop("all_fragments")
    run.store.commit("perplexity", rows, round=round_, policy=made_by[0], taken_over_from=latest)


def _drawn(run: Run, policy: Described, round_: int) -> set[str]:
    """The samples whose pass rate is known."""
    sql = "SELECT sample_id FROM pass_rates WHERE round = ? AND policy = ?"
    return {row["sample_id"] for row in query(run.store, sql, None, [round_, str(policy.policy_id)]).to_pylist()}


def measure(run: Run, pool: Pool, buffer: Buffer, round_: int, report: Report) -> None:
    """Score the missing samples of a buffer (Eq. 4), with what that says of their fragments; commits now and then."""
    record_rejects(run, "perplexity", buffer.rejects)
    policy = str(pool.policy_id)
    made_by = {"round": round_, "policy": policy}
    samples = {t.key: t.sample for t in buffer.missing}

    def rows(score: Score) -> dict[str, list[Row]]:
        measured = {"n_tokens": score.n_tokens, "mean_nll": score.mean_nll, "perplexity": score.perplexity}
        fragments = [fragment_row(f, samples[score.key], round_, policy) for f in score.fragments]
        return {"perplexity": [{"sample_id": score.key} | made_by | measured], "fragments": fragments}

    _keep(run, "perplexity", made_by, pool.run(ScoreJob(), buffer.missing), rows, len(buffer.missing), report)


def draw_pass_rates(run: Run, pool: Pool, buffer: Buffer, round_: int, report: Report) -> None:
    """Draw the pass rates that a buffer lacks; commits now and then.

    Raises:
        ItoolError: if all draws would be the same.
    """
    config, made_by = run.config, {"round": round_, "policy": str(pool.policy_id)}
    if not config.walk.temperature:
        raise ItoolError(
            "replay.select is pass-rate, but walk.temperature is 0, so that all draws of a sample are the same; set it "
            "above 0"
        )
    drawing = Drawing(config.replay.draws, config.mcts.max_tokens, config.walk.temperature, config.seed, round_)

    def rows(rate: PassRate) -> dict[str, list[Row]]:
        counts = {"draws": rate.draws, "right_draws": rate.right_draws}
        return {"pass_rates": [{"sample_id": rate.key} | made_by | counts]}

    _keep(run, "pass-rate", made_by, pool.run(DrawJob(drawing), buffer.undrawn), rows, len(buffer.undrawn), report)


def _keep(
    run: Run,
    operation: str,
    made_by: dict[str, Any],
    measured: Iterator[list[T]],
    rows: Callable[[T], dict[str, list[Row]]],
    total: int,
    report: Report,
) -> None:
    """Commit what is measured every few seconds, and when the caller stops (Ctrl-C included)."""
    waiting: dict[str, list[Row]] = {}
    done, last = 0, time.monotonic()

    def commit() -> None:
        nonlocal waiting, last
        finished, waiting, last = waiting, {}, time.monotonic()
        if finished:
            run.store.commit(operation, finished, **made_by)

    try:
        for results in measured:
            for result in results:
                for name, some in rows(result).items():
                    waiting.setdefault(name, []).extend(some)
            done += len(results)
            report(done, total)
            if time.monotonic() - last > run.config.mine.commit_seconds:
                commit()
    finally:
        commit()


def tree_id(run: Run, policy: Described, sample_id: str, round_: int, search: SearchKind) -> str:
    """16 hex digits that name a tree by all its result depends on."""
    settings = run.config.hash(*tree_sections(search))
    return f"{derive_seed(settings, policy.policy_id, sample_id, round_, search):016x}"


def tasks(
    run: Run,
    policy: Described,
    prompter: Prompter,
    buffer: Buffer,
    round_: int,
    search: SearchKind,
    limit: int | None,
    plan: bool = False,
) -> list[Task]:
    """The searches of a round: those of the buffer's scored samples that `replay.select` says, longest prompts first.

    Where an earlier round began with the same policy, the samples that it did not search are taken first. Neighbours of
    like length waste least of a batch, and the long ones do not come last to an empty machine.

    Args:
        run: with the scores, and the pass rates if those are asked for.
        policy: whose they are.
        prompter: with its tokenizer.
        buffer: of the round.
        round_: of the loop.
        search: which one.
        limit: search so many instead of `replay.hardest` of the buffer.
        plan: they are only counted; what is set aside is not recorded, which would fix the search's settings.
    """
    in_buffer = {s.sample_id: s for s in buffer.samples}
    settings, made_by = run.config.replay, (round_, str(policy.policy_id))
    scored = in_buffer.keys() & scores(run.store, "perplexity", *made_by)
    most = math.ceil(settings.hardest * len(scored)) if limit is None else limit
    by_id = {i: s for i, s in scores(run.store, settings.select, *made_by).items() if i in scored}
    sql = "SELECT sample_id FROM trees WHERE round < ? AND policy = ?"
    searched = Counter(row["sample_id"] for row in query(run.store, sql, None, [*made_by]).to_pylist())
    order = sorted(highest(by_id, len(by_id)), key=searched.__getitem__)
    fitting: list[Tokenised] = []
    rejects: list[Reject] = []
    while order and len(fitting) < most:  # what cannot be searched leaves its place to the next
        part, order = order[: most - len(fitting)], order[most - len(fitting) :]
        # What the form cannot say has no score and is not here.
        said, _ = tokenise(prompter, [in_buffer[i] for i in part])
        found, refused = searchable(run, policy, prompter, said, search)
        fitting, rejects = fitting + found, rejects + refused
    if not plan:
        record_rejects(run, "mine", rejects)
    return as_tasks(run, policy, sorted(fitting, key=lambda t: (-len(t.prompt), t.sample.sample_id)), round_, search)


def searchable(
    run: Run, policy: Described, prompter: Prompter, chosen: Sequence[Tokenised], search: SearchKind
) -> tuple[list[Tokenised], list[Reject]]:
    """Divide samples into those that can be searched, and those that do not fit or have no right response."""
    room = policy.context - (run.config.walk.max_step_tokens if search == "walk" else run.config.mcts.max_tokens)
    fitting: list[Tokenised] = []
    rejects: list[Reject] = []
    for t in chosen:
        if (len(t) if search == "walk" else len(t.prompt)) > room:
            rejects.append(not_fitting(t, room))
        elif search == "walk" and (reason := refusal(t, prompter.form)):
            rejects.append(of_sample(t.sample, reason))
        else:
            fitting.append(t)
    return fitting, rejects


def as_tasks(run: Run, policy: Described, chosen: Sequence[Tokenised], round_: int, search: SearchKind) -> list[Task]:
    """The searches of given samples, in their order."""
    known = _step_logprobs(run, policy, round_) if search == "walk" else {}
    return [
        Task(
            tree_id(run, policy, t.key, round_, search),
            t.sample,
            tuple(t.prompt),
            run.config.seed,
            round_,
            tuple(t.response),
            known.get(t.key, ()),
        )
        for t in chosen
    ]


def _step_logprobs(run: Run, policy: Described, round_: int) -> dict[str, tuple[float, ...]]:
    """What the perplexity pass knows of the gold responses' steps, by sample id."""
    sql = (
        "SELECT sample_id, list(logprob ORDER BY number) AS logprobs FROM all_fragments "
        "WHERE tree_id IS NULL AND round = ? AND policy = ? GROUP BY sample_id"
    )
    rows = query(run.store, sql, None, [round_, str(policy.policy_id)]).to_pylist()
    return {row["sample_id"]: tuple(row["logprobs"]) for row in rows}


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
