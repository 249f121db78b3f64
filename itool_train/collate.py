"""Step pairs as tensors, and the log-probabilities of their steps from one forward pass.

Here is the plain way, a row for each step after its own copy of the prompt; `tree_batch` has the way that computes what
is shared once. Both give the same `Batch`. The last token of a step is predicted and never read, and logits are
computed only where a step's token is predicted: a prompt's logits over a large vocabulary would cost more than the
step itself. Left out: the losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from itool_train.losses import StepLogprobs
from itool_train.step_pairs import StepPair
from itool_train.tree_attention import TreeLayout


@dataclass(frozen=True)
class Batch:
    """n pairs laid out for one forward pass.

    Attributes:
        input_ids: token ids, int64 [rows, columns].
        position_ids: int64 [rows, columns].
        attention_mask: which are tokens, not padding; bool [rows, columns].
        keep: columns whose logits are needed, int64 [k].
        source: which of the rows * k logits predicts a token of a step, int64 [m].
        target: that token, int64 [m].
        step: the step it belongs to, int64 [m]: the chosen one of pair i is 2i, the rejected one 2i + 1.
        lengths: tokens of each step that are in its span, int64 [2n]; 0 for the rejected one of a right step alone.
        ends: of a tree in one row, which is laid out depth first, the column after the last that sees each column,
            int64 [columns] (`tree_attention`); of rows, whose tokens see all before them, empty.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    keep: Tensor
    source: Tensor
    target: Tensor
    step: Tensor
    lengths: Tensor
    ends: Tensor

    @property
    def n_pairs(self) -> int:
        """How many pairs it holds."""
        return len(self.lengths) // 2

    @property
    def padding(self) -> int:
        """How many of its columns in all rows are padding."""
        return int((~self.attention_mask).sum())

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def step_logprobs(model: Any, batch: Batch) -> StepLogprobs:
    """Log-probabilities of a batch's steps, in float32, from one forward pass.

    Args:
        model: a transformers causal language model, adapted or not.
        batch: on the model's device.
    """
    seen: dict[str, Any] = {"attention_mask": batch.attention_mask}
    if len(batch.ends):
        tree = TreeLayout(batch.ends)
        seen = {"attention_mask": tree.mask_for(model), "tree": tree}
    logits = model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        use_cache=False,
        logits_to_keep=batch.keep,
        **seen,
    ).logits
    logits = logits.reshape(-1, logits.shape[-1]).float()
    token_logprobs = logits[batch.source, batch.target] - logits.logsumexp(-1)[batch.source]
    sums = torch.zeros(len(batch.lengths), device=logits.device).index_add(0, batch.step, token_logprobs)
    return StepLogprobs(sums[0::2], sums[1::2], batch.lengths[0::2], batch.lengths[1::2])


def pair_batches(pairs: Sequence[StepPair], max_tokens: int) -> list[Batch]:
    """One pair at a time or as many as fit: a row a step, padded on the left.

    Args:
        pairs: in the order that the batches keep.
        max_tokens: of a batch, padding included; a pair alone may have more.
    """
    groups: list[list[StepPair]] = []
    for pair in pairs:
        together = [*groups[-1], pair] if groups else [pair]
        rows = sum(1 + bool(pair.rejected) for pair in together)
        if groups and rows * (max(map(len, together)) - 1) <= max_tokens:
            groups[-1] = together
        else:
            groups.append([pair])
    return [_rows(group) for group in groups]


def _rows(pairs: list[StepPair]) -> Batch:
    steps = [
        (pair, step[:after], first)
        for pair in pairs
        for step, (first, after) in zip((pair.chosen, pair.rejected), pair.spans, strict=True)
    ]
    rows = [(number, *step) for number, step in enumerate(steps) if step[1]]  # a right step alone has no rejected one
    columns = max(len(pair.prompt) + len(step) - 1 for _, pair, step, _ in rows)
    kept = max(len(step) - first for _, _, step, first in rows)
    ids, positions, mask = (torch.zeros(len(rows), columns, dtype=torch.int64) for _ in range(3))
    source: list[int] = []
    target: list[int] = []
    owner: list[int] = []
    for row, (number, pair, step, first) in enumerate(rows):
        tokens = [*pair.prompt, *step[:-1]]
        padding = columns - len(tokens)
        ids[row, padding:] = torch.tensor(tokens)
        positions[row, padding:] = torch.arange(len(tokens))
        mask[row, padding:] = 1
        length = len(step) - first
        source += [row * kept + kept - length + i for i in range(length)]
        target += step[first:]
        owner += [number] * length
    return Batch(
        input_ids=ids,
        position_ids=positions,
        attention_mask=mask.bool(),
        keep=torch.arange(columns - kept, columns),
        source=torch.tensor(source),
        target=torch.tensor(target),
        step=torch.tensor(owner),
        lengths=torch.tensor([len(step) - first for _, step, first in steps]),
        ends=torch.zeros(0, dtype=torch.int64),
    )
