"""The memory of the device at hand, and how much of it may be planned with.

Left out: memory that other processes of the same device will take later.
"""

from dataclasses import dataclass

from itool_data.sizing.need import GIB

# What planning leaves: for fragments and for what kernels take inside themselves.
SHARE = 0.95
CONTEXT = GIB // 2  # of CUDA itself, before anything is loaded


@dataclass(frozen=True)
class Device:
    """A GPU, or this machine's memory.

    Attributes:
        name: as people know it.
        total: bytes.
        cuda: whether it is a GPU.
    """

    name: str
    total: float
    cuda: bool = True

    @property
    def usable(self) -> float:
        """Bytes to plan with, weights included."""
        return SHARE * (self.total - CONTEXT) if self.cuda else self.total


def this_device(kind: str) -> Device:
    """The first GPU, or this machine's memory.

    Args:
        kind: `cuda` or `cpu`.
    """
    if kind == "cuda":
        import torch

        found = torch.cuda.get_device_properties(0)
        return Device(found.name, found.total_memory)
    import psutil

    return Device("this machine's memory", psutil.virtual_memory().total, cuda=False)


def free_memory() -> float:
    """Bytes of the current GPU that may still be planned with."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    # What torch keeps for itself and does not use is free as well.
    return SHARE * (free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())
