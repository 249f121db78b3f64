"""Keys and values of several entries of the shared-prefix cache: prompts, or the draws after them.

A layer's buffer is a rectangle of entries and tokens. One that has become too small, or too large for the memory that
there is, is made anew layer by layer, so that old and new are there together for one layer alone. Left out: attention
over it (`shared_prefix.py`).
"""

from typing import Any

import torch
from torch import Tensor

# Buffers grow in such blocks, so that neither a longer prompt nor another one copies them every time.
TOKENS = 64
ENTRIES = 8


def blocks(n: int, block: int) -> int:
    """n, rounded up to whole blocks."""
    return -(-n // block) * block


class KeyValueBuffer:
    """One rectangle a layer: [2 (key, value), entries, kv heads, tokens, head dim].

    Attributes:
        layers: the rectangles.
        lengths: tokens of each entry in use; 0 for an idle one between others.
    """

    def __init__(self, layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device):
        self._options: dict[str, Any] = {"dtype": dtype, "device": device}
        self._inner = (kv_heads, head_dim)
        self.lengths: list[int] = []
        self.layers = [self._rectangle(0, 0) for _ in range(layers)]

    def _rectangle(self, entries: int, tokens: int) -> Tensor:
        heads, dim = self._inner
        # Zeros, not garbage: a masked position still meets its value in the product, and 0 x NaN is NaN.
        return torch.zeros(2, entries, heads, tokens, dim, **self._options)

    @property
    def shape(self) -> tuple[int, int]:
        """Entries and tokens that there is room for."""
        _, entries, _, tokens, _ = self.layers[0].shape
        return entries, tokens

    @property
    def used(self) -> tuple[int, int]:
        """Entries and tokens of the smallest rectangle that has all entries in use."""
        return len(self.lengths), blocks(max(self.lengths, default=0), TOKENS)

    def grown(self, entries: int, tokens: int) -> tuple[int, int]:
        """The next rectangle that has room for so many entries and tokens."""
        old_entries, old_tokens = self.shape
        return (
            old_entries if entries <= old_entries else blocks(entries, ENTRIES),
            old_tokens if tokens <= old_tokens else blocks(tokens, TOKENS),
        )

    def remake(self, entries: int, tokens: int) -> None:
        """Change to another rectangle, which has room for what is in use."""
        if (entries, tokens) == self.shape:
            return
        kept, length = min(entries, self.shape[0]), min(tokens, self.shape[1])
        for i, old in enumerate(self.layers):
            new = self._rectangle(entries, tokens)
            new[:, :kept, :, :length] = old[:, :kept, :, :length]
            self.layers[i] = new
            del old  # the next layer may need its memory

    def write(self, entry: int, keys_values: Tensor | None) -> None:
        """Store an entry, the next one or one in use: [layers, 2, kv heads, tokens, head dim]; None: no tokens yet."""
        self.lengths += [0] * (entry + 1 - len(self.lengths))
        length = self.lengths[entry] = 0 if keys_values is None else keys_values.shape[3]
        if keys_values is not None and length:
            for layer, new in zip(self.layers, keys_values, strict=True):
                layer[:, entry, :, :length] = new

    def read(self, entry: int, start: int, end: int) -> Tensor:
        """A copy of tokens of an entry: [layers, 2, kv heads, end - start, head dim]."""
        return torch.stack([layer[:, entry, :, start:end] for layer in self.layers])

    def move(self, source: int, target: int) -> None:
        """Copy an entry over another one."""
        length = self.lengths[target] = self.lengths[source]
        for layer in self.layers:
            layer[:, target, :, :length] = layer[:, source, :, :length]

    def idle(self) -> int:
        """The lowest entry that is not in use."""
        return self.lengths.index(0) if 0 in self.lengths else len(self.lengths)

    def free(self, entry: int) -> None:
        """Give an entry up."""
        self.lengths[entry] = 0
        while self.lengths and not self.lengths[-1]:
            self.lengths.pop()
