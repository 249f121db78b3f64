"""The work whose memory is counted: weights, policies' steps and scores, trainings' passes, on the meta device.

What is run is what runs on a GPU: the policy's own code, our trees, peft's adapters, bitsandbytes' NF4, the
optimiser's own states. Left out: what is counted against what (`table.py`).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.memory.counting import counting
from bench.memory.models import MODELS
from itool_data.policy.kv_buffer import TOKENS, blocks
from itool_data.policy.limits import Limits
from itool_data.policy.reading import Passage, read
from itool_data.policy.scoring import score
from itool_data.policy.shared_prefix import NAME as SHARED_PREFIX
from itool_data.policy.shared_prefix import SharedPrefixCache
from itool_train.collate import Batch, step_logprobs
from itool_train.step_pairs import StepPair
from itool_train.tree_attention import NAME as TREE
from itool_train.tree_batch import tree_batches

BF16 = torch.bfloat16


def config_of(name: str) -> Any:
    """The transformers config of a model of `MODELS`."""
    from transformers import AutoConfig

    return AutoConfig.for_model(**MODELS[name])


def bare_model(config: Any, attention: str) -> Any:
    """The model in bf16, without content."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=BF16, attn_implementation=attention).eval()


def trainable(config: Any, rank: int, nf4: bool, checkpointing: bool) -> Any:
    """The model with an adapter, as `itool_train.qlora` loads it."""
    from peft import LoraConfig, get_peft_model
    from transformers import BitsAndBytesConfig
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    model = bare_model(config, TREE)
    if nf4:
        from bitsandbytes.nn.modules import Linear4bit, Params4bit

        quantised = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=BF16
        )
        model = replace_with_bnb_linear(model, ["lm_head"], quantised)
        for module in model.modules():
            if isinstance(module, Linear4bit):
                full = torch.empty(module.out_features, module.in_features, dtype=BF16, device="meta")
                weight = Params4bit(full, requires_grad=False, compress_statistics=True, quant_type="nf4")
                module.weight = weight._quantize(torch.device("meta"))  # type: ignore[no-untyped-call]
        model.is_loaded_in_4bit = True
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, lora).train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    return model


def tensors(model: Any) -> list[Tensor]:
    """All that a model holds, the states of its quantised weights included."""
    held = [*model.parameters(), *model.buffers()]
    states = [p.quant_state for p in model.parameters() if getattr(p, "quant_state", None) is not None]
    for state in states:
        held += [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
    return [tensor for tensor in held if tensor is not None]


def count_training(model: Any, loss: Callable[[], Tensor]) -> dict[str, int]:
    """Bytes of weights, gradients and optimiser, and the most that a pass takes beside them."""
    with counting() as counter:
        weights = counter.hold(tensors(model))
        adapter = [p for p in model.parameters() if p.requires_grad]
        for parameter in adapter:  # they are there from an update's second pass on, the states from the second update
            parameter.grad = torch.zeros_like(parameter)
        gradients = counter.alive - weights
        optimiser = torch.optim.AdamW(adapter, foreach=False)
        optimiser.step()
        before = counter.peak = counter.alive
        loss().backward()  # type: ignore[no-untyped-call]
    return {
        "weights": weights,
        "gradients": gradients,
        "optimiser": before - weights - gradients,
        "pass": counter.peak - before,
    }


def pairs_loss(model: Any, batch: Batch) -> Callable[[], Tensor]:
    """A contrast of a tree batch's steps."""
    on_meta = batch.to(torch.device("meta"))

    def loss() -> Tensor:
        steps = step_logprobs(model, on_meta)
        return (steps.rejected - steps.chosen).sum()

    return loss


def tree(prompt: int, pairs: int, step: int) -> Batch:
    """So many pairs after one prompt, of steps of so many tokens that have none in common."""
    start, items = tuple(range(prompt)), []
    for i in range(pairs):
        first = prompt + 2 * step * i
        right, wrong = tuple(range(first, first + step)), tuple(range(first + step, first + 2 * step))
        items.append(StepPair(f"{i}", "sample", start, right, wrong))
    (batch,) = tree_batches(items, 1 << 30)
    return batch


def count_judge(config: Any, prompt: int) -> int:
    """Bytes of another model that judges: its weights, and a pass over a prompt after which options are scored."""
    model = bare_model(config, SHARED_PREFIX)
    with torch.inference_mode(), counting() as counter:
        counter.hold(tensors(model))
        score(model, [range(prompt)] * 4, [[option] for option in range(4)], prompt)
    return counter.peak


def count_policy(config: Any, limits: Limits, prompts: int, prompt: int, rows: int, answer: int) -> dict[str, int]:
    """Bytes of the policy's weights, of its buffers when they are full, and the most that passes take beside both.

    Args:
        config: of the model.
        limits: the policy's.
        prompts: held at once.
        prompt: tokens of each.
        rows: draws at once.
        answer: tokens of each.
    """
    model = bare_model(config, SHARED_PREFIX)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    with torch.inference_mode(), counting(whole=False) as counter:
        weights = counter.hold(tensors(model))
        cache = SharedPrefixCache(
            config.num_hidden_layers, config.num_key_value_heads, head_dim, BF16, torch.device("meta")
        )
        cache.prefix.remake(prompts, blocks(prompt, TOKENS))
        cache.branch.remake(rows, blocks(answer, TOKENS))
        before = counter.peak = counter.alive
        passages = [Passage(tuple(range(i, i + prompt))) for i in range(max(1, limits.read // prompt))]
        read(model, passages, limits.read)
        reading = counter.peak - before
        counter.peak = before
        scored = prompt // 8
        n = max(1, limits.score // prompt)
        score(model, [range(i, i + prompt - scored) for i in range(n)], [range(scored + 1)] * n, limits.score)
    return {
        "weights": weights,
        "keys_values": before - weights,
        "reading": reading,
        "scoring": counter.peak - before,
    }
