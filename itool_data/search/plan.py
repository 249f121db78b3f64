"""What a run of the search will cost, said before it starts, and plan against fact at its end.

Rates come from a few seconds of calibration on this machine; how a tree behaves comes from the run's own finished
trees where there are some under the same settings, else from searching a few of the coming samples and throwing the
result away. The judge's tokens are reckoned at the policy's own rate. Left out: how fast another judge is.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from itool_data.config import Config
from itool_data.kinds import SearchKind
from itool_data.policy.base import Policy, Request, UnansweredError, generate
from itool_data.prompt import Tokenised
from itool_data.search.miner import Miner, Tree
from itool_data.search.task import Task
from itool_data.workers.pool import Desk

TRIAL_TREES = 4
TRIAL_SECONDS = 20.0
# A tree's requests come one after the other, so a short trial finishes few trees, and the mean of few is a bad guess.
# KNOWN_TREES imagined ones are counted with them, each of which made KNOWN_SHARE of the requests that the settings
# allow at most: over BFCL it was 0.41 to 0.44.
KNOWN_TREES = 4
KNOWN_SHARE = 0.45
WALK_STEPS = 8  # of a right response, about; in BFCL's 0.45 of them are doubted
RATE_PROMPTS = 3
RATE_TOKENS = 12
# A search keeps less than a full batch busy at its end; measured by `python -m bench.search`.
UTILISATION = 0.85
Z95 = 1.96


@dataclass(frozen=True)
class Rates:
    """Tokens a second on this machine."""

    prefill: float
    decode: float


@dataclass(frozen=True)
class Behaviour:
    """What is known of trees like those to come.

    Attributes:
        trees: finished ones looked at.
        pairs: found in all of them.
        requests: of a tree, the mean.
        decoded: tokens of a tree, the mean.
        judged: tokens computed for a tree's self-evaluations, the mean.
    """

    trees: int
    pairs: int
    requests: float
    decoded: float
    judged: float = 0.0


@dataclass(frozen=True)
class Measuring:
    """What is measured before the search: samples scored and drawn, and the tokens of both."""

    scored: int = 0
    drawn: int = 0
    prefill: int = 0
    decode: int = 0


@dataclass(frozen=True)
class Plan:
    """What will be done; `pairs` is a 95 % interval."""

    samples_scored: int
    samples_drawn: int
    trees: int
    requests: float
    prefill_tokens: float
    decode_tokens: float
    judge_tokens: float
    seconds: float
    pairs: tuple[float, float]


def measure_rates(policy: Policy, prompts: Sequence[Sequence[int]]) -> Rates:
    """Time the prefill of a few prompts, then a full batch of draws from them.

    Args:
        policy: to measure; it must have nothing under way.
        prompts: those to come, as token ids; a few, evenly chosen, are used.
    """
    chosen = list(prompts[:: max(1, len(prompts) // RATE_PROMPTS)][:RATE_PROMPTS])
    while True:
        try:
            return _rates(policy, chosen)
        except UnansweredError as error:  # the search will set that one aside
            policy.reset()
            if len(chosen) == 1:
                raise
            del chosen[int(error.request_id.rpartition("/")[2] or 0)]


def _rates(policy: Policy, chosen: Sequence[Sequence[int]]) -> Rates:
    policy.score([chosen[0][:32]], [chosen[0][:2]])  # the first call pays for threads and buffers

    def seconds(draws: int, tokens: int) -> tuple[float, int]:
        requests = [
            Request(f"rate/{tokens}/{i}", prompt, range(draws), tokens, 1.0, f"rate/{i}")
            for i, prompt in enumerate(chosen)
        ]
        started = time.monotonic()
        completions = generate(policy, requests)
        return time.monotonic() - started, sum(len(d.ids) for c in completions for d in c.draws)

    prefill, _ = seconds(1, 1)
    decode, decoded = seconds(max(1, policy.max_rows // len(chosen)), RATE_TOKENS)  # the prompts are kept by now
    policy.reset()
    return Rates(sum(map(len, chosen)) / prefill, decoded / decode)


def try_trees(desk: Desk, config: Config, tasks: Sequence[Task], search: SearchKind) -> Behaviour:
    """Search a few samples, evenly chosen, for a few seconds; the trees are not kept.

    The trees that the time was too short for say what a request costs, and nothing of how many a tree makes.
    """
    chosen = list(tasks)[:: max(1, len(tasks) // TRIAL_TREES)][:TRIAL_TREES]
    started = time.monotonic()
    finished: list[Tree] = []
    judge = desk.judge(config, search)
    miner = Miner(desk.policy, desk.prompter, config, judge, search)
    for trees in miner.run(deque(chosen)):
        finished += [tree for tree in trees if not tree.given_up]
        if time.monotonic() - started > TRIAL_SECONDS:
            break
    seen = finished + miner.under_way
    desk.policy.reset()
    mcts, walk = config.mcts, config.walk
    requests, decoded, judged = (sum(getattr(t, name) for t in seen) for name in ("requests", "decoded", "judged"))
    most = {"mcts": mcts.iterations * mcts.simulation, "walk": WALK_STEPS}.get(search, 1)
    known = KNOWN_TREES * max(1, KNOWN_SHARE * most)
    mean = (known + sum(t.requests for t in finished)) / (KNOWN_TREES + len(finished))
    longest = walk.width * walk.max_step_tokens if search == "walk" else mcts.width * mcts.max_tokens
    a_request = decoded / requests if requests else longest
    # Where the time was too short for one request: each draw makes a state, and its prompt is some of what is read.
    prompts = 0 if judge is None else mcts.width * sum(len(t.prompt) for t in chosen) / len(chosen)
    judging = judged / requests if requests else prompts
    return Behaviour(len(finished), sum(len(t.pairs) for t in finished), mean, mean * a_request, mean * judging)


def expected_pairs(behaviour: Behaviour, trees: int) -> tuple[float, float]:
    """95 % interval of the pairs in so many trees: the score interval of a Poisson mean, scaled."""
    k, z2 = behaviour.pairs, Z95**2
    middle, half = k + z2 / 2, Z95 * (k + z2 / 4) ** 0.5
    scale = trees / max(behaviour.trees, 1)
    return (middle - half) * scale, (middle + half) * scale


def measuring(scored: Sequence[Tokenised], drawn: Sequence[Tokenised], draws: int) -> Measuring:
    """Count what is measured first: perplexities of samples, and so many draws of others, each as long as gold."""
    prefill = sum(map(len, scored)) + sum(len(t.prompt) for t in drawn)
    return Measuring(len(scored), len(drawn), prefill, draws * sum(len(t.response) for t in drawn))


def make_plan(
    rates: Rates, behaviour: Behaviour, first: Measuring, prompt_lengths: Sequence[int], workers: int = 1
) -> Plan:
    """Estimate a run.

    Args:
        rates: of one policy on its machine.
        behaviour: of trees like those to come.
        first: what is measured before the search.
        prompt_lengths: tokens of each prompt to be searched.
        workers: that share the work, each at these rates.
    """
    trees = len(prompt_lengths)
    # Beyond the prompt, each request after a tree's first computes one token of its node's prefix again.
    prefill = sum(prompt_lengths) + trees * max(behaviour.requests - 1, 0)
    decode = first.decode + trees * behaviour.decoded
    judge = trees * behaviour.judged
    seconds = (first.prefill + sum(prompt_lengths) + judge) / rates.prefill + decode / (rates.decode * UTILISATION)
    return Plan(
        first.scored,
        first.drawn,
        trees,
        trees * behaviour.requests,
        first.prefill + prefill,
        decode,
        judge,
        seconds / workers,
        expected_pairs(behaviour, trees),
    )
