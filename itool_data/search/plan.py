"""What a run of the search will cost, said before it starts, and plan against fact at its end.

Rates come from a few seconds of calibration on this machine; how a tree behaves comes from the run's own finished
trees where there are some under the same settings, else from searching a few of the coming samples and throwing the
result away. Left out: the cost of self-evaluation beyond its share in those trees' time.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from itool_data.config import Config
from itool_data.policy.base import Policy, Request, generate
from itool_data.prompt import Prompter
from itool_data.search.mcts import Task
from itool_data.search.miner import Miner, SearchKind, Tree
from itool_data.search.reward import Judge

TRIAL_TREES = 4
TRIAL_SECONDS = 12.0
TRIAL_LIMIT = 45.0  # when no tree is finished by then, what they have cost so far must do
RATE_PROMPT = 256
RATE_TOKENS = 8
# A search keeps less than a full batch busy at its end; measured by `python -m bench.search`.
UTILISATION = 0.85


@dataclass(frozen=True)
class Rates:
    """Tokens a second on this machine."""

    prefill: float
    decode: float


@dataclass(frozen=True)
class Behaviour:
    """Means over the trees looked at."""

    trees: int
    requests: float
    decoded: float
    pairs: float


@dataclass(frozen=True)
class Plan:
    """What will be done, or was."""

    samples_scored: int
    trees: int
    requests: float
    prefill_tokens: float
    decode_tokens: float
    seconds: float
    pairs: float


def measure_rates(policy: Policy, tokens: Sequence[int], rows: int) -> Rates:
    """Time one prefill and a few steps of a full batch.

    Args:
        policy: to measure.
        tokens: any token ids; repeated to the length wanted.
        rows: draws at once.
    """
    prompt = (list(tokens) * (RATE_PROMPT // len(tokens) + 1))[:RATE_PROMPT]
    policy.score([prompt[:32]], [prompt[:2]])  # the first call pays for threads and buffers
    started = time.monotonic()
    policy.score([prompt], [prompt[:1]])
    prefill = time.monotonic() - started
    request = Request("rate", prompt, range(rows), RATE_TOKENS, 1.0)
    started = time.monotonic()
    completion = generate(policy, [request])[0]
    decode = max(time.monotonic() - started - prefill, 1e-6)
    return Rates(RATE_PROMPT / prefill, sum(len(d.ids) for d in completion.draws) / decode)


def try_trees(
    policy: Policy, prompter: Prompter, config: Config, judge: Judge | None, tasks: Sequence[Task], search: SearchKind
) -> Behaviour:
    """Search a few samples, evenly chosen, for a few seconds; the trees are not kept.

    A tree that the time was too short for counts with what it has cost so far, because leaving it out would leave out
    the dear ones.
    """
    chosen = list(tasks)[:: max(1, len(tasks) // TRIAL_TREES)][:TRIAL_TREES]
    started = time.monotonic()
    finished: list[Tree] = []
    miner = Miner(policy, prompter, config, judge, search)
    for trees in miner.run(chosen):
        finished += trees
        spent = time.monotonic() - started
        if spent > TRIAL_LIMIT or (finished and spent > TRIAL_SECONDS):
            break
    seen = finished + miner.under_way
    policy.reset()
    return Behaviour(
        len(seen),
        sum(t.requests for t in seen) / len(seen),
        sum(t.decoded for t in seen) / len(seen),
        sum(len(t.found.pairs) for t in finished) / max(1, len(finished)),
    )


def make_plan(rates: Rates, behaviour: Behaviour, score_lengths: Sequence[int], prompt_lengths: Sequence[int]) -> Plan:
    """Estimate a run.

    Args:
        rates: of this machine.
        behaviour: of trees like those to come.
        score_lengths: tokens of each sample that still needs its perplexity.
        prompt_lengths: tokens of each prompt to be searched.
    """
    trees = len(prompt_lengths)
    # Beyond the prompt, each request after a tree's first computes one token of its node's prefix again.
    prefill = sum(prompt_lengths) + trees * max(behaviour.requests - 1, 0)
    decode = trees * behaviour.decoded
    seconds = (sum(score_lengths) + sum(prompt_lengths)) / rates.prefill + decode / (rates.decode * UTILISATION)
    return Plan(
        len(score_lengths),
        trees,
        trees * behaviour.requests,
        sum(score_lengths) + prefill,
        decode,
        seconds,
        trees * behaviour.pairs,
    )
