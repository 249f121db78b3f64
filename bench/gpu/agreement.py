"""Is a device right? Answers, log-probabilities, losses and gradients against the CPU in fp32.

PRECISION_same_answers         share of greedy answers that are the CPU's, token by token
PRECISION_score_difference     nats a token between the log-probabilities of right responses, the mean; in fp32 also
                               the largest
bf16_beside_score_difference   the same with the adapter beside the base model, as it is trained; the policy that
                               searches has it merged into weights of 8 bits
PRECISION_LAYOUT_loss          largest difference of a pair's loss to that of the pair in rows of its own, for trees
                               in rows of their own (`tree`) and for trees that share rows (`forest`)
PRECISION_LAYOUT_gradient      length of the difference of the gradients of the mean loss / length of the gradient

Left out: answers of searches, which differ where a single draw does.
"""

from collections.abc import Sequence
from typing import Any

import torch

from bench.gpu.setting import Figures, Setting
from bench.training_fragment import proved_pairs
from itool_data.config import PreferenceSettings
from itool_data.policy.base import Request, generate
from itool_data.policy.limits import usual
from itool_data.policy.load import load_model, policy_id, stop_ids
from itool_data.policy.scoring import score
from itool_data.policy.shared_prefix import NAME as SHARED_PREFIX
from itool_data.policy.transformers import TransformersPolicy
from itool_data.prompt import Tokenised
from itool_train.collate import Batch, pair_batches, step_logprobs
from itool_train.losses import simpo
from itool_train.qlora import load_trainable
from itool_train.tree_batch import tree_batches

PRECISIONS = {
    "fp32": PreferenceSettings(quantization="none", dtype="fp32"),
    "bf16": PreferenceSettings(quantization="none", dtype="bf16"),
    "nf4": PreferenceSettings(quantization="nf4", dtype="bf16"),
}
TOKENS = 4096  # of a row of trees


def answers_and_scores(setting: Setting) -> Figures:
    """What the policy answers, and how probable it finds right responses."""
    samples = setting.samples(setting.sizes.answers)
    answers, known = _ask(setting, samples, "cpu", torch.float32)
    figures: Figures = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        found, scores = _ask(setting, samples, setting.device, dtype)
        figures[f"{name}_same_answers"] = sum(a == b for a, b in zip(answers, found, strict=True)) / len(answers)
        figures[f"{name}_score_difference"] = _mean(known, scores)
        if name == "fp32":
            figures["fp32_score_difference_most"] = max(
                abs(a - b) for one, other in zip(known, scores, strict=True) for a, b in zip(one, other, strict=True)
            )
    figures["bf16_beside_score_difference"] = _mean(known, _scores_beside(setting, samples))
    return figures


def _ask(
    setting: Setting, samples: Sequence[Tokenised], device: str, dtype: torch.dtype
) -> tuple[list[tuple[int, ...]], list[list[float]]]:
    base, adapter = setting.base, setting.adapter
    model = load_model(base.path, adapter.path, dtype=dtype, attn_implementation=SHARED_PREFIX).to(device)
    policy = TransformersPolicy(model, policy_id(base, adapter), stop_ids(base.path), usual(device, len(samples)))
    requests = [Request(t.key, tuple(t.prompt), [0], setting.sizes.tokens, 0.0) for t in samples]
    answers = [completion.draws[0].ids for completion in generate(policy, requests)]
    scores = policy.score([t.prompt for t in samples], [t.response for t in samples])
    policy.close()
    return answers, scores


def _scores_beside(setting: Setting, samples: Sequence[Tokenised]) -> list[list[float]]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(setting.base.path, dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(base, str(setting.adapter.path)).eval().to(setting.device)
    with torch.inference_mode():
        limit = usual(setting.device).score
        return score(model, [t.prompt for t in samples], [t.response for t in samples], limit)[0]


def _mean(known: list[list[float]], found: list[list[float]]) -> float:
    differences = [abs(a - b) for one, other in zip(known, found, strict=True) for a, b in zip(one, other, strict=True)]
    return sum(differences) / len(differences)


def losses_and_gradients(setting: Setting) -> Figures:
    """Trees in rows of their own, and together, against one pair at a time."""
    sizes = setting.sizes
    pairs = proved_pairs(setting.run, setting.base, setting.adapter, sizes.walked, sizes.compared)
    figures: Figures = {}
    exact: tuple[torch.Tensor, torch.Tensor] | None = None
    for name, settings in PRECISIONS.items():
        model = load_trainable(setting.base, setting.adapter.path, settings, setting.device, 42)
        alone = _learn(model, pair_batches(pairs, 1))
        exact = exact or alone
        if name == "bf16":
            figures |= _differences("bf16_rounding", alone, exact)
        layouts = {"tree": tree_batches(pairs, TOKENS), "forest": tree_batches(pairs, TOKENS, together=True)}
        for layout, batches in layouts.items():
            figures |= _differences(f"{name}_{layout}", _learn(model, batches), alone)
    return figures


def _differences(
    name: str, found: tuple[torch.Tensor, torch.Tensor], expected: tuple[torch.Tensor, torch.Tensor]
) -> Figures:
    (losses, gradient), (others, other) = found, expected
    return {
        f"{name}_loss": float((losses - others).abs().max()),
        f"{name}_gradient": float((gradient - other).norm() / other.norm()),
    }


def _learn(model: Any, batches: Sequence[Batch]) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses of pairs, and the gradient of their mean."""
    model.zero_grad()
    n = sum(batch.n_pairs for batch in batches)
    losses = []
    for batch in batches:
        loss = simpo(step_logprobs(model, batch.to(model.device)), 2.5, 0.5).loss
        torch.autograd.backward(loss.sum() / n)
        losses.append(loss.detach())
    gradients = [p.grad.float().flatten() for p in model.parameters() if p.requires_grad]
    return torch.cat(losses), torch.cat(gradients)
