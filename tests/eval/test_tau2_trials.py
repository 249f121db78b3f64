"""Several tries at tau2's tasks: drawn by their own seeds, stored one by one, gone on with, and scored as pass^k."""

import json
from collections import Counter, deque
from pathlib import Path
from typing import Any

import pytest
from openai_server import OpenAIServer
from openai_server import Said as ServerSaid
from outcomes import Itool

from bench.native_forms import prompter, tokenizer
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.run import open_run, write_run
from itool_data.store.sql import query
from itool_eval.benchmarks import open_benchmark
from itool_eval.chat import PolicyChat
from itool_eval.predict import Answered, AnswerJob, AnswerSession, Asked
from itool_eval.predictions import read_evaluated
from itool_eval.tau2.domain import Domain
from itool_eval.tau2.tasks import SOLO, category_of

SMALL = f"{SOLO}-small"


@pytest.mark.usefixtures("domain")
def test_tries_are_asked_stored_and_gone_on_with(itool: Itool, tmp_path: Path, server: OpenAIServer) -> None:
    def reply(body: dict[str, Any]) -> ServerSaid:
        """Ends the conversation where the seed is even, else says a text."""
        return "I cannot." if body.get("seed", 1) % 2 else [("done", "{}")]

    server.chat = reply
    asked = ("eval", "run", SMALL, "--run", tmp_path, "--policy", "openai", "--base-url", server.url)
    asked += ("--categories", "service_issue", "--limit", "3")
    drawn = ("--set", "eval.temperature=0.8", "--set")
    code, out, err = itool(*asked, *drawn, "eval.trials=2")
    assert not code, err
    assert "3 items, 2 tries each, 0 already answered" in out and "2 tries a task" in " ".join(out.split())
    assert "pass^1" in out and "pass^2" in out and "tries drawn at temperature 0.8, at most" in " ".join(out.split())
    assert {body["temperature"] for _, body in server.bodies} == {0.8}
    seeds = {body["seed"] for _, body in server.bodies}
    assert len(server.bodies) == len(seeds) == 6 and max(seeds) < 2**31

    code, out, err = itool(*asked, *drawn, "eval.trials=3")
    assert not code, err
    assert "3 items, 3 tries each, 6 already answered" in out and "pass^3" in out
    assert len(server.bodies) == len({body["seed"] for _, body in server.bodies}) == 9, "a third try is another draw"
    assert "9 already answered" in itool(*asked, *drawn, "eval.trials=3")[1] and len(server.bodies) == 9

    sql = "SELECT item, list(trial ORDER BY trial) AS tries FROM predictions GROUP BY item"
    rows = query(open_run(tmp_path).store, sql).to_pylist()
    assert [row["tries"] for row in rows] == [[0, 1, 2]] * 3
    (evaluated,) = read_evaluated(open_run(tmp_path))
    assert Counter(verdict.trial for verdict in evaluated.verdicts) == {0: 3, 1: 3, 2: 3}
    shown = itool("eval", "show", "--run", tmp_path)[1]
    assert "pass^3" in shown and "pass^4" not in shown

    # One try is greedy, another protocol, and what was drawn is kept beside it.
    assert "3 items, 0 already answered" in itool(*asked, "--set", "eval.trials=1")[1]
    greedy, drawn_ones = sorted(read_evaluated(open_run(tmp_path)), key=lambda one: len(one.verdicts))
    assert (len(greedy.verdicts), len(drawn_ones.verdicts)) == (3, 9)
    assert greedy.protocol and drawn_ones.protocol
    assert greedy.protocol.decoding.startswith("greedy, ") and greedy.protocol != drawn_ones.protocol


def test_what_a_policy_draws_depends_on_the_try_alone(domain: Domain) -> None:
    task_id = next(task for task in domain.splits["small"] if category_of(task) == "mms_issue")
    own = prompter("qwen2_5")
    benchmark = open_benchmark(SMALL, "compact")
    (question,) = (q for q in benchmark.questions("mms_issue") if q.id == task_id)
    prompt = next(question.begin())
    done = '<tool_call>\n{"name": "done", "arguments": {}}\n</tool_call><|im_end|>'
    said = [tokenizer()(text, add_special_tokens=False)["input_ids"] for text in (done, "I cannot.<|im_end|>")]
    table = {tuple(own.chat_ids(prompt.messages, prompt.tools)): {tuple(ids): 0.5 for ids in said}}

    def verdicts(trials: list[int], temperature: float, seed: int = 0) -> dict[int, str | None]:
        """How each try ended."""
        job = AnswerJob(SMALL, "compact", 200, temperature=temperature, seed=seed)
        session = AnswerSession(job, PolicyChat(ScriptedPolicy(table, context=100_000), own))
        waiting = deque([Asked("mms_issue", task_id, question.position, trial) for trial in trials])
        ended = [one for step in session.run(waiting) for one in step]
        assert all(isinstance(one, Answered) and one.row["trial"] == one.verdict.trial for one in ended)
        return {one.verdict.trial: one.verdict.error_type for one in ended if isinstance(one, Answered)}

    several = verdicts([*range(12)], 1.0)
    assert set(several.values()) == {"tau2:env_assertion", "tau2:agent_error"}
    assert verdicts([7, 3], 1.0) == {trial: several[trial] for trial in (7, 3)}
    assert verdicts([*range(12)], 1.0, seed=1) != several
    assert len(set(verdicts([*range(6)], 0.0).values())) == 1, "greedy tries are one try"


@pytest.mark.usefixtures("domain")
def test_answers_from_before_there_were_tries_are_first_tries(
    itool: Itool, tmp_path: Path, server: OpenAIServer
) -> None:
    def ask(run: Path, *settings: str) -> str:
        asked = ("eval", "run", SMALL, "--run", run, "--policy", "openai", "--base-url", server.url, "--limit", "2")
        code, out, err = itool(*asked, *settings)
        assert not code, err
        return str(out)

    ask(tmp_path / "new")
    rows = query(open_run(tmp_path / "new").store, "SELECT * EXCLUDE trial FROM predictions").to_pylist()
    protocols = query(open_run(tmp_path / "new").store, "SELECT * FROM protocols").to_pylist()
    with write_run(tmp_path / "old", None, []) as run:
        run.store.commit("eval", {"predictions": rows, "protocols": protocols})
    assert "2 items, 2 already answered" in ask(tmp_path / "old")
    (evaluated,) = read_evaluated(open_run(tmp_path / "old"))
    assert [verdict.trial for verdict in evaluated.verdicts] == [0, 0]
    assert json.loads(rows[0]["output"]) == [["I cannot."]]
