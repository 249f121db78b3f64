"""An adapter that was trained in the native form, asked through a real vLLM server as its users would, and here."""

import json
from pathlib import Path
from typing import Any

from outcomes import Itool
from test_vllm_server import VllmServer

from itool_data.chat_template import template_source
from itool_data.run import open_run
from itool_data.store.sql import query

NATIVE = ["model.chat_template=qwen2_5", "model.device=cpu", "warmup.rank=8", "warmup.order=mixed", "warmup.epochs=2"]
WARM_UP = [*NATIVE, "data.only_calls=true", "warmup.samples=48", "warmup.max_tokens=520", "warmup.lr_mixed=2e-3"]
WARM_UP += ["warmup.batch=4", "eval.max_tokens=96"]


def predictions(run: Path) -> dict[str, dict[str, Any]]:
    return {row["item"]: row for row in query(open_run(run).store, "SELECT * FROM predictions").to_pylist()}


def test_a_server_gives_the_verdicts_that_the_adapter_has_here(itool: Itool, tmp_path: Path) -> None:
    """With `tools=` on both sides; the outputs differ only where one names a parameter twice, which JSON merges."""
    here, served = tmp_path / "here", tmp_path / "served"
    settings = [part for setting in WARM_UP for part in ("--set", setting)]
    for run in (here, served):
        assert not itool("data", "import", "bfcl", "--run", run, *settings)[0]
    code, _, err = itool("train", "warmup", "--run", here)
    assert not code, err
    (adapter,) = (here / "adapters").glob("warmup-*")
    template = tmp_path / "chat_template.jinja"
    template.write_text(template_source("qwen2_5"))
    server = VllmServer(tmp_path / "log", "--chat-template", str(template))
    server.start()
    try:
        asked = ("eval", "run", "bfcl-v3-fc", "--categories", "simple", "--limit", 16, "--adapter", adapter)
        assert not itool(*asked, "--run", here)[0]
        code, _, err = itool(*asked, "--run", served, "--policy", "openai", "--base-url", server.url)
        assert not code, err
    finally:
        server.kill()
    ours, theirs = predictions(here), predictions(served)
    assert ours.keys() == theirs.keys() and len(ours) == 16
    calls = 0
    for item, row in ours.items():
        other = theirs[item]
        assert (row["valid"], row["tokens_prompt"]) == (other["valid"], other["tokens_prompt"]), item
        calls += other["output"].startswith("[{")
        if row["output"] != other["output"]:
            ((arguments,),) = ([*call.values()] for call in json.loads(other["output"])[:1])
            assert any(row["output"].count(f'"{name}": ') > 1 for name in json.loads(arguments)), row["output"]
    assert calls > 4
