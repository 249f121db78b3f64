"""A benchmark's questions answered by a pool of policies or a chat, scored and committed to `predictions` as they come.

Every item is a conversation (`conversation.py`), and the next replies of many of them are asked for together. As few
are begun at once as keep the chat busy, so that items end, and are committed, from the start. What is there already
is not asked again, so the same command after a kill goes on where the last commit was. Left out: the prompts (each
benchmark's own) and how progress is shown.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, Protocol

from itool_data.policy.base import PolicyId, Usage, derive_seed
from itool_data.prompt import ToolStyle, Wording
from itool_data.rejects import key_of, record_rejects, recorded
from itool_data.run import Run
from itool_data.sample import Reject, Sample
from itool_data.sources.bfcl import split_of
from itool_data.store.sql import query
from itool_data.workers.pool import Desk
from itool_eval.benchmark import Benchmark, Question
from itool_eval.benchmarks import open_benchmark, version_of
from itool_eval.bfcl.categories import FORMAT_SENSITIVITY
from itool_eval.bfcl.format_sensitivity import source_of
from itool_eval.bfcl.memory_stores import Memory
from itool_eval.chat import Chat, PolicyChat, Refusal, Reply
from itool_eval.conversation import Conversation, Prompt
from itool_eval.predictions import Answer, prediction_row
from itool_eval.protocol import protocol_of
from itool_eval.server_chat import ServerChat
from itool_eval.verdicts import Verdict

# Conversations begun at once, for each reply that the chat works on at once.
_OPEN_PER_ROW = 2


@dataclass(frozen=True)
class Asked:
    """An item to be asked; can be sent to a worker, whose own copy of the benchmark has its question.

    Attributes:
        category: the item's category.
        id: its id.
        position: its place in its category.
        trial: which try at it this is.
    """

    category: str
    id: str
    position: int
    trial: int = 0

    @property
    def key(self) -> str:
        """Category, id, position and trial."""
        return f"{self.category}/{self.id}/{self.position}/{self.trial}"


@dataclass(frozen=True)
class Answered:
    """An item's end: its verdict and its row of `predictions`."""

    key: str
    verdict: Verdict
    row: dict[str, Any]


@dataclass(frozen=True)
class SetAside:
    """An item that could not be asked, and why."""

    key: str
    reject: Reject


Ended = Answered | SetAside


@dataclass
class _Talk:
    """An item whose conversation waits for a reply, and what it took so far.

    Attributes:
        asked: the item.
        question: the same.
        conversation: stands where it asked for the reply.
        prompt: what it asked.
        replies: how many there are.
        tokens_prompt: tokens of their prompts.
        tokens_output: their tokens.
        seconds: the time that they took.
    """

    asked: Asked
    question: Question
    conversation: Conversation
    prompt: Prompt
    replies: int = 0
    tokens_prompt: int = 0
    tokens_output: int = 0
    seconds: float = 0.0


class Answerer(Protocol):
    """Whoever answers a benchmark: a pool of policies, or a chat of another kind."""

    @property
    def policy_id(self) -> PolicyId:
        """Whose answers these are."""
        ...

    @property
    def usage(self) -> Usage:
        """Tokens worked on so far."""
        ...

    @property
    def wording(self) -> Wording:
        """What the prompts are made by."""
        ...

    def run(self, job: "AnswerJob", items: Sequence[Asked]) -> Iterator[list[Ended]]:
        """Ask every item once, in about their order; yields what ended at each moment, often nothing."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


class OneChat:
    """A server's chat as an answerer; its template and its reader of calls are its own and not known here."""

    wording = Wording("the server's", "the server's", "ours", "")

    def __init__(self, chat: ServerChat):
        self._chat = chat

    @property
    def policy_id(self) -> PolicyId:
        """The chat's."""
        return self._chat.policy_id

    @property
    def usage(self) -> Usage:
        """The chat's, as it is now."""
        return replace(self._chat.usage)

    def run(self, job: "AnswerJob", items: Sequence[Asked]) -> Iterator[list[Ended]]:
        """Ask every item."""
        try:
            session = AnswerSession(job, self._chat)
            prompt = session.first_prompt(job.witness or items[-1])
            self._chat.call_witness(prompt, job.max_tokens, job.temperature)
            yield from session.run(deque(items))
        finally:
            self._chat.reset()

    def close(self) -> None:
        """Nothing to do: the chat goes with it."""


def not_asked(run: Run, benchmark: Benchmark) -> set[tuple[str, str]]:
    """Category and id of the items that a run must not be asked.

    Those that it trains on or tunes on (BFCL-half), in any version's naming; where a benchmark's validation items are
    asked, all that are not the run's validation samples. Of items that no run trains on, the training half is there to
    tune on.
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
    if splits:
        for category in benchmark.halved:
            for question in benchmark.questions(category):
                splits[category, question.id] = "test" if split_of(question.id) == "test" else "validation"
        if FORMAT_SENSITIVITY in benchmark.categories:  # the same items in other forms of the prompt
            for question in benchmark.questions(FORMAT_SENSITIVITY):
                splits[question.category, question.id] = splits.get(source_of(question.id), "test")
    if benchmark.split == "test":
        return {key for key, split in splits.items() if split != "test" and key[0] in benchmark.categories}
    everything = {(q.category, q.id) for category in benchmark.categories for q in benchmark.questions(category)}
    return {key for key in everything if splits.get(key) != benchmark.split}


def prepare(
    run: Run, policy: str, benchmark: Benchmark, questions: Sequence[Question], fingerprint: str = ""
) -> list[Asked]:
    """Find what a policy has not answered yet of some questions and tries at them; it need not be loaded for that.

    With a protocol's fingerprint, what it answered under another protocol is to be asked again.

    The longest come first: neighbours of like length waste least of a batch, and no long one is left for the end. Those
    that were set aside before come after all others, so that they keep nothing from being asked.
    """
    answered, aside = _answered(run, policy, benchmark, fingerprint), recorded(run, "eval")
    tries = range(benchmark.trials)
    asked = {Asked(q.category, q.id, q.position, trial): q for q in questions for trial in tries}
    length = cache(lambda question: _length(next(question.begin())))
    missing = {one: length(q) for one, q in asked.items() if one not in answered}

    def place(one: Asked) -> tuple[Any, ...]:
        was_aside = key_of(_reject(benchmark, one, "")) in aside
        return was_aside, -missing[one], one.category, one.position, one.id, one.trial

    return sorted(missing, key=place)


def _answered(run: Run, policy: str, benchmark: Benchmark, fingerprint: str = "") -> set[Asked]:
    """The items that a policy has answered; of older runs it is not known under which protocol, and taken to be it."""
    sql = """SELECT category, item, position, coalesce(trial, 0) AS trial FROM predictions
             WHERE benchmark = ? AND policy = ? AND (? IN ('', protocol) OR protocol IS NULL)"""
    rows = query(run.store, sql, None, [benchmark.name, policy, fingerprint]).to_pylist()
    return {Asked(row["category"], row["item"], row["position"], row["trial"]) for row in rows}


def _reject(benchmark: Benchmark, one: Asked, reason: str) -> Reject:
    return Reject(benchmark.name, one.category, one.position, one.id, reason)


def _length(prompt: Prompt) -> int:
    """Characters of a prompt, which need no tokenizer and tell long from short."""
    return sum(len(str(message["content"])) for message in prompt.messages) + len(str(prompt.tools))


@dataclass(frozen=True)
class Step:
    """What ended at one moment: verdicts, and items that could not be asked."""

    verdicts: list[Verdict] = field(default_factory=list)
    set_aside: list[Reject] = field(default_factory=list)


def answer(run: Run, answerer: Answerer, benchmark: Benchmark, asked: Sequence[Asked]) -> Iterator[Step]:
    """Hold the conversations and commit the results in groups; yields at every step what ended in it.

    Whatever is finished when the caller stops (Ctrl-C included) is committed first.
    """
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    committed = time.monotonic()
    protocol = protocol_of(benchmark, answerer.wording, run.config.eval.max_tokens)
    mark = {"protocol": protocol.fingerprint}
    known = bool(query(run.store, "SELECT 1 FROM protocols WHERE protocol = ?", None, [*mark.values()]).num_rows)

    def commit() -> None:
        nonlocal rows, rejects, committed, known
        ended, refused = rows, rejects
        rows, rejects, committed = [], [], time.monotonic()
        if refused:
            record_rejects(run, "eval", refused, benchmark=benchmark.name)
        if ended:
            tables = {"predictions": ended, "protocols": [] if known else [mark | asdict(protocol)]}
            run.store.commit("eval", tables, benchmark=benchmark.name, policy=str(answerer.policy_id))
            known = True

    witness = min(_answered(run, str(answerer.policy_id), benchmark), key=lambda one: one.key, default=None)
    tools, max_tokens = run.config.model.tools, run.config.eval.max_tokens
    job = AnswerJob(
        benchmark.source, tools, max_tokens, benchmark.samples, witness, benchmark.memories,
        benchmark.temperature, run.config.seed,
    )  # fmt: skip
    try:
        for finished in answerer.run(job, asked):
            answered = [ended for ended in finished if isinstance(ended, Answered)]
            step = Step(
                [ended.verdict for ended in answered],
                [ended.reject for ended in finished if isinstance(ended, SetAside)],
            )
            rows += [ended.row | mark for ended in answered]
            rejects += step.set_aside
            if time.monotonic() - committed > run.config.mine.commit_seconds:
                commit()
            yield step
    finally:
        commit()


@dataclass(frozen=True)
class AnswerJob:
    """Conversations about a benchmark's items, scored.

    Attributes:
        source: of the benchmark, as `open_benchmark` takes it, because every worker opens it for itself.
        tools: how the run's own prompt writes functions.
        max_tokens: upper bound on a reply.
        samples: of the run that are its items; they go along, as a worker may be where the run's tables are not.
        witness: an item that was answered before, for a server to be tried with; None: there is none.
        memories: that some items begin with, by back end and scenario.
        temperature: at which replies are drawn; 0: greedily.
        seed: that every draw's is derived from.
    """

    source: str
    tools: ToolStyle
    max_tokens: int
    samples: tuple[Sample, ...] = ()
    witness: Asked | None = None
    memories: Mapping[str, Memory] = field(default_factory=dict)
    temperature: float = 0.0
    seed: int = 0
    name = "item"

    def start(self, desk: Desk) -> "AnswerSession":
        """Begin on a worker."""
        return AnswerSession(self, PolicyChat(desk.policy, desk.prompter))


class AnswerSession:
    """Holds conversations with one chat."""

    def __init__(self, job: AnswerJob, chat: Chat):
        benchmark = open_benchmark(job.source, job.tools, job.samples, job.memories)
        self.appetite = _OPEN_PER_ROW * chat.max_rows
        self._benchmark = benchmark
        self._questions = cache(lambda category: {(q.id, q.position): q for q in benchmark.questions(category)})
        self._chat = chat
        self._job = job

    def first_prompt(self, one: Asked) -> Prompt:
        """What an item's conversation begins with."""
        return next(self._questions(one.category)[one.id, one.position].begin())

    def run(self, waiting: deque[Asked]) -> Iterator[list[Ended]]:
        """Hold the conversations of the waiting items; yields at every step of the chat what ended in it."""
        under_way: dict[str, _Talk] = {}
        requests = 0
        replied = time.monotonic()

        def submit(talk: _Talk) -> None:
            nonlocal requests
            requests += 1
            under_way[str(requests)] = talk
            seed = derive_seed(self._job.seed, "trial", talk.asked.key, talk.replies)
            self._chat.submit(str(requests), talk.prompt, self._job.max_tokens, self._job.temperature, seed)

        while waiting or under_way:
            while waiting and len(under_way) < self.appetite:
                asked = waiting.popleft()
                question = self._questions(asked.category)[asked.id, asked.position]
                conversation = question.begin()
                submit(_Talk(asked, question, conversation, next(conversation)))
            finished = self._chat.step()
            now = time.monotonic()
            step: list[Ended] = []
            for key, reply in finished:
                talk = under_way.pop(key)
                talk.seconds += (now - replied) / len(finished)
                if (ended := self._take(talk, reply)) is not None:
                    step.append(ended)
                else:
                    submit(talk)
            if finished:
                replied = now
            yield step

    def _take(self, talk: _Talk, reply: Reply | Refusal) -> Ended | None:
        """Give a conversation its reply; returns its end, or None while it goes on."""
        one, question, benchmark = talk.asked, talk.question, self._benchmark
        if isinstance(reply, Refusal) and (reply.failed or not talk.replies):
            return SetAside(one.key, _reject(benchmark, one, reply.reason))
        answer = _broken_off(talk, reply) if isinstance(reply, Refusal) else _told(talk, reply)
        if answer is None:
            return None
        scorer = benchmark.scorer(question.category)
        verdict = replace(scorer.score(question.category, question.id, answer.result), trial=one.trial)
        calls = scorer.calls(question.category, answer.result)
        return Answered(
            one.key, verdict, prediction_row(benchmark.name, str(self._chat.policy_id), answer, calls, verdict)
        )


def _told(talk: _Talk, reply: Reply) -> Answer | None:
    """Give a conversation its next reply; returns the answer once it is over, None while it goes on."""
    talk.replies += 1
    talk.tokens_prompt += reply.tokens_prompt
    talk.tokens_output += reply.tokens_output
    try:
        talk.prompt = talk.conversation.send(reply.said)
    except StopIteration as end:
        return Answer(talk.question, end.value, talk.tokens_prompt, talk.tokens_output, reply.finish, talk.seconds)
    return None


def _broken_off(talk: _Talk, refusal: Refusal) -> Answer:
    """A conversation that gets no further reply: what the official harness writes then, and scores as wrong."""
    result = f"Error during inference: {refusal.reason}"
    return Answer(talk.question, result, talk.tokens_prompt, talk.tokens_output, refusal.finish, talk.seconds)
