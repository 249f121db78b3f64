"""The four objectives of paper Table 9 as pure functions on log-probabilities: SimPO (Eq. 10, 11), DPO, IPO, ORPO.

Each takes the steps' log-probabilities, summed over their tokens, and gives a loss and a margin a pair. The formulas
are the paper's: γ of Eq. 11 is not divided by β, and IPO's log-ratios are sums, where TRL has averages. `anchored` adds
the likelihood of the chosen steps, as CPO (Xu et al. 2024) and RPO (Pang et al. 2024) do. Left out: the model
(`collate.step_logprobs`), and the mean over pairs (`pair_trainer`).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from itool_data.config import PreferenceSettings
from itool_data.errors import ItoolError

# "Best Setting" of Table 9, by the names of the settings.
TABLE_9 = {
    "simpo": {"lr": 1e-6, "beta": 2.5, "gamma": 0.5},
    "dpo": {"lr": 3e-7, "beta": 0.1},
    "ipo": {"lr": 1e-6, "tau": 0.1},
    "orpo": {"lr": 3e-7, "lam": 0.1},
}
WITH_REFERENCE = ("dpo", "ipo")
# ORPO's odds p / (1 - p) have no value at p = 1, which float32 reaches.
LARGEST_LOGPROB = -1e-6


class StepLogprobs(NamedTuple):
    """Of n pairs under one policy, all [n]: log π(y|x) as sums over tokens, in nats, and the numbers of tokens."""

    chosen: Tensor
    rejected: Tensor
    chosen_length: Tensor
    rejected_length: Tensor

    def per_token(self) -> tuple[Tensor, Tensor]:
        """Mean log-probability a token of the chosen and of the rejected steps, [n] each."""
        return self.chosen / self.chosen_length, self.rejected / self.rejected_length


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


def _ratio_difference(policy: StepLogprobs, reference: StepLogprobs) -> Tensor:
    return (policy.chosen - reference.chosen) - (policy.rejected - reference.rejected)


def _log_odds(logprob: Tensor) -> Tensor:
    bounded = logprob.clamp(max=LARGEST_LOGPROB)
    return bounded - torch.log(-torch.expm1(bounded))


def hyperparameters(settings: PreferenceSettings) -> dict[str, float]:
    """The loss's learning rate and own parameters: as set, else the best of Table 9.

    Raises:
        ItoolError: if a parameter is set that belongs to another loss, or an anchor for ORPO.
    """
    if settings.anchor and settings.loss == "orpo":
        raise ItoolError(
            f"preference.anchor is {settings.anchor:g}, but orpo has an SFT term already, of weight 1; set it to 0"
        )
    own = TABLE_9[settings.loss]
    for name in sorted({name for best in TABLE_9.values() for name in best} - set(own)):
        if getattr(settings, name) is not None:
            raise ItoolError(
                f"preference.{name} is {getattr(settings, name):g}, but {settings.loss} has no {name}; "
                f"it has {', '.join(own)}"
            )
    return {name: best if getattr(settings, name) is None else getattr(settings, name) for name, best in own.items()}


def pair_loss(
    settings: PreferenceSettings, own: dict[str, float], policy: StepLogprobs, reference: StepLogprobs | None
) -> PairLoss:
    """The loss that the settings name, anchored as they say.

    Args:
        settings: its name and the anchor's weight.
        own: its parameters, from `hyperparameters`.
        policy: log-probabilities under the model in training.
        reference: those under the round's starting adapter; used by those of WITH_REFERENCE.
    """
    return anchored(_pair_loss(settings.loss, own, policy, reference), policy, settings.anchor)


def _pair_loss(loss: str, own: dict[str, float], policy: StepLogprobs, reference: StepLogprobs | None) -> PairLoss:
    if loss == "simpo":
        return simpo(policy, own["beta"], own["gamma"])
    if loss == "orpo":
        return orpo(policy, own["lam"])
    assert reference is not None, f"{loss} needs a reference"
    return dpo(policy, reference, own["beta"]) if loss == "dpo" else ipo(policy, reference, own["tau"])
