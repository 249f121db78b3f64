"""A policy's answers to a benchmark, generated greedily, scored and committed to `predictions` as they come.

Every item is a conversation (`conversation.py`), and the next replies of many of them are asked for together. As few
are begun at once as keep the policy busy, so that items end, and are committed, from the start. What is there already
is not asked again, so the same command after a kill goes on where the last commit was. Left out: the prompts (each
benchmark's own) and how progress is shown.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from itool_data.policy.base import Draw, Policy, Request
from itool_data.prompt import Prompter
from itool_data.run import Run
from itool_data.sample import Reject
from itool_data.store.samples import reject_row
from itool_data.store.sql import query
from itool_eval.benchmarks import Benchmark, Question, version_of
from itool_eval.conversation import Conversation
from itool_eval.predictions import Answer, prediction_row
from itool_eval.verdicts import Verdict

# BFCL's own margin between the prompt, the answer and the end of the context.
_MARGIN = 2
# Conversations begun at once, for each draw that the policy works on at once.
_OPEN_PER_ROW = 2


@dataclass
class Asked:
    """An item whose conversation waits for a reply, and what it took so far.

    Attributes:
        question: the item.
        conversation: stands where it asked for the reply.
        prompt: token ids of all messages so far.
        room: how many tokens the reply may have.
        tokens_prompt: tokens of the prompts before.
        tokens_output: tokens of the replies before.
        seconds: the time that the replies before took.
    """

    question: Question
    conversation: Conversation
    prompt: list[int]
    room: int
    tokens_prompt: int = 0
    tokens_output: int = 0
    seconds: float = 0.0


def not_asked(run: Run, benchmark: Benchmark) -> set[tuple[str, str]]:
    """Category and id of the items that a run must not be asked.

    Those that it trains on or tunes on (BFCL-half), in any version's naming; where a benchmark's validation items are
    asked, all that are not the run's validation samples.
    """
    if version_of(benchmark.name) is None:
        return set()
    sql = "SELECT source, source_id, split FROM samples WHERE starts_with(source, 'bfcl:')"
    splits: dict[tuple[str, str], str] = {}
    for row in query(run.store, sql).to_pylist():
        category, item = row["source"].partition(":")[2], row["source_id"]
        splits[category, item] = row["split"]
        if category == "simple":  # v4's name of it
            splits["simple_python", item.replace("simple", "simple_python")] = row["split"]
    if benchmark.split == "test":
        return {key for key, split in splits.items() if split != "test" and key[0] in benchmark.categories}
    everything = {(q.category, q.id) for category in benchmark.categories for q in benchmark.questions(category)}
    return {key for key in everything if splits.get(key) != benchmark.split}


@dataclass(frozen=True)
class Work:
    """What is to be done: the items still to be asked, those that do not fit the context, how many are done."""

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
        conversation = question.begin()
        prompt = prompter.chat_ids(next(conversation))
        asked.append(Asked(question, conversation, prompt, _room(run, policy, prompt)))
    asked.sort(key=lambda a: (-len(a.prompt), a.question.category, a.question.position))
    too_long = [a for a in asked if a.room < 1]
    _set_aside(run, benchmark, too_long, policy.context)
    return Work([a for a in asked if a.room >= 1], too_long, len(questions) - len(missing))


def answer(
    run: Run, policy: Policy, prompter: Prompter, benchmark: Benchmark, asked: Sequence[Asked]
) -> Iterator[list[Verdict]]:
    """Hold the conversations and commit the results in groups; yields at every step the verdicts of those that ended.

    Whatever is finished when the caller stops (Ctrl-C included) is committed first.
    """
    waiting = deque(asked)
    under_way: dict[str, Asked] = {}
    requests = 0
    rows: list[dict[str, Any]] = []
    committed = replied = time.monotonic()

    def submit(a: Asked) -> None:
        nonlocal requests
        requests += 1
        under_way[str(requests)] = a
        policy.submit(Request(str(requests), a.prompt, (0,), a.room, 0.0))

    def commit() -> None:
        nonlocal rows, committed
        ended, rows, committed = rows, [], time.monotonic()
        if ended:
            run.store.commit("eval", {"predictions": ended}, benchmark=benchmark.name, policy=str(policy.policy_id))

    try:
        while waiting or under_way:
            while waiting and len(under_way) < _OPEN_PER_ROW * policy.max_rows:
                submit(waiting.popleft())
            finished = policy.step()
            verdicts = []
            now = time.monotonic()
            for completion in finished:
                current = under_way.pop(completion.request_id)
                current.seconds += (now - replied) / len(finished)
                (draw,) = completion.draws
                reply = _reply(run, policy, prompter, current, draw)
                if reply is None:
                    submit(current)
                    continue
                scorer = benchmark.scorer(reply.question.category)
                verdict = scorer.score(reply.question.category, reply.question.id, reply.result)
                calls = scorer.calls(reply.question.category, reply.result)
                rows.append(prediction_row(benchmark.name, str(policy.policy_id), reply, calls, verdict))
                verdicts.append(verdict)
            if finished:
                replied = now
            if now - committed > run.config.mine.commit_seconds:
                commit()
            yield verdicts
    finally:
        policy.reset()
        commit()


def _reply(run: Run, policy: Policy, prompter: Prompter, asked: Asked, draw: Draw) -> Answer | None:
    """Give a conversation its next reply; returns the answer once it is over, None while it goes on."""
    asked.tokens_prompt += len(asked.prompt)
    asked.tokens_output += len(draw.ids)
    try:
        asked.prompt = prompter.chat_ids(asked.conversation.send(prompter.decode(draw.ids)))
    except StopIteration as end:
        return Answer(asked.question, end.value, asked.tokens_prompt, asked.tokens_output, draw.finish, asked.seconds)
    asked.room = _room(run, policy, asked.prompt)
    if asked.room >= 1:
        return None
    # What the official harness writes in place of the result when the server refuses a prompt, and scores as wrong.
    result = f"Error during inference: {len(asked.prompt)} prompt tokens leave no room in a context of {policy.context}"
    return Answer(asked.question, result, asked.tokens_prompt, asked.tokens_output, "context", asked.seconds)


def _room(run: Run, policy: Policy, prompt: Sequence[int]) -> int:
    """How many tokens the reply to a prompt may have; below 1 if the prompt fills the context."""
    return min(run.config.eval.max_tokens, policy.context - len(prompt) - _MARGIN)


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
