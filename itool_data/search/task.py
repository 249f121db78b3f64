"""What a search is given, what it may ask for while it grows, and what it ends with.

A search is a coroutine on one sample: it yields requests to the policy and questions to whoever scores or judges, and
returns. Left out: the searches (`mcts.py`, `walk.py`) and who answers them (`miner.py`).
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from itool_data.fragments import Fragment
from itool_data.policy.base import Completion, Request
from itool_data.sample import Sample
from itool_data.search.pairs import PairSet
from itool_data.search.tree import Node


@dataclass(frozen=True)
class Task:
    """A sample to search.

    Attributes:
        tree_id: names the tree and its requests.
        prompt: token ids of the sample's prompt.
        seed: the run's seed.
        round: of the loop.
        gold: token ids of its gold response, end-of-turn included; a walk goes along it.
        step_logprobs: the policy's log-probabilities of the gold response's steps, where they are known.
    """

    tree_id: str
    sample: Sample
    prompt: tuple[int, ...]
    seed: int
    round: int
    gold: tuple[int, ...] = ()
    step_logprobs: tuple[float, ...] = ()

    @property
    def key(self) -> str:
        """The tree's id."""
        return self.tree_id


@dataclass(frozen=True)
class Assess:
    """A question to the judge: C of these responses, with the seed of each."""

    responses: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """A question to the policy: the log-probability of each token of a continuation after a prompt."""

    prompt: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass(frozen=True)
class Grown:
    """What a search ends with: its tree, the pairs in it, and the fragments of a right response that it looked at."""

    root: Node
    found: PairSet
    fragments: tuple[Fragment, ...] = ()


# The judge's answers, the policy's log-probabilities or its draws, as the coroutine asked.
Answer = Completion | list[float]
Growth = Generator[Request | Assess | Score, Answer, Node]


def path_text(path: Sequence[int]) -> str:
    """A node's path as text: child indices joined by dots, the root's empty."""
    return ".".join(map(str, path))
