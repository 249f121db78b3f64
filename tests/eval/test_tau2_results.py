"""pass^k, and result files of tau2's own tool: its rewards and pass^k beside ours, and what is not comparable."""

import importlib
import json
import pickle
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from outcomes import Itool, one_line

from bench.tau2_agreement import recorded
from itool_data.assets import TAU2, unpacked
from itool_data.errors import ItoolError
from itool_eval.benchmarks import summarise
from itool_eval.compare import compare, outcomes, read_outcomes, share_interval
from itool_eval.conversation import Said
from itool_eval.headline import all_items
from itool_eval.scores import Tally, clustered_difference, wilson, wilson_of_mean
from itool_eval.tau2.aggregate import pass_k
from itool_eval.tau2.domain import Domain, official_modules
from itool_eval.tau2.result_file import score_simulations
from itool_eval.tau2.scorer import SoloScorer
from itool_eval.tau2.simulation import Simulation
from itool_eval.tau2.tasks import SOLO
from itool_eval.verdicts import Fault, Verdict

Content = dict[str, Any]
WRONG = (Fault("tau2:env_assertion", "no"),)


def tries(task: str, *right: bool) -> list[Verdict]:
    """A task's verdicts."""
    return [Verdict(task, "mms_issue", () if valid else WRONG, trial=trial) for trial, valid in enumerate(right)]


def simulation(domain: Domain, row: Content, trial: int) -> Content:
    """A recorded run as `tau2 run` writes it; what the official code breaks off, as it is written if skipped."""
    under_way = Simulation(domain, domain.task(row["task"]))
    for text, calls in row["replies"]:
        if under_way.end is None:
            under_way.take(Said(text, tuple((name, arguments) for name, arguments in calls)).result)
    official = {"reward": 0.0, "end": "agent_error"} | row["official"]
    broken = "error" in official
    messages = [] if broken else [message.model_dump(mode="json") for message in under_way.trajectory]
    return {
        "id": f"{row['task']}_{trial}", "task_id": row["task"], "trial": trial, "seed": trial, "messages": messages,
        "start_time": "", "end_time": "", "duration": 0.0, "agent_cost": 0.0, "skipped": broken,
        "termination_reason": official["end"], "reward_info": {"reward": official["reward"]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def content(domain: Domain) -> Content:
    """The recorded runs of the first tasks as a result file; a task's runs are its trials."""
    trials, simulations = Counter[str](), []
    for row in recorded():
        if row["task"] in trials or len(trials) < 30:
            simulations.append(simulation(domain, row, trials[row["task"]]))
            trials[row["task"]] += 1
    return {
        "info": {
            "git_commit": "", "num_trials": 4, "max_steps": 200, "max_errors": 10, "seed": 300,
            "user_info": {"implementation": "dummy_user"}, "agent_info": {"implementation": "llm_agent_solo"},
            "environment_info": {"domain_name": "telecom", "policy": ""},
        },
        "tasks": [domain.task(task).model_dump(mode="json") for task in trials],
        "simulations": simulations,
    }  # fmt: skip


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), "utf-8")
    return path


def score(itool: Itool, results: Path) -> tuple[str, list[Content]]:
    """What was said, its lines joined, and the lines of the verdict file."""
    out = results.with_name("verdicts.jsonl")
    code, said, err = itool("eval", "score", SOLO, results, "--out", out)
    assert code == 0, err
    return " ".join(said.split()), [json.loads(line) for line in out.read_text("utf-8").splitlines()]


def test_pass_k_by_hand() -> None:
    # Of four tries three are right: 3/4 of all ones, 3 of the 6 pairs, 1 of the 4 triples, not all four.
    assert [pass_k(Tally(3, 4), k) for k in (1, 2, 3, 4)] == [0.75, 0.5, 0.25, 0.0]
    assert [pass_k(Tally(4, 4), 4), pass_k(Tally(0, 4), 1), pass_k(Tally(1, 1), 1)] == [1.0, 0.0, 1.0]
    verdicts = [*tries("a", True, True, True, False), *tries("b", False, False), *tries("c", True, True, True)]
    scores = summarise(SOLO, verdicts).scores
    assert [score.name for score in scores] == ["pass^1", "pass^2"], "a task that was tried twice has no pass^3"
    assert [score.value for score in scores] == [pytest.approx(1.75 / 3), pytest.approx(0.5)]
    assert {score.n for score in scores} == {3}
    assert scores[1].interval == wilson_of_mean([0.5, 0.0, 1.0], 9 / 2)
    assert "2 to 4 tries a task" in summarise(SOLO, verdicts).era
    (alone,) = summarise(SOLO, [*tries("a", True), *tries("b", False)]).scores
    assert (alone.name, alone.formula) == ("pass^1", "reward / tasks")
    assert alone.interval.low == pytest.approx(wilson(Tally(1, 2)).low)


def test_tries_at_one_task_are_no_independent_items() -> None:
    before = [v for i in range(10) for v in tries(f"t{i}", *[i < 4] * 4)]
    after = [v for i in range(10) for v in tries(f"t{i}", *[i < 7] * 4)]
    whole = all_items(before)
    assert (whole.value, whole.n) == (0.4, 40)
    assert whole.interval.low == pytest.approx(wilson(Tally(4, 10)).low)
    once = [verdict for verdict in before if not verdict.trial]
    assert share_interval(outcomes(once)) == wilson(Tally(4, 10))
    change = compare(outcomes(before), outcomes(after)).overall
    assert (change.n, change.fixed, change.difference) == (40, 12, 0.3)
    assert change.interval == clustered_difference([(4, 4 if 4 <= i < 7 else 0) for i in range(10)])


def test_rewards_and_pass_k_are_the_official_ones(content: Content, domain: Domain, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    with official_modules(unpacked(TAU2)):
        metrics = importlib.import_module("tau2.metrics.agent_metrics")
        path = written(tmp_path / "results.json", content)
        official = metrics.compute_metrics(metrics.Results.load(path)).pass_hat_ks
    found = score_simulations(path, domain, SoloScorer(domain, "base"))
    assert len(found.scored) == 120 and not found.rejects and not found.limits
    assert [one for one in found.scored if one.disagrees] == []
    scores = summarise(SOLO, found.verdicts).scores
    assert {score.name: pytest.approx(score.value) for score in scores} == {f"pass^{k}": v for k, v in official.items()}
    assert len(official) == 4 and 0 < official[4] < official[1] < 1
    for n in range(1, 6):
        for right in range(n + 1):
            for k in range(1, n + 1):
                assert pass_k(Tally(right, n), k) == metrics.pass_hat_k(n, right, k)


def test_a_file_is_scored_and_its_rewards_that_are_not_ours_named(
    itool: Itool, content: Content, tmp_path: Path
) -> None:
    several = deepcopy(content)
    right, wrong = (
        next(s for s in several["simulations"] if s["reward_info"]["reward"] == reward and s["messages"])
        for reward in (1.0, 0.0)
    )
    right["reward_info"]["reward"], wrong["reward_info"]["reward"] = 0.0, 1.0
    told = next(message for message in right["messages"] if message["role"] == "tool")
    told["content"] = "It is broken."
    several["simulations"][-1]["reward_info"] = None
    several["info"]["max_steps"] = 100
    said, lines = score(itool, written(tmp_path / "results.json", several))
    assert "117 of 119 simulations have the reward here that the file gives them; 1 have none there" in said
    assert f"{right['task_id']}, trial {right['trial']}: 1.0 here, 0.0 there; first to return something else" in said
    assert f"{wrong['task_id']}, trial {wrong['trial']}: 0.0 here (tau2:" in said and "1.0 there" in said
    assert "max_steps 100 there, 200 here" in said
    assert "4 tries a task" in said and "pass^4" in said and "pass^5" not in said
    assert len(lines) == 120 and lines[-1]["file_reward"] is None
    (line,) = [one for one in lines if one["id"] == right["task_id"] and one["trial"] == right["trial"]]
    assert (line["valid"], line["file_reward"], line["category"]) == (True, 0.0, "mobile_data_issue")
    verdicts = tmp_path / "verdicts.jsonl"
    assert {outcome.group for outcome in read_outcomes(verdicts)} == {line["id"] for line in lines}
    compared = " ".join(itool("eval", "compare", verdicts, verdicts)[1].split())
    assert "more often" not in compared and "the intervals count tasks" in compared


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.update(task_id="[mms_issue]x"), "task_id: '[mms_issue]x' is no task of the split"),
        (lambda s: s.update(task_id=["x"]), "task_id: ['x'] is no task"),
        (lambda s: s.update(trial=None), "trial: None, expected a number"),
        (lambda s: s.update(trial=True), "trial: True, expected a number"),
        (lambda s: s.update(trial=1), "trial: 1 of [mobile_data_issue]"),
        (lambda s: s.update(messages="x"), "messages: not a list of objects"),
        (lambda s: s["messages"][0].update(role="user"), "messages: message 0 is of 'user'"),
        (lambda s: s["messages"][0].update(tool_calls="x"), "messages: message 0: no list of calls"),
        (lambda s: s["messages"][0]["tool_calls"][0].update(arguments="{}"), "message 0: no list of calls"),
        (lambda s: s.update(reward_info={"reward": float("nan")}), "reward_info.reward: nan, expected a number"),
        (lambda s: s.update(reward_info={"reward": 10**400}), "reward_info.reward: 1000"),
    ],
)
def test_a_bad_simulation_is_named_and_the_rest_scored(
    itool: Itool, content: Content, tmp_path: Path, change: Callable[[Content], None], words: str
) -> None:
    few = deepcopy({**content, "simulations": [*content["simulations"][:4], 5]})
    change(few["simulations"][0])
    said, lines = score(itool, written(tmp_path / "results.json", few))
    assert "2 simulations cannot be scored" in said and words in said
    assert "results.json:5: simulation: a JSON int, expected an object" in said and len(lines) == 3


def test_another_task_of_the_same_name_is_not_scored(content: Content, domain: Domain, tmp_path: Path) -> None:
    few = deepcopy({**content, "simulations": content["simulations"][:4]})
    few["tasks"][0]["ticket"] = "Other words, which the reward does not rest on."
    scorer = SoloScorer(domain, "base")
    assert len(score_simulations(written(tmp_path / "a.json", few), domain, scorer).scored) == 4
    few["tasks"][0]["evaluation_criteria"]["env_assertions"].pop()
    found = score_simulations(written(tmp_path / "b.json", few), domain, scorer)
    assert not found.scored and {reject.field for reject in found.rejects} == {"tasks"}
    few["tasks"] = [{"id": ["odd"]}, 5]
    assert len(score_simulations(written(tmp_path / "c.json", few), domain, scorer).rejects) == 4


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"environment_info": {"domain_name": "airline"}}, "in the domain 'airline', which are not comparable"),
        ({"environment_info": {"domain_name": "telecom-workflow"}}, "in the domain 'telecom-workflow'"),
        ({"environment_info": None}, "in the domain None"),
        ({"agent_info": {"implementation": "llm_agent"}, "user_info": {"implementation": "user_simulator"}},
         "the agent 'llm_agent' with the user 'user_simulator', which are not comparable: solo runs alone"),
        ({"user_info": []}, "with the user None"),
    ],
)  # fmt: skip
def test_runs_of_another_kind_are_refused(
    itool: Itool, content: Content, tmp_path: Path, info: Content, words: str
) -> None:
    path = written(tmp_path / "results.json", {**content, "info": {**content["info"], **info}})
    one_line(itool("eval", "score", SOLO, path, "--out", tmp_path / "v.jsonl"), "results.json", words)


def test_what_is_no_result_file_is_refused(domain: Domain, tmp_path: Path) -> None:
    scorer = SoloScorer(domain, "base")
    (tmp_path / "a.pickle").write_bytes(pickle.dumps({"info": {}, "tasks": [], "simulations": []}))
    (tmp_path / "deep.json").write_text("[" * 100_000, "utf-8")
    written(tmp_path / "rows.json", [{"id": "simple_0"}])
    written(tmp_path / "part.json", {"info": {}, "tasks": []})
    for name, words in (
        ("a.pickle", "not JSON"),
        ("deep.json", "not JSON"),
        ("rows.json", "no result file of `tau2 run`"),
        ("part.json", "no result file of `tau2 run`"),
        ("absent.json", "cannot be read"),
    ):
        with pytest.raises(ItoolError, match=words):
            score_simulations(tmp_path / name, domain, scorer)


def test_quirks_are_those_of_bfcl(itool: Itool, tmp_path: Path) -> None:
    asked = ("eval", "score", SOLO, tmp_path / "r.json", "--out", tmp_path / "v.jsonl", "--report-quirks")
    one_line(itool(*asked), "--report-quirks goes with BFCL")
