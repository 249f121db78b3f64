"""An adapter that was trained in the native form, asked through a real vLLM server as its users would, and here."""

import json
import re
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
CATEGORIES = "simple,multiple,parallel,live_simple"
ITEMS = 300


def predictions(run: Path) -> dict[str, dict[str, Any]]:
    return {row["item"]: row for row in query(open_run(run).store, "SELECT * FROM predictions").to_pylist()}


def names_one_twice(output: str) -> bool:
    """Whether a call of an output has a parameter twice."""
    found: list[bool] = []
    for call in re.findall(r"<tool_call>\n(.*?)\n</tool_call>", output, re.DOTALL):
        json.loads(call, object_pairs_hook=lambda pairs: found.append(len(dict(pairs)) < len(pairs)))
    return any(found)


def test_a_server_gives_the_verdicts_that_the_adapter_has_here(itool: Itool, tmp_path: Path) -> None:
    """With `tools=` on both sides; outputs differ only where the server is more lenient with what is wrong anyway.

    It keeps the last of a parameter that is named twice, and reads the whole calls of a reply that was cut off.
    """
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
        asked = ("eval", "run", "bfcl-v3-fc", "--categories", CATEGORIES, "--limit", ITEMS, "--adapter", adapter)
        assert not itool(*asked, "--run", here)[0]
        code, _, err = itool(*asked, "--run", served, "--policy", "openai", "--base-url", server.url)
        assert not code, err
    finally:
        server.kill()
    ours, theirs = predictions(here), predictions(served)
    assert ours.keys() == theirs.keys() and len(ours) == ITEMS
    calls = 0
    for item, row in ours.items():
        other = theirs[item]
        assert (row["valid"], row["tokens_prompt"]) == (other["valid"], other["tokens_prompt"]), item
        calls += other["output"].startswith("[{")
        if row["output"] != other["output"]:
            explained = row["finish"] == "length" or names_one_twice(json.loads(row["output"]))
            assert explained and not row["valid"], row["output"]
    assert calls > ITEMS / 4
