"""A benchmark's questions answered by a chat, scored and committed to `predictions` as they come.

Every item is a conversation (`conversation.py`), and the next replies of many of them are asked for together. As few
are begun at once as keep the chat busy, so that items end, and are committed, from the start. What is there already
is not asked again, so the same command after a kill goes on where the last commit was. Left out: the prompts (each
benchmark's own) and how progress is shown.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from itool_data.run import Run
from itool_data.sample import Reject
from itool_data.stages import record_rejects
from itool_data.store.sql import query
from itool_eval.benchmarks import Benchmark, Question, version_of
from itool_eval.chat import Chat, Refusal, Reply
from itool_eval.conversation import Conversation, Prompt
from itool_eval.predictions import Answer, prediction_row
from itool_eval.verdicts import Verdict

# Conversations begun at once, for each reply that the chat works on at once.
_OPEN_PER_ROW = 2


@dataclass
class Asked:
    """An item whose conversation waits for a reply, and what it took so far.

    Attributes:
        question: the item.
        conversation: stands where it asked for the reply.
        prompt: what it asked.
        replies: how many there are.
        tokens_prompt: tokens of their prompts.
        tokens_output: their tokens.
        seconds: the time that they took.
    """

    question: Question
    conversation: Conversation
    prompt: Prompt
    replies: int = 0
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


def prepare(run: Run, chat: Chat, benchmark: Benchmark, questions: Sequence[Question]) -> list[Asked]:
    """Begin the conversations of those questions that this chat has not answered yet.

    The longest come first: neighbours of like length waste least of a batch, and no long one is left for the end.
    """
    answered = {
        (row["category"], row["position"])
        for row in query(
            run.store,
            "SELECT category, position FROM predictions WHERE benchmark = ? AND policy = ?",
            None,
            [benchmark.name, str(chat.policy_id)],
        ).to_pylist()
    }
    asked = []
    for question in questions:
        if (question.category, question.position) not in answered:
            conversation = question.begin()
            asked.append(Asked(question, conversation, next(conversation)))
    return sorted(asked, key=lambda a: (-_length(a.prompt), a.question.category, a.question.position))


def _length(prompt: Prompt) -> int:
    """Characters of a prompt, which need no tokenizer and tell long from short."""
    return sum(len(str(message["content"])) for message in prompt.messages) + len(str(prompt.tools))


@dataclass(frozen=True)
class Step:
    """What one step of the chat brought to an end: verdicts, and items that it could not be asked."""

    verdicts: list[Verdict] = field(default_factory=list)
    set_aside: list[Reject] = field(default_factory=list)


def answer(run: Run, chat: Chat, benchmark: Benchmark, asked: Sequence[Asked]) -> Iterator[Step]:
    """Hold the conversations and commit the results in groups; yields at every step what ended in it.

    Whatever is finished when the caller stops (Ctrl-C included) is committed first.
    """
    waiting = deque(asked)
    under_way: dict[str, Asked] = {}
    requests = 0
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    committed = replied = time.monotonic()

    def submit(a: Asked) -> None:
        nonlocal requests
        requests += 1
        under_way[str(requests)] = a
        chat.submit(str(requests), a.prompt, run.config.eval.max_tokens)

    def commit() -> None:
        nonlocal rows, rejects, committed
        ended, refused = rows, rejects
        rows, rejects, committed = [], [], time.monotonic()
        if refused:
            record_rejects(run, "eval", refused, benchmark=benchmark.name)
        if ended:
            run.store.commit("eval", {"predictions": ended}, benchmark=benchmark.name, policy=str(chat.policy_id))

    try:
        while waiting or under_way:
            while waiting and len(under_way) < _OPEN_PER_ROW * chat.max_rows:
                submit(waiting.popleft())
            finished = chat.step()
            step = Step()
            now = time.monotonic()
            for key, reply in finished:
                current = under_way.pop(key)
                current.seconds += (now - replied) / len(finished)
                if isinstance(reply, Refusal) and not current.replies:
                    step.set_aside.append(_reject(benchmark, current.question, reply))
                    continue
                ended = _broken_off(current, reply) if isinstance(reply, Refusal) else _told(current, reply)
                if ended is None:
                    submit(current)
                    continue
                scorer = benchmark.scorer(ended.question.category)
                verdict = scorer.score(ended.question.category, ended.question.id, ended.result)
                calls = scorer.calls(ended.question.category, ended.result)
                rows.append(prediction_row(benchmark.name, str(chat.policy_id), ended, calls, verdict))
                step.verdicts.append(verdict)
            rejects += step.set_aside
            if finished:
                replied = now
            if now - committed > run.config.mine.commit_seconds:
                commit()
            yield step
    finally:
        chat.reset()
        commit()


def _told(asked: Asked, reply: Reply) -> Answer | None:
    """Give a conversation its next reply; returns the answer once it is over, None while it goes on."""
    asked.replies += 1
    asked.tokens_prompt += reply.tokens_prompt
    asked.tokens_output += reply.tokens_output
    try:
        asked.prompt = asked.conversation.send(reply.said)
    except StopIteration as end:
        return Answer(asked.question, end.value, asked.tokens_prompt, asked.tokens_output, reply.finish, asked.seconds)
    return None


def _broken_off(asked: Asked, refusal: Refusal) -> Answer:
    """A conversation that gets no further reply: what the official harness writes then, and scores as wrong."""
    result = f"Error during inference: {refusal.reason}"
    return Answer(asked.question, result, asked.tokens_prompt, asked.tokens_output, refusal.finish, asked.seconds)


def _reject(benchmark: Benchmark, question: Question, refusal: Refusal) -> Reject:
    return Reject(benchmark.name, question.category, question.position, question.id, refusal.reason)
