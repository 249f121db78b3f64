"""Tests against a real vLLM engine; all of them are marked `vllm`, and skipped where vLLM is not installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_lora import tiny_lora

from bench.toy_loop import tiny_model
from itool_data.policy.load import Adapter, BaseModel, adapter_hash

HEAD = 32  # vLLM's CPU attention takes no smaller heads


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            if find_spec("vllm") is None:
                item.add_marker(pytest.mark.skip("vLLM is not installed: make test-vllm"))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A tiny random model."""
    return BaseModel(tiny_model(tmp_path_factory.mktemp("model"), head=HEAD), "tiny", "0")


@pytest.fixture(scope="session")
def adapters(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Adapter, Adapter]:
    """Two random adapters of rank 4 that change the model's answers."""
    made = []
    for strength in (0.1, 0.3):
        folder = tmp_path_factory.mktemp("adapter")
        tiny_lora(base.path, strength=strength).save_pretrained(folder)
        made.append(Adapter(folder, adapter_hash(folder)))
    return made[0], made[1]
