"""Attention over a tree laid out in one row (`tree_batch`), as an attention implementation of transformers.

A row begins with its trunk, a plain sequence: the prompt and the first pair's steps, which is most of it. There the
attention is causal, and causal kernels compute half of what a mask would make them compute. What branches off sees the
whole row through its mask. Left out: rows without a trunk, which go to plain SDPA.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

NAME = "itool_tree"


def tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    trunk: int = 0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface.

    Args:
        module: the attention layer.
        query: [1, heads, n, head dim].
        key: [1, kv heads, n, head dim].
        value: like key.
        attention_mask: [1, 1, n, n], added to the scores.
        trunk: how many of the first tokens see exactly those before them and themselves.
        **kwargs: scaling and dropout, as SDPA's takes them.

    Returns:
        [1, n, heads, head dim].
    """
    if not trunk:
        out: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return out
    assert attention_mask is not None
    alone = [x[:, :, :trunk] for x in (query, key, value)]
    parts = [sdpa_attention_forward(module, *alone, None, is_causal=True, **kwargs)[0]]
    if trunk < query.shape[2]:
        branches = attention_mask[:, :, trunk:]
        parts.append(sdpa_attention_forward(module, query[:, :, trunk:], key, value, branches, **kwargs)[0])
    return torch.cat(parts, dim=1), None


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
