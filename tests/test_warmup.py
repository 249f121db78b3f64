"""Warm-up on a tiny random model: what the loss counts, the order of stages, and going on after a kill."""

import json
import os
import signal
from pathlib import Path

import pytest

from bench import prefork
from bench.toy_loop import tiny_model
from itool_data.config import WarmupSettings
from itool_data.errors import ItoolError
from itool_data.policy.base import PolicyId
from itool_data.policy.load import BaseModel, adapter_hash, find_adapter
from itool_data.policy.transformers import load_policy
from itool_train.processes import is_first_process
from itool_train.warmup import Example, Progress, warm_up

SETTINGS = WarmupSettings(epochs=2, batch=2, lr_easy=1e-2, lr_medium=1e-2, lr_hard=1e-2)


def examples(n: int, shift: int = 0) -> list[Example]:
    return [Example([5 + i, 6, 7 + shift, 8], [20 + shift, 21 + i, 22, 2]) for i in range(n)]


STAGES = {"easy": examples(6), "medium": examples(4, 3), "hard": examples(4, 6)}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> BaseModel:
    return BaseModel(tiny_model(tmp_path_factory.mktemp("model")), "tiny", "0")


def train(base, folder, stages=STAGES, settings=SETTINGS):
    seen = []
    (adapter,), results = left(base, folder, stages, settings, seen.append)
    return adapter, results, seen


def left(base, folder, stages=STAGES, settings=SETTINGS, report=print, candidates=0):
    """The adapters that a warm-up leaves, and its stages."""
    folders = folder / "work", folder / "adapters"
    adapters, results = warm_up(base, stages, settings, 42, "cpu", *folders, report, print, candidates)
    return list(adapters.values()), results


def test_the_first_loss_is_the_mean_over_response_tokens_alone(base, tmp_path):
    stage = examples(2)
    expected = [
        lp
        for scores in load_policy(base.path, PolicyId("tiny", "0"), None, "cpu", 1).score(
            [e.prompt for e in stage], [e.response for e in stage]
        )
        for lp in scores
    ]
    _, _, seen = train(base, tmp_path, {"easy": stage})
    assert seen[0].loss == pytest.approx(-sum(expected) / len(expected), rel=1e-4)


@pytest.mark.parametrize(("batching", "tokens", "padding"), [("tree", 1, 0), ("pairs", 1, 0), ("pairs", 132, 0.075)])
def test_however_samples_are_laid_out_the_loss_is_trl_s_and_little_is_padding(
    base, tmp_path, batching, tokens, padding
):
    """In rows, those that go through the model together are of like length; mixed, half or more would be padding."""
    lengths = [2, 30, 4, 28, 3, 31, 5, 29]
    stage = [Example(list(range(5, 5 + n)), [20 + i, 21, 2]) for i, n in enumerate(lengths)]
    changed = {"batch": 8, "epochs": 1, "batching": batching, "micro_tokens": tokens}
    _, (result,), seen = train(base, tmp_path, {"easy": stage}, SETTINGS.model_copy(update=changed))
    assert seen[0].loss == pytest.approx(trl_loss(base, stage, tmp_path), rel=1e-5)
    assert result.padding == pytest.approx(padding)


def trl_loss(base, stage, folder):
    """What TRL's SFTTrainer makes of the samples in one batch."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = [{"input_ids": [*e.prompt, *e.response], "labels": [-100] * len(e.prompt) + list(e.response)} for e in stage]
    arguments = SFTConfig(
        str(folder), per_device_train_batch_size=len(rows), max_steps=1, learning_rate=0.0, use_cpu=True, bf16=False,
        report_to="none", disable_tqdm=True, save_strategy="no", dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=False, max_length=None,
    )  # fmt: skip
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(base.path), arguments, train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base.path),
    )  # fmt: skip
    return trainer.train().training_loss


def test_the_adapter_that_is_best_on_samples_that_only_validate_is_kept(base, tmp_path):
    stage = {"mixed": [e for stage in STAGES.values() for e in stage]}
    earlier = 0
    for rate in (0.1, 0.3, 1.0):  # so high that it overfits; where each one does is the machine's rounding
        settings = SETTINGS.model_copy(update={"validation": 0.2, "epochs": 6, "lr_mixed": rate})
        kept, (result,) = left(base, tmp_path / str(rate), stage, settings)
        losses = {entry["step"]: entry["eval_loss"] for entry in result.log if "eval_loss" in entry and entry["step"]}
        assert result.samples == 11 and losses[result.update] == min(losses.values())
        assert [folder.name for folder in kept] == [result.adapter]
        earlier += result.update < max(losses)
    assert earlier, "the last one was the best each time"


def test_two_processes_warm_up_as_one_does(base, tmp_path):
    settings = SETTINGS.model_copy(update={"validation": 0.2, "checkpoint_seconds": 0.03, "batch": 3})
    one, results = left(base, tmp_path, STAGES, settings)
    said = prefork.together(tmp_path, 2, warm_up_together, base, tmp_path / "two", settings)
    assert said[1] == ""  # the first one alone speaks
    two = json.loads((tmp_path / "two" / "log").read_text())
    expected = [entry for result in results for entry in result.log]
    assert len(two) == len(expected)
    for name in ("loss", "eval_loss", "chosen_logprob", "grad_norm", "tokens"):
        assert [e.get(name) for e in two] == pytest.approx([e.get(name) for e in expected], abs=1e-4), name
    assert [p.name for p in (tmp_path / "two" / "adapters").iterdir()] and len(one) == 1


def warm_up_together(model: BaseModel, folder: Path, settings: WarmupSettings) -> None:
    """A process of several."""
    report = print if is_first_process() else lambda progress: None
    _, results = left(model, folder, STAGES, settings, report)
    if is_first_process():
        (folder / "log").write_text(json.dumps([entry for result in results for entry in result.log]))


def test_nf4_learns_too(base, tmp_path):
    settings = SETTINGS.model_copy(update={"quantization": "nf4", "epochs": 8, "gradient_checkpointing": True})
    _, (result,), seen = train(base, tmp_path, {"easy": examples(6)}, settings)
    assert result.loss < seen[0].loss / 2


def test_stages_run_from_easy_to_hard_with_their_rates_and_the_loss_falls(base, tmp_path):
    settings = SETTINGS.model_copy(update={"lr_medium": 5e-3, "lr_hard": 1e-3, "epochs": 8})
    _, results, seen = train(base, tmp_path, settings=settings)
    assert [(r.stage, r.samples, r.learning_rate) for r in results] == [
        ("easy", 6, 1e-2), ("medium", 4, 5e-3), ("hard", 4, 1e-3),
    ]  # fmt: skip
    assert [p.update for p in seen] == list(range(1, seen[0].updates + 1))
    assert [p.stage for p in seen] == sorted((p.stage for p in seen), key=("easy", "medium", "hard").index)
    assert results[0].loss < seen[0].loss / 2


def test_one_mixed_stage_has_its_own_rate(base, tmp_path):
    mixed = {"mixed": [e for stage in STAGES.values() for e in stage]}
    _, results, _ = train(base, tmp_path, mixed, SETTINGS.model_copy(update={"lr_mixed": 3e-3}))
    assert [(r.stage, r.samples, r.learning_rate) for r in results] == [("mixed", 14, 3e-3)]


def test_the_adapter_is_named_by_its_content_and_loads_as_a_policy(base, tmp_path):
    adapter, results, _ = train(base, tmp_path)
    assert adapter.name == f"warmup-{adapter_hash(adapter)}"
    found = find_adapter(adapter, base)
    tuned = load_policy(base.path, PolicyId("tiny", "0", found.content), adapter, "cpu", 1)
    plain = load_policy(base.path, PolicyId("tiny", "0"), None, "cpu", 1)
    last = STAGES["hard"][0]
    score = [sum(p.score([last.prompt], [last.response])[0]) for p in (plain, tuned)]
    assert score[1] > score[0] + 1
    # Every stage's adapter is kept, the last stage's is the warm-up's own.
    assert [find_adapter(tmp_path / "adapters" / r.adapter, base).path for r in results][-1] == adapter
    assert len({r.adapter for r in results}) == len(results) == 3


def test_an_empty_stage_is_passed_over_and_no_samples_at_all_is_an_error(base, tmp_path):
    _, results, _ = train(base, tmp_path, {"easy": [], "hard": examples(2)})
    assert [r.stage for r in results] == ["hard"]
    with pytest.raises(ItoolError, match="no training samples"):
        train(base, tmp_path, {"easy": []})


def warm_up_until(model: BaseModel, folder: Path, at: int) -> None:
    """Train, for a process of its own, which prints its updates and is killed after one of them."""

    def report(progress: Progress) -> None:
        print(progress.update, flush=True)
        if progress.update == at:
            os.kill(os.getpid(), signal.SIGKILL)

    every = SETTINGS.model_copy(update={"checkpoint_seconds": 0})
    adapters, _ = left(model, folder, STAGES, every, report, 3)
    (folder / "final").write_text(" ".join(map(str, adapters)))


def test_a_killed_warm_up_goes_on_where_it_was_and_ends_the_same(base, tmp_path):
    seen: list[Progress] = []
    whole, _ = left(base, tmp_path / "whole", report=seen.append, candidates=3)
    updates: list[list[int]] = []
    for at in (3, 9, -1):  # inside the easy stage, inside the medium one, never
        code = 0 if at == -1 else -signal.SIGKILL
        said = prefork.run(tmp_path / "said", warm_up_until, base, tmp_path / "cut", at, code=code)
        updates.append([int(line) for line in said.split() if line.isdigit()])
    assert updates[0] == [1, 2, 3]
    assert updates[1][0] in (3, 4) and updates[2][0] in (9, 10)  # the update being saved at the kill may come again
    assert updates[2][-1] == seen[-1].update
    cut = [Path(adapter) for adapter in (tmp_path / "cut" / "final").read_text().split()]
    # Those of the stages' ends, and those at a third and two thirds of all updates, inside the first and the second.
    assert len(whole) == len(cut) == 3 and len(list((tmp_path / "cut" / "adapters").iterdir())) == 5
    for one, other in zip(whole, cut, strict=True):
        first, second = (
            load_policy(base.path, PolicyId("tiny", "0"), adapter, "cpu", 1).score(
                [e.prompt for e in STAGES["hard"]], [e.response for e in STAGES["hard"]]
            )
            for adapter in (one, other)
        )
        for scores in zip(first, second, strict=True):
            assert scores[0] == pytest.approx(scores[1], abs=1e-3)
