"""The tree and its arithmetic: Eq. 5 (select), 8 and 9 (backup); pure, no policy and no tokens generated.

N counts the roll-outs that went through a state, so a node's N is the weight of its Q in Eq. 8. A leaf's V is the mean
return of its own roll-outs; once it is expanded Eq. 8 over its children takes their place. Left out: what a reward is
(`reward.py`) and who proposes steps (`mcts.py`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass
class Node:
    """A prefix of the response, reached by `step` from its parent.

    Attributes:
        path: child indices from the root; the root's is empty.
        step: token ids of the action that leads here.
        logprob: the policy's log-probability of the step.
        prior: p(a|s), `logprob` normalised over the siblings.
        terminal: nothing follows.
        outcome: O of this state.
        self_eval: C of this state; None when not asked.
        state_reward: R of this state (Eq. 6).
        reward: r(s, a), R here minus R of the parent.
        visits: N, roll-outs through this state.
        value: V (Eq. 8).
        action_value: Q of the step that leads here (Eq. 9).
        ended: the policy itself ended the response here; a terminal one may be cut off at the longest.
    """

    path: tuple[int, ...] = ()
    step: tuple[int, ...] = ()
    logprob: float = 0.0
    prior: float = 1.0
    terminal: bool = False
    outcome: float = 0.0
    self_eval: float | None = None
    state_reward: float = 0.0
    reward: float = 0.0
    visits: int = 0
    value: float = 0.0
    action_value: float = 0.0
    ended: bool = False
    children: list["Node"] = field(default_factory=list)

    def walk(self) -> Iterator["Node"]:
        """This node and all below it, parents before children."""
        yield self
        for child in self.children:
            yield from child.walk()


def puct(action_value: float, prior: float, c: float, parent_visits: int, child_visits: int) -> float:
    """Score of a child (Eq. 5): Q + c p sqrt(N(s)) / (1 + N(s'))."""
    return action_value + c * prior * math.sqrt(parent_visits) / (1 + child_visits)


def select(node: Node, c: float) -> Node:
    """Return the child with the highest PUCT score; the first of equals, so that the choice is reproducible."""
    return max(node.children, key=lambda child: puct(child.action_value, child.prior, c, node.visits, child.visits))


def priors(logprobs: Sequence[float]) -> list[float]:
    """p(a|s) of siblings: the policy's probabilities of their steps, normalised to sum to 1."""
    top = max(logprobs)
    weights = [math.exp(lp - top) for lp in logprobs]
    total = sum(weights)
    return [w / total for w in weights]


def state_value(visits: Sequence[int], action_values: Sequence[float]) -> float:
    """V(s) (Eq. 8): the children's Q weighted by their visits."""
    return sum(n * q for n, q in zip(visits, action_values, strict=True)) / sum(visits)


def action_value(reward: float, gamma: float, value: float) -> float:
    """Q(s, a) (Eq. 9): r(s, a) + gamma V(s')."""
    return reward + gamma * value


def descend(root: Node, c: float) -> list[Node]:
    """Select (Eq. 5) from the root to a leaf; returns the path, root first."""
    path = [root]
    while path[-1].children:
        path.append(select(path[-1], c))
    return path


def backup(path: Sequence[Node], gamma: float, rollouts: int) -> None:
    """Bottom-up update of N, V and Q along a path whose last node has just been visited by `rollouts` roll-outs.

    Args:
        path: root first; the last node's children, if any, carry their own N, V and Q already.
        gamma: discount of Eq. 9.
        rollouts: new roll-outs through every node of the path.
    """
    for node in reversed(path):
        node.visits += rollouts
        if node.children:
            node.value = state_value([k.visits for k in node.children], [k.action_value for k in node.children])
        node.action_value = action_value(node.reward, gamma, node.value)
