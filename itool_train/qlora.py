"""The model that is trained: a frozen base in NF4 (QLoRA, paper B.1), fp32 or bf16, and a trainable LoRA adapter on it.

NF4 with double quantisation is bitsandbytes' and works on a CPU as well. The adapter is saved by itself and later
loaded over the base in full precision: merging one into a 4-bit base is never done here, because on a CPU peft then
reads weights that bitsandbytes has repacked, and corrupts them without a word.
"""

import os
from pathlib import Path
from typing import Any

from itool_data.config import PreferenceSettings
from itool_data.errors import ItoolError
from itool_data.policy.load import BaseModel


def compute_dtype(settings: PreferenceSettings, device: str) -> str:
    """`float32` or `bfloat16`."""
    if settings.dtype == "auto":
        return "bfloat16" if device == "cuda" else "float32"
    return {"fp32": "float32", "bf16": "bfloat16"}[settings.dtype]


def load_trainable(base: BaseModel, adapter: Path | None, settings: PreferenceSettings, device: str, seed: int) -> Any:
    """Load the base model with a trainable adapter, without dropout and in training mode.

    It must stay in that mode: in evaluation mode bitsandbytes repacks NF4 weights on a CPU for a kernel that has no
    gradient, and training after it would go nowhere. Without dropout both modes compute the same.

    Args:
        base: the base model.
        adapter: go on from this one; None starts a new one, which changes nothing yet.
        settings: quantisation, dtype, a new adapter's rank and alpha, the batching.
        device: `cpu` or `cuda`; of several GPUs this process's own.
        seed: of a new adapter's weights.

    Raises:
        ItoolError: if the model's attention does not allow tree batches.
    """
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, set_seed
    from transformers.utils.logging import disable_progress_bar

    from itool_train.tree_attention import NAME as TREE_ATTENTION

    disable_progress_bar()
    dtype = getattr(torch, compute_dtype(settings, device))
    place = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if device == "cuda" else "cpu"
    quantization = None
    if settings.quantization == "nf4":
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    model = AutoModelForCausalLM.from_pretrained(
        base.path,
        dtype=dtype,
        attn_implementation=TREE_ATTENTION,
        quantization_config=quantization,
        device_map={"": place},
    )
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"])
    if settings.batching == "tree" and kinds != {"full_attention"}:
        raise ItoolError(
            f"{base.name}: layers of kind {', '.join(sorted(kinds))} do not see whole sequences, so trees cannot be "
            "laid out for them; use --batching pairs"
        )
    set_seed(seed)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter), is_trainable=True)
    else:
        lora = LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = get_peft_model(model, lora)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    return model.train()
