"""Attention over a prompt that many continuations share, computed and stored once.

transformers' continuous batching lays all requests of a step out as one sequence under a block-diagonal mask, so on the
CPU its cost grows with (requests x all their cached tokens), and its random numbers are not per request. This cache
keeps each group's prefix once and each row's own tokens beside it; a decoding step is two small batched products and
one softmax over both parts, in any model that uses transformers' attention interface. Left out: sliding-window and
linear attention (refused where the policy loads a model), quantised caches, and prefill, for which transformers' own
dynamic cache serves.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from itool_data.policy.kv_buffer import TOKENS, KeyValueBuffer, blocks

NAME = "itool_shared_prefix"
# Prefixes of one product differ in length by no more than this factor, and its slots are neighbours. On a GPU one
# product over all slots in use costs less than starting several, padding and idle slots included.
LIKE_LENGTH = {"cpu": 1.25}


@dataclass(frozen=True)
class Chunk:
    """A run of prefix slots of like length, whose rows are worked on in one product.

    Attributes:
        first: the first slot.
        slots: how many slots, idle ones among them included.
        length: tokens of the longest prefix among them.
        width: most rows of one slot.
        rows: [m] the rows that belong to these slots.
        places: [m] each row's slot, counted from `first`.
        cells: [m] each row's place among the rows of its slot.
    """

    first: int
    slots: int
    length: int
    width: int
    rows: Tensor
    places: Tensor
    cells: Tensor


@dataclass(frozen=True)
class StepLayout:
    """Which row belongs to which prefix in one decoding step.

    Attributes:
        chunks: the prefix slots in play.
        prefix_length: tokens of the longest prefix.
        branch_length: tokens of the longest branch, the new one included.
        mask: [n, prefix + branch] additive, 0 where the row may look and -inf elsewhere.
        positions: [n] where in its branch the row's new token goes.
    """

    chunks: list[Chunk]
    prefix_length: int
    branch_length: int
    mask: Tensor
    positions: Tensor


class SharedPrefixCache:
    """Keys and values: one prefix a slot, one branch a row; rows in use are the first ones.

    Args:
        layers: of the model.
        kv_heads: heads of keys and values.
        head_dim: of a head.
        dtype: of the model.
        device: its device.
        room: tokens of keys and values that there is memory for, padding of the buffers included.
    """

    def __init__(
        self,
        layers: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
        room: float = math.inf,
    ):
        self._heads = kv_heads
        self._options: dict[str, Any] = {"dtype": dtype, "device": device}
        self._room = room
        self.prefix = KeyValueBuffer(layers, kv_heads, head_dim, dtype, device)
        self.branch = KeyValueBuffer(layers, kv_heads, head_dim, dtype, device)

    def fits(self, slots: int, prefix_tokens: int, rows: int, branch_tokens: int) -> bool:
        """Whether there is memory for so many entries of such lengths."""
        prefix, branch = blocks(prefix_tokens, TOKENS), blocks(branch_tokens, TOKENS)
        return slots * prefix + rows * branch <= self._room

    def _make_room(self, buffer: KeyValueBuffer, entries: int, tokens: int) -> None:
        """Make a buffer large enough; where memory is short, both no larger than they have to be."""
        other = self.branch if buffer is self.prefix else self.prefix
        shape = buffer.grown(entries, tokens)
        if math.prod(shape) + math.prod(other.shape) > self._room:
            other.remake(*other.used)
            shape = max(entries, buffer.used[0]), max(blocks(tokens, TOKENS), buffer.used[1])
        buffer.remake(*shape)

    def set_prefix(self, slot: int, keys_values: Tensor) -> None:
        """Store a prefix: [layers, 2, kv heads, tokens, head dim]."""
        self._make_room(self.prefix, slot + 1, keys_values.shape[3])
        self.prefix.write(slot, keys_values)

    def get_prefix(self, slot: int) -> Tensor:
        """Return a copy of a prefix: [layers, 2, kv heads, tokens, head dim]."""
        return self.prefix.read(slot, 0, self.prefix.lengths[slot])

    def set_branch(self, row: int, keys_values: Tensor | None) -> None:
        """Start a row's branch from stored tokens, or empty."""
        self._make_room(self.branch, row + 1, 0 if keys_values is None else keys_values.shape[3])
        self.branch.write(row, keys_values)

    def take_branch_out(self, row: int) -> None:
        """Forget a row's branch; the last row's takes its place, so that the rows in use stay together."""
        last = len(self.branch.lengths) - 1
        if row != last:
            self.branch.move(last, row)
        self.branch.lengths.pop()

    def layout(self, slots: list[int]) -> StepLayout:
        """Plan a step in which row i, of all rows in use, adds one token after its prefix and branch."""
        n = len(slots)
        lengths = list(self.branch.lengths)
        self._make_room(self.branch, n, max(lengths) + 1)
        prefix_lengths = [self.prefix.lengths[s] for s in slots]
        prefix, branch = max(prefix_lengths), max(lengths) + 1
        device = self._options["device"]
        positions = torch.tensor(lengths, device=device)
        seen = torch.cat(
            [
                torch.arange(prefix, device=device)[None] < torch.tensor(prefix_lengths, device=device)[:, None],
                torch.arange(branch, device=device)[None] <= positions[:, None],
            ],
            dim=1,
        )
        mask = torch.zeros(seen.shape, **self._options).masked_fill_(~seen, float("-inf"))
        return StepLayout(self._chunks(slots), prefix, branch, mask, positions)

    def _chunks(self, slots: list[int]) -> list[Chunk]:
        """Cut the slots in use into runs of neighbours in which padding to the longest wastes little."""
        rows_of: dict[int, list[int]] = {}
        for row, slot in enumerate(slots):
            rows_of.setdefault(slot, []).append(row)
        device = self._options["device"]
        like = LIKE_LENGTH.get(device.type, math.inf)
        runs: list[list[int]] = []
        for slot in sorted(rows_of):
            length = self.prefix.lengths[slot]
            if runs and (slot == runs[-1][-1] + 1 or like == math.inf):
                others = [self.prefix.lengths[s] for s in runs[-1]]
                if max(length, *others) <= like * min(length, *others):
                    runs[-1].append(slot)
                    continue
            runs.append([slot])
        chunks = []
        for run in runs:
            members = [(row, slot - run[0], cell) for slot in run for cell, row in enumerate(rows_of[slot])]
            rows, places, cells = (torch.tensor(column, device=device) for column in zip(*members, strict=True))
            longest = max(self.prefix.lengths[s] for s in run)
            widest = max(len(rows_of[s]) for s in run)
            chunks.append(Chunk(run[0], run[-1] - run[0] + 1, longest, widest, rows, places, cells))
        return chunks

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, plan: StepLayout, scale: float) -> Tensor:
        """One layer's attention of one new token per row.

        Args:
            layer: the layer's index.
            query: [n, heads, 1, head dim].
            key: [n, kv heads, 1, head dim], of the new tokens; stored in the rows' branches.
            value: like key.
            plan: this step's layout.
            scale: factor on the scores, usually head dim ** -0.5.

        Returns:
            [n, 1, heads, head dim].
        """
        n, heads, _, dim = query.shape
        share = heads // self._heads
        rows = torch.arange(n, device=query.device)
        branch, prefix = self.branch.layers[layer], self.prefix.layers[layer]
        keys, values = branch[0, :n], branch[1, :n]
        keys[rows, :, plan.positions] = key[:, :, 0]
        values[rows, :, plan.positions] = value[:, :, 0]
        keys, values = keys[:, :, : plan.branch_length], values[:, :, : plan.branch_length]
        prefix_keys, prefix_values = prefix[0], prefix[1]

        q = query[:, :, 0].view(n, self._heads, share, dim) * scale
        scores = q.new_zeros(n, self._heads, share, plan.prefix_length + plan.branch_length)
        scores[..., plan.prefix_length :] = q @ keys.transpose(-1, -2)
        for chunk in plan.chunks:
            known = prefix_keys[chunk.first : chunk.first + chunk.slots, :, : chunk.length]
            scores[chunk.rows, :, :, : chunk.length] = _ungrid(_grid(q, chunk) @ known.transpose(-1, -2), chunk, share)
        scores += plan.mask[:, None, None]
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
        out = weights[..., plan.prefix_length :] @ values
        for chunk in plan.chunks:
            known = prefix_values[chunk.first : chunk.first + chunk.slots, :, : chunk.length]
            out[chunk.rows] += _ungrid(_grid(weights[..., : chunk.length], chunk) @ known, chunk, share)
        return out.reshape(n, 1, heads, dim)


def _grid(x: Tensor, chunk: Chunk) -> Tensor:
    """[n, kv heads, share, k] -> [slots, kv heads, width x share, k]: rows of one prefix side by side."""
    _, heads, share, k = x.shape
    grid = x.new_zeros(chunk.slots, heads, chunk.width, share, k)
    grid[chunk.places, :, chunk.cells] = x[chunk.rows]
    return grid.view(chunk.slots, heads, chunk.width * share, k)


def _ungrid(grid: Tensor, chunk: Chunk, share: int) -> Tensor:
    """[slots, kv heads, width x share, k] -> [m, kv heads, share, k]: the chunk's rows one by one."""
    slots, heads, _, k = grid.shape
    return grid.view(slots, heads, chunk.width, share, k)[chunk.places, :, chunk.cells]


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    shared_prefix: tuple[SharedPrefixCache, StepLayout] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface: a decoding step goes to the cache, everything else to plain SDPA."""
    if shared_prefix is None:
        out: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return out
    cache, plan = shared_prefix
    layer: int = module.layer_idx  # type: ignore[assignment]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return cache.attend(layer, query, key, value, plan, scale), None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
