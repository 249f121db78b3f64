"""How fast step pairs are trained on, by how they are laid out and what the base model is kept in.

    PRECISION_LAYOUT_pairs           pairs a second, forward and backward, gradient checkpointing as in training
    PRECISION_LAYOUT_gib             memory that the device held at most; null on a CPU
    PRECISION_LAYOUT_gib_estimated   what `--plan` says of a training with passes as large as the largest of these,
                                     without the optimiser, whose states are not there
    PRECISION_LAYOUT_gib_ratio       estimated / held
    LAYOUT_scored                    share of that pass's tokens whose logits are computed; the estimate has an eighth

LAYOUT is `pairs` (rows with a copy of the prompt each), `tree` (a sample's pairs in a row) or `forest` (samples share
rows). Against TRL's trainers: `bench.training`, both of its spans.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from bench import training, training_fragment
from bench.gpu.agreement import PRECISIONS, TOKENS
from bench.gpu.setting import Figures, Setting, beside_estimate, timed
from itool_data.config import Config, PreferenceSettings
from itool_data.sizing.stages import preference
from itool_train.collate import Batch, pair_batches, step_logprobs
from itool_train.losses import simpo
from itool_train.qlora import load_trainable
from itool_train.tree_batch import tree_batches


def layouts(setting: Setting) -> Figures:
    """Each layout in bf16 and NF4, a warming pass before each."""
    sizes = setting.sizes
    pairs = training_fragment.proved_pairs(setting.run, setting.base, setting.adapter, sizes.walked, sizes.pairs)
    figures: Figures = {"pairs": len(pairs)}
    shape, memory = setting.shape, setting.memory
    for name in ("bf16", "nf4"):
        model = load_trainable(setting.base, setting.adapter.path, PRECISIONS[name], setting.device, 42)
        model.gradient_checkpointing_enable()
        laid_out = {
            "pairs": pair_batches(pairs, TOKENS),
            "tree": tree_batches(pairs, TOKENS),
            "forest": tree_batches(pairs, TOKENS, together=True),
        }
        for layout, batches in laid_out.items():
            _pass(model, batches[:2])
            seconds, held = timed(setting.device, lambda b=batches, m=model: _pass(m, b))  # type: ignore[misc]
            largest = max(batches, key=lambda batch: batch.input_ids.numel())
            found: Figures = {"pairs": len(pairs) / seconds}
            planned = _config(setting.run.config, PRECISIONS[name], largest.input_ids.numel())
            found |= beside_estimate(held, replace(preference(planned, shape, memory).need, optimiser=0.0))
            figures |= {f"{name}_{layout}_{figure}": value for figure, value in found.items()}
            figures[f"{layout}_scored"] = len(largest.keep) / largest.input_ids.shape[1]
    return figures


def _config(config: Config, settings: PreferenceSettings, tokens: int) -> Config:
    """The settings of a training that has passes of so many tokens."""
    passes = {"micro_tokens": tokens, "gradient_checkpointing": True, "rank": config.warmup.rank}
    return config.model_copy(update={"preference": settings.model_copy(update=passes)})


def _pass(model: Any, batches: Sequence[Batch]) -> None:
    model.zero_grad()
    for batch in batches:
        loss = simpo(step_logprobs(model, batch.to(model.device)), 2.5, 0.5).loss
        torch.autograd.backward(loss.sum())


def against_dpo(setting: Setting) -> Figures:
    """Fragments by DPO against TRL's DPO trainer."""
    sizes = setting.sizes
    return dict(training_fragment.measure(setting.run, setting.base, sizes.walked, sizes.pairs))


def against_simpo(setting: Setting) -> Figures:
    """Whole steps by SimPO against TRL's CPO trainer."""
    figures = training.measure(setting.run, setting.sizes.walked, setting.sizes.pairs)
    return dict(figures) or {"skipped": "the searches gave no pair"}
