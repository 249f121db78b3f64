"""`itool mine --search walk` on a tiny random model, from a plan that writes nothing to a training on its fragments."""

import json
from pathlib import Path

from outcomes import Itool

from bench.toy_loop import write_config
from itool_data.run import open_run
from itool_data.store.sql import query


def test_a_walk_is_planned_made_once_and_trained_on(itool: Itool, tmp_path: Path) -> None:
    config, source, run = write_config(tmp_path), tmp_path / "toy.jsonl", tmp_path / "run"
    # One whose gold response the model's tokenizer, which reads ASCII, cannot give back.
    odd = json.loads(source.read_text().splitlines()[0])
    odd["messages"][0]["content"] = "odd"
    odd["messages"][1]["tool_calls"][0]["function"]["arguments"] = json.dumps({"a": "\u00e9"})
    source.write_text(source.read_text() + "\n" + json.dumps(odd))
    assert itool("data", "import", source, "--run", run, "--config", config)[0] == 0
    whole = ["--set", "replay.fraction=1", "--set", "replay.hardest=1"]
    mine = ["mine", "--run", run, "--search", "walk", *whole, "--set", "walk.max_step_tokens=6"]

    code, out, _ = itool(*mine, "--plan")
    assert code == 0 and "plan: 25 samples to score, 24 trees" in out
    code, out, _ = itool(*mine, "--plan", "--samples", 3, "--set", "replay.select=pass-rate")
    assert code == 0 and "plan: 25 samples to score, 25 to draw pass rates of, 3 trees" in out
    assert [commit.operation for commit in open_run(run).store.log()] == ["import"], "a plan writes nothing"

    code, out, _ = itool(*mine, "--set", "replay.select=perplexity")
    assert code == 0 and "search: plan against fact" in out and "set aside: 1 samples" in out
    store = open_run(run).store
    trees = query(store, "SELECT search, pairs, proved FROM trees").to_pylist()
    assert len(trees) == 24 and all(t["search"] == "walk" and t["pairs"] == t["proved"] >= 1 for t in trees)
    (reject,) = query(store, "SELECT stage, reason FROM rejects").to_pylist()
    assert reject == {"stage": "mine", "reason": "the tokenizer does not give the gold response back"}
    # A random model doubts every step, so each is drawn: `[f(`, `a=N)` and the end.
    sql = (
        "SELECT kind, count(*) AS n, min(draws) AS draws FROM fragments WHERE tree_id IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    assert query(store, sql).to_pylist() == [{"kind": k, "n": 24, "draws": 4} for k in ("argument", "end", "name")]
    code, out, _ = itool(*mine)
    assert code == 0 and "every tree of this round is finished" in out

    spans = ["--set", "preference.span=fragment", "--set", "preference.anchor=0.5"]
    code, out, _ = itool("train", "preference", "--run", run, *spans, "--set", "preference.anchor_on=doubted")
    assert code == 0 and "round 1: simpo on" in out
    updates = query(open_run(run).store, "SELECT pairs, loss FROM training WHERE split = 'train'").to_pylist()
    assert updates and all(row["pairs"] > 0 for row in updates)
