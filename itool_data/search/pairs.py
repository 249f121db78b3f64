"""Preference pairs from a finished tree: the extremes of Q at every node, and the filters of appendix B.1.

Left out: what a rejected step breaks (`itool_data.match`) and how pairs are stored.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from itool_data.config import PairSettings
from itool_data.search.tree import Node


@dataclass(frozen=True)
class Pair:
    """The best and the worst step from one state; `rank` numbers further pairs of the same state."""

    parent: Node
    chosen: Node
    rejected: Node
    similarity: float
    rank: int = 0


@dataclass
class Dropped:
    """How many candidate pairs each filter dropped; a pair is counted at the first filter it fails."""

    similarity: int = 0
    delta_q: int = 0
    q_chosen: int = 0
    unproved: int = 0


@dataclass
class PairSet:
    """What a tree gave."""

    pairs: list[Pair] = field(default_factory=list)
    dropped: Dropped = field(default_factory=Dropped)


def similarity(a: str, b: str) -> float:
    """How alike two steps' texts are, 0 to 1: twice the characters in matching blocks over all characters."""
    return SequenceMatcher(None, a, b, autojunk=False).ratio()


def extremes(node: Node) -> tuple[Node, Node] | None:
    """The children with the highest and the lowest Q, or None where there is no choice (fewer than two children)."""
    if len(node.children) < 2:
        return None
    best = max(node.children, key=lambda child: child.action_value)
    worst = min(node.children, key=lambda child: child.action_value)
    # With equal Q both are the same child: the pair is still a candidate, and the filter on the difference drops it.
    return best, worst


def most_and_least_probable(root: Node) -> PairSet:
    """The paper's pair without search (4.3.2): the most against the least probable of the sampled responses."""
    if len(root.children) < 2:
        return PairSet()
    chosen = max(root.children, key=lambda n: n.logprob)
    rejected = min(root.children, key=lambda n: n.logprob)
    return PairSet([Pair(root, chosen, rejected, 0.0)])


def best_and_worst(root: Node, text: Callable[[Node], str], settings: PairSettings) -> PairSet:
    """The pair of best-of-N: the sampled responses with the highest and the lowest R, by the bounds on Q alone.

    Two responses of which one is right are mostly alike but for a value, so similarity says nothing against them.
    """
    return extract_pairs(root, text, settings.model_copy(update={"max_similarity": 1.0}))


def extract_pairs(root: Node, text: Callable[[Node], str], settings: PairSettings) -> PairSet:
    """Collect the pairs of a tree.

    Args:
        root: of a finished search.
        text: a node's step as text.
        settings: the filters' bounds.

    Returns:
        The pairs that passed, parents before children, and the count each filter dropped.
    """
    found = PairSet()
    for node in root.walk():
        candidate = extremes(node)
        if candidate is None:
            continue
        chosen, rejected = candidate
        if chosen.action_value - rejected.action_value < settings.min_delta_q:
            found.dropped.delta_q += 1
        elif (alike := similarity(text(chosen), text(rejected))) > settings.max_similarity:
            found.dropped.similarity += 1
        elif chosen.action_value < settings.min_q_chosen:
            found.dropped.q_chosen += 1
        else:
            found.pairs.append(Pair(node, chosen, rejected, alike))
    return found
