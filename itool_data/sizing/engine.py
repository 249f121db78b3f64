"""How a vLLM engine divides its share of each GPU: weights, the pass that it tries when it starts, keys and values.

The engine measures a pass of as many tokens as it may batch and a draw for every row, and fills what is left. What such
a pass takes was read off the logs of engines on cards (docs/memory.md). Left out: CUDA graphs, and a LoRA's buffers.
"""

from dataclasses import dataclass

from itool_data.config import ModelSettings
from itool_data.sizing.device import CONTEXT, Device
from itool_data.sizing.need import Need, token
from itool_data.sizing.shape import Shape

SHARE = 0.92  # of a GPU, that vLLM takes by default
BATCHED = 2048  # tokens that it batches by default, in an engine that is not a server's
PASSED = 6  # bytes of a token, times the widths between layers and inside an MLP: its kernels are fused
SAMPLED = 40  # bytes of a row, times the vocabulary


@dataclass(frozen=True)
class Engine:
    """What there is on each of an engine's GPUs.

    Attributes:
        own: weights and the largest pass.
        total: bytes of the GPU.
        share: of these, that it takes.
        token: bytes of a token's keys and values.
    """

    own: Need
    total: float
    share: float
    token: float

    @property
    def taken(self) -> float:
        """Bytes that it takes."""
        return self.share * self.total

    @property
    def room(self) -> float:
        """Bytes for keys and values; negative where there is none."""
        return self.taken - self.own.total - CONTEXT

    @property
    def tokens(self) -> int:
        """Tokens whose keys and values it holds."""
        return max(0, int(self.room / self.token))

    def least(self, tokens: int) -> float:
        """The smallest GPU, in bytes, on which it holds so many tokens."""
        return (self.own.total + CONTEXT + tokens * self.token) / self.share


def engine(model: ModelSettings, weights: float, shape: Shape, device: Device) -> Engine:
    """The engine that `model.engine` asks for.

    Args:
        model: the settings; `model.rows` are its sequences.
        weights: bytes of the model.
        shape: of the model.
        device: each of the GPUs.
    """
    share = float(str(model.engine.get("gpu_memory_utilization", SHARE)))
    gpus = int(str(model.engine.get("tensor_parallel_size", 1)))
    own = Need(weights=weights / gpus) + _pass(shape, _batched(model, shape), model.rows)
    return Engine(own, device.total, share, token(shape) / gpus)


def _batched(model: ModelSettings, shape: Shape) -> int:
    """Tokens of the largest pass; without chunked prefill a prompt is read at once."""
    said = model.engine.get("max_num_batched_tokens")
    if isinstance(said, int):
        return said
    if model.engine.get("enable_chunked_prefill") is not False:
        return BATCHED
    longest = model.engine.get("max_model_len")
    return max(BATCHED, longest if isinstance(longest, int) and longest > 0 else shape.context)


def _pass(shape: Shape, tokens: int, rows: int) -> Need:
    """The layers, and after them the distributions of next tokens."""
    layers, words = tokens * PASSED * (shape.hidden + shape.intermediate), SAMPLED * rows * shape.vocabulary
    return Need(activations=max(0, layers - words), logits=words)
