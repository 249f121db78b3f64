"""bench.replication.stopping: a pair's push is what one small gradient step on it does to the endings."""

import pytest
import torch
from tiny_lora import tiny_lora

from bench.replication.stopping import kind, pushes
from bench.toy_loop import tiny_model
from itool_data.config import PreferenceSettings
from itool_train.collate import pair_batches, step_logprobs
from itool_train.losses import hyperparameters, pair_loss
from itool_train.step_pairs import StepPair

END = 2
RATE = 1e-4  # small enough for the first two orders
PAIRS = [
    StepPair("a", "a", (5, 6, 7, 8), (9, 10), (9, 11, END)),
    StepPair("b", "b", (5, 6), (13, 14, END), (15, 16, 17, 18, END)),
]
ENDS = [StepPair(name, name, (5, 6, last), (END,), (END,)) for name, last in (("x", 9), ("y", 20))]


def ending(model) -> float:
    with torch.no_grad():
        return float(torch.stack([step_logprobs(model, pair_batches([e], 100)[0]).chosen for e in ENDS]).mean())


def stepped(model, settings, pair, ascend):
    policy = step_logprobs(model, pair_batches([pair], 100)[0])
    pair_loss(settings, hyperparameters(settings), policy, None).loss.sum().backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=RATE, maximize=ascend).step()
    return model


@pytest.mark.parametrize("anchor", [0.0, 1.0])
def test_a_push_is_the_change_of_the_endings_for_a_unit_of_learning_rate(tmp_path, anchor):
    folder = tiny_model(tmp_path)
    settings = PreferenceSettings(quantization="none", anchor=anchor)
    found = pushes(tiny_lora(folder), settings, PAIRS, ENDS, list)
    for pair, push in zip(PAIRS, found, strict=True):
        down, up = (ending(stepped(tiny_lora(folder), settings, pair, ascend)) for ascend in (False, True))
        assert (down - up) / (2 * RATE) == pytest.approx(push, rel=0.03)
        assert abs(push) > 1


@pytest.mark.parametrize(
    ("chosen", "rejected", "name"),
    [
        ((9,), (9, END), "the rejected step ends the response, the chosen one goes on"),
        ((9, END), (9,), "the chosen step ends it, the rejected one goes on"),
        ((9,), (8,), "both go on"),
        ((9, 9, END), (9, END), "both end it, the chosen one is longer"),
        ((9, END), (8, END), "both end it, the rejected one is as long or longer"),
    ],
)
def test_pairs_are_told_apart_by_which_steps_end(chosen, rejected, name):
    assert kind(StepPair("a", "a", (5,), chosen, rejected), END) == name
