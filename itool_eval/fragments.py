"""Fragment accuracy: at every right prefix of held-out samples' gold responses, is the policy's greedy next step right.

A few hundred items hold thousands of such decisions, so that differences between policies show which whole items are
too few for. The decisions are made and proved where mining's are (`itool_data.search.walk.decide`); here they are
asked for, stored in `decisions`, and compared. Left out: which samples (the caller's choice), and how it looks.
"""

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from itool_data.config import Config
from itool_data.fragments import Fragment, refusal
from itool_data.policy.base import Described, derive_seed
from itool_data.prompt import Prompter, Tokenised, tokenise
from itool_data.rejects import of_sample, record_rejects
from itool_data.run import Run
from itool_data.sample import Reject, Sample, Split
from itool_data.search.miner import Miner, Tree
from itool_data.search.task import Task
from itool_data.store.samples import read_samples
from itool_data.store.sql import query
from itool_data.workers.pool import Desk, Pool

STAGE = "eval"


@dataclass(frozen=True)
class Decided:
    """A sample's decisions, as rows of `decisions`, or why the policy cannot make any."""

    key: str
    rows: list[dict[str, Any]]
    reject: Reject | None = None


@dataclass(frozen=True)
class DecideJob:
    """Greedy next steps along gold responses."""

    config: Config
    name = "sample"

    def start(self, desk: Desk) -> "DecideSession":
        """Begin on a worker."""
        return DecideSession(self, desk)


class DecideSession:
    """Asks one policy."""

    def __init__(self, job: DecideJob, desk: Desk):
        self._miner = Miner(desk.policy, desk.prompter, job.config, None, "decide")
        self._policy = str(desk.policy.policy_id)
        self.appetite = self._miner.most_open

    def run(self, waiting: deque[Task]) -> Iterator[list[Decided]]:
        """Decide along what waits; yields at every step of the policy."""
        for trees in self._miner.run(waiting):
            yield [self._decided(tree) for tree in trees]

    def _decided(self, tree: Tree) -> Decided:
        sample = tree.task.sample
        if tree.given_up:
            return Decided(tree.task.key, [], of_sample(sample, tree.given_up))
        return Decided(tree.task.key, [_row(f, sample, self._policy) for f in tree.fragments])


def held_out(run: Run, policy: Described, prompter: Prompter, split: Split, limit: int | None) -> list[Task]:
    """The samples of a split that the policy has not decided along yet, longest prompts first.

    Those that do not fit the context, or whose gold response is not right, are set aside in `rejects`.

    Args:
        run: open for writing.
        policy: who decides.
        prompter: with its tokenizer.
        split: whose samples.
        limit: a random sample of so many, the same for every policy and a part of a larger one.
    """
    samples = sorted(read_samples(run.store, "split = ?", [split]), key=lambda s: derive_seed("eval", s.sample_id))
    sql = "SELECT DISTINCT sample_id FROM decisions WHERE policy = ?"
    known = {row["sample_id"] for row in query(run.store, sql, None, [str(policy.policy_id)]).to_pylist()}
    missing, refused = tokenise(prompter, [s for s in samples[:limit] if s.sample_id not in known])
    room = policy.context - run.config.walk.max_step_tokens
    reasons = {t.key: _refusal(t, prompter, room) for t in missing}
    refused += [(t.sample, reason) for t in missing if (reason := reasons[t.key])]
    record_rejects(run, STAGE, [of_sample(sample, reason) for sample, reason in refused])
    fitting = sorted((t for t in missing if not reasons[t.key]), key=lambda t: (-len(t.prompt), t.key))
    return [Task(t.key, t.sample, tuple(t.prompt), run.config.seed, 0, tuple(t.response)) for t in fitting]


def _refusal(tokenised: Tokenised, prompter: Prompter, room: int) -> str | None:
    if len(tokenised) > room:
        return f"{len(tokenised.prompt)} prompt + {len(tokenised.response)} response tokens do not fit {room}"
    return refusal(tokenised, prompter.form)


def decide(run: Run, pool: Pool, tasks: Sequence[Task]) -> Iterator[list[Decided]]:
    """Ask for the decisions and commit them in groups; yields at every step the samples finished in it.

    Whatever is finished when the caller stops (Ctrl-C included) is committed first.
    """
    rows: list[dict[str, Any]] = []
    last = time.monotonic()

    def commit() -> None:
        nonlocal rows, last
        decided, rows, last = rows, [], time.monotonic()
        if decided:
            run.store.commit(STAGE, {"decisions": decided}, policy=str(pool.policy_id))

    try:
        for finished in pool.run(DecideJob(run.config), tasks):
            rows += [row for decided in finished for row in decided.rows]
            record_rejects(run, STAGE, [decided.reject for decided in finished if decided.reject])
            if time.monotonic() - last > run.config.mine.commit_seconds:
                commit()
            yield finished
    finally:
        commit()


def _row(fragment: Fragment, sample: Sample, policy: str) -> dict[str, Any]:
    right = not fragment.draws or fragment.right_draws > 0
    return {
        "policy": policy,
        "sample_id": sample.sample_id,
        "split": sample.split,
        "number": fragment.number,
        "prefix_text": fragment.prefix,
        "step_text": fragment.text,
        **fragment.what._asdict(),
        "probability": math.exp(fragment.logprob),
        "right": right,
        "wrong_text": fragment.wrong,
        "error_class": None if right else fragment.error or "Other",
    }
