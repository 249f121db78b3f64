"""Preference training over a tiny random model: what is learnt, what is kept, several processes, kills, bad input."""

import json
import math
import re
import signal
from pathlib import Path
from typing import Any

import pair_run
import pytest
import torch
from outcomes import Itool, one_line
from pair_run import END, make_run, pair_row, pair_rows
from safetensors.torch import load_file
from tiny_lora import tiny_lora

from bench import prefork
from bench.toy_loop import tiny_model
from itool_data.errors import ItoolError
from itool_data.policy.base import PolicyId
from itool_data.policy.load import find_model
from itool_data.policy.transformers import load_policy
from itool_data.run import open_run, write_run
from itool_data.store.sql import query
from itool_train import objective, pair_trainer, preference
from itool_train.checkpoints import best_at, last_checkpoint
from itool_train.collate import step_logprobs
from itool_train.losses import simpo
from itool_train.step_pairs import StepPair, divide, ordered_updates
from itool_train.tree_batch import tree_batches


def train(folder: Path, *settings: str, say: Any = print) -> preference.Trained:
    with write_run(folder, None, list(settings), force=True) as run:
        result = pair_run.train(run, say=say)
    assert result is not None
    return result


def rows(folder: Path, where: str = "true") -> list[dict[str, Any]]:
    return query(open_run(folder).store, f"SELECT * FROM training WHERE {where} ORDER BY update").to_pylist()


def curve(folder: Path, figure: str = "loss") -> list[float]:
    return [row[figure] for row in rows(folder, "split = 'train'")]


# --- a step is not a response -------------------------------------------------------------------------------------


def test_an_update_on_steps_does_not_teach_to_end_after_them_and_the_naive_way_does(tmp_path):
    folder = tiny_model(tmp_path / "m")
    fragments = [
        StepPair(r["pair_id"], r["sample_id"], tuple(r["prompt_ids"]), tuple(r["chosen_ids"]), tuple(r["rejected_ids"]))
        for r in pair_rows("p", samples=20)
    ]
    naive = [StepPair(p.pair_id, p.sample_id, p.prompt, (*p.chosen, END), (*p.rejected, END)) for p in fragments]
    after = [StepPair(p.pair_id, p.sample_id, p.prompt + p.chosen, (END,), (END,)) for p in fragments]

    def gain(pairs: list[StepPair]) -> float:
        """How much one update on the pairs adds to the log-probability of ending after the chosen step."""
        model = tiny_lora(folder)
        optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-2)

        def ending() -> float:
            return torch.cat([step_logprobs(model, b).chosen for b in tree_batches(after, 10_000)]).mean().item()

        before = ending()
        for batch in tree_batches(pairs, 10_000):
            (simpo(step_logprobs(model, batch), 2.5, 0.5).loss.sum() / len(pairs)).backward()
        optimiser.step()
        return ending() - before

    assert gain(fragments) <= 0
    assert gain(naive) > 0.01


# --- what a round does --------------------------------------------------------------------------------------------


def test_a_round_learns_and_leaves_an_adapter_and_a_row_an_update(tmp_path):
    folder = make_run(tmp_path / "run")
    result = train(folder)
    updates = rows(folder, "split = 'train'")
    assert [row["update"] for row in updates] == list(range(1, len(updates) + 1)) and updates[-1]["epoch"] == 2
    assert updates[-1]["loss"] < updates[0]["loss"] / 2 and updates[-1]["accuracy"] > updates[0]["accuracy"]
    assert all(row["tokens"] > 0 and row["seconds"] > 0 and row["learning_rate"] is not None for row in updates)
    # The best on the validation pairs is what is kept (paper B.1).
    validated = {row["update"]: row["loss"] for row in rows(folder, "split = 'validation' AND update > 0")}
    ((update, adapter),) = result.candidates.items()
    assert validated[update] == min(validated.values()) == result.validation_loss(update)
    assert len(validated) == 4 and adapter.name.startswith("preference-")
    commit = open_run(folder).store.log()[-1]
    assert (commit.operation, commit.info["round"]) == ("preference", 1)
    assert (folder / commit.info["adapter"], commit.info["update"]) == (adapter, update)
    assert not list((folder / "work").iterdir())


def test_the_kept_adapter_is_that_of_the_update_it_says(tmp_path):
    """Its validation figures, computed anew by the policy that loads it, are those that training logged."""
    folder = make_run(tmp_path / "run")
    result = train(folder)
    run = open_run(folder)
    base = find_model(run.config.model)
    validation = preference.prepare(run, base, 1).validation
    ((update, adapter),) = result.candidates.items()
    policy = load_policy(base.path, PolicyId("tiny", "0"), adapter, "cpu", 1)
    scores = policy.score([p.prompt for p in validation], [p.chosen for p in validation])
    (kept,) = rows(folder, f"split = 'validation' AND update = {update}")
    assert sum(sum(s) / len(s) for s in scores) / len(scores) == pytest.approx(kept["chosen_logprob"], abs=1e-4)


def next_round(folder: Path, seed: int = 0) -> str:
    """Fill round 2 with pairs of the run's newest adapter; returns that policy."""
    with write_run(folder, None, []) as run:
        base = find_model(run.config.model)
        adapter = run.adapter(base)
        assert adapter is not None
        policy = str(PolicyId(base.name, base.revision, adapter.content))
        run.store.commit("mine", {"pairs": [row | {"round": 2} for row in pair_rows(policy, seed=seed)]}, round=2)
    return policy


def test_the_next_round_goes_on_from_the_adapter_of_this_one(tmp_path):
    folder = make_run(tmp_path / "run", None, "preference.validation=0")
    first = train(folder)
    policy = next_round(folder, seed=1)
    with write_run(folder, None, []) as run:
        base = find_model(run.config.model)
        prepared = preference.prepare(run, base, 2)
        second = preference.train(run, base, prepared, lambda progress: None, print)
        assert second is not None
        pair_run.finish(run, base, prepared, second)
        assert run.trained(preference.STAGE, 2) == run.store.log()[-1]
    # The log-probabilities of the first update are those of the adapter it starts from.
    (start,) = rows(folder, 'round = 2 AND "update" = 1')
    assert start["policy"] == policy
    pairs = prepared.updates[0]
    (adapter,) = first.candidates.values()
    scores = load_policy(base.path, PolicyId("tiny", "0"), adapter, "cpu", 1).score(
        [p.prompt for p in pairs], [p.chosen for p in pairs]
    )
    assert sum(sum(s) / len(s) for s in scores) / len(scores) == pytest.approx(start["chosen_logprob"], abs=1e-4)


def test_a_single_update_is_made_at_the_learning_rate_and_not_at_0(tmp_path):
    folder = make_run(tmp_path / "run", None, "preference.validation=0", "preference.batch=1000", "preference.epochs=1")
    (adapter,) = train(folder).candidates.values()
    assert curve(folder, "learning_rate") == [0.01]
    trained = load_file(adapter / "adapter_model.safetensors")
    most = [float(matrix.abs().max()) for name, matrix in trained.items() if "lora_B" in name]
    assert most == pytest.approx([0.01] * len(most), rel=0.01), "Adam's first step is the rate"


@pytest.mark.parametrize(("batch", "updates"), [(2, 11), (3, 8)])
def test_only_where_there_are_ten_updates_is_the_first_one_made_at_0(tmp_path, batch, updates):
    settings = [f"preference.batch={batch}", "preference.epochs=1", "preference.validation=0"]
    folder = make_run(tmp_path / "run", None, *settings)
    train(folder)
    rates = curve(folder, "learning_rate")
    assert len(rates) == updates
    assert (rates[0] == 0) == (updates >= 10) and all(rates[1:])


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize(("loss", "at_start"), [("dpo", math.log(2)), ("ipo", 25)])
def test_the_reference_is_the_adapter_that_the_round_starts_from(tmp_path, loss, at_start, quantization):
    folder = make_run(tmp_path / "run", None, f"preference.loss={loss}", f"preference.quantization={quantization}")
    train(folder, "preference.lr=0.002")
    losses = curve(folder)
    assert losses[0] == pytest.approx(at_start, abs=1e-4)
    assert losses[-1] < losses[0] - 0.01  # and with NF4 there still is a gradient after the reference was computed


def test_both_batchings_train_alike_and_trees_take_fewer_tokens(tmp_path):
    folders = [make_run(tmp_path / kind, None, f"preference.batching={kind}") for kind in ("tree", "pairs")]
    for folder in folders:
        train(folder)
    tree, pairs = map(curve, folders)
    assert tree == pytest.approx(pairs, abs=1e-4)
    tokens = [sum(curve(folder, "tokens")) for folder in folders]
    assert tokens[0] < 0.5 * tokens[1]


def test_samples_are_on_one_side_and_updates_hold_every_pair_once_an_epoch():
    pairs = [StepPair(f"{s}/{i}", f"s{s}", (1,), (2,), (3,)) for s in range(20) for i in range(s % 4 + 1)]
    training, validation = divide(pairs, 0.2, 42)
    assert sorted(p.pair_id for p in training + validation) == sorted(p.pair_id for p in pairs)
    held_out = {p.sample_id for p in validation}
    assert len(held_out) == 4 and not held_out & {p.sample_id for p in training}
    updates = ordered_updates(training, 8, 2, 42)
    half = len(updates) // 2
    for epoch in (updates[:half], updates[half:]):
        assert sorted(p.pair_id for u in epoch for p in u) == sorted(p.pair_id for p in training)
        assert sum(len({p.sample_id for p in u}) for u in epoch) == 16  # none is divided
    assert half == -(-len(training) // 8) and all(4 < len(u) < 12 for u in updates)
    assert updates[:half] != updates[half:]


# --- kills and processes ------------------------------------------------------------------------------------------


def test_a_killed_training_goes_on_inside_the_epoch_with_the_same_curve(tmp_path):
    settings = ["preference.checkpoint_seconds=0", "preference.loss=dpo"]
    whole, cut = (make_run(tmp_path / name, None, *settings) for name in ("whole", "cut"))
    train(whole)
    before, after = (
        [(int(u), float(v)) for u, v in re.findall(r"^(\d+) (-?\d+\.\d+)$", said, re.MULTILINE)]
        for said in (
            prefork.run(tmp_path / "said", pair_run.train_until, cut, 2, code=-signal.SIGKILL),
            prefork.run(tmp_path / "said", pair_run.train_until, cut),
        )
    )
    expected = list(enumerate(curve(whole), 1))
    assert [u for u, _ in before] == [1, 2]
    assert after[0][0] == 2  # the update that was being saved comes again
    assert len(expected) == 6 and [u for u, _ in before[:1] + after] == [u for u, _ in expected]
    assert [v for _, v in before[:1] + after] == pytest.approx([v for _, v in expected], abs=1e-6)
    assert curve(cut) == pytest.approx(curve(whole), abs=1e-6)
    ends = [r["loss"] for r in rows(whole, "split = 'validation'")]
    assert [r["loss"] for r in rows(cut, "split = 'validation'")] == pytest.approx(ends, abs=1e-6)


def test_the_best_adapter_at_the_last_checkpoint_is_there_until_the_next_one(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run", None, "preference.epochs=4", "preference.lr=0.01")
    due = iter([False, False, False, True])  # one checkpoint, after the first validation
    monkeypatch.setattr(pair_trainer, "is_due", lambda since, seconds: next(due, False))
    seen: list[tuple[int, list[str]]] = []

    def look(progress: preference.Progress) -> None:
        (work,) = (folder / "work").glob("preference-*")
        if checkpoint := last_checkpoint(work):
            seen.append((best_at(checkpoint), sorted(c.name for c in work.glob("candidate-*"))))

    with write_run(folder, None, []) as run:
        pair_run.train(run, look)
    assert seen and all(f"candidate-{best}" in kept for best, kept in seen)
    assert max(len(kept) for _, kept in seen) == 2, "a better one came and the checkpoint's stayed"


def test_two_processes_train_as_one_does(tmp_path):
    # So short that each process's own clock would ask for its checkpoints at other updates than the other's.
    settings = ("preference.loss=dpo", "preference.checkpoint_seconds=0.03")
    one, two = (make_run(tmp_path / name, None, *settings) for name in ("one", "two"))
    train(one)
    prefork.together(tmp_path, 2, pair_run.train_until, two)
    assert curve(two) == pytest.approx(curve(one), abs=1e-4)
    validated = [[r["loss"] for r in rows(folder, "split = 'validation'")] for folder in (one, two)]
    assert validated[0] == pytest.approx(validated[1], abs=1e-4)
    assert curve(two, "pairs") == curve(one, "pairs")


# --- guard rails --------------------------------------------------------------------------------------------------


def test_out_of_memory_halves_the_tokens_a_pass_says_so_and_changes_nothing_else(tmp_path, monkeypatch):
    plain, small = (make_run(tmp_path / name, None, "preference.batching=pairs") for name in ("plain", "small"))
    train(plain)

    def scarce(model: Any, batch: Any) -> Any:
        if batch.input_ids.numel() > 70:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
            )
        return step_logprobs(model, batch)

    monkeypatch.setattr(pair_trainer, "step_logprobs", scarce)
    said: list[str] = []
    train(small, say=said.append)
    assert said and said[0].startswith("out of memory with ") and "going on with" in said[0]
    assert curve(small) == pytest.approx(curve(plain), abs=1e-4)


def test_one_pair_that_does_not_fit_memory_is_an_error(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run")

    def scarce(model: Any, batch: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(pair_trainer, "step_logprobs", scarce)
    with pytest.raises(ItoolError, match=r"one pair of \d+ tokens a pass; set preference.max_tokens below"):
        train(folder)


def stopped(folder: Path, *settings: str) -> tuple[str, dict[str, Any]]:
    """The message of a training that stops, and its commit."""
    with pytest.raises(ItoolError) as error:
        train(folder, *settings)
    run = open_run(folder)
    assert run.adapter(find_model(run.config.model)) is None  # it is not what the run goes on from
    commit = run.store.log()[-1]
    assert commit.operation == "preference"
    return str(error.value), commit.info


def test_a_loss_that_is_no_number_stops_the_training_and_keeps_the_last_good_adapter(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run", None, "preference.validation=0")
    with write_run(folder, None, []) as run:
        updates = preference.prepare(run, find_model(run.config.model), 1).updates
    left = sum(map(len, updates[:4]))

    def diverging(*arguments: Any) -> Any:
        nonlocal left
        result = simpo(arguments[2], 2.5, 0.5)
        left -= len(result.loss)
        return result._replace(loss=result.loss * math.nan) if left < 0 else result

    monkeypatch.setattr(objective, "pair_loss", diverging)
    message, info = stopped(folder)
    assert "the loss is not a number at update 5" in message and "lower preference.lr" in message
    assert info["update"] == 4 or info["update"] == 3
    weights = load_policy(
        find_model(open_run(folder).config.model).path, PolicyId("t", "0"), folder / info["kept"], "cpu", 1
    )
    assert all(math.isfinite(s) for s in weights.score([[5, 6]], [[7, 8]])[0])
    assert info["kept"] in message and len(curve(folder)) == 4


def test_a_learning_rate_that_destroys_the_model_stops_it_with_nothing_to_keep(tmp_path):
    message, info = stopped(make_run(tmp_path / "run"), "preference.lr=1e30")
    assert "not a number" in message and "no checkpoint was made yet" in message and "kept" not in info


def test_a_collapse_of_the_chosen_steps_stops_the_training(tmp_path):
    folder = make_run(tmp_path / "run", None, "preference.validation=0")
    learnt = train(folder, "preference.loss=orpo", "preference.epochs=20")
    next_round(folder)
    assert curve(folder, "chosen_logprob")[-1] > -1
    with write_run(folder, None, ["preference.loss=simpo", "preference.lr=0.5"], force=True) as run:
        base = find_model(run.config.model)
        with pytest.raises(ItoolError) as error:
            preference.train(run, base, preference.prepare(run, base, 2), lambda progress: None, print)
        adapter = run.adapter(base)
        assert adapter is not None and [adapter.path] == list(learnt.candidates.values())
    assert "log-probability a token has collapsed from -0." in str(error.value) and "lower preference.lr" in str(
        error.value
    )
    chosen = [row["chosen_logprob"] for row in rows(folder, "round = 2")]
    assert chosen[0] - chosen[-1] > 2 and len(chosen) < 30  # of 60


# --- the command, and bad input -----------------------------------------------------------------------------------


def test_the_command_trains_once_and_says_what_it_did(itool: Itool, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    code, out, _ = itool("train", "preference", "--run", folder, "--loss", "ipo", "--batching", "pairs")
    assert code == 0
    assert "round 1: ipo on 20 pairs, 3 for validation" in out and "updates/" in out and "adapters/preference-" in out
    assert open_run(folder).config.preference.batching == "pairs"
    code, out, _ = itool("train", "preference", "--run", folder)
    assert (code, len(rows(folder, "split = 'train'"))) == (0, 6) and "round 1: already trained" in out
    assert itool("train", "preference", "--run", folder, "--again")[0] == 0
    assert len(rows(folder, "split = 'train'")) == 12
    one_line(itool("train", "preference", "--run", folder, "--loss", "dpo"), "preference.loss: ipo -> dpo", "--force")


def test_no_pairs(itool: Itool, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [])
    one_line(itool("train", "preference", "--run", folder), "no pairs", f"`itool mine --run {folder}` makes them")
    other = make_run(tmp_path / "other")
    one_line(
        itool("train", "preference", "--run", other, "--round", 3),
        "nothing to train on in round 3",
        "of round 1",
        "--round 3",
    )


def test_pairs_of_another_model(itool: Itool, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", pair_rows("llama@abc+def"))
    one_line(itool("train", "preference", "--run", folder), "are of llama@abc+def", "the base model is tiny@")


def test_pairs_of_another_adapter(itool: Itool, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [])
    with write_run(folder, None, []) as run:
        base = find_model(run.config.model)
        maker = f"{base.name}@{base.revision}+0123"
        run.store.commit("mine", {"pairs": pair_rows(maker)}, round=1)
    one_line(
        itool("train", "preference", "--run", folder), f"are of {maker}", f"starts from {base.name}@{base.revision};"
    )


def test_pairs_of_another_tokenizer(itool: Itool, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [])
    with write_run(folder, None, []) as run:
        base = find_model(run.config.model)
        policy = f"{base.name}@{base.revision}"
        row = pair_row(policy, "s", "s/0", [5, 6], [7], [8]) | {"chosen_text": "Paris"}
        run.store.commit("mine", {"pairs": [row]}, round=1)
    one_line(itool("train", "preference", "--run", folder), f"{policy} wrote 'Paris'", "reads its ids as 't7'")


def test_a_pair_that_does_not_fit_is_set_aside_once_and_counted(itool: Itool, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    with write_run(folder, None, []) as run:
        base = find_model(run.config.model)
        policy = f"{base.name}@{base.revision}"
        long = [pair_row(policy, f"l{n}", f"l{n}", [5] * n, [7, 8], [9]) for n in (254, 255)]  # the context is 256
        run.store.commit("mine", {"pairs": long}, round=1)
    for _ in range(2):
        code, out, _ = itool("train", "preference", "--run", folder, "--again")
        assert code == 0 and "(1 too long and set aside" in out
    sql = "SELECT field, reason FROM rejects WHERE stage = 'preference'"
    assert query(open_run(folder).store, sql).to_pylist() == [
        {"field": "pair l255", "reason": "257 tokens do not fit 256"}
    ]
    one_line(itool("train", "preference", "--run", folder, "--force", "--again", "--set", "preference.max_tokens=3"),
             "none of the 25 pairs of round 1 is left", "do not fit 3 tokens")  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("preference.tau=0.1", ["preference.tau is 0.1, but simpo has no tau"]),
        ("preference.report_to=[nonsense]", ["no tracker 'nonsense'", "tensorboard"]),
        ("preference.loss=kto", ["preference.loss must be", "'kto'"]),
    ],
)
def test_wrong_settings(itool: Itool, tmp_path: Path, setting: str, parts: list[str]) -> None:
    folder = make_run(tmp_path / "run")
    one_line(itool("train", "preference", "--run", folder, "--set", setting), *parts)
    assert json.dumps(rows(folder)) == "[]"
