"""Tokens computed by a transformers model after others whose keys and values are known, several prompts a pass.

On a CPU each goes through the model alone: padding costs what it weighs. On a GPU a pass over one short prompt leaves
most of it idle, so prompts are padded on the left, and so are the keys and values before them. Left out: which prompts
(`transformers.py`), and log-probabilities of given tokens (`scoring.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Passage:
    """Tokens to compute.

    Attributes:
        ids: the tokens.
        known: how many tokens are before.
        before: gives their keys and values, [layers, 2, kv heads, known, head dim], when it is time; None: there are
            none.
    """

    ids: tuple[int, ...]
    known: int = 0
    before: Callable[[], Tensor] | None = None


def read(model: Any, passages: Sequence[Passage], limit: int) -> list[tuple[Tensor, Tensor]]:
    """Compute passages.

    Args:
        model: a transformers causal language model.
        passages: in any order.
        limit: tokens of a pass, padding and those before included; a passage alone may have more.

    Returns:
        For each, in their order, the logits after its last token, float32 [vocabulary], and the keys and values of its
        own tokens, [layers, 2, kv heads, tokens, head dim].
    """
    found: dict[int, tuple[Tensor, Tensor]] = {}
    batch: list[int] = []
    for i in sorted(range(len(passages)), key=lambda i: len(passages[i].ids)):
        known = max(passages[j].known for j in (i, *batch))
        if batch and (len(batch) + 1) * (known + len(passages[i].ids)) > limit:
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
        before = _aligned([passage.before() if passage.before else None for passage in passages], known)
        for layer in range(before.shape[1]):
            cache.update(before[:, layer, 0], before[:, layer, 1], layer)
        del before  # the cache has a copy
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
    logits = out.logits[:, -1].float()
    computed = [part for layer in cache.layers for part in (layer.keys, layer.values)]
    copies = [torch.stack([part[i, :, known + pad :] for part in computed]) for i, pad in enumerate(pads)]
    return [(logits[i], copy.view(-1, 2, *copy.shape[1:])) for i, copy in enumerate(copies)]


def _aligned(befores: Sequence[Tensor | None], length: int) -> Tensor:
    """Keys and values of several passages, [passages, layers, 2, kv heads, length, head dim], zeros on the left."""
    some = next(before for before in befores if before is not None)
    layers, two, heads, _, dim = some.shape
    aligned = some.new_zeros(len(befores), layers, two, heads, length, dim)
    for i, before in enumerate(befores):
        if before is not None:
            aligned[i, :, :, :, length - before.shape[3] :] = before
    return aligned
