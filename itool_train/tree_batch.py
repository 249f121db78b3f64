"""All pairs of a tree from one forward pass: what they share is computed once.

The pairs of a tree share its prompt, and a pair below another shares the way down to it. So the distinct prefixes of
all their sequences are laid out once, as a trie, in one row. A token's position is its depth, and it sees its
ancestors and itself alone; so each gets the hidden state that it would have in a sequence of its own, and losses and
gradients are the same. Only what leads to a token of a span is laid out, and right steps come first: where all pairs
lie on one right response and the loss is over the first wrong tokens, a tree is one plain sequence. On a CPU each tree
has a row of its own: attention is dear where many tokens do not see each other. On a GPU starting a pass is dearer, so
trees share a row, and what their prompts begin with: samples are packed, without padding. Left out: layers that do not
attend to the whole sequence (`qlora` refuses them).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from itool_train.collate import Batch
from itool_train.step_pairs import StepPair


class Trie:
    """The distinct prefixes of some pairs' sequences, one tree or several; a node is a token in its place.

    Parents come before children.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self._children: dict[tuple[int, int], int] = {}
        self._pairs: list[tuple[StepPair, int]] = []  # and the node that its steps follow
        self._to_come = 0  # nodes that rejected steps will add at most

    def __len__(self) -> int:
        return len(self.tokens)

    def added(self, pair: StepPair) -> int:
        """Nodes that a pair would add at most, those to come included; what two steps share is counted twice."""
        node, known = -1, 0
        for token in pair.prompt:
            node = self._children.get((node, token), -2)
            if node == -2:
                break
            known += 1
        (_, chosen), (_, rejected) = pair.spans
        return self._to_come + len(pair.prompt) - known + max(0, chosen - 1) + max(0, rejected - 1)

    def add(self, pair: StepPair) -> None:
        """Lay out a pair's prompt and chosen step; the rejected one follows when all chosen ones are there."""
        end = self._walk(-1, pair.prompt)
        self._walk(end, pair.chosen[: pair.spans[0][1] - 1])
        self._pairs.append((pair, end))
        self._to_come += max(0, pair.spans[1][1] - 1)

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
        source: list[int] = []
        target: list[int] = []
        owner: list[int] = []
        lengths: list[int] = []
        for pair, end in self._pairs:
            for step, (first, after) in zip((pair.chosen, pair.rejected), pair.spans, strict=True):
                node = end
                for i in range(after):
                    if i >= first:
                        source.append(node)
                    if i < after - 1:
                        node = self._walk(node, (step[i],))
                target += step[first:after]
                owner += [len(lengths)] * (after - first)
                lengths.append(after - first)
        order, ends = self._depth_first()
        place = torch.empty_like(order)  # a node's column
        place[order] = torch.arange(len(order))
        keep, positions = torch.unique(place[torch.tensor(source)], return_inverse=True)
        return Batch(
            input_ids=torch.tensor(self.tokens)[order][None],
            position_ids=torch.tensor(self.depths)[order][None],
            attention_mask=torch.ones(1, len(order), dtype=torch.bool),
            keep=keep,
            source=positions,
            target=torch.tensor(target),
            step=torch.tensor(owner),
            lengths=torch.tensor(lengths),
            ends=ends,
        )

    def _depth_first(self) -> tuple[Tensor, Tensor]:
        """All nodes, each followed by what is below it, older children first; and each one's end in that order.

        Returns:
            Nodes by column, int64 [n]; the column after the last one below each column, int64 [n].
        """
        n = len(self)
        below = [1] * n  # nodes, the node itself included
        for node in range(n - 1, -1, -1):
            if self.parents[node] >= 0:
                below[self.parents[node]] += below[node]
        column, free = [0] * n, [0] * (n + 1)  # where a node's next child goes; the last is for those without a parent
        for node, parent in enumerate(self.parents):
            column[node] = free[parent]
            free[parent] += below[node]
            free[node] = column[node] + 1
        columns = torch.tensor(column)
        order = torch.empty_like(columns)
        order[columns] = torch.arange(n)
        return order, torch.arange(n) + torch.tensor(below)[order]


def tree_batches(pairs: Sequence[StepPair], max_tokens: int, together: bool = False) -> list[Batch]:
    """Lay out pairs in as few tries as fit.

    Args:
        pairs: in the order that the batches keep; those of a sample beside each other.
        max_tokens: of a trie; one of a single pair may have more.
        together: whether samples may share a trie.
    """
    tries: list[Trie] = []
    sample = None
    for pair in pairs:
        apart = pair.sample_id != sample and not (together and tries)
        if apart or len(tries[-1]) + tries[-1].added(pair) > max_tokens:
            tries.append(Trie())
        tries[-1].add(pair)
        sample = pair.sample_id
    return [trie.batch() for trie in tries]
