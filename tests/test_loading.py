"""From settings to what transformers is told when a model is loaded to be trained."""

from pathlib import Path

import pytest
import torch

from bench.toy_loop import tiny_model
from itool_data.config import PreferenceSettings, TrainingSettings, WarmupSettings
from itool_data.config_file import load_config
from itool_data.errors import ItoolError
from itool_data.policy.load import BaseModel
from itool_train.qlora import load_trainable, loading_options
from itool_train.tree_attention import FLEX, NAME


def options(device: str, **settings: object) -> dict[str, object]:
    return loading_options(TrainingSettings.model_validate(settings), device)


def test_both_trainings_load_alike_from_the_same_settings():
    own = {"quantization": "nf4", "attn_implementation": "sdpa", "spread": True}
    warm, preference = (loading_options(kind(**own), "cuda") for kind in (WarmupSettings, PreferenceSettings))
    assert warm.pop("quantization_config").to_dict() == preference.pop("quantization_config").to_dict()
    assert warm == preference


def test_a_32b_model_is_laid_over_all_gpus_in_nf4(monkeypatch):
    """The paper's Figure 9: as its config says it."""
    settings = load_config(Path("paper/qwen2.5-32b"), []).warmup
    found = loading_options(settings, "cuda")
    assert found["device_map"] == "auto" and found["dtype"] == torch.bfloat16
    quantized = found["quantization_config"]
    assert quantized.load_in_4bit and quantized.bnb_4bit_quant_type == "nf4" and quantized.bnb_4bit_use_double_quant
    assert quantized.bnb_4bit_compute_dtype == torch.bfloat16
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ItoolError, match=r"one process trains; set loop\.processes to 1"):
        loading_options(settings, "cuda")


def test_each_of_several_processes_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert options("cuda")["device_map"] == {"": "cuda:3"}
    assert options("cpu")["device_map"] == {"": "cpu"} and "quantization_config" not in options("cpu")


@pytest.mark.parametrize(
    ("device", "settings", "attention"),
    [
        ("cpu", {}, NAME),
        ("cuda", {}, FLEX),
        ("cuda", {"attn_implementation": "sdpa"}, NAME),
        ("cuda", {"attn_implementation": "flex_attention"}, FLEX),
        ("cuda", {"batching": "pairs"}, "sdpa"),
        ("cuda", {"batching": "pairs", "attn_implementation": "flash_attention_2"}, "flash_attention_2"),
        ("cpu", {"batching": "pairs", "attn_implementation": "eager"}, "eager"),
    ],
)
def test_the_attention_suits_the_layout_and_the_device(device, settings, attention):
    assert options(device, **settings)["attn_implementation"] == attention


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"attn_implementation": "flex_attention"}, "no gradient on a CPU; set it to auto"),
        ({"attn_implementation": "flash_attention_2"}, "cannot lay out trees; use one of auto, sdpa, flex_attention"),
        ({"attn_implementation": "nonsense", "batching": "pairs"}, "attn_implementation is nonsense: "),
        ({"attn_implementation": "flash_attention_2", "batching": "pairs"}, "attn_implementation is flash_attention_2"),
    ],
)
def test_an_attention_that_cannot_be_had_is_named_in_one_line(tmp_path, settings, said):
    base = BaseModel(tiny_model(tmp_path), "tiny", "0")
    with pytest.raises(ItoolError, match=said) as error:
        load_trainable(base, None, TrainingSettings.model_validate(settings), "cpu", 1)
    assert "\n" not in str(error.value)
