"""A policy's answers to a benchmark, generated greedily, scored and committed to `predictions` as they come.

What is there already is not asked again, so the same command after a kill goes on where the last commit was. Left out:
the prompts (each benchmark's own) and how progress is shown.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from itool_data.policy.base import Completion, Policy, Request
from itool_data.prompt import Prompter
from itool_data.run import Run
from itool_data.sample import Reject
from itool_data.store.samples import reject_row
from itool_data.store.sql import query
from itool_eval.benchmarks import Benchmark, Question
from itool_eval.predictions import Answer, prediction_row
from itool_eval.verdicts import Verdict

# BFCL's own margin between the prompt, the answer and the end of the context.
_MARGIN = 2


@dataclass(frozen=True)
class Asked:
    """A question with its token ids and how many tokens the answer may have."""

    question: Question
    prompt: list[int]
    room: int


@dataclass(frozen=True)
class Work:
    """What is to be done: the questions still to be asked, those that do not fit the context, how many are done."""

    asked: list[Asked]
    too_long: list[Asked]
    done: int


def prepare(run: Run, policy: Policy, prompter: Prompter, benchmark: Benchmark, questions: Sequence[Question]) -> Work:
    """Find which questions this policy has not answered yet and set aside those that do not fit its context.

    The longest come first: neighbours of like length waste least of a batch, and no long one is left for the end.
    """
    answered = {
        (row["category"], row["position"])
        for row in query(
            run.store,
            "SELECT category, position FROM predictions WHERE benchmark = ? AND policy = ?",
            None,
            [benchmark.name, str(policy.policy_id)],
        ).to_pylist()
    }
    missing = [q for q in questions if (q.category, q.position) not in answered]
    asked = []
    for question in missing:
        prompt = prompter.chat_ids(question.messages)
        asked.append(Asked(question, prompt, min(run.config.eval.max_tokens, policy.context - len(prompt) - _MARGIN)))
    asked.sort(key=lambda a: (-len(a.prompt), a.question.category, a.question.position))
    too_long = [a for a in asked if a.room < 1]
    _set_aside(run, benchmark, too_long, policy.context)
    return Work([a for a in asked if a.room >= 1], too_long, len(questions) - len(missing))


def answer(
    run: Run, policy: Policy, prompter: Prompter, benchmark: Benchmark, asked: Sequence[Asked]
) -> Iterator[list[Verdict]]:
    """Ask the questions and commit the answers in groups; yields at every step the verdicts of those that ended in it.

    Whatever is finished when the caller stops (Ctrl-C included) is committed first.
    """
    by_id = {str(number): a for number, a in enumerate(asked)}
    for request_id, a in by_id.items():
        policy.submit(Request(request_id, a.prompt, (0,), a.room, 0.0))
    rows: list[dict[str, Any]] = []
    committed = ended = time.monotonic()

    def commit() -> None:
        nonlocal rows, committed
        waiting, rows, committed = rows, [], time.monotonic()
        if waiting:
            run.store.commit("eval", {"predictions": waiting}, benchmark=benchmark.name, policy=str(policy.policy_id))

    try:
        left = len(by_id)
        while left:
            finished = policy.step()
            verdicts = []
            now = time.monotonic()
            for completion in finished:
                reply = _answer(by_id[completion.request_id], completion, prompter, (now - ended) / len(finished))
                verdict = benchmark.scorer.score(reply.question.category, reply.question.id, reply.text)
                calls = benchmark.scorer.calls(reply.question.category, reply.text)
                rows.append(prediction_row(benchmark.name, str(policy.policy_id), reply, calls, verdict))
                verdicts.append(verdict)
            if finished:
                ended = now
            left -= len(finished)
            if now - committed > run.config.mine.commit_seconds:
                commit()
            yield verdicts
    finally:
        policy.reset()
        commit()


def _answer(asked: Asked, completion: Completion, prompter: Prompter, seconds: float) -> Answer:
    (draw,) = completion.draws
    return Answer(asked.question, prompter.decode(draw.ids), len(asked.prompt), len(draw.ids), draw.finish, seconds)


def _set_aside(run: Run, benchmark: Benchmark, too_long: Sequence[Asked], context: int) -> None:
    """Record questions that do not fit the context in `rejects`, once each."""
    known = {
        (row["source"], row["file"], row["line"])
        for row in query(run.store, "SELECT source, file, line FROM rejects WHERE stage = 'eval'").to_pylist()
    }
    rejects = [
        Reject(
            benchmark.name,
            a.question.category,
            a.question.position,
            a.question.id,
            f"{len(a.prompt)} prompt tokens leave no room in a context of {context}",
        )
        for a in too_long
    ]
    rows = [reject_row(r, "eval") for r in rejects if (r.source, r.file, r.line) not in known]
    if rows:
        run.store.commit("eval", {"rejects": rows}, benchmark=benchmark.name)
