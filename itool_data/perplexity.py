"""How hard a sample is for a policy: the perplexity of its gold response (Eq. 4), on its response tokens only.

Left out: which samples are scored and what follows from it (`selection.py`), and the easy / medium / hard split, which
needs no policy (`difficulty.py`).
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from itool_data.fragments import Fragment, gold_fragments
from itool_data.policy.base import Policy, UnansweredError
from itool_data.prompt import Prompter, Tokenised
from itool_data.rejects import of_sample
from itool_data.sample import GivenUp

MAX_NLL = 700.0  # exp() of more overflows a float64
CHUNK = 16  # samples scored between two reports of progress


@dataclass(frozen=True)
class Score:
    """One sample's score: `mean_nll` in nats a response token, over `n_tokens` (end-of-turn included); h of Eq. 4."""

    key: str  # the sample's id
    n_tokens: int
    mean_nll: float
    perplexity: float
    fragments: tuple[Fragment, ...]  # what the same pass says of the response's steps


def perplexity(logprobs: Sequence[float]) -> float:
    """Perplexity h (Eq. 4): the n-th root of 1 / P(y | q, T), from the response tokens' log-probabilities; >= 1."""
    return math.exp(min(-sum(logprobs) / len(logprobs), MAX_NLL))


def score_samples(policy: Policy, prompter: Prompter, waiting: deque[Tokenised]) -> Iterator[list[Score | GivenUp]]:
    """Score samples by Eq. 4 on their response tokens only.

    Args:
        policy: whose perplexity it is.
        prompter: with the policy's tokenizer.
        waiting: what is to be scored; more may be appended meanwhile.

    Yields:
        The scores of the next few samples; a sample that the policy cannot score is given up.
    """
    while waiting:
        chunk = [waiting.popleft() for _ in range(min(CHUNK, len(waiting)))]
        try:
            yield _scores(policy, prompter, chunk)
        except UnansweredError:
            for one in chunk:  # alone, so that one costs itself only
                yield [_score_or_reject(policy, prompter, one)]


def _score_or_reject(policy: Policy, prompter: Prompter, one: Tokenised) -> Score | GivenUp:
    try:
        return _scores(policy, prompter, [one])[0]
    except UnansweredError as error:
        return GivenUp(one.key, of_sample(one.sample, error.reason))


def _scores(policy: Policy, prompter: Prompter, chunk: Sequence[Tokenised]) -> list[Score | GivenUp]:
    logprobs = policy.score([t.prompt for t in chunk], [t.response for t in chunk])
    return [
        Score(t.key, len(lps), -sum(lps) / len(lps), perplexity(lps), tuple(gold_fragments(t, lps, prompter.form)))
        for t, lps in zip(chunk, logprobs, strict=True)
    ]
