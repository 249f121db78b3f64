"""All pairs of a tree from one forward pass: what they share is computed once.

The pairs of a tree share its prompt, and a pair below another shares the way down to it. So the distinct prefixes of
all their sequences are laid out once, as a trie, in one row. A token's position is its depth, and it sees its
ancestors and itself alone; so each gets the hidden state that it would have in a sequence of its own, and losses and
gradients are the same. Each tree has a row of its own: attention is dear where many tokens do not see each other. Left
out: layers that do not attend to the whole sequence (`qlora` refuses them).
"""

from collections.abc import Sequence

import torch

from itool_train.collate import Batch
from itool_train.step_pairs import StepPair


class Trie:
    """The distinct prefixes of some pairs' sequences; a node is a token in its place, parents before children."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self._children: dict[tuple[int, int], int] = {}
        self._source: list[int] = []
        self._target: list[int] = []
        self._step: list[int] = []
        self._lengths: list[int] = []

    def __len__(self) -> int:
        return len(self.tokens)

    def added(self, pair: StepPair) -> int:
        """Nodes that a pair would add at most; what its two steps share is counted twice."""
        node, known = -1, 0
        for token in pair.prompt:
            node = self._children.get((node, token), -2)
            if node == -2:
                break
            known += 1
        return len(pair.prompt) - known + len(pair.chosen) + len(pair.rejected) - 2

    def add(self, pair: StepPair) -> None:
        """Lay out a pair's two sequences."""
        end = self._walk(-1, pair.prompt)
        for step in (pair.chosen, pair.rejected):
            node = end
            for i, token in enumerate(step):
                self._source.append(node)
                if i < len(step) - 1:
                    node = self._walk(node, (token,))
            self._target += step
            self._step += [len(self._lengths)] * len(step)
            self._lengths.append(len(step))

    def _walk(self, node: int, tokens: Sequence[int]) -> int:
        for token in tokens:
            child = self._children.get((node, token))
            if child is None:
                child = self._children[node, token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(node)
                self.depths.append(self.depths[node] + 1 if node >= 0 else 0)
            node = child
        return node

    def batch(self) -> Batch:
        """The trie as one row of tensors."""
        n = len(self)
        sees = torch.eye(n, dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                sees[node] |= sees[parent]
        trunk = next((node for node, parent in enumerate(self.parents) if parent != node - 1), n)
        keep, source = torch.unique(torch.tensor(self._source), return_inverse=True)
        return Batch(
            input_ids=torch.tensor([self.tokens]),
            position_ids=torch.tensor([self.depths]),
            attention_mask=sees[None, None],
            keep=keep,
            source=source,
            target=torch.tensor(self._target),
            step=torch.tensor(self._step),
            lengths=torch.tensor(self._lengths),
            trunk=trunk,
        )


def tree_batches(pairs: Sequence[StepPair], max_tokens: int) -> list[Batch]:
    """Lay out the pairs of each sample in as few tries as fit.

    Args:
        pairs: in the order that the batches keep; those of a sample beside each other.
        max_tokens: of a trie; one of a single pair may have more.
    """
    tries: list[Trie] = []
    sample = None
    for pair in pairs:
        if pair.sample_id != sample or len(tries[-1]) + tries[-1].added(pair) > max_tokens:
            tries.append(Trie())
        tries[-1].add(pair)
        sample = pair.sample_id
    return [trie.batch() for trie in tries]
