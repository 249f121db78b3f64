"""The model that is trained: a frozen base in NF4 (QLoRA, paper B.1), fp32 or bf16, and a trainable LoRA adapter on it.

NF4 with double quantisation is bitsandbytes' and works on a CPU as well. A model that does not fit one GPU is laid over
several, layer after layer, by accelerate's `device_map`, which allows one process, in which a GPU waits for the one
before it. FSDP would keep all busy, but shards floating-point tensors only, so that NF4 has to be stored as the
adapter's dtype (bitsandbytes' page FSDP-QLoRA), and gathers every layer for every pass in modules of its own wrapping,
past which `pair_trainer` goes. The adapter is saved by itself and later loaded over the base in full precision: merging
one into a 4-bit base is never done here, because on a CPU peft then reads weights that bitsandbytes has repacked, and
corrupts them without a word.
"""

import os
from pathlib import Path
from textwrap import shorten
from typing import Any

from itool_data.config import TrainingSettings
from itool_data.errors import ItoolError
from itool_data.policy.load import BaseModel, load_weights

TREES = ("auto", "sdpa", "flex_attention")  # what trees can be attended to by


def compute_dtype(settings: TrainingSettings, device: str) -> str:
    """`float32` or `bfloat16`."""
    if settings.dtype == "auto":
        return "bfloat16" if device == "cuda" else "float32"
    return {"fp32": "float32", "bf16": "bfloat16"}[settings.dtype]


def attention_of(settings: TrainingSettings, device: str) -> str:
    """The attention implementation, by transformers' name or ours.

    Raises:
        ItoolError: if trees cannot be attended to by the one that is asked for, or there is no gradient of it here.
    """
    from itool_train.tree_attention import FLEX, NAME

    wanted = settings.attn_implementation
    if wanted == "flex_attention" and device == "cpu":
        raise ItoolError("attn_implementation is flex_attention, which has no gradient on a CPU; set it to auto")
    if settings.batching == "tree":
        if wanted not in TREES:
            raise ItoolError(
                f"attn_implementation is {wanted}, which cannot lay out trees; use one of {', '.join(TREES)}, or set "
                "batching to pairs"
            )
        return FLEX if wanted == "flex_attention" or (wanted == "auto" and device == "cuda") else NAME
    return "sdpa" if wanted == "auto" else wanted


def loading_options(settings: TrainingSettings, device: str) -> dict[str, Any]:
    """What `from_pretrained` is told of number format, attention and place.

    Args:
        settings: quantisation, dtype, attention, whether the model is spread over all GPUs.
        device: `cpu` or `cuda`; of several GPUs this process's own.

    Raises:
        ItoolError: as `attention_of`; if several processes are to spread a model each.
    """
    import torch
    from transformers import BitsAndBytesConfig

    if settings.spread and os.environ.get("WORLD_SIZE", "1") != "1":
        raise ItoolError("spread lays one model over all GPUs, so one process trains; set loop.processes to 1")
    dtype = getattr(torch, compute_dtype(settings, device))
    place = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if device == "cuda" else "cpu"
    options = {
        "dtype": dtype,
        "attn_implementation": attention_of(settings, device),
        "device_map": "auto" if settings.spread and device == "cuda" else {"": place},
    }
    if settings.quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return options


def load_trainable(base: BaseModel, adapter: Path | None, settings: TrainingSettings, device: str, seed: int) -> Any:
    """Load the base model with a trainable adapter, without dropout and in training mode.

    It must stay in that mode: in evaluation mode bitsandbytes repacks NF4 weights on a CPU for a kernel that has no
    gradient, and training after it would go nowhere. Without dropout both modes compute the same.

    Args:
        base: the base model.
        adapter: go on from this one; None starts a new one, which changes nothing yet.
        settings: of `loading_options`; a new adapter's rank and alpha, the batching.
        device: `cpu` or `cuda`.
        seed: of a new adapter's weights.

    Raises:
        ItoolError: as `loading_options`; if the attention cannot be had, or the model's does not allow tree batches.
    """
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import set_seed

    options = loading_options(settings, device)
    try:
        model = load_weights(base.path, **options)
    except (ImportError, ValueError) as error:
        if "attention" not in str(error).lower():
            raise
        reason = shorten(str(error), 200)
        raise ItoolError(f"attn_implementation is {settings.attn_implementation}: {reason}") from None
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"])
    if settings.batching == "tree" and kinds != {"full_attention"}:
        raise ItoolError(
            f"{base.name}: layers of kind {', '.join(sorted(kinds))} do not see whole sequences, so trees cannot be "
            "laid out for them; set batching to pairs"
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
