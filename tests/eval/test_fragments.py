"""Fragment accuracy: `itool eval fragments` asks, resumes and shows; `itool eval compare` pairs decisions by sample."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from outcomes import Itool, one_line
from toys import PROMPTER, ids_of, toy_sample

from bench.toy_loop import character_model
from itool_cli.console import make_console
from itool_cli.eval_fragments import decide_held_out
from itool_data.policy.base import PolicyId
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.run import Run, open_run, write_run
from itool_data.sample import Sample
from itool_data.store.samples import sample_row
from itool_data.store.sql import query
from itool_data.workers.pool import Desk, LocalPool
from itool_eval.decisions import read_decisions
from itool_eval.scores import Tally

# Two calls and a sentence, so that there is something of every kind to decide.
HELD_OUT = [toy_sample(f"[f(a={n}), f(a={n}, b=2)]", f"twice {n}") for n in range(4)]
HELD_OUT.append(toy_sample("There is no such function.", "sing"))


class Named(ScriptedPolicy):
    """A scripted policy under a name."""

    def __init__(self, name: str, replies: dict[str, str]):
        """Says at each sample what `replies` has for its question, mostly, and sometimes gold."""
        super().__init__(
            {
                tuple(PROMPTER.prompt_ids(s)): {
                    ids_of(s.target): 1.0, ids_of(replies.get(s.messages[0].content, s.target)): 9.0
                }
                for s in HELD_OUT
            }
        )  # fmt: skip
        self._name = name

    @property
    def policy_id(self) -> PolicyId:
        return PolicyId("toy", "1", self._name)


def import_samples(run: Run, samples: list[Sample], split: str = "test") -> None:
    run.store.commit("import", {"samples": [sample_row(s) | {"split": split} for s in samples]})


def rows(folder: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query(open_run(folder).store, sql).to_pylist()
    return found


def ask(run: Run, policy: ScriptedPolicy, limit: int | None = None) -> None:
    decide_held_out(make_console(), run, LocalPool(Desk(policy, PROMPTER)), PROMPTER, "test", limit)


@pytest.fixture
def decided(tmp_path: Path) -> Iterator[Path]:
    """A run where `good` is always right, and `bad` gives another value and calls the wrong function."""
    folder = tmp_path / "run"
    with write_run(folder, None, ["eval.max_tokens=64"]) as run:
        import_samples(run, HELD_OUT)
        ask(run, Named("good", {}))
        ask(run, Named("bad", {"twice 0": "[f(a=7), f(a=0, b=2)]", "twice 1": "[g(a=1), f(a=1, b=2)]"}))
    yield folder


def test_what_is_decided_is_counted_by_kind_and_by_what_the_wrong_ones_break(
    decided: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_policy = {d.policy: d for d in read_decisions(open_run(decided))}
    good, bad = (by_policy[f"toy@1+{name}"] for name in ("good", "bad"))
    assert list(good.tallies()) == ["all", "name", "argument", "end", "prose"] and good.samples == 5
    # Two names and three arguments in each of four samples.
    assert good.tallies()["name"] == Tally(8, 8) and good.tallies()["argument"] == Tally(12, 12)
    assert bad.tallies()["name"] == Tally(7, 8) and bad.tallies()["argument"] == Tally(11, 12)
    wrong = rows(decided, 'SELECT step_text, wrong_text, error_class FROM decisions WHERE NOT "right" ORDER BY ALL')
    assert [(w["step_text"], w["wrong_text"], w["error_class"]) for w in wrong] == [
        ("[f(", "[g(", "Tool Name"), ("a=0)", "a=7)", "Parameter Value"),
    ]  # fmt: skip


def test_it_resumes_asks_no_more_than_wanted_and_shows_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with write_run(tmp_path, None, ["eval.max_tokens=64"]) as run:
        import_samples(run, [toy_sample("[f(a=9)]", "nine")], "train")
        ask(run, Named("p", {}))
        assert "no test samples to decide along" in capsys.readouterr().out
        import_samples(run, HELD_OUT)
        ask(run, Named("p", {}), 2)
        said = capsys.readouterr().out
        assert "2 test samples to decide along" in said and "fragments: 2/2 samples" in said
        ask(run, Named("p", {"twice 0": "[f(a=7), f(a=0, b=2)]"}))
        said = capsys.readouterr().out
        assert "3 test samples to decide along" in said and "fragments of 5 test samples" in said
        assert "95 % interval" in said and "argument" in said and "prose" in said
        before = len(run.store.log())
        ask(run, Named("p", {}))
        assert "to decide along" not in capsys.readouterr().out and len(run.store.log()) == before


def test_two_policies_are_compared_decision_by_decision(itool: Itool, decided: Path) -> None:
    code, out, err = itool("eval", "compare", f"{decided}::bad", f"{decided}::good")
    assert code == 0, err
    cells = {
        (c := [cell.strip() for cell in line.split("│")[1:-1]])[0]: c[1:] for line in out.splitlines() if "│" in line
    }
    n = len(rows(decided, "SELECT 1 FROM decisions")) // 2
    assert cells["all"][0] == str(n) and cells["all"][3] == f"{200 / n:+.2f}" and cells["all"][5:7] == ["2", "0"]
    assert cells["argument"][5:7] == ["1", "0"]
    assert cells["Tool Name"][:3] == ["1", "0", f"{100 / n:+.2f}"]
    assert "fragments of test samples" in out and "intervals count samples" in out
    same = itool("eval", "compare", f"{decided}::good", f"{decided}::good")[1]
    assert "+0.00 to +0.00" in same
    one_line(itool("eval", "compare", decided, decided), "has toy@1+bad, toy@1+good; say which with")
    one_line(itool("eval", "compare", f"{decided}::good", f"{decided}::none"), "no predictions of a policy …none")


def test_decisions_of_different_splits_or_samples_are_not_compared(itool: Itool, decided: Path, tmp_path: Path) -> None:
    with write_run(tmp_path / "other", None, ["eval.max_tokens=64"]) as run:
        import_samples(run, HELD_OUT[:1])
        ask(run, Named("good", {}))
    out = itool("eval", "compare", f"{decided}::bad", tmp_path / "other")[1]
    assert "decisions are in one of the two only and left out" in out
    validation = tmp_path / "validation"
    with write_run(validation, None, []) as run:
        row = {"policy": "toy@1+good", "sample_id": HELD_OUT[0].sample_id, "split": "validation", "number": 0}
        run.store.commit("eval", {"decisions": [row | {"kind": "name", "right": True}]})
    one_line(itool("eval", "compare", f"{decided}::bad", validation), "have no item in common")


def test_the_command_asks_a_model(itool: Itool, tmp_path: Path) -> None:
    model = character_model(tmp_path / "model")
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"model": {"name": str(model)}, "eval": {"max_tokens": 16}}))
    folder = tmp_path / "run"
    with write_run(folder, config, []) as run:
        import_samples(run, [toy_sample("[f(a=1)]", "f of 1")])
        import_samples(run, [toy_sample("[f(a=2)]", "f of 2")], "validation")
    code, out, err = itool("eval", "fragments", "--run", folder, "--adapter", "base", "--split", "validation")
    assert code == 0, err
    assert "fragments of 1 validation samples" in out
    assert {row["split"] for row in rows(folder, "SELECT split FROM decisions")} == {"validation"}
    one_line(itool("eval", "fragments", "--run", folder, "--adapter", "nobody"), "'nobody' is no policy")
