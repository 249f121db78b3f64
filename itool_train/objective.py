"""An update's loss: the mean over its pairs, and the likelihood of its right steps beside it.

    L = Σ w ℓ(pair) / pairs  +  a Σ -log p(token) / tokens

with ℓ of `losses`, w a pair's weight, a the anchor's (1 for `nll`, which has no pairs), and the second sum over the
tokens of the spans of right steps alone: on whole responses it is plain SFT. Left out: the passes that an update is cut
into, and other processes (`pair_trainer`), to which the totals of the whole update are given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from itool_data.config import PreferenceSettings
from itool_train.losses import StepLogprobs, nll, pair_loss
from itool_train.step_pairs import StepPair

# What is logged of an update: the loss, means over its pairs (of the chosen steps, over right steps alone too), counts;
# `padding` is among `tokens`, all that go through the model.
FIGURES = ("loss", "chosen_logprob", "rejected_logprob", "margin", "accuracy", "pairs", "steps", "tokens", "padding")


@dataclass(frozen=True)
class Totals:
    """Of a whole update.

    Attributes:
        pairs: that have a rejected step.
        tokens: of right steps alone, in their spans.
    """

    pairs: int
    tokens: int


def totals(items: Sequence[StepPair]) -> Totals:
    """Count an update's pairs, and the tokens of its right steps."""
    alone = [item.spans[0] for item in items if not item.rejected]
    return Totals(len(items) - len(alone), sum(after - first for first, after in alone))


def contributions(
    settings: PreferenceSettings,
    parameters: dict[str, float],
    items: Sequence[StepPair],
    policy: StepLogprobs,
    reference: StepLogprobs | None,
    of: Totals,
) -> tuple[Tensor, Tensor]:
    """What each item adds to its update's loss, [n], and the sums of FIGURES but for the last two, float64.

    Args:
        settings: the loss, and the anchor.
        parameters: the loss's own, from `losses.hyperparameters`.
        items: pairs and right steps.
        policy: their log-probabilities under the model in training.
        reference: those under the round's starting adapter, where the loss needs them.
        of: the whole update's totals.
    """
    device = policy.chosen.device
    paired = torch.tensor([bool(item.rejected) for item in items], device=device)
    weight = torch.tensor([item.weight for item in items], device=device)
    loss = torch.zeros(len(items), device=device)
    margin = torch.zeros(0, device=device)
    if of.pairs and bool(paired.any()):
        result = pair_loss(
            settings, parameters, policy.where(paired), None if reference is None else reference.where(paired)
        )
        margin = result.margin
        loss = loss.masked_scatter(paired, result.loss * weight[paired] / of.pairs)
    if of.tokens and not bool(paired.all()):
        share = (1.0 if settings.loss == "nll" else settings.anchor) / of.tokens
        loss = loss.masked_scatter(~paired, nll(policy.where(~paired)) * share)
    chosen, rejected = policy.per_token()
    sums = [loss.sum(), chosen.sum(), rejected.sum(), margin.sum(), (margin > 0).sum(), paired.sum()]
    steps = torch.tensor(len(items), device=device)
    return loss, torch.stack([s.detach().double() for s in (*sums, steps)])


def means(sums: dict[str, float]) -> dict[str, float | None]:
    """FIGURES of an update from their sums: means, but for the loss, which is one already, and the counts.

    What only pairs have is None where there are none.
    """
    pairs, steps = sums["pairs"], max(sums["steps"], 1.0)
    per = {"chosen_logprob": steps, "rejected_logprob": pairs, "margin": pairs, "accuracy": pairs}
    return {name: value / per.get(name, 1.0) if per.get(name, 1.0) else None for name, value in sums.items()}
