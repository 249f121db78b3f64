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
from functools import cache
from typing import Any

from itool_data.policy.base import Described, Draw, Request
from itool_data.prompt import Prompter
from itool_data.run import Run
from itool_data.sample import Reject
from itool_data.stages import record_rejects
from itool_data.store.sql import query
from itool_data.workers.pool import Desk, Pool
from itool_eval.benchmarks import API_BANK, Benchmark, Question, open_benchmark
from itool_eval.conversation import Conversation
from itool_eval.predictions import Answer, prediction_row
from itool_eval.verdicts import Verdict

# BFCL's own margin between the prompt, the answer and the end of the context.
_MARGIN = 2
# Conversations begun at once, for each draw that the policy works on at once.
_OPEN_PER_ROW = 2


@dataclass(frozen=True)
class Asked:
    """An item to be asked, in a form that can be sent to a worker; which of a category's it is, is its position."""

    category: str
    id: str
    position: int
    prompt: list[int]  # token ids of the first messages

    @property
    def key(self) -> str:
        """Category and position."""
        return f"{self.category}/{self.position}"


@dataclass(frozen=True)
class Answered:
    """An item's end: its verdict and its row of `predictions`."""

    key: str
    verdict: Verdict
    row: dict[str, Any]


@dataclass
class _Talk:
    """An item whose conversation waits for a reply, and what it took so far.

    Attributes:
        asked: the item.
        question: the same, as the benchmark has it.
        conversation: stands where it asked for the reply.
        prompt: token ids of all messages so far.
        room: how many tokens the reply may have.
        tokens_prompt: tokens of the prompts before.
        tokens_output: tokens of the replies before.
        seconds: the time that the replies before took.
    """

    asked: Asked
    question: Question
    conversation: Conversation
    prompt: list[int]
    room: int
    tokens_prompt: int = 0
    tokens_output: int = 0
    seconds: float = 0.0


def training_items(run: Run, benchmark: Benchmark) -> set[tuple[str, str]]:
    """Category and id of the items that are among the run's training samples (BFCL-half), in any version's naming."""
    if benchmark.name == API_BANK:
        return set()
    sql = "SELECT source, source_id FROM samples WHERE split = 'train' AND starts_with(source, 'bfcl:')"
    found = set()
    for row in query(run.store, sql).to_pylist():
        category, item = row["source"].partition(":")[2], row["source_id"]
        found.add((category, item))
        if category == "simple":  # v4's name of it
            found.add(("simple_python", item.replace("simple", "simple_python")))
    return {key for key in found if key[0] in benchmark.categories}


@dataclass(frozen=True)
class Work:
    """What is to be done: the items still to be asked, those that do not fit the context, how many are done."""

    asked: list[Asked]
    too_long: list[Asked]
    done: int


def prepare(
    run: Run, policy: Described, prompter: Prompter, benchmark: Benchmark, questions: Sequence[Question]
) -> Work:
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
    asked = [Asked(q.category, q.id, q.position, prompter.chat_ids(next(q.begin()))) for q in missing]
    asked.sort(key=lambda a: (-len(a.prompt), a.category, a.position))
    too_long = [a for a in asked if _room(policy.context, a.prompt) < 1]
    rejects = [
        Reject(
            benchmark.name,
            a.category,
            a.position,
            a.id,
            f"{len(a.prompt)} prompt tokens leave no room in a context of {policy.context}",
        )
        for a in too_long
    ]
    record_rejects(run, "eval", rejects, benchmark=benchmark.name)
    return Work([a for a in asked if _room(policy.context, a.prompt) >= 1], too_long, len(questions) - len(missing))


def answer(run: Run, pool: Pool, benchmark: Benchmark, asked: Sequence[Asked]) -> Iterator[list[Verdict]]:
    """Hold the conversations and commit the results in groups; yields at every step the verdicts of those that ended.

    Whatever is finished when the caller stops (Ctrl-C included) is committed first.
    """
    rows: list[dict[str, Any]] = []
    committed = time.monotonic()

    def commit() -> None:
        nonlocal rows, committed
        ended, rows, committed = rows, [], time.monotonic()
        if ended:
            run.store.commit("eval", {"predictions": ended}, benchmark=benchmark.name, policy=str(pool.policy_id))

    try:
        for finished in pool.run(AnswerJob(benchmark.source, run.config.eval.max_tokens), asked):
            rows += [answered.row for answered in finished]
            if time.monotonic() - committed > run.config.mine.commit_seconds:
                commit()
            yield [answered.verdict for answered in finished]
    finally:
        commit()


@dataclass(frozen=True)
class AnswerJob:
    """Answers to a benchmark's items, scored.

    Attributes:
        source: of the benchmark, as `open_benchmark` takes it: every worker opens it for itself.
        max_tokens: upper bound on a reply.
    """

    source: str
    max_tokens: int
    name = "item"

    def start(self, desk: Desk) -> "AnswerSession":
        """Begin on a worker."""
        return AnswerSession(self, desk)


class AnswerSession:
    """Holds conversations with one policy."""

    def __init__(self, job: AnswerJob, desk: Desk):
        self._max_tokens = job.max_tokens
        self._policy = desk.policy
        self._prompter = desk.prompter
        self._benchmark = open_benchmark(job.source, desk.prompter)
        self._questions = cache(lambda category: {q.position: q for q in self._benchmark.questions(category)})
        self.appetite = _OPEN_PER_ROW * desk.policy.max_rows

    def run(self, waiting: deque[Asked]) -> Iterator[list[Answered]]:
        """Hold the conversations of the waiting items; yields at every step of the policy."""
        under_way: dict[str, _Talk] = {}
        requests = 0
        replied = time.monotonic()

        def submit(talk: _Talk) -> None:
            nonlocal requests
            requests += 1
            under_way[str(requests)] = talk
            self._policy.submit(Request(str(requests), talk.prompt, (0,), talk.room, 0.0))

        while waiting or under_way:
            while waiting and len(under_way) < self.appetite:
                submit(self._begin(waiting.popleft()))
            finished = self._policy.step()
            ended = []
            now = time.monotonic()
            for completion in finished:
                current = under_way.pop(completion.request_id)
                current.seconds += (now - replied) / len(finished)
                (draw,) = completion.draws
                reply = self._reply(current, draw)
                if reply is None:
                    submit(current)
                else:
                    ended.append(self._score(current.asked.key, reply))
            if finished:
                replied = now
            yield ended

    def _begin(self, asked: Asked) -> _Talk:
        question = self._questions(asked.category)[asked.position]
        conversation = question.begin()
        next(conversation)  # the messages of which the prompt was made
        return _Talk(asked, question, conversation, asked.prompt, self._room(asked.prompt))

    def _room(self, prompt: Sequence[int]) -> int:
        return min(self._max_tokens, _room(self._policy.context, prompt))

    def _reply(self, talk: _Talk, draw: Draw) -> Answer | None:
        """Give a conversation its next reply; returns the answer once it is over, None while it goes on."""
        talk.tokens_prompt += len(talk.prompt)
        talk.tokens_output += len(draw.ids)
        try:
            talk.prompt = self._prompter.chat_ids(talk.conversation.send(self._prompter.decode(draw.ids)))
        except StopIteration as end:
            return Answer(talk.question, end.value, talk.tokens_prompt, talk.tokens_output, draw.finish, talk.seconds)
        talk.room = self._room(talk.prompt)
        if talk.room >= 1:
            return None
        # What the official harness writes in place of the result when the server refuses a prompt, and scores as wrong.
        result = (
            f"Error during inference: {len(talk.prompt)} prompt tokens leave no room in a context of "
            f"{self._policy.context}"
        )
        return Answer(talk.question, result, talk.tokens_prompt, talk.tokens_output, "context", talk.seconds)

    def _score(self, key: str, reply: Answer) -> Answered:
        category = reply.question.category
        scorer = self._benchmark.scorer(category)
        verdict = scorer.score(category, reply.question.id, reply.result)
        calls = scorer.calls(category, reply.result)
        row = prediction_row(self._benchmark.name, str(self._policy.policy_id), reply, calls, verdict)
        return Answered(key, verdict, row)


def _room(context: int, prompt: Sequence[int]) -> int:
    """How many tokens of the context a prompt leaves to the reply; below 1 if it fills the context."""
    return context - len(prompt) - _MARGIN
