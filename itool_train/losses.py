"""The four objectives of paper Table 9 as pure functions on log-probabilities: SimPO (Eq. 10, 11), DPO, IPO, ORPO.

Each takes the steps' log-probabilities, summed over the tokens of their spans, and gives a loss and a margin a pair.
The formulas are the paper's: γ of Eq. 11 is not divided by β, and IPO's log-ratios are sums, where TRL has averages.
`anchored` adds the likelihood of the chosen steps, as CPO (Xu et al. 2024) and RPO (Pang et al. 2024) do; `nll` is that
likelihood alone, of steps that have no rejected one. Left out: the model (`collate.step_logprobs`), and the mean over
an update (`objective`).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from itool_data.config import PreferenceSettings
from itool_data.errors import ItoolError
from itool_data.kinds import Contrast, Loss

# "Best Setting" of Table 9, by the names of the settings.
TABLE_9: dict[Contrast, dict[str, float]] = {
    "simpo": {"lr": 1e-6, "beta": 2.5, "gamma": 0.5},
    "dpo": {"lr": 3e-7, "beta": 0.1},
    "ipo": {"lr": 1e-6, "tau": 0.1},
    "orpo": {"lr": 3e-7, "lam": 0.1},
}
# What it searched for each, beside the learning rates.
TABLE_9_LR = (1e-6, 5e-7, 3e-7)
TABLE_9_GRID: dict[Contrast, dict[str, tuple[float, ...]]] = {
    "simpo": {"beta": (2.0, 2.5), "gamma": (0.5, 1.0, 1.4)},
    "dpo": {"beta": (0.01, 0.05, 0.1)},
    "ipo": {"tau": (0.01, 0.05, 0.1)},
    "orpo": {"lam": (0.01, 0.05, 0.1)},
}
NLL = {"lr": 5e-5}  # the paper trains on no right steps alone; the warm-up's rate (Table 6)
WITH_REFERENCE: tuple[Loss, ...] = ("dpo", "ipo")
# ORPO's odds p / (1 - p) have no value at p = 1, which float32 reaches.
LARGEST_LOGPROB = -1e-6


class StepLogprobs(NamedTuple):
    """Of n pairs under one policy, all [n]: log π(y|x) as sums over tokens, in nats, and the numbers of tokens."""

    chosen: Tensor
    rejected: Tensor
    chosen_length: Tensor
    rejected_length: Tensor

    def per_token(self) -> tuple[Tensor, Tensor]:
        """Mean log-probability a token of the chosen and of the rejected steps, [n] each; 0 of an empty step."""
        return self.chosen / self.chosen_length.clamp(min=1), self.rejected / self.rejected_length.clamp(min=1)

    def where(self, chosen: Tensor) -> "StepLogprobs":
        """Those that a mask, bool [n], chooses."""
        return StepLogprobs(*(part[chosen] for part in self))


class PairLoss(NamedTuple):
    """A loss a pair, [n], and the margin it grows with: above 0 the chosen step is preferred, [n]."""

    loss: Tensor
    margin: Tensor


def simpo(policy: StepLogprobs, beta: float, gamma: float) -> PairLoss:
    """SimPO: -log σ(h_w - h_l - γ), where h is β times the mean log-probability a token (Eq. 10, 11)."""
    chosen, rejected = policy.per_token()
    margin = beta * chosen - beta * rejected
    return PairLoss(-logsigmoid(margin - gamma), margin)


def dpo(policy: StepLogprobs, reference: StepLogprobs, beta: float) -> PairLoss:
    """DPO: -log σ(β log-ratio of chosen - β log-ratio of rejected) (Table 9)."""
    margin = beta * _ratio_difference(policy, reference)
    return PairLoss(-logsigmoid(margin), margin)


def ipo(policy: StepLogprobs, reference: StepLogprobs, tau: float) -> PairLoss:
    """IPO: (log-ratio of chosen - log-ratio of rejected - 1 / 2τ)² (Table 9)."""
    margin = _ratio_difference(policy, reference)
    return PairLoss((margin - 1 / (2 * tau)) ** 2, margin)


def orpo(policy: StepLogprobs, lam: float) -> PairLoss:
    """ORPO: -log p_w - λ log σ(log odds of chosen - log odds of rejected), p = exp(mean log-probability) (Table 9)."""
    chosen, rejected = policy.per_token()
    margin = _log_odds(chosen) - _log_odds(rejected)
    return PairLoss(-chosen - lam * logsigmoid(margin), margin)


def anchored(result: PairLoss, policy: StepLogprobs, weight: float) -> PairLoss:
    """A loss and an SFT term: the mean negative log-probability of the chosen steps' tokens, times a weight."""
    chosen, _ = policy.per_token()
    return result._replace(loss=result.loss - weight * chosen)


def nll(policy: StepLogprobs) -> Tensor:
    """The negative log-probability of each chosen step's span, summed over its tokens, [n]."""
    return -policy.chosen


def _ratio_difference(policy: StepLogprobs, reference: StepLogprobs) -> Tensor:
    return (policy.chosen - reference.chosen) - (policy.rejected - reference.rejected)


def _log_odds(logprob: Tensor) -> Tensor:
    bounded = logprob.clamp(max=LARGEST_LOGPROB)
    return bounded - torch.log(-torch.expm1(bounded))


def hyperparameters(settings: PreferenceSettings) -> dict[str, float]:
    """The loss's learning rate and own parameters: as set, else the best of Table 9.

    Raises:
        ItoolError: if a parameter is set that belongs to another loss, an anchor for what has that term already, or
            weights for what has no pairs.
    """
    if settings.anchor and settings.loss == "orpo" and anchor_on(settings) == "chosen":
        raise ItoolError(
            f"preference.anchor is {settings.anchor:g}, but orpo has an SFT term already, of weight 1; set it to 0, "
            "or anchor_on to doubted or response"
        )
    if settings.anchor and settings.loss == "nll":
        raise ItoolError(f"preference.anchor is {settings.anchor:g}, but nll is nothing else; set it to 0")
    if settings.weighted and settings.loss == "nll":
        raise ItoolError("preference.weighted is true, but nll has no rejected steps to weigh by; set it to false")
    own = NLL if settings.loss == "nll" else TABLE_9[settings.loss]
    for name in sorted({name for best in TABLE_9.values() for name in best} - set(own)):
        if getattr(settings, name) is not None:
            raise ItoolError(
                f"preference.{name} is {getattr(settings, name):g}, but {settings.loss} has no {name}; "
                f"it has {', '.join(own)}"
            )
    return {name: best if getattr(settings, name) is None else getattr(settings, name) for name, best in own.items()}


def anchor_on(settings: PreferenceSettings) -> str:
    """What the likelihood term is over: `chosen`, `doubted` or `response`; as set, else as suits the loss."""
    return settings.anchor_on or ("doubted" if settings.loss == "nll" else "chosen")


def takes_pairs(settings: PreferenceSettings) -> bool:
    """Whether the settings train on pairs; else on right steps alone."""
    return settings.loss != "nll" or anchor_on(settings) == "chosen"


def pair_loss(
    settings: PreferenceSettings, own: dict[str, float], policy: StepLogprobs, reference: StepLogprobs | None
) -> PairLoss:
    """The loss of pairs that the settings name, anchored as they say where that is on the pairs' own chosen steps.

    Args:
        settings: its name and the anchor's weight.
        own: its parameters, from `hyperparameters`.
        policy: log-probabilities under the model in training.
        reference: those under the round's starting adapter; used by those of WITH_REFERENCE.
    """
    result = _pair_loss(settings.loss, own, policy, reference)
    return anchored(result, policy, settings.anchor) if anchor_on(settings) == "chosen" else result


def _pair_loss(loss: Loss, own: dict[str, float], policy: StepLogprobs, reference: StepLogprobs | None) -> PairLoss:
    if loss == "simpo":
        return simpo(policy, own["beta"], own["gamma"])
    if loss == "orpo":
        return orpo(policy, own["lam"])
    assert reference is not None, f"{loss} needs a reference"
    return dpo(policy, reference, own["beta"]) if loss == "dpo" else ipo(policy, reference, own["tau"])
