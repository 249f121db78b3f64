"""From settings to the arguments of vLLM's engine: ours, those of `model.engine`, and which of these are refused.

Left out: vLLM itself, which need not be installed here.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from itool_data.errors import ItoolError
from itool_data.sample import JSON

# vLLM's CPU attention takes no smaller block; the prefix cache shares whole blocks only.
CPU_BLOCK = 32
# Keys and values on a CPU: 23,000 tokens of the embedded model a GiB. VLLM_CPU_KVCACHE_SPACE (GiB) overrides it.
CPU_CACHE_BYTES = 2 << 30
# Arguments of the engine that `model.engine` cannot have, and why.
OURS = {
    "model": "it is model.name",
    "revision": "it is model.revision",
    "tokenizer": "token ids go in and come out",
    "skip_tokenizer_init": "token ids go in and come out",
    "max_num_seqs": "it is model.rows",
    "load_format": "only safetensors are read",
    "trust_remote_code": "nothing from a model is executed",
    "logprobs_mode": "log-probabilities are the model's own",
    "enable_lora": "adapters decide it",
    "max_loras": "adapters decide it",
    "max_lora_rank": "adapters decide it",
}


def engine_arguments(
    model: Path, device: str, max_rows: int, max_rank: int, own: Mapping[str, JSON], known: Sequence[str]
) -> dict[str, Any]:
    """All arguments of the engine.

    Args:
        model: its folder.
        device: `cpu` or `cuda`.
        max_rows: draws decoded at once.
        max_rank: of the adapters to make room for; 0: of none.
        own: `model.engine`, which goes before what is only a default here.
        known: the arguments that the installed vLLM has.

    Raises:
        ItoolError: if one of `own` is none of them, or not to be said there; naming it, and what was probably meant.
    """
    _check(own, known)
    arguments: dict[str, Any] = {
        "max_model_len": -1,  # the model's, or what fits the cache
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if device == "cpu":
        # Compiling takes a compiler and a minute and a half; eager starts in seconds.
        arguments |= {"dtype": "float32", "enforce_eager": True}
        arguments |= {"block_size": CPU_BLOCK, "kv_cache_memory_bytes": CPU_CACHE_BYTES}
        # vLLM rewinds a draw's generator when it has computed a part of the prompt, which a CPU's generator cannot.
        arguments |= {"enable_chunked_prefill": False}
    else:
        arguments |= {"dtype": "bfloat16", "enable_sleep_mode": True}
    arguments |= own
    arguments |= {
        "model": str(model),
        "load_format": "safetensors",
        "skip_tokenizer_init": True,
        "max_num_seqs": max_rows,
        "logprobs_mode": "raw_logprobs",
    }
    if max_rank:
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": max_rank}
    return arguments


def _check(own: Mapping[str, JSON], known: Sequence[str]) -> None:
    for name in own:
        if name in OURS:
            raise ItoolError(f"model.engine.{name}: {OURS[name]}; leave it out")
        if name not in known:
            near = get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ItoolError(f"model.engine.{name}: vLLM's engine has no such argument{meant}")
