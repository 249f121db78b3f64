"""tau2's telecom tasks in solo mode: the official rewards, the rules of the loop, what a reply cannot do."""

import json
import sys
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from openai_server import OpenAIServer
from openai_server import Said as ServerSaid
from outcomes import Itool, one_line

from bench.native_forms import prompter, tokenizer
from bench.tau2_agreement import difference, recorded
from itool_data.errors import ItoolError
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.run import open_run
from itool_data.store.sql import query
from itool_eval.benchmarks import open_benchmark, summarise
from itool_eval.chat import PolicyChat
from itool_eval.conversation import Prompt, Result, Said
from itool_eval.errors import ErrorClass, first_class
from itool_eval.predict import Answered, AnswerJob, AnswerSession, Asked
from itool_eval.predictions import read_evaluated
from itool_eval.tau2.domain import Domain
from itool_eval.tau2.driver import conversation
from itool_eval.tau2.scorer import SoloScorer
from itool_eval.tau2.simulation import MAX_ERRORS, MAX_REPLIES, Simulation
from itool_eval.tau2.tasks import CATEGORIES, SIZES, SOLO, SPLITS, category_of
from itool_eval.verdicts import Verdict

DONE = ("done", "{}")
SMALL = f"{SOLO}-small"


@pytest.fixture(scope="session")
def scorer(domain: Domain) -> SoloScorer:
    return SoloScorer(domain, "full")


def solution(domain: Domain, task_id: str) -> list[tuple[str, str]]:
    """The task's own actions as native calls."""
    return [(a.name, json.dumps(a.arguments)) for a in domain.task(task_id).evaluation_criteria.actions]


def small(domain: Domain, *kinds: str) -> str:
    """The first of the small tasks whose id has these words."""
    return next(task_id for task_id in domain.splits["small"] if all(kind in task_id for kind in kinds))


def converse(domain: Domain, task_id: str, replies: Sequence[Said]) -> tuple[Result, list[Prompt]]:
    """Hold a conversation to its end; returns its result and what was asked."""
    talk = conversation(domain, domain.task(task_id))
    prompts = [next(talk)]
    for reply in replies:
        try:
            prompts.append(talk.send(reply))
        except StopIteration as end:
            return end.value, prompts
    raise AssertionError("the conversation goes on")


def called(*calls: tuple[str, str]) -> Said:
    return Said("", calls)


def judged(domain: Domain, scorer: SoloScorer, task_id: str, *replies: Said) -> Verdict:
    result, _ = converse(domain, task_id, replies)
    return scorer.score(category_of(task_id), task_id, result)


def test_every_recorded_run_has_the_official_reward(domain: Domain, scorer: SoloScorer) -> None:
    rows = list(recorded())
    assert [found for row in rows if (found := difference(domain, scorer, row))] == []
    rewards = Counter(row["official"].get("reward") for row in rows)
    # Runs of every kind, and each of the three ends often.
    assert len({row["kind"] for row in rows}) == 16 and min(rewards[1.0], rewards[0.0], rewards[None]) > 40


def test_a_recorded_outcome_that_is_changed_is_seen(domain: Domain, scorer: SoloScorer) -> None:
    row = next(row for row in recorded() if row["kind"] == "solution")
    for name, other in (
        ("reward", 0.0),
        ("end", "max_steps"),
        ("assertions", [False]),
        ("returned", ""),
        ("prompt", ""),
    ):
        assert difference(domain, scorer, {**row, "official": {**row["official"], name: other}})


def test_the_splits_have_the_sizes_that_scores_are_computed_with(domain: Domain) -> None:
    for split, sizes in SIZES.items():
        counts = Counter(map(category_of, domain.splits[split]))
        assert tuple(counts[category] for category in CATEGORIES) == sizes
    assert set(SPLITS.values()) == set(SIZES) == set(domain.splits)


def test_the_official_modules_are_not_left_behind(domain: Domain) -> None:
    assert not [
        name for name in sys.modules if name.partition(".")[0] in ("tau2", "loguru", "dotenv", "toml", "addict")
    ]


def test_what_is_asked(domain: Domain) -> None:
    task_id = small(domain, "mobile_data_issue")
    replies = [called(("check_network_status", "{}"), ("get_customer_by_id", '{"customer_id": "C9"}')), called(DONE)]
    result, (first, second) = converse(domain, task_id, replies)
    (system,) = first.messages
    assert system["role"] == "system" and domain.task(task_id).ticket in system["content"]
    assert "<tech_support_policy>" in system["content"] and first.must_call
    names = [tool["function"]["name"] for tool in first.tools]
    assert len(names) == len(set(names)) == 44 and names[-1] == "done" and "toggle_roaming" in names
    assert [m["role"] for m in second.messages] == ["system", "assistant", "tool", "tool"]
    ids = [call["id"] for call in second.messages[1]["tool_calls"]]
    assert [m["tool_call_id"] for m in second.messages[2:]] == ids and len(set(ids)) == 2
    assert second.messages[2]["content"].startswith("Airplane Mode: ")
    assert second.messages[3]["content"] == "Error: Customer with ID C9 not found"
    assert result == [[replies[0].result, replies[1].result]]


def test_own_solutions_are_right_and_half_of_one_is_not(domain: Domain, scorer: SoloScorer) -> None:
    for task_id in domain.splits["small"]:
        calls = solution(domain, task_id)
        assert judged(domain, scorer, task_id, *map(called, calls), called(DONE)).valid
        wrong = judged(domain, scorer, task_id, *map(called, calls[:-1]), called(DONE))
        assert wrong.error_type in ("tau2:env_assertion", "tau2:action") and first_class(wrong) is ErrorClass.OTHER


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        ([Said("I shall do that.")], "tau2:agent_error"),
        ([Said("###STOP###")], "tau2:agent_error"),
        ([Said("###STOP###", (("toggle_data", "{}"),))], "tau2:agent_error"),
        ([called(("toggle_data", "[]"))], "tau2:agent_error"),
        ([called(("toggle_data", "{"))], "tau2:agent_error"),
        ([called(("set_apn_settings", "[" * 100_000))], "tau2:agent_error"),
        ([called(("resume_line", "{}"))] * MAX_ERRORS, "tau2:too_many_errors"),
        ([called(*[("resume_line", "{}")] * MAX_ERRORS)], "tau2:too_many_errors"),
        ([called(("check_status_bar", "{}"))] * MAX_REPLIES, "tau2:max_steps"),
        ([called(("toggle_data", "{}"), DONE)], "tau2:env_assertion"),
    ],
)
def test_how_conversations_end(domain: Domain, scorer: SoloScorer, replies: list[Said], error: str) -> None:
    assert judged(domain, scorer, small(domain, "mobile_data_issue"), *replies).error_type == error


def test_a_look_at_a_bill_with_a_random_id_has_no_official_reward(domain: Domain, scorer: SoloScorer) -> None:
    """It differs when the calls are run again; only refuelling somebody else's line makes one."""
    task_id = small(domain, "data_usage_exceeded")
    calls = solution(domain, task_id)
    refuel = ("refuel_data", '{"customer_id": "C1002", "line_id": "L1004", "gb_amount": 1}')
    for more, error in (
        ((refuel,), None),
        ((refuel, ("get_details_by_id", '{"id": "C1002"}')), "tau2:evaluation_error"),
    ):
        assert judged(domain, scorer, task_id, *map(called, [*calls, *more, DONE])).error_type == error


def test_worlds_share_nothing(domain: Domain) -> None:
    """Officially a slow VPN is slow in all worlds of the process from then on."""
    slow, other = (small(domain, "bad_vpn"), small(domain, "airplane_mode_on"))
    Simulation(domain, domain.task(slow))
    simulation = Simulation(domain, domain.task(other))
    simulation.take([{"connect_vpn": "{}"}])
    (status,) = simulation.take([{"check_vpn_status": "{}"}])
    assert "EXCELLENT" in status


@pytest.mark.parametrize(
    "name",
    ["db", "__class__", "_toggle_data", "turn_data_on", "set_data_usage", "assert_can_send_mms", "calculate", ""],
)
def test_nothing_but_the_tools_on_offer_can_be_called(domain: Domain, name: str) -> None:
    simulation = Simulation(domain, domain.task(small(domain, "mobile_data_issue")))
    assert simulation.take([{name: "{}"}]) == [f"Error: Tool '{name}' not found."]
    assert simulation.end is None


def test_results_of_another_shape(domain: Domain, scorer: SoloScorer) -> None:
    task_id = small(domain, "mobile_data_issue")
    category = category_of(task_id)
    error = scorer.score(category, task_id, "Error during inference: too long")
    assert error.error_type == "tau2:inference_error" and scorer.calls(category, "Error") is None
    assert scorer.score(category, task_id, [[]]).error_type == "tau2:unfinished"
    assert scorer.score(category, task_id, [[5]]).error_type == "tau2:agent_error"
    with pytest.raises(ItoolError, match="not one turn"):
        scorer.score(category, task_id, [[], []])
    assert scorer.copies(category, task_id) == 1 and scorer.copies("mms_issue", task_id) == 0


def test_scores_name_what_was_not_run() -> None:
    verdicts = [Verdict(f"[service_issue]{i}", "service_issue") for i in range(6)]
    summary = summarise(SMALL, verdicts)
    (reward,) = summary.scores
    assert (reward.name, reward.value, reward.n, reward.partial) == (
        "pass^1",
        1.0,
        6,
        ("mobile_data_issue", "mms_issue"),
    )
    assert [score.partial for score in summary.categories] == [()] and "split small" in summary.era


def test_a_served_model_is_asked_and_scored(itool: Itool, tmp_path: Path, server: OpenAIServer, domain: Domain) -> None:
    known = small(domain, "service_issue", "airplane_mode_on")
    ticket, moves = domain.task(known).ticket, [*solution(domain, known), DONE]

    def reply(body: dict[str, Any]) -> ServerSaid:
        """One task's solution for every task with its ticket, a text for others."""
        if ticket not in body["messages"][0]["content"]:
            return "I cannot."
        return [moves[sum(message["role"] == "assistant" for message in body["messages"])]]

    server.chat = reply
    asked = ("eval", "run", SMALL, "--run", tmp_path, "--policy", "openai", "--base-url", server.url)
    asked += ("--categories", "service_issue,mobile_data_issue")
    code, out, err = itool(*asked)
    assert not code, err
    assert "tau2-bench telecom in solo mode, split small" in " ".join(out.split())
    for _, body in server.bodies:
        assert body["tool_choice"] == "required" and len(body["tools"]) == 44
        assert body["messages"][0]["role"] == "system" and "user" not in {m["role"] for m in body["messages"]}
    (evaluated,) = read_evaluated(open_run(tmp_path))
    assert len(evaluated.verdicts) == 14 and all(isinstance(result, list) for result in evaluated.results)
    assert known in {verdict.id for verdict in evaluated.verdicts if verdict.valid}
    scorer = SoloScorer(domain, "small")
    again = [scorer.score(v.category, v.id, r) for v, r in zip(evaluated.verdicts, evaluated.results, strict=True)]
    assert again == evaluated.verdicts and {"tau2:agent_error", None} <= {verdict.error_type for verdict in again}
    sql = "SELECT DISTINCT calls, error_type, output FROM predictions WHERE category = 'mobile_data_issue'"
    (row,) = query(open_run(tmp_path).store, sql).to_pylist()
    assert row == {"calls": "[]", "error_type": "tau2:agent_error", "output": '[["I cannot."]]'}
    assert "14 already answered" in itool(*asked)[1]
    one_line(itool("eval", "run", SMALL, "--run", tmp_path, "--validation"), "--validation goes with BFCL")


def test_a_policy_in_its_native_form_is_asked_and_scored(domain: Domain) -> None:
    task_id = small(domain, "service_issue")
    own = prompter("qwen2_5")
    table: dict[tuple[int, ...], dict[tuple[int, ...], float]] = {}
    replies = [called(call) for call in [*solution(domain, task_id), DONE]]
    _, prompts = converse(domain, task_id, replies)
    for prompt, said in zip(prompts, replies, strict=True):
        ((name, arguments),) = said.calls
        text = f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call><|im_end|>'
        ids = tokenizer()(text, add_special_tokens=False)["input_ids"]
        table[tuple(own.chat_ids(prompt.messages, prompt.tools))] = {tuple(ids): 1.0}
    session = AnswerSession(AnswerJob(SMALL, "compact", 200), PolicyChat(ScriptedPolicy(table, context=100_000), own))
    category = category_of(task_id)
    position = next(q.position for q in open_benchmark(SMALL, "compact").questions(category) if q.id == task_id)
    ended = [one for step in session.run(deque([Asked(category, task_id, position)])) for one in step]
    assert [type(one) for one in ended] == [Answered] and ended[0].verdict.valid  # type: ignore[union-attr]
