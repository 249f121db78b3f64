"""A tiny random model with a LoRA adapter that changes it, in fp32 or NF4."""

from pathlib import Path
from typing import Any

from itool_data.config import PreferenceSettings
from itool_data.policy.load import BaseModel
from itool_train.qlora import load_trainable


def tiny_lora(folder: Path, quantization: str = "none", strength: float = 0.1, rank: int = 4) -> Any:
    """A trainable model over `tiny_model`'s folder whose adapter is random, not the identity."""
    import torch

    settings = PreferenceSettings(quantization=quantization, rank=rank, alpha=2 * rank)
    model = load_trainable(BaseModel(folder, "tiny", "0"), None, settings, "cpu", 1)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = strength * torch.randn(parameter.shape, generator=generator)
    return model


def gradients(model: Any) -> Any:
    """All trainable parameters' gradients as one vector."""
    import torch

    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
