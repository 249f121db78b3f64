"""What the transformers policy keeps of requests that share a prefix: whatever came after it, computed once.

A path is a run of tokens after the prefix. It holds the keys and values of those tokens only that no path before it
began with, and refers to another for the others, so that the many continuations of a long answer cost little memory.
Left out: the prefix's own keys and values, which every step reads (`shared_prefix.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from operator import eq

import torch
from torch import Tensor

Ids = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Path:
    """A run of tokens after a group's prefix."""

    ids: Ids
    keys_values: Tensor  # [layers, 2, kv heads, tokens, head dim] of the last tokens of `ids`
    before: "_Path | None"  # begins with the tokens before these

    def read(self, length: int) -> list[Tensor]:
        """Keys and values of the first tokens, in pieces."""
        start = len(self.ids) - self.keys_values.shape[3]
        pieces = self.before.read(min(length, start)) if self.before else []
        if length > start:
            pieces.append(self.keys_values[:, :, :, : length - start])
        return pieces


@dataclass
class Group:
    """A prefix, and what is known of what may follow it.

    Attributes:
        prefix: its token ids.
        slot: where the cache has its keys and values.
        logits: [vocabulary] after the prefix and some tokens more, by these tokens.
        queued: requests not finished.
        tokens: whose keys and values are kept.
    """

    prefix: Ids
    slot: int
    logits: dict[Ids, Tensor]
    queued: int = 0
    tokens: int = 0
    _paths: list[_Path] = field(default_factory=list)

    def known(self, ids: Sequence[int]) -> int:
        """How many of the first of these tokens have keys and values here."""
        return max((_common(path.ids, ids) for path in self._paths), default=0)

    def read(self, ids: Ids) -> Tensor:
        """Keys and values of some tokens, all known: [layers, 2, kv heads, tokens, head dim]."""
        return torch.cat(self._beginning_with(ids).read(len(ids)), dim=3)

    def keep(self, ids: Ids, keys_values: Tensor) -> None:
        """Add a path, with the keys and values of its last tokens; those before are known."""
        self.tokens += keys_values.shape[3]
        before = ids[: len(ids) - keys_values.shape[3]]
        self._paths.append(_Path(ids, keys_values, self._beginning_with(before) if before else None))

    def _beginning_with(self, ids: Ids) -> _Path:
        return next(path for path in self._paths if path.ids[: len(ids)] == ids)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(takewhile(bool, map(eq, a, b)))
