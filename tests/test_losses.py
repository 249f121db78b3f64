"""The losses against numbers worked out by hand, and against TRL's trainers on the same batch."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_lora import gradients, tiny_lora

from bench.toy_loop import tiny_model
from itool_data.config import PreferenceSettings
from itool_data.errors import ItoolError
from itool_train.collate import pair_batches, step_logprobs
from itool_train.losses import StepLogprobs, anchored, dpo, hyperparameters, ipo, orpo, pair_loss, simpo
from itool_train.step_pairs import StepPair


def logprobs(chosen: float, rejected: float, n_chosen: int = 1, n_rejected: int = 1) -> StepLogprobs:
    values = (torch.tensor([v], dtype=torch.float64) for v in (chosen, rejected, n_chosen, n_rejected))
    return StepLogprobs(*values)


def value(result) -> tuple[float, float]:
    return result.loss.item(), result.margin.item()


# --- by hand ------------------------------------------------------------------------------------------------------


def test_simpo_is_eq_11_with_gamma_as_it_is():
    # h_w = 2.5 / 2 * -2 = -2.5, h_l = 2.5 / 4 * -8 = -5; the margin is 2.5, less γ it is 2.
    loss, margin = value(simpo(logprobs(-2, -8, 2, 4), 2.5, 0.5))
    assert margin == pytest.approx(2.5)
    assert loss == pytest.approx(math.log(1 + math.exp(-2)))
    # At equal rewards the loss is log(1 + e^γ), whatever β.
    assert value(simpo(logprobs(-3, -1, 3, 1), 2.0, 1.4))[0] == pytest.approx(math.log(1 + math.exp(1.4)))


def test_dpo_compares_log_ratios_as_sums():
    # Ratios 3 and -1: β (3 + 1) = 0.4.
    loss, margin = value(dpo(logprobs(-2, -5, 2, 4), logprobs(-5, -4, 2, 4), 0.1))
    assert margin == pytest.approx(0.4)
    assert loss == pytest.approx(math.log(1 + math.exp(-0.4)))


def test_ipo_is_the_square_of_the_distance_from_half_over_tau():
    # The difference of ratios is 4, 1 / (2 * 0.1) is 5.
    assert value(ipo(logprobs(-2, -5, 2, 4), logprobs(-5, -4, 2, 4), 0.1)) == pytest.approx((1, 4))


def test_orpo_is_the_likelihood_and_the_odds_ratio():
    # p_w = 1/2 (odds 1), p_l = 1/5 (odds 1/4): log 2 - 0.1 log σ(log 4), and σ(log 4) = 4/5.
    loss, margin = value(orpo(logprobs(2 * math.log(0.5), 3 * math.log(0.2), 2, 3), 0.1))
    assert margin == pytest.approx(math.log(4))
    assert loss == pytest.approx(math.log(2) + 0.1 * math.log(5 / 4))


def test_an_anchor_adds_the_chosen_steps_mean_log_probability():
    # SimPO's loss at equal means is log 2 without γ; the anchor adds 0.5 * 6 / 3.
    both = logprobs(-6, -4, 3, 2)
    loss, margin = value(anchored(simpo(both, 2.5, 0.0), both, 0.5))
    assert (loss, margin) == (pytest.approx(math.log(2) + 1), 0)


@given(st.floats(-200, 0), st.floats(-200, 0))
def test_orpo_has_finite_gradients_even_at_probability_one(chosen, rejected):
    both = torch.tensor([chosen, rejected], requires_grad=True)
    one = torch.tensor([1])
    orpo(StepLogprobs(both[:1], both[1:], one, one), 0.1).loss.sum().backward()
    assert torch.isfinite(both.grad).all()


@given(st.lists(st.floats(-30, -0.01), min_size=4, max_size=4), st.floats(0.01, 3))
def test_every_loss_falls_when_the_chosen_step_gains(values, gain):
    chosen, rejected, ref_chosen, ref_rejected = values
    reference = logprobs(ref_chosen, ref_rejected)
    for name in ("simpo", "dpo", "orpo"):
        settings = PreferenceSettings(loss=name)
        own = hyperparameters(settings)
        before = pair_loss(settings, own, logprobs(chosen - gain, rejected), reference).loss
        assert pair_loss(settings, own, logprobs(chosen, rejected), reference).loss <= before


@pytest.mark.parametrize(
    ("loss", "own"),
    [
        ("simpo", {"lr": 1e-6, "beta": 2.5, "gamma": 0.5}),
        ("dpo", {"lr": 3e-7, "beta": 0.1}),
        ("ipo", {"lr": 1e-6, "tau": 0.1}),
        ("orpo", {"lr": 3e-7, "lam": 0.1}),
    ],
)
def test_what_is_not_set_is_the_best_of_table_9(loss, own):
    assert hyperparameters(PreferenceSettings(loss=loss)) == own
    assert hyperparameters(PreferenceSettings(loss=loss, lr=0.5)) == own | {"lr": 0.5}


def test_a_parameter_of_another_loss_is_an_error():
    with pytest.raises(ItoolError, match=r"preference.gamma is 0, but dpo has no gamma; it has lr, beta"):
        hyperparameters(PreferenceSettings(loss="dpo", gamma=0.0))


def test_orpo_takes_no_second_anchor():
    with pytest.raises(ItoolError, match=r"preference.anchor is 0.5, but orpo has an SFT term already"):
        hyperparameters(PreferenceSettings(loss="orpo", anchor=0.5))


@pytest.mark.parametrize("more", [{"anchor": 0.5}, {"weighted": True}])
def test_nll_takes_nothing_that_only_pairs_have(more):
    with pytest.raises(ItoolError, match=rf"preference.{next(iter(more))} is .*, but nll .*; set it to"):
        hyperparameters(PreferenceSettings(loss="nll", **more))


# --- TRL ----------------------------------------------------------------------------------------------------------

END = 2
# TRL adds the end of turn to every completion, so these end with it too: here both must agree. No other token's name
# starts with "t2", the end of turn's, which the tokenizer would find in it.
PAIRS = [
    StepPair("a", "a", (5, 6, 7, 8), (9, 10, 11, END), (12, END)),
    StepPair("b", "b", (5, 6), (13, 14, END), (15, 16, 17, 18, END)),
    StepPair("c", "c", (31, 32, 33), (41, END), (45, END)),
]
EQUAL = [StepPair(p.pair_id, p.pair_id, p.prompt, (p.chosen[0], END), (p.rejected[0], END)) for p in PAIRS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


def text(ids) -> str:
    return " ".join(f"t{i}" for i in ids if i != END)


def oracle(folder: Path, kind: Any, config: Any, pairs: list[StepPair], model: Any, **settings: Any) -> tuple[Any, Any]:
    """A TRL trainer over the pairs, and its batch of them in their order."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [{"prompt": text(p.prompt), "chosen": text(p.chosen), "rejected": text(p.rejected)} for p in pairs]
    for row in rows:  # a completion goes on after its prompt
        row |= {"chosen": " " + row["chosen"], "rejected": " " + row["rejected"]}
    arguments = config(
        output_dir=str(folder / "trl"), per_device_train_batch_size=len(pairs), report_to="none", use_cpu=True,
        bf16=False, gradient_checkpointing=False, disable_tqdm=True, **settings,
    )  # fmt: skip
    trainer = kind(model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    return trainer, trainer.data_collator([trainer.train_dataset[i] for i in range(len(pairs))])


def ours(model: Any, pairs: list[StepPair], settings: PreferenceSettings) -> tuple[float, Any]:
    """Our mean loss and its gradient; the reference is the model without its adapter."""
    (batch,) = pair_batches(pairs, 10_000)
    with torch.no_grad(), model.disable_adapter():
        reference = step_logprobs(model, batch)
    model.zero_grad()
    loss = pair_loss(settings, hyperparameters(settings), step_logprobs(model, batch), reference).loss.mean()
    loss.backward()
    return loss.item(), gradients(model)


def theirs(model: Any, loss: Any) -> tuple[float, Any]:
    model.zero_grad()
    loss.backward()
    return loss.item(), gradients(model)


def agree(one: tuple[float, Any], other: tuple[float, Any]) -> None:
    assert one[0] == pytest.approx(other[0], abs=1e-5)
    assert one[1].abs().max() > 1e-3
    assert torch.allclose(one[1], other[1], atol=1e-4)


def test_simpo_agrees_with_trl(folder):
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    model = tiny_lora(folder)
    # TRL divides its γ by β and multiplies by β again: the same number as ours.
    trainer, batch = oracle(
        folder, CPOTrainer, CPOConfig, PAIRS, model, loss_type="simpo", cpo_alpha=0.0, beta=2.5, simpo_gamma=0.5
    )
    assert [row[row != -100].tolist() for row in batch["chosen_labels"]] == [list(p.chosen) for p in PAIRS]
    loss, _ = trainer.get_batch_loss_metrics(model, batch)
    agree(ours(model, PAIRS, PreferenceSettings()), theirs(model, loss))


@pytest.mark.parametrize("pair", PAIRS)
def test_anchored_simpo_agrees_with_trls_cpo(folder, pair):
    """A pair at a time: TRL's likelihood is a mean over all tokens of a batch, ours over pairs."""
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    model = tiny_lora(folder)
    trainer, batch = oracle(
        folder, CPOTrainer, CPOConfig, [pair], model, loss_type="simpo", cpo_alpha=0.7, beta=2.5, simpo_gamma=0.5
    )
    loss, _ = trainer.get_batch_loss_metrics(model, batch)
    agree(ours(model, [pair], PreferenceSettings(anchor=0.7)), theirs(model, loss))


def test_orpo_agrees_with_trl(folder):
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    model = tiny_lora(folder)
    trainer, batch = oracle(folder, ORPOTrainer, ORPOConfig, PAIRS, model, beta=0.1)
    chosen, rejected, *_ = trainer.concatenated_forward(model, batch)
    # TRL's likelihood term counts the prompt as well; Table 9's is of the response.
    loss = (-chosen - trainer.odds_ratio_loss(chosen, rejected)[0]).mean()
    agree(ours(model, PAIRS, PreferenceSettings(loss="orpo")), theirs(model, loss))


def with_reference(folder: Path, pairs: list[StepPair], loss_type: str) -> tuple[Any, Any]:
    """TRL's DPO trainer whose reference is the model without adapter, and its loss on the pairs."""
    from trl import DPOConfig, DPOTrainer

    model = tiny_lora(folder, strength=0.0)  # what TRL copies as its reference
    trainer, batch = oracle(folder, DPOTrainer, DPOConfig, pairs, model, loss_type=[loss_type], beta=0.1)
    moved = dict(tiny_lora(folder).named_parameters())
    for name, parameter in model.named_parameters():
        if "lora_B.default" in name:
            parameter.data = moved[name].data
    return model, trainer._compute_loss(model, batch, False)


def test_dpo_agrees_with_trl(folder):
    model, loss = with_reference(folder, PAIRS, "sigmoid")
    agree(ours(model, PAIRS, PreferenceSettings(loss="dpo")), theirs(model, loss))


def test_ipo_agrees_with_trl_up_to_its_averages(folder):
    """TRL averages log-ratios over tokens. With every step of length L it has our loss at τ = β / L, over L²."""
    model, loss = with_reference(folder, EQUAL, "ipo")
    mine, gradient = ours(model, EQUAL, PreferenceSettings(loss="ipo", tau=0.1 / 2))
    agree((mine / 4, gradient / 4), theirs(model, loss))
