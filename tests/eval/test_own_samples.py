"""The run's own validation samples as a benchmark: the prompt, the verdicts, workers that have no run at hand."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from outcomes import Itool, one_line
from toys import PROMPTER, ids_of, toy_sample

from itool_data.errors import ItoolError
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.run import write_run
from itool_data.sample import Sample
from itool_data.store.samples import sample_row
from itool_data.store.sql import query
from itool_data.workers.pool import Desk, LocalPool
from itool_eval.benchmarks import open_benchmark, open_of_run, summarise
from itool_eval.compare import Outcome
from itool_eval.own_samples import NAME, answered
from itool_eval.predict import answer, prepare
from itool_eval.predictions import read_evaluated

REPLIES = {
    "one": ("[f(a=1)]", None),
    "wrong value": ("[f(a=2)]", "Parameter Value"),
    "wrong name": ("[g(a=1)]", "Tool Name"),
    "prose": ("I would call f.", "Code Syntax"),
    "broken": ("[f(a=", "Code Syntax"),
}
SAMPLES = [toy_sample(question=question) for question in REPLIES] + [toy_sample("I cannot.", "nothing fits")]


def policy(samples: list[Sample]) -> ScriptedPolicy:
    replies = {question: reply for question, (reply, _) in REPLIES.items()} | {"nothing fits": "[f(a=1)]"}
    return ScriptedPolicy(
        {tuple(PROMPTER.prompt_ids(s)): {ids_of(replies[s.source_id]): 1.0} for s in samples}
    )  # the run's own prompt, or the table would not know it


class SentJobPool(LocalPool):
    """Takes jobs as another machine gets them."""

    def run(self, job, items):
        return super().run(pickle.loads(pickle.dumps(job)), items)  # noqa: S301


def test_samples_are_asked_in_the_runs_prompt_and_judged_by_the_search_s_check(tmp_path: Path) -> None:
    benchmark = open_benchmark(NAME, "signatures", SAMPLES)
    pool = SentJobPool(Desk(policy(SAMPLES), PROMPTER))
    with write_run(tmp_path, None, []) as run:
        questions = benchmark.questions("toy")
        asked = prepare(run, str(pool.policy_id), benchmark, questions)
        assert len(asked) == len(SAMPLES)
        for _ in answer(run, pool, benchmark, asked):
            pass
        assert prepare(run, str(pool.policy_id), benchmark, questions) == []
        (evaluated,) = read_evaluated(run, own=True)
        rows = query(run.store, "SELECT item, calls FROM predictions").to_pylist()
        found = answered(run, str(pool.policy_id), SAMPLES[:2])
    ids = {s.source_id: s.sample_id for s in SAMPLES}
    classes = {ids[q]: error for q, (_, error) in REPLIES.items()} | {ids["nothing fits"]: "Tools Count"}
    by_id = {v.id: v for v in evaluated.verdicts}
    assert {i: v.error_type and v.error_type.removeprefix("match:") for i, v in by_id.items()} == classes
    assert {by_id[ids[q]].faults[0].note for q in ("prose", "wrong name")} == {"no call attempted", ""}
    assert {row["item"]: row["calls"] is None for row in rows}[ids["broken"]]
    expected = [Outcome("toy", ids[q], error is None, error) for q, (_, error) in list(REPLIES.items())[:2]]
    assert found == sorted(expected, key=lambda o: o.id)
    (score,) = summarise(NAME, evaluated.verdicts).categories
    assert (score.name, score.n, score.value) == ("toy", 6, 1 / 6)


def test_what_was_asked_before_is_told_apart_by_the_sample(tmp_path: Path) -> None:
    """More samples, or others, do not change which item a row is about."""
    with write_run(tmp_path, None, []) as run:
        for samples in (SAMPLES[2:4], SAMPLES):
            benchmark = open_benchmark(NAME, "signatures", samples)
            pool = LocalPool(Desk(policy(samples), PROMPTER))
            asked = prepare(run, str(pool.policy_id), benchmark, benchmark.questions("toy"))
            for _ in answer(run, pool, benchmark, asked):
                pass
        rows = query(run.store, "SELECT item, valid FROM predictions").to_pylist()
    assert len(rows) == len(SAMPLES) and [r["item"] for r in rows if r["valid"]] == [SAMPLES[0].sample_id]


def test_the_test_samples_of_a_data_set_are_a_benchmark_whose_answers_are_scores(tmp_path: Path) -> None:
    """Its train and validation samples, and other data sets' test samples, are not asked."""
    held_out = [replace(s, split="test") for s in SAMPLES[:3]]
    others = [SAMPLES[3], replace(SAMPLES[4], split="validation"), replace(SAMPLES[5], split="test", source="other")]
    with write_run(tmp_path, None, []) as run:
        run.store.commit("import", {"samples": [sample_row(s) for s in (*held_out, *others)]})
        benchmark = open_of_run(run, "test:toy")
        pool = SentJobPool(Desk(policy(held_out), PROMPTER))
        asked = prepare(run, str(pool.policy_id), benchmark, benchmark.questions("toy"))
        for _ in answer(run, pool, benchmark, asked):
            pass
        (evaluated,) = read_evaluated(run)
        with pytest.raises(ItoolError, match=r"no test samples for test:toys; .*: other, toy"):
            open_of_run(run, "test:toys")
    assert {v.id for v in evaluated.verdicts} == {s.sample_id for s in held_out}
    (score,) = summarise("test:toy", evaluated.verdicts).categories
    assert (evaluated.benchmark, score.n, score.value) == ("test:toy", 3, 1 / 3)


def test_the_command_says_which_data_set_it_needs(itool: Itool, tmp_path: Path) -> None:
    one_line(itool("eval", "run", "test", "--run", tmp_path / "run"), "test: --source SOURCE says whose test samples")
    one_line(itool("eval", "run", "bfcl-v3", "--source", "toy", "--run", tmp_path / "run"), "goes with it alone")
