"""Where a round's policy doubts and what its pairs prove, as `itool mine` sums it up at its end."""

import re
from pathlib import Path
from typing import Any

import pytest
import scripted_mine

from itool_cli.console import make_console
from itool_cli.deficiencies import deficiencies, proofs
from itool_cli.mine_tables import show_summary
from itool_data.run import Run, open_run, write_run
from itool_data.store.sql import query
from itool_data.workers.pool import Desk, LocalPool

TREE = {"round": 1, "policy": "p", "search": "mcts", "dropped_unproved": 7}
FRAGMENT = {"sample_id": "s", "round": 1, "policy": "p", "step_text": "right", "draws": 0}


def place(kind: str, function: str | None, parameter: str | None, number: int, p: float, **more: Any) -> dict[str, Any]:
    row = {"kind": kind, "function": function, "parameter": parameter, "number": number, "probability": p}
    return FRAGMENT | row | more


def wrong(text: str, p: float, error: str, tree: str = "t") -> dict[str, Any]:
    return {"wrong_text": text, "wrong_probability": p, "error_class": error, "tree_id": tree}


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose first round is a tree search and whose second a walk."""
    folder = tmp_path_factory.mktemp("walked") / "run"
    with write_run(folder, None, scripted_mine.SETTINGS["mcts"]) as run:
        pool = LocalPool(Desk(scripted_mine.policy(), scripted_mine.PROMPTER))
        scripted_mine.mine(run, pool, round_=1)
        scripted_mine.mine(run, pool, "walk", 2)
    return folder


def summary(run: Run, round_: int, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    show_summary(make_console(), run, round_)
    return capsys.readouterr().out


def test_places_are_counted_and_the_most_doubted_comes_first(tmp_path: Path) -> None:
    rows = [
        place("argument", "f", "a", 1, 0.5, **wrong("x", 0.2, "Parameter Value")),
        place("argument", "f", "a", 2, 0.3, **wrong("y", 0.6, "Parameter Value")),
        place("argument", "f", "a", 3, 0.1, **wrong("z", 0.4, "Tool Name")),
        place("argument", "f", "a", 4, 0.95, **wrong("not doubted", 0.9, "Other")),
        place("name", "f", None, 0, 0.8, **wrong("g", 0.1, "Tool Name")),
        place("end", None, None, 5, 0.99, tree_id="t"),
        # Not walked: known from the perplexity pass alone, where the wording of prose says nothing.
        place("name", "f", None, 0, 0.2, sample_id="other", tree_id=None),
        place("prose", None, None, 0, 0.0, sample_id="prose", tree_id=None),
        place("name", "f", None, 0, 0.1, round=2, tree_id=None),
        place("name", "f", None, 0, 0.1, policy="p+another", tree_id=None),
    ]
    with write_run(tmp_path, None, []) as run:
        run.store.commit("mine", {"fragments": rows})
        argument, name, end = deficiencies(run, 1, "p")
    assert (argument["parameter"], argument["doubted"], argument["fragments"]) == ("a", 3, 4)
    assert argument["probability"] == pytest.approx(0.3)
    assert list(argument["breaks"].items()) == [("Parameter Value", 2), ("Tool Name", 1)]
    assert argument["example"] == {"right": "right", "probability": 0.3, "wrong": "y", "wrong_probability": 0.6}
    assert (name["kind"], name["doubted"], name["example"]["wrong"]) == ("name", 2, "g")
    assert (end["doubted"], end["breaks"], end["example"]) == (0, {}, None)


def test_a_walk_s_summary_says_where_the_policy_doubts_and_sorts_by_probability(
    walked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = open_run(walked)
    said = summary(run, 2, capsys)
    (pairs,) = query(run.store, "SELECT count(*) AS n FROM pairs WHERE round = 2").to_pylist()
    assert f"{pairs['n']} pairs, all proved" in said and "self-evaluation" not in said
    assert re.search(r"argument +│ f\.a +│ 20 +│ 20 +│ 0\.67 +│ Parameter Value", said)
    shown = [float(p) for p in re.findall(r"\d\.\d\d / (\d\.\d\d)", said)]
    assert len(shown) == 8 and shown == sorted(shown, reverse=True)
    assert "where the policy doubts" not in summary(run, 1, capsys)


def test_pairs_that_are_not_proved_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("state_right", "chosen_right", "rejected_right")
    facts = [(True, True, False)] * 4 + [(False, False, False)] * 3 + [(True, False, False)] * 2 + [(True, True, True)]
    step = {
        "round": 1,
        "policy": "p",
        "prefix_text": "",
        "chosen_text": "a",
        "rejected_text": "b",
        "q_chosen": 1.0,
        "q_rejected": 0.0,
    }
    rows = [
        step | dict(zip(names, fact, strict=True)) | {"pair_id": str(n), "proved": fact == (True, True, False)}
        for n, fact in enumerate(facts)
    ]
    rows = [row | {"chosen_logprob": -1.0, "rejected_logprob": -1.0, "error_class": "Other"} for row in rows]
    # A policy that the round was searched with before a `--from`.
    rows += [row | {"policy": "p+another", "proved": True} for row in rows]
    with write_run(tmp_path, None, []) as run:
        run.store.commit("mine", {"pairs": rows, "trees": [TREE, TREE | {"policy": "p+another"}]})
        said = summary(run, 1, capsys)
        assert proofs(run, 1, "p")["proved"] == 4
    assert (
        "4 of 10 pairs proved: in 3 the response was broken before, in 2 the chosen step is wrong itself, "
        "in 1 the rejected step breaks nothing" in " ".join(said.split())
    )
    assert "7 not proved" in said
