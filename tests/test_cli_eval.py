"""`itool eval`: a run's answers stored, resumed, shown, compared and exported (files: `eval/test_cli_score.py`)."""

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import PROMPTER, ids_of

from itool_cli.main import main
from itool_data.abstain import SENTENCES
from itool_data.assets import bfcl_data
from itool_data.errors import ItoolError
from itool_data.policy.base import Draw, PolicyId, Request
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.run import Run, open_run, write_run
from itool_data.store.sql import query
from itool_data.workers.pool import Desk, LocalPool
from itool_eval.apibank.benchmark import API_BANK, api_bank
from itool_eval.benchmark import Benchmark, Question
from itool_eval.benchmarks import choose, open_benchmark
from itool_eval.bfcl.benchmark import OWN_PROMPT
from itool_eval.bfcl.benchmark import bfcl as bfcl_benchmark
from itool_eval.bfcl.categories import Version
from itool_eval.conversation import Said
from itool_eval.errors import ErrorClass
from itool_eval.predict import answer, prepare
from itool_eval.predictions import read_evaluated

BASE = "multi_turn_base"
GOOD = "[calculate_triangle_area(base=10, height=5)]"
Command = Callable[..., str]


@pytest.fixture
def itool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def command(*arguments: object, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["itool", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert (ended.value.code or 0) == code, said.out + said.err
        return said.out + said.err

    return command


@pytest.fixture(scope="module")
def bfcl() -> Benchmark:
    try:
        bfcl_data()
    except ItoolError as error:
        pytest.skip(f"no BFCL data: {error}")
    return bfcl_benchmark(Version.V3)


class Named(ScriptedPolicy):
    """Answers every prompt from a table, under a name."""

    def __init__(self, name: str, replies: dict[tuple[int, ...], str], context: int = 100_000):
        super().__init__({}, 2, context)
        self._name = name
        self._replies = replies

    @property
    def policy_id(self) -> PolicyId:
        return PolicyId("toy", "1", self._name)

    def _draw(self, request: Request, seed: int) -> Draw:
        ids = ids_of(self._replies[tuple(request.prompt)])
        return Draw(ids, (0.0,) * len(ids), "stop")


def script(questions: list[Question], reply: Callable[[Question], str]) -> dict[tuple[int, ...], str]:
    return {tuple(PROMPTER.chat_ids(next(q.begin()).messages)): reply(q) for q in questions}


def script_turns(questions: list[Question], replies: list[str]) -> dict[tuple[int, ...], str]:
    """The same replies in every conversation, one after the other, the last one again and again."""
    table = {}
    for question in questions:
        left, conversation = list(replies), question.begin()
        prompt = next(conversation)
        with contextlib.suppress(StopIteration):
            while True:
                reply = left.pop(0) if len(left) > 1 else left[0]
                table[tuple(PROMPTER.chat_ids(prompt.messages))] = reply
                prompt = conversation.send(Said(reply))
    return table


def evaluate(run: Run, policy: ScriptedPolicy, benchmark: Benchmark, questions: list[Question], steps: int = 99) -> int:
    """Run at most so many steps, as a killed process would; how many were answered."""
    pool = LocalPool(Desk(policy, PROMPTER))
    answering = answer(run, pool, benchmark, prepare(run, str(pool.policy_id), benchmark, questions))
    answered = sum(len(step.verdicts) for _, step in zip(range(steps), answering, strict=False))
    answering.close()
    return answered


@pytest.fixture
def filled(tmp_path: Path, bfcl: Benchmark) -> Path:
    """A run where a policy `good` answers two of five items right and `bad` none."""
    questions = bfcl.questions("simple")[:3] + bfcl.questions("irrelevance")[:1] + bfcl.questions("live_relevance")[:1]
    good = {"simple_0": GOOD, "irrelevance_0": "I cannot do that."}
    folder = tmp_path / "run"
    with write_run(folder, None, []) as run:
        evaluate(run, Named("good", script(questions, lambda q: good.get(q.id, "[f(1"))), bfcl, questions)
        evaluate(run, Named("bad", script(questions, lambda _: "[f(a=1)]")), bfcl, questions)
    return folder


def test_help_imports_nothing_heavy(itool: Command) -> None:
    for name in ("run", "score", "show", "compare", "export"):
        assert "Usage" in itool("eval", name, "--help")


def test_answers_are_stored_whole_and_resumed(tmp_path: Path, bfcl: Benchmark) -> None:
    questions = bfcl.questions("simple")[:4] + bfcl.questions("java")[:3]
    policy = Named("p", script(questions, lambda _: "[f(a=1e999, b=(1, 'x'), **c)]"))
    with write_run(tmp_path, None, []) as run:
        assert evaluate(run, policy, bfcl, questions, steps=2) == 4
        assert evaluate(run, policy, bfcl, questions) == len(questions) - 4
        assert evaluate(run, policy, bfcl, questions) == 0
        (counts,) = query(
            run.store,
            "SELECT count(*) AS n, count(DISTINCT (category, position)) AS items, "
            "max(calls) FILTER (category = 'simple') AS calls, min(finish) AS finish, "
            "min(tokens_output) AS tokens FROM predictions",
        ).to_pylist()
        assert counts["n"] == counts["items"] == len(questions)
        assert json.loads(counts["calls"]) == [{"name": "f", "arguments": {"a": "inf", "b": [1, "x"], "None": "c"}}]
        assert counts["finish"] == "stop" and counts["tokens"] == len("[f(a=1e999, b=(1, 'x'), **c)]") + 1
        (evaluated,) = read_evaluated(run)
        assert evaluated.verdicts[-1] == bfcl.scorer("simple").score("simple", "simple_3", evaluated.results[-1])


def test_both_sides_of_the_own_prompt_are_asked_stored_and_shown(itool: Command, tmp_path: Path) -> None:
    benchmark = open_benchmark(OWN_PROMPT, "signatures")
    categories = ("irrelevance", "live_irrelevance", "live_relevance", "simple")
    questions = [question for name in categories for question in benchmark.questions(name)[:3]]

    def caller(question: Question) -> str:
        return "I cannot do that." if question.id == "irrelevance_1" else "[f(a=1)]"

    with write_run(tmp_path, None, []) as run:
        assert evaluate(run, Named("calls", script(questions, caller)), benchmark, questions) == 12
        assert evaluate(run, Named("refuses", script(questions, lambda _: SENTENCES[0])), benchmark, questions) == 12
        rows = query(
            run.store,
            "SELECT policy, category, count(*) FILTER (valid) AS n, min(error_class) AS error FROM predictions "
            "GROUP BY ALL ORDER BY ALL",
        ).to_pylist()
    assert [(row["policy"].rpartition("+")[2], row["category"], row["n"], row["error"]) for row in rows] == [
        ("calls", "irrelevance", 1, "Tools Count"),
        ("calls", "live_irrelevance", 0, "Tools Count"),
        ("calls", "live_relevance", 3, None),
        ("calls", "simple", 0, "Tool Name"),
        ("refuses", "irrelevance", 3, None),
        ("refuses", "live_irrelevance", 3, None),
        ("refuses", "live_relevance", 0, "Tools Count"),
        ("refuses", "simple", 0, "Code Syntax"),
    ]
    shown = " ".join(itool("eval", "show", "--run", tmp_path, "--policy", "calls").split())
    assert "abstention" in shown and "not run, counts as 0" not in shown


def test_conversations_are_held_side_by_side_stored_and_resumed(
    itool: Command, tmp_path: Path, bfcl: Benchmark
) -> None:
    questions = [*bfcl.questions(BASE)[:5], *bfcl.questions("simple")[:2]]
    replies = ["[ls(a=True), pwd()]", "[f(", "[pwd()]", "Done."]
    policy = Named("p", script_turns(questions, replies))
    with write_run(tmp_path / "run", None, []) as run:
        answered = evaluate(run, policy, bfcl, questions, steps=12)
        assert 0 < answered < len(questions)
        assert evaluate(run, policy, bfcl, questions) == len(questions) - answered
        (row,) = query(run.store, f"SELECT * FROM predictions WHERE category = '{BASE}' AND position = 0").to_pylist()
        result = [["[ls(a=True), pwd()]", "[f("], ["[pwd()]", "Done."], ["Done."], ["Done."]]
        assert json.loads(row["output"]) == result
        assert json.loads(row["calls"]) == [
            {"name": "ls", "arguments": {"a": True}}, *[{"name": "pwd", "arguments": {}}] * 2
        ]  # fmt: skip
        assert row["tokens_output"] == sum(len(reply) + 1 for turn in result for reply in turn)
        assert row["tokens_prompt"] > 5 * len(PROMPTER.chat_ids(next(questions[0].begin()).messages))
        assert row["error_type"].startswith("multi_turn:")
    said = itool("eval", "show", "--run", tmp_path / "run")
    assert BASE in said and "Other" in said
    itool("eval", "export", "--run", tmp_path / "run", "--to", tmp_path / "to")
    scored = tmp_path / "scored.jsonl"
    assert "7 verdicts" in itool("eval", "score", "bfcl-v3", tmp_path / "to", "--out", scored)
    (evaluated,) = read_evaluated(open_run(tmp_path / "run"))
    again = {line["id"]: line["error_type"] for line in map(json.loads, scored.read_text("utf-8").splitlines())}
    assert again == {verdict.id: verdict.error_type for verdict in evaluated.verdicts}
    assert "│ 7 │" in itool("eval", "compare", tmp_path / "run", scored)


def test_a_conversation_that_outgrows_the_context_is_wrong_and_the_rest_goes_on(
    tmp_path: Path, bfcl: Benchmark
) -> None:
    questions = bfcl.questions(BASE)[:3]
    replies = ["x" * 1000, "No."]
    first = [len(PROMPTER.chat_ids(next(q.begin()).messages)) for q in questions]
    policy = Named("p", script_turns(questions, replies), context=max(first) + 500)
    with write_run(tmp_path, None, []) as run:
        assert evaluate(run, policy, bfcl, questions) == 3
        (row, *_) = query(run.store, "SELECT * FROM predictions").to_pylist()
        assert (row["error_type"], row["finish"]) == ("multi_turn:inference_error", "context")
        assert row["output"].startswith("Error during inference: ") and row["calls"] is None
        (evaluated,) = read_evaluated(run)
        assert evaluated.results[0] == row["output"]


def test_endless_calls_end_the_conversation(tmp_path: Path, bfcl: Benchmark) -> None:
    questions = bfcl.questions(BASE)[:1]
    with write_run(tmp_path, None, []) as run:
        evaluate(run, Named("p", script_turns(questions, ["[pwd()]"])), bfcl, questions)
        (evaluated,) = read_evaluated(run)
        assert evaluated.verdicts[0].error_type == "multi_turn:force_terminated"
        assert evaluated.results == [[["[pwd()]"] * 21]]


def test_v4_asks_its_own_items_in_its_own_words(tmp_path: Path) -> None:
    try:
        v4 = bfcl_benchmark(Version.V4)
    except ItoolError as error:
        pytest.skip(f"no BFCL data: {error}")
    questions = choose(v4, ["simple_python", "simple_java"], 3, 42)
    policy = Named("p", script(questions, lambda _: "[]"))
    with write_run(tmp_path, None, []) as run:
        assert evaluate(run, policy, v4, questions) == 3
        (evaluated,) = read_evaluated(run)
    assert evaluated.benchmark == "bfcl-v4"
    assert {v.error_type for v in evaluated.verdicts if v.category == "simple_python"} == {
        "simple_function_checker:wrong_count"
    }
    assert "multi_turn_base" in v4.categories


def test_prompts_longer_than_the_context_are_set_aside_once(tmp_path: Path, bfcl: Benchmark) -> None:
    questions = bfcl.questions("simple")[:2]
    policy = Named("p", script(questions, lambda _: GOOD), context=100)
    with write_run(tmp_path, None, []) as run:
        for _ in range(2):
            pool = LocalPool(Desk(policy, PROMPTER))
            (step,) = answer(run, pool, bfcl, prepare(run, str(pool.policy_id), bfcl, questions))
            assert not step.verdicts and [r.field for r in step.set_aside] == ["simple_0", "simple_1"]
        rejects = query(run.store, "SELECT stage, source, file, field FROM rejects ORDER BY field").to_pylist()
        assert rejects == [
            {"stage": "eval", "source": "bfcl-v3", "file": "simple", "field": name} for name in ("simple_0", "simple_1")
        ]


def test_a_sample_depends_on_the_seed_alone(bfcl: Benchmark) -> None:
    few, more = (choose(bfcl, ["simple", "java"], n, 42) for n in (5, 9))
    assert few == more[:5] and few != choose(bfcl, ["simple", "java"], 5, 43)
    with pytest.raises(ItoolError, match="'simpel' is no category of bfcl-v3; it has simple"):
        choose(bfcl, ["simpel"], None, 42)


def test_show_names_formula_interval_era_and_quirks(itool: Command, filled: Path) -> None:
    said = itool("eval", "show", "--run", filled, "--policy", "good", "--report-quirks")
    assert "toy@1+good · bfcl-v3" in said and "+bad" not in said
    assert "era C" in said and "correct / items" in said and "mean(live, non_live, multi_turn)" in said
    assert "Table 1 of the paper is an earlier scoring era" in said
    assert "counts as 0" in said and "Code Syntax" in said and "quirks: none" in said
    assert "+bad" in itool("eval", "show", "--run", filled)
    assert "no predictions of a policy …base" in itool("eval", "show", "--run", filled, "--policy", "base", code=1)
    assert "no predictions of a policy …nobody" in itool("eval", "show", "--run", filled, "--policy", "nobody", code=1)


def test_show_draws_the_error_classes_of_both_policies(itool: Command, filled: Path, tmp_path: Path) -> None:
    from itool_cli.figures import error_classes

    for name, begins in (("errors.png", b"\x89PNG"), ("errors.svg", b"<?xml")):
        assert name in itool("eval", "show", "--run", filled, "--figure", tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begins)
    said = itool("eval", "show", "--run", filled, "--figure", tmp_path / "errors.bmp", code=1)
    assert "a picture's name ends in .png or .svg" in said

    (axes,) = error_classes(read_evaluated(open_run(filled))).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(ErrorClass)
    assert axes.get_title(loc="left") == "bfcl-v3"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["toy@1+bad: 4 wrong of 5", "toy@1+good: 3 wrong of 5"]
    bad, good = ([bar.get_width() for bar in bars] for bars in axes.containers)
    assert bad == pytest.approx([0, 0, 0, 25, 75, 0, 0]) and good == pytest.approx([0, 0, 0, 0, 0, 100, 0])


def test_compare_runs_and_verdict_files(itool: Command, filled: Path, tmp_path: Path) -> None:
    said = itool("eval", "compare", f"{filled}::bad", f"{filled}::good")
    assert "fixed  simple simple_0 (Tool Name)" in said and "fixed  irrelevance irrelevance_0 (Tools Count)" in said
    assert "broken live_relevance live_relevance_0-0-0 (Code Syntax)" in said
    assert "McNemar p" in said and "+20.00" in said
    assert "say which with" in itool("eval", "compare", filled, filled, code=1)

    verdicts = tmp_path / "v.jsonl"
    exported = tmp_path / "exported"
    assert "BFCL_v3_simple_result.json" in itool(
        "eval", "export", "--run", filled, "--policy", "good", "--to", exported
    )
    itool("eval", "score", "bfcl-v3", exported, "--out", verdicts)
    assert "+0.00" in itool("eval", "compare", f"{filled}::good", verdicts)
    verdicts.write_text("{}\n", "utf-8")
    assert "line 1: no verdict" in itool("eval", "compare", verdicts, verdicts, code=1)


def test_export_writes_a_folder_a_policy(itool: Command, filled: Path, tmp_path: Path) -> None:
    itool("eval", "export", "--run", filled, "--to", tmp_path / "to")
    assert sorted(folder.name for folder in (tmp_path / "to").iterdir()) == ["toy@1+bad", "toy@1+good"]
    lines = (tmp_path / "to" / "toy@1+good" / "BFCL_v3_simple_result.json").read_text("utf-8").splitlines()
    assert json.loads(lines[0]) == {"id": "simple_0", "result": GOOD} and len(lines) == 3


def test_api_bank_is_shown_with_both_denominators(itool: Command, tmp_path: Path, shared_data: Path) -> None:
    benchmark = api_bank(shared_data / "apibank")
    questions = benchmark.questions("level-2")
    with write_run(tmp_path / "run", None, []) as run:
        evaluate(run, Named("p", script(questions, lambda _: "no")), benchmark, questions)
        assert {evaluated.benchmark for evaluated in read_evaluated(run)} == {API_BANK}
    said = itool("eval", "show", "--run", tmp_path / "run")
    assert "API-Bank (AST)" in said and " 135 " in said and " 119 " in said and "different samples" in said
    assert "no BFCL predictions" in itool("eval", "export", "--run", tmp_path / "run", "--to", tmp_path, code=1)
    assert "needs --data" in itool("eval", "run", "apibank", "--run", tmp_path / "run", code=1)
    wanted = ("eval", "run", "apibank-own-prompt", "--run", tmp_path / "run")
    assert "apibank-own-prompt needs --data" in itool(*wanted, code=1)
    assert "no items to tune on" in itool(*wanted, "--data", tmp_path, "--validation", code=1)
