"""Tokens computed by a transformers model after others whose keys and values are known, several prompts a pass.

On a CPU each goes through the model alone: padding costs what it weighs. On a GPU a pass over one short prompt leaves
most of it idle, so prompts are padded on the left, and so are the keys and values before them. Left out: which prompts
(`transformers.py`), and log-probabilities of given tokens (`scoring.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

READ_TOKENS = {"cpu": 1, "cuda": 16384}  # of a pass, padding included; a prompt alone may have more


@dataclass(frozen=True)
class Passage:
    """Tokens to compute.

    Attributes:
        ids: the tokens.
        before: keys and values of the tokens before them, [layers, 2, kv heads, tokens, head dim]; None: there are
            none.
    """

    ids: tuple[int, ...]
    before: Tensor | None = None

    @property
    def known(self) -> int:
        """How many tokens are before."""
        return 0 if self.before is None else int(self.before.shape[3])


def read(model: Any, passages: Sequence[Passage]) -> list[tuple[Tensor, Tensor]]:
    """Compute passages.

    Args:
        model: a transformers causal language model.
        passages: in any order.

    Returns:
        For each, in their order, the logits after its last token, float32 [vocabulary], and the keys and values of its
        own tokens, [layers, 2, kv heads, tokens, head dim].
    """
    found: dict[int, tuple[Tensor, Tensor]] = {}
    limit = READ_TOKENS[model.device.type]
    batch: list[int] = []
    for i in sorted(range(len(passages)), key=lambda i: len(passages[i].ids)):
        if batch and (len(batch) + 1) * len(passages[i].ids) > limit:
            found |= dict(zip(batch, _read_together(model, [passages[j] for j in batch]), strict=True))
            batch = []
        batch.append(i)
    found |= dict(zip(batch, _read_together(model, [passages[j] for j in batch]), strict=True))
    return [found[i] for i in range(len(passages))]


def _read_together(model: Any, passages: Sequence[Passage]) -> list[tuple[Tensor, Tensor]]:
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config.get_text_config())
    known = max(passage.known for passage in passages)
    if known:
        before = _aligned([passage.before for passage in passages], known)
        for layer in range(before.shape[1]):
            cache.update(before[:, layer, 0], before[:, layer, 1], layer)
    longest = max(len(passage.ids) for passage in passages)
    pads = [longest - len(passage.ids) for passage in passages]
    ids = [[0] * pad + list(passage.ids) for pad, passage in zip(pads, passages, strict=True)]
    # Before the tokens, and between them and what is known, nothing is to be seen.
    seen = [
        [0] * (known - passage.known) + [1] * passage.known + [0] * pad + [1] * len(passage.ids)
        for pad, passage in zip(pads, passages, strict=True)
    ]
    positions = [
        [max(0, passage.known + column - pad) for column in range(longest)]
        for pad, passage in zip(pads, passages, strict=True)
    ]
    out = model(
        input_ids=torch.tensor(ids, device=model.device),
        attention_mask=torch.tensor(seen, device=model.device) if len(passages) > 1 else None,
        position_ids=torch.tensor(positions, device=model.device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    layers = [torch.stack([layer.keys, layer.values]) for layer in cache.layers]
    new = torch.stack(layers)  # [layers, 2, passages, kv heads, known + longest, head dim]
    logits = out.logits[:, -1].float()
    return [(logits[i], new[:, :, i, :, known + pad :].clone()) for i, pad in enumerate(pads)]


def _aligned(befores: Sequence[Tensor | None], length: int) -> Tensor:
    """Keys and values of several passages, [passages, layers, 2, kv heads, length, head dim], zeros on the left."""
    some = next(before for before in befores if before is not None)
    layers, two, heads, _, dim = some.shape
    aligned = some.new_zeros(len(befores), layers, two, heads, length, dim)
    for i, before in enumerate(befores):
        if before is not None:
            aligned[i, :, :, :, length - before.shape[3] :] = before
    return aligned
