"""Bytes that work on a model needs, from its shape: weights, keys and values, activations, logits, gradients, states.

What a pass has at once was counted operation by operation on torch's meta device (`python -m bench.memory` prints
estimates beside counts, docs/memory.md has them). Activations are those of a decoder layer with a gated MLP. Left out:
what CUDA itself takes and what its allocator loses to fragments, for which `device.py` has a margin.
"""

from dataclasses import dataclass, fields
from operator import mul

from itool_data.sizing.shape import Shape

BF16, FP32 = 2, 4
GIB = 2**30

# bitsandbytes' NF4 with double quantisation: half a byte, a byte for every 64, four bytes for every 64 x 256 of them.
NF4 = 1 / 2 + 1 / 64 + 4 / (64 * 256)
# A pass without gradients, in bytes of a number in bf16: between layers, and inside an MLP.
READ_HIDDEN, READ_INTERMEDIATE = 8, 6
# Of a decoding step's next-token distributions (a double for every token, and what it is made of), and its attention.
SAMPLED, ATTENDED = 24, 8
# What a layer keeps for its way back, and what is there at once on it, in bytes of a token: times the widths between
# layers, inside an MLP, of queries, and of keys. An adapter is in fp32, and so are its inputs.
KEPT_LAYER, WAY_BACK = (28, 10, 12, 4), (40, 14, 12, 0)
LOGITS = 16  # of a token whose logits are computed whole, and of their gradients, times the vocabulary


@dataclass(frozen=True)
class Need:
    """Bytes, by what they are for."""

    weights: float = 0.0
    keys_values: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    gradients: float = 0.0
    optimiser: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        everything: float = sum(getattr(self, f.name) for f in fields(self))
        return everything

    def __add__(self, other: "Need") -> "Need":
        return Need(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def weights(shape: Shape, size: int = BF16, nf4: bool = False) -> Need:
    """A model's weights.

    Args:
        shape: the model's.
        size: bytes of a number.
        nf4: whether its linear layers are in 4 bits.
    """
    if not nf4:
        return Need(weights=shape.parameters * size)
    return Need(weights=shape.linear * NF4 + (shape.parameters - shape.linear) * size)


def token(shape: Shape, size: int = BF16) -> float:
    """A token's keys and values."""
    return shape.kv_values * size


def passed(shape: Shape, size: int = BF16) -> float:
    """A token's activations in a pass without gradients."""
    return (READ_HIDDEN * shape.hidden + READ_INTERMEDIATE * shape.intermediate) * size / BF16


def reading(shape: Shape, tokens: int, size: int = BF16) -> Need:
    """A pass over prompts, whose keys and values are copied out of it at its end."""
    kept = token(shape, size)
    return Need(keys_values=tokens * kept, activations=tokens * max(passed(shape, size), kept))


def scoring(shape: Shape, rows: int, tokens: int, scored: int, size: int = BF16) -> Need:
    """A pass that scores continuations.

    Args:
        shape: the model's.
        rows: sequences.
        tokens: of each, padding included.
        scored: of each, its last ones.
        size: bytes of a number.
    """
    words = rows * scored * shape.vocabulary * size + 2 * FP32 * scored * shape.vocabulary
    kept = rows * tokens * 2 * shape.hidden * size
    mask = rows * tokens * tokens * (1 + size)
    # The logits come when the layers are done.
    return Need(activations=max(rows * tokens * passed(shape, size) + mask - words, kept), logits=words)


def decoding(shape: Shape, rows: int, tokens: int) -> Need:
    """A step of draws, beside their keys and values: its attention, then the distributions of the next tokens.

    Args:
        shape: the model's.
        rows: draws.
        tokens: of the longest prompt and the longest draw together.
    """
    attention = ATTENDED * rows * shape.heads * tokens
    words = SAMPLED * rows * shape.vocabulary
    return Need(activations=max(0.0, attention - words), logits=words)


def adapter(shape: Shape, rank: int) -> Need:
    """A LoRA on all linear layers, which peft keeps in fp32, with its gradient and AdamW's two states."""
    own = FP32 * rank * shape.sides
    return Need(weights=own, gradients=own, optimiser=2 * own)


def training(shape: Shape, tokens: int, scored: int, checkpointing: bool = True, size: int = BF16) -> Need:
    """A pass of a training and its way back, beside weights, gradients and states.

    Args:
        shape: the model's.
        tokens: of the pass, padding included.
        scored: whose logits are computed.
        checkpointing: whether layers keep their input alone and are computed again on the way back.
        size: bytes of a number of the base model.
    """
    widths = shape.hidden, shape.intermediate, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    before = (
        2 * shape.hidden * shape.layers if checkpointing else sum(map(mul, KEPT_LAYER, widths)) * (shape.layers - 1)
    )
    words = LOGITS * scored * shape.vocabulary
    # The logits are gone when the way back comes to the layers.
    layer = max(0.0, tokens * sum(map(mul, WAY_BACK, widths)) - words)
    return Need(activations=size / BF16 * (tokens * before + layer), logits=words)
