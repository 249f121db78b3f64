"""Estimates of memory against counts on torch's meta device, what they lead to, and what is refused."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from outcomes import Itool

from bench.memory.models import MODELS
from bench.memory.table import CARDS, Compared, generating, judged, trained
from bench.toy_loop import tiny_model
from itool_data.config import Config
from itool_data.config_file import load_config
from itool_data.errors import ItoolError
from itool_data.policy.limits import usual
from itool_data.sizing import device as devices
from itool_data.sizing import stages
from itool_data.sizing.device import Device
from itool_data.sizing.engine import engine
from itool_data.sizing.need import FP32, GIB, decoding, token, weights
from itool_data.sizing.policy import at_once, judging, largest_pass, within
from itool_data.sizing.shape import Shape, read_shape, shape_of

V100 = Device("NVIDIA V100", 32 * GIB)  # the paper's
PAPER = {"llama-3.1-8b": "Llama-3.1-8B", "llama-3.2-3b": "Llama-3.2-3B", "qwen2.5-7b": "Qwen2.5-7B"}


@cache
def shape(name: str) -> Shape:
    from bench.memory.work import config_of

    return shape_of(config_of(name))


def near(found: list[Compared]) -> None:
    assert found
    off = [f"{c.what}: {c.estimate / GIB:.2f} for {c.count / GIB:.2f}" for c in found if not 0.9 < c.ratio < 1.1]
    assert not off


# A model on the largest card: the smaller cards run the same passes, only fewer at once. bench.memory has them all.
@pytest.mark.parametrize("name", MODELS)
def test_what_the_policy_needs_is_within_a_tenth_of_the_count(name: str) -> None:
    near(list(generating(name, CARDS[-1])))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *((name, "NF4") for name in MODELS),
        ("Llama-3.2-3B", "bf16"),
        ("Llama-3.2-3B", "all kept"),
    ],
)
def test_what_a_training_needs_is_within_a_tenth_of_the_count(name: str, what: str) -> None:
    near(list(trained(name, what)))


# What vLLM logged: tokens it batched, its sequences, the GPU in GiB, its share of it, GiB for keys and values.
LOGGED = {
    "RTX 3090, 20,000 tokens (vllm-project/vllm issue 10517)": (20_000, 256, 23.58, 0.9, 3.81),
    "RTX 3090, 29,000 tokens (issue 10517)": (29_000, 256, 23.58, 0.9, 2.89),
    "79 GiB, 8,192 tokens (pull request 10511)": (8192, 256, 79.22, 0.9, 53.29),
}


@pytest.mark.parametrize("where", LOGGED)
def test_what_vllm_leaves_for_keys_and_values_is_near_what_it_logged(where: str) -> None:
    batched, rows, total, share, left = LOGGED[where]
    own = {"max_num_batched_tokens": batched, "gpu_memory_utilization": share}
    settings = Config.model_validate({"model": {"name": "own", "rows": rows, "engine": own}}).model
    model = shape("Llama-3.1-8B")
    found = engine(settings, weights(model).total, model, Device("a card", total * GIB))
    assert found.room / GIB == pytest.approx(left, rel=0.05)
    assert found.tokens == int(found.room / (128 << 10)), "128 KiB of keys and values a token"


def test_an_engine_without_chunked_prefill_reads_its_longest_prompt_at_once() -> None:
    model, card = shape("Llama-3.1-8B"), Device("80 GiB", 80 * GIB)

    def room(**own: object) -> float:
        settings = Config.model_validate({"model": {"name": "own", "engine": own}}).model
        return engine(settings, weights(model).total, model, card).room

    assert room() == room(max_num_batched_tokens=2048) == room(enable_chunked_prefill=True)
    short = room(enable_chunked_prefill=False, max_model_len=20_000)
    assert short == room(max_num_batched_tokens=20_000) > room(enable_chunked_prefill=False)
    assert room(enable_chunked_prefill=False) == room(max_num_batched_tokens=model.context)
    assert room(tensor_parallel_size=2) - room() == pytest.approx(weights(model).total / 2)


def test_what_a_judge_needs_is_within_a_tenth_of_the_count() -> None:
    near(list(judged("Llama-3.2-3B")))


JUDGED = {"model": {"name": "own"}, "loop": {"search": "mcts"}, "reward": {"judge": "another"}}


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_a_judge_is_counted_in_the_stage_that_loads_it(engine: str) -> None:
    """Where it fits beside the policy alone, its bytes are taken from the room for keys and values."""
    config = Config.model_validate(JUDGED | {"model": {"name": "own", "policy": engine}})
    model, judge, device = shape("Qwen2.5-7B"), shape("Llama-3.2-3B"), Device("40 GiB", 40 * GIB)
    alone, beside = (stages.stages(config, model, device, 1500, other) for other in (None, judge))
    own = judging(judge)
    for before, after in zip(alone, beside, strict=True):
        if after.name != "perplexity, search":
            assert after == before
            continue
        assert after.need.weights == before.need.weights + own.weights
        assert after.does == f"{after.does.removesuffix(', beside the judge')}, beside the judge" != before.does
        if engine == "transformers":
            assert after.fits(device) and after.least == before.least + own.total
            assert before.need.keys_values - after.need.keys_values > 0.5 * own.total
            assert after.need.total <= device.usable
        else:  # it takes 92 % of the card, whatever is beside it
            assert before.fits(device) and not after.fits(device)
            config.model.engine["gpu_memory_utilization"] = 0.7
            assert stages.search(config, model, device, 1500, judge).fits(device)


@pytest.mark.parametrize(
    "change",
    [
        {"reward": {"judge": "policy"}},
        {"reward": {"weight": 0}},
        {"loop": {"search": "walk"}},
        {"model": {"policy": "openai", "base_url": "http://localhost"}},
    ],
)
def test_there_is_a_judge_s_shape_where_another_model_is_loaded_to_judge(
    tmp_path: Path, change: dict[str, dict[str, Any]]
) -> None:
    found = {section: dict(values) for section, values in JUDGED.items()}
    found["reward"]["judge"] = str(tiny_model(tmp_path / "judge"))
    judge = stages.judge_shape(Config.model_validate(found))
    assert judge is not None and (judge.layers, judge.hidden) == (2, 48)
    for section, values in change.items():
        found[section] |= values
    assert stages.judge_shape(Config.model_validate(found)) is None


def test_a_judge_that_is_nowhere_is_named_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> Shape:
        raise OSError

    monkeypatch.setattr(stages, "read_shape", unknown)
    with pytest.raises(ItoolError, match=r"^reward\.judge: no config of 'no/such'"):
        stages.judge_shape(Config.model_validate(JUDGED | {"reward": {"judge": "no/such"}}))


@pytest.mark.parametrize("device", CARDS, ids=lambda device: device.name)
@pytest.mark.parametrize("name", MODELS)
def test_rows_and_prompts_follow_from_the_memory_and_fill_it(name: str, device: Device) -> None:
    model = shape(name)
    free = device.usable - weights(model).total
    if free < 0:
        pytest.skip(f"{name} does not fit {device.name}")
    limits = within(usual("cuda"), model, free)
    prompts, rows = at_once(limits, 1500, 512, 3)
    held = (prompts * 1500 + rows * 512) * token(model)
    assert held + largest_pass(model, limits).total <= free
    # Either everything that is worth it is done at once, or the keys and values take most of what is free.
    assert (prompts, rows) == (85, 255) or held > 0.4 * free
    assert decoding(model, limits.rows, 2048).total <= free / 4


def test_the_paper_runs_on_the_cards_that_the_paper_had() -> None:
    for path, name in PAPER.items():
        config = load_config(Path("paper") / path, [])
        assert [s.name for s in stages.stages(config, shape(name), V100, 1500) if not s.fits(V100)] == []


@pytest.mark.parametrize("gib", [24, 80])
def test_the_configs_for_a_card_fit_it(gib: int) -> None:
    device = Device(f"{gib} GB", gib * 1e9)
    found = stages.stages(load_config(Path(f"gpu-{gib}gb"), []), shape("Qwen2.5-7B"), device)
    assert [stage.name for stage in found] == ["warm-up", "perplexity, search", "preference", "evaluation"]
    assert all(stage.fits(device) for stage in found)


@pytest.mark.parametrize(
    ("sizing", "name", "change", "message"),
    [
        (stages.warmup, "Qwen2.5-7B", {}, "set warmup.quantization to nf4"),
        (stages.evaluation, "Llama-3.1-8B", {"eval": {"max_tokens": 100000}}, "set eval.max_tokens to "),
        (
            stages.preference,
            "Qwen2.5-7B",
            {"preference": {"quantization": "none"}},
            "set preference.quantization to nf4",
        ),
        (stages.search, "Qwen2.5-32B", {}, "take a smaller model, or a device with more memory"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line_with_what_would(
    sizing: Any, name: str, change: dict[str, Any], message: str
) -> None:
    config = Config.model_validate(change | {"model": {"name": "own"}})
    device = Device("a small card", {"preference": 15, "warmup": 15}.get(sizing.__name__, 20) * GIB)
    with pytest.raises(ItoolError, match=message) as error:
        stages.check(sizing, config, shape(name), device)
    assert len(str(error.value).splitlines()) == 1


def test_the_plan_of_a_run_shows_the_memory_of_its_stages_and_starts_nothing(itool: Itool, tmp_path: Path) -> None:
    tiny_model(tmp_path / "model")
    code, out, err = itool(
        "run", "paper/llama-3.1-8b", "--run", tmp_path / "run", "--plan", "--set", f"model.name={tmp_path / 'model'}"
    )
    assert (code, err) == (0, "")
    assert "warm-up" in out and "evaluation" in out and "does not fit" not in out
    assert not (tmp_path / "run").exists()


def test_the_plan_of_a_run_says_if_its_judge_does_not_fit_beside_the_policy(
    itool: Itool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model(tmp_path / "model")
    paper, settings = Path("paper/llama-3.1-8b"), [f"model.name={folder}"]
    sizes, memory = read_shape(folder), Device("a small card", 0, cuda=False)
    alone = stages.search(load_config(paper, settings), sizes, memory)
    memory = Device(memory.name, alone.least + judging(sizes, FP32).total / 2, cuda=False)
    monkeypatch.setattr(devices, "this_device", lambda kind: memory)
    for judge, fits in (("policy", True), (folder, False)):
        chosen = [part for setting in (*settings, f"reward.judge={judge}") for part in ("--set", setting)]
        _, out, err = itool("run", paper, "--run", tmp_path / "run", "--plan", *chosen)
        (row,) = (line for line in out.splitlines() if "perplexity, search" in line)
        assert ("does not fit" in row, err) == (not fits, "")
