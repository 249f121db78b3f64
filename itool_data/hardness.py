"""How hard a round's samples are for its policy: perplexity, what the same pass says of fragments, pass rates.

Reads what the store has, does what is missing and commits as it goes, so that the same command after a kill goes on
where the last commit was. Left out: what is measured (`perplexity.py`, `pass_rate.py`), which samples are then searched
(`choosing.py`), and how progress is shown (the callers' `report`).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from itool_data.errors import ItoolError
from itool_data.fragments import fragment_row
from itool_data.jobs import DrawJob, ScoreJob
from itool_data.pass_rate import Drawing, PassRate
from itool_data.perplexity import Score
from itool_data.policy.base import Described
from itool_data.prompt import Prompter, Tokenised, tokenise
from itool_data.rejects import not_fitting, of_sample, record_rejects
from itool_data.run import Run
from itool_data.run_samples import Report, training_samples
from itool_data.sample import GivenUp, Reject, Sample
from itool_data.selection import replay_buffer, scores
from itool_data.store.sql import query
from itool_data.workers.pool import Pool

Row = dict[str, Any]
T = TypeVar("T")


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


def measure(run: Run, pool: Pool, buffer: Buffer, round_: int, report: Report) -> list[Reject]:
    """Score the missing samples of a buffer (Eq. 4), with what that says of their fragments; commits now and then.

    Returns:
        The samples that were set aside: the buffer's rejects, and those that the policy cannot be measured on.
    """
    record_rejects(run, "perplexity", buffer.rejects)
    policy = str(pool.policy_id)
    made_by = {"round": round_, "policy": policy}
    samples = {t.key: t.sample for t in buffer.missing}

    def rows(score: Score) -> dict[str, list[Row]]:
        measured = {"n_tokens": score.n_tokens, "mean_nll": score.mean_nll, "perplexity": score.perplexity}
        fragments = [fragment_row(f, samples[score.key], round_, policy) for f in score.fragments]
        return {"perplexity": [{"sample_id": score.key} | made_by | measured], "fragments": fragments}

    measured = pool.run(ScoreJob(), buffer.missing)
    return buffer.rejects + _keep(run, "perplexity", made_by, measured, rows, len(buffer.missing), report)


def draw_pass_rates(run: Run, pool: Pool, buffer: Buffer, round_: int, report: Report) -> list[Reject]:
    """Draw the pass rates that a buffer lacks; commits now and then.

    Returns:
        The samples that the policy cannot be asked, which are set aside.

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

    drawn = pool.run(DrawJob(drawing), buffer.undrawn)
    return _keep(run, "pass-rate", made_by, drawn, rows, len(buffer.undrawn), report)


def _keep(
    run: Run,
    operation: str,
    made_by: dict[str, Any],
    measured: Iterator[list[T | GivenUp]],
    rows: Callable[[T], dict[str, list[Row]]],
    total: int,
    report: Report,
) -> list[Reject]:
    """Commit what is measured every few seconds, and when the caller stops (Ctrl-C included).

    Returns:
        The samples that the policy cannot be measured on, which are recorded in `rejects`.
    """
    aside: list[Reject] = []
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
                if isinstance(result, GivenUp):
                    record_rejects(run, operation, [result.reject])
                    aside.append(result.reject)
                    continue
                for name, some in rows(result).items():
                    waiting.setdefault(name, []).extend(some)
            done += len(results)
            report(done, total)
            if time.monotonic() - last > run.config.mine.commit_seconds:
                commit()
    finally:
        commit()
    return aside
