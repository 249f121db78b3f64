"""Step pairs as tensors, and the log-probabilities of their steps from one forward pass.

Here is the plain way, a row for each step after its own copy of the prompt; `tree_batch` has the way that computes what
is shared once. Both give the same `Batch`. The last token of a step is predicted and never read, and logits are
computed only where a step's token is predicted: a prompt's logits over a large vocabulary would cost more than the
step itself. Left out: the losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from itool_train.losses import StepLogprobs
from itool_train.step_pairs import StepPair


@dataclass(frozen=True)
class Batch:
    """n pairs laid out for one forward pass.

    Attributes:
        input_ids: token ids, int64 [rows, columns].
        position_ids: int64 [rows, columns].
        attention_mask: what each token sees; bool [rows, columns] for a causal pass over rows with padding, or
            bool [1, 1, columns, columns] where a token sees its own path only.
        keep: columns whose logits are needed, int64 [k].
        source: which of the rows * k logits predicts a token of a step, int64 [m].
        target: that token, int64 [m].
        step: the step it belongs to, int64 [m]: the chosen one of pair i is 2i, the rejected one 2i + 1.
        lengths: tokens of each step that are in its span, int64 [2n]; 0 for the rejected one of a right step alone.
        trunk: how many of a tree's first columns are a plain sequence (`tree_attention`); 0 for rows.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    keep: Tensor
    source: Tensor
    target: Tensor
    step: Tensor
    lengths: Tensor
    trunk: int = 0

    @property
    def n_pairs(self) -> int:
        """How many pairs it holds."""
        return len(self.lengths) // 2

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        tensors = [f.name for f in fields(self) if f.name != "trunk"]
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in tensors}
        return replace(self, **moved)


def step_logprobs(model: Any, batch: Batch) -> StepLogprobs:
    """Log-probabilities of a batch's steps, in float32, from one forward pass.

    Args:
        model: a transformers causal language model, adapted or not.
        batch: on the model's device.
    """
    mask, of_tree = batch.attention_mask, {}
    if mask.dim() == 4:
        smallest = torch.finfo(model.dtype).min
        mask = torch.zeros(mask.shape, dtype=model.dtype, device=mask.device).masked_fill(~mask, smallest)
        of_tree = {"trunk": batch.trunk}
    logits = model(
        input_ids=batch.input_ids,
        attention_mask=mask,
        position_ids=batch.position_ids,
        use_cache=False,
        logits_to_keep=batch.keep,
        **of_tree,
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
        if groups and 2 * len(together) * (max(map(len, together)) - 1) <= max_tokens:
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
    # The steps of right steps alone have no second row to fill; an empty one costs what a prompt of one token does.
    columns = max(len(pair.prompt) + max(len(step), 1) - 1 for pair, step, _ in steps)
    kept = max(1, *(len(step) - first for _, step, first in steps))
    ids, positions, mask = (torch.zeros(len(steps), columns, dtype=torch.int64) for _ in range(3))
    source: list[int] = []
    target: list[int] = []
    owner: list[int] = []
    for row, (pair, step, first) in enumerate(steps):
        tokens = [*pair.prompt, *step[:-1]] if step else pair.prompt[:1]
        padding = columns - len(tokens)
        ids[row, padding:] = torch.tensor(tokens)
        positions[row, padding:] = torch.arange(len(tokens))
        mask[row, padding:] = 1
        length = len(step) - first
        source += [row * kept + kept - length + i for i in range(length)]
        target += step[first:]
        owner += [row] * length
    return Batch(
        input_ids=ids,
        position_ids=positions,
        attention_mask=mask.bool(),
        keep=torch.arange(columns - kept, columns),
        source=torch.tensor(source),
        target=torch.tensor(target),
        step=torch.tensor(owner),
        lengths=torch.tensor([len(step) - first for _, step, first in steps]),
    )
