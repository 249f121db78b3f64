"""Attention over a tree laid out in one row (`tree_batch`), as an attention implementation of transformers.

The row is in depth-first order, so what sees column k is an interval: query q sees k where `k <= q < ends[k]`. By SDPA
the row's trunk, the plain sequence that it begins with and most of it, is causal, and causal kernels compute half of
what a mask would make them compute; what branches off sees the whole row through a mask of its own rows. By
FlexAttention, on a GPU, no mask is made: whether a block of queries sees a block of keys at all, or all of it, follows
from the least and the largest end in it, and within a block the interval is asked. FlexAttention has no gradient on a
CPU (torch 2.13). Left out: rows without a tree, which go to plain SDPA.
"""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

NAME = "itool_tree"
FLEX = "itool_tree_flex"
BLOCK = 128  # of FlexAttention's masks


class TreeLayout:
    """What the layers have to know of a row's tree.

    Args:
        ends: the column after the last that sees each column, int64 [n].
    """

    def __init__(self, ends: Tensor):
        self.ends = ends
        self._block_masks: dict[torch.device, BlockMask] = {}

    @cached_property
    def trunk(self) -> int:
        """How many of the first columns see exactly those before them and themselves."""
        n = len(self.ends)
        # Column q sees all before it where each of those ends after it.
        sees_all = self.ends.cummin(0).values[:-1] > torch.arange(1, n, device=self.ends.device)
        return 1 + int(sees_all.long().cumprod(0).sum())

    def mask_for(self, model: Any) -> Tensor | BlockMask:
        """What the model is given as its attention mask: made once, and passed on to every layer as it is."""
        if model.config._attn_implementation == FLEX:
            return self.block_mask(self.ends.device)
        return self.branch_mask(model.dtype)

    def branch_mask(self, dtype: torch.dtype) -> Tensor:
        """What the columns after the trunk see, [1, 1, n - trunk, n]: 0, and where they do not see the least number."""
        columns = torch.arange(len(self.ends), device=self.ends.device)
        queries = columns[self.trunk :, None]
        sees = (columns <= queries) & (queries < self.ends)
        return torch.zeros_like(sees, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)[None, None]

    def block_mask(self, device: torch.device) -> BlockMask:
        """FlexAttention's mask, of memory n + (n / BLOCK)², on the device of a layer; made once."""
        if device not in self._block_masks:
            self._block_masks[device] = _block_mask(self.ends.to(device))
        return self._block_masks[device]


def _block_mask(ends: Tensor) -> BlockMask:
    n, device = len(ends), ends.device
    blocks = -(-n // BLOCK)
    padded = torch.nn.functional.pad(ends, (0, blocks * BLOCK - n)).view(blocks, BLOCK)
    first = torch.arange(blocks, device=device)[:, None] * BLOCK  # query of a block
    before = torch.arange(blocks, device=device)[None] * BLOCK < first
    # A block of keys before one of queries is seen if one key's end is after the first query, and seen whole if all
    # ends are after the last. On the diagonal every key sees itself, and none is seen by what comes before it.
    some = (before & (padded.amax(1) > first)) | torch.eye(blocks, dtype=torch.bool, device=device)
    whole = before & (padded.amin(1) >= first + BLOCK) & (first + BLOCK <= n)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < ends[key])

    return BlockMask.from_kv_blocks(
        *_in_order(some & ~whole), *_in_order(whole), BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=(n, n)
    )


def _in_order(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks of keys each block of queries has, [1, 1, m], and which, those first, [1, 1, m, m]."""
    order = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32)[None, None], order.int()[None, None].contiguous()


def tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | BlockMask | None,
    tree: TreeLayout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface.

    Args:
        module: the attention layer.
        query: [rows, heads, n, head dim]; one row where there is a tree.
        key: [rows, kv heads, n, head dim].
        value: like key.
        attention_mask: of a tree what `TreeLayout.mask_for` gives.
        tree: the row's.
        **kwargs: scaling and dropout, as SDPA's takes them.

    Returns:
        [rows, n, heads, head dim].
    """
    if isinstance(attention_mask, BlockMask):
        assert tree is not None
        # The layers of one model may lie on several devices.
        own = tree.block_mask(query.device)
        return flex_attention_forward(module, query, key, value, own, **kwargs)[0], None
    if tree is None:
        out: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return out
    assert attention_mask is not None
    trunk = query.shape[2] - attention_mask.shape[2]
    alone = [x[:, :, :trunk] for x in (query, key, value)]
    parts = [sdpa_attention_forward(module, *alone, None, is_causal=True, **kwargs)[0]]
    if trunk < query.shape[2]:
        branches = query[:, :, trunk:]
        parts.append(sdpa_attention_forward(module, branches, key, value, attention_mask, **kwargs)[0])
    return torch.cat(parts, dim=1), None


for _name in (NAME, FLEX):
    AttentionInterface.register(_name, tree_attention)
    AttentionMaskInterface.register(_name, sdpa_mask)
