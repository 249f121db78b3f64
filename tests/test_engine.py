"""What runs the model where `model.policy` leaves it open, and what is said to vLLM's engine."""

from pathlib import Path

import pytest
import yaml
from outcomes import Itool

from itool_data.config import ModelSettings
from itool_data.errors import ItoolError
from itool_data.policy import open as policies
from itool_data.policy.vllm_arguments import engine_arguments
from itool_data.run import open_run, write_run
from itool_data.sample import JSON

KNOWN = ["model", "tensor_parallel_size", "gpu_memory_utilization", "max_model_len", "quantization"]


@pytest.mark.parametrize(
    ("policy", "gpu", "installed", "engine", "why"),
    [
        ("auto", True, True, "vllm", "there is a GPU, and vLLM is installed"),
        ("auto", True, False, "transformers", "vLLM is not installed"),
        ("auto", False, True, "transformers", "there is no GPU"),
        ("auto", False, False, "transformers", "vLLM is not installed"),
        ("transformers", True, True, "transformers", "model.policy asks for it"),
        ("vllm", False, False, "vllm", "model.policy asks for it"),
    ],
)
def test_vllm_is_taken_where_there_is_a_gpu_and_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, policy: str, gpu: bool, installed: bool, engine: str, why: str
) -> None:
    monkeypatch.setattr(policies, "choose_device", lambda settings: "cuda" if gpu else "cpu")
    monkeypatch.setattr(policies, "find_spec", lambda name: object() if installed else None)
    settings = ModelSettings.model_validate({"policy": policy})
    assert policies.choose_engine(settings) == (engine, why)
    with_arguments = ModelSettings.model_validate({"policy": policy, "engine": {"max_model_len": 4096}})
    said = policies.describe_engine(with_arguments)
    assert said.startswith(f"{engine}: {why}; model.engine (max_model_len) is ")
    assert ("not checked" in said) == (engine == "vllm" and not installed)


def test_a_run_from_before_keeps_its_policy_and_the_command_says_which_and_why(itool: Itool, tmp_path: Path) -> None:
    with write_run(tmp_path / "run", None, []):
        pass
    config = tmp_path / "run" / "config.yaml"
    settings = yaml.safe_load(config.read_text())
    assert settings["model"].pop("policy") == "auto" and settings["model"].pop("engine") == {}
    settings["model"]["policy"] = "transformers"
    settings["warmup"]["micro_batch"] = 16  # which there was then
    config.write_text(yaml.safe_dump(settings))
    assert open_run(tmp_path / "run").config.model.policy == "transformers"
    code, out, _ = itool("config", "show", "--run", tmp_path / "run")
    assert code == 0 and "# runs on: transformers: model.policy asks for it" in out
    code, out, _ = itool("config", "show", "--set", "model.policy=auto", "--set", "model.engine={max_model_len: 4096}")
    assert code == 0 and "# runs on: " in out and "model.engine (max_model_len) is kept" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tensor_paralel_size": 2}, r"model.engine.tensor_paralel_size: .* did you mean tensor_parallel_size\?"),
        ({"xyzzy": 1}, "model.engine.xyzzy: vLLM's engine has no such argument$"),
        ({"model": "other"}, "model.engine.model: it is model.name; leave it out"),
        ({"trust_remote_code": True}, "model.engine.trust_remote_code: nothing from a model is executed"),
    ],
)
def test_an_argument_that_the_engine_does_not_have_is_refused_with_the_nearest(
    arguments: dict[str, JSON], said: str
) -> None:
    with pytest.raises(ItoolError, match=said) as error:
        engine_arguments(Path("model"), "cuda", 8, 16, arguments, KNOWN)
    assert "\n" not in str(error.value)


def test_what_is_said_goes_before_defaults_and_not_before_what_has_to_be() -> None:
    own: dict[str, JSON] = {"max_model_len": 4096, "quantization": "fp8"}
    on_gpu = engine_arguments(Path("model"), "cuda", 8, 16, own, KNOWN)
    assert own.items() <= on_gpu.items() and on_gpu["enable_sleep_mode"] and on_gpu["dtype"] == "bfloat16"
    assert (on_gpu["model"], on_gpu["max_num_seqs"], on_gpu["max_lora_rank"]) == ("model", 8, 16)
    assert engine_arguments(Path("model"), "cuda", 8, 0, {}, KNOWN)["max_model_len"] == -1
    on_cpu = engine_arguments(Path("model"), "cpu", 8, 0, {}, KNOWN)
    assert "enable_sleep_mode" not in on_cpu and "enable_lora" not in on_cpu
