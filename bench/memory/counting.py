"""Counts the memory of real work without doing it: models, passes and policies run on torch's meta device.

Tensors there have a shape, a type and a storage of so many bytes, and no content. A dispatch mode sees every storage
that an operation makes and, by a weak reference, when it is gone; the most that were there at once is the peak. What a
GPU does otherwise is done here as there: attention by the kernels that SDPA takes on CUDA (flash without a mask,
memory-efficient with one). Left out: workspaces inside a kernel, CUDA's context, and
what the allocator loses to fragments, for which estimates have a margin.
"""

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

ATEN = torch.ops.aten


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The bytes of meta storages that are alive, and the most that were so at once.

    Args:
        whole: what a bool of a tensor's content is taken for: whether rows have no padding, mostly.
    """

    def __init__(self, whole: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = 0
        self._whole = whole
        self._sizes: dict[int, int] = {}

    def hold(self, tensors: Iterable[Tensor]) -> int:
        """Count tensors made before; returns their bytes."""
        before = self.alive
        for tensor in tensors:
            self._see(tensor)
        return self.alive - before

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        known = self._sizes.get(key)
        if known is None:
            weakref.finalize(storage, self._gone, key)
        if known != size:  # new, or resized
            self._sizes[key] = size
            self.alive += size - (known or 0)
            self.peak = max(self.peak, self.alive)

    def _gone(self, key: int) -> None:
        self.alive -= self._sizes.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (ATEN.is_nonzero.default, ATEN._local_scalar_dense.default) and args[0].is_meta:
            return self._whole if args[0].dtype is torch.bool else 0
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor) and tensor.is_meta:
                self._see(tensor)
        return out


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if attn_mask is None:
        out: Tensor = ATEN._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)[0]
        return out
    if attn_mask.dtype is torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, float("-inf"))
    mask = attn_mask.expand(*query.shape[:3], key.shape[2])
    out = ATEN._scaled_dot_product_efficient_attention(
        query, key, value, mask, query.requires_grad, dropout_p, is_causal, scale=scale
    )[0]
    return out


_tolist = Tensor.tolist


def _zeros(tensor: Tensor) -> Any:
    """The content of a tensor; where it has none, zeros."""
    return _tolist(torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor)


@contextmanager
def counting(whole: bool = True) -> Iterator[Counter]:
    """Count what is done inside.

    Args:
        whole: what a bool of a tensor's content is taken for: whether rows have no padding, mostly.
    """
    with (
        patch.object(F, "scaled_dot_product_attention", _attention),
        patch.object(Tensor, "tolist", _zeros),
        Counter(whole) as counter,
    ):
        yield counter
