"""A result file of tau2's own `tau2 run` -> verdicts on its simulations, beside the rewards that it gives them itself.

A simulation that cannot be scored is named and set aside, the rest goes on; a file whose runs are of another kind is
refused. Its calls are run again on our world, what it says they returned is not believed (docs/tau2.md §6). Left out:
what decides (`scorer.py`), and what the verdicts add up to (`aggregate.py`).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from itool_data.errors import ItoolError
from itool_data.sample import Reject
from itool_eval.bfcl.score_file import verdict_line
from itool_eval.conversation import NativeCalls
from itool_eval.tau2.domain import Domain
from itool_eval.tau2.scorer import SoloScorer
from itool_eval.tau2.simulation import MAX_ERRORS, MAX_REPLIES, Simulation
from itool_eval.tau2.tasks import category_of
from itool_eval.verdicts import Verdict

DOMAIN, AGENT, USER = "telecom", "llm_agent_solo", "dummy_user"
LIMITS = {"max_steps": 2 * MAX_REPLIES, "max_errors": MAX_ERRORS}
_CLOSE = 1e-6  # how close to 1 a reward has to be, officially


@dataclass(frozen=True)
class Simulated:
    """One simulation of a file.

    Attributes:
        verdict: ours, with the number of the trial.
        reward: the file's own; None: it has none.
        returned: the first call that returned something else here than in the file, as text; empty: none did.
    """

    verdict: Verdict
    reward: float | None
    returned: str = ""

    @property
    def disagrees(self) -> bool:
        """Whether the file's reward is not ours."""
        return self.reward is not None and (abs(self.reward - 1) <= _CLOSE) != self.verdict.valid


@dataclass
class Simulations:
    """What a file holds.

    Attributes:
        scored: in the file's order.
        rejects: what cannot be scored; the line is the simulation's place in the file.
        limits: those of the file's runs that are not ours, in words.
    """

    scored: list[Simulated] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)

    @property
    def verdicts(self) -> list[Verdict]:
        """All verdicts."""
        return [one.verdict for one in self.scored]


def score_simulations(path: Path, domain: Domain, scorer: SoloScorer) -> Simulations:
    """Score every simulation of a result file.

    Args:
        path: the file that `tau2 run` wrote.
        domain: of the tasks.
        scorer: of the split whose tasks are wanted.

    Raises:
        ItoolError: it is no such file, or its runs are not of solo agents in the telecom domain.
    """
    content = _read(path)
    info, tasks = content["info"], {str(t.get("id")): t for t in content["tasks"] if isinstance(t, dict)}
    _refuse_others(path, info)
    found, own, seen = Simulations(), dict[str, bool](), set[tuple[str, int]]()
    for name, ours in LIMITS.items():
        if info.get(name) != ours:
            found.limits.append(f"{name} {info.get(name)!r} there, {ours} here")
    for place, row in enumerate(content["simulations"], 1):
        try:
            task_id, trial = _which(row, scorer)
            if (task_id, trial) in seen:
                raise _BadSimulationError("trial", f"{trial} of {task_id} was there before")
            if task_id not in own:
                own[task_id] = domain.has(tasks.get(task_id))
            if not own[task_id]:
                raise _BadSimulationError("tasks", f"{task_id} is absent from the file's tasks, or another task here")
            found.scored.append(_score(row, task_id, trial, domain, scorer))
            seen.add((task_id, trial))
        except _BadSimulationError as error:
            found.rejects.append(Reject("tau2 results", path.name, place, error.field, error.reason))
    return found


def write_simulations(scored: Iterable[Simulated], out: Path) -> None:
    """Write verdicts as JSON lines, with `trial` and the file's own reward as `file_reward`."""
    with out.open("w", encoding="utf-8") as file:
        for one in scored:
            more = {"trial": one.verdict.trial, "file_reward": one.reward}
            file.write(json.dumps(verdict_line(one.verdict) | more) + "\n")


class _BadSimulationError(Exception):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ItoolError(f"{path}: cannot be read ({error.strerror}); give a result file of `tau2 run`") from error
    except (ValueError, RecursionError) as error:
        raise ItoolError(f"{path}: not JSON ({error}); give a result file of `tau2 run`") from error
    shape = {"info": dict, "tasks": list, "simulations": list}
    if not isinstance(content, dict) or not all(isinstance(content.get(name), kind) for name, kind in shape.items()):
        raise ItoolError(f"{path}: no result file of `tau2 run`, an object with {', '.join(shape)}")
    return content


def _refuse_others(path: Path, info: dict[str, Any]) -> None:
    """Refuse what is of another domain, or not solo."""
    domain, agent, user = (
        part.get(name) if isinstance(part := info.get(key), dict) else None
        for key, name in (
            ("environment_info", "domain_name"), ("agent_info", "implementation"), ("user_info", "implementation"),
        )
    )  # fmt: skip
    if domain != DOMAIN:
        raise ItoolError(f"{path}: runs in the domain {domain!r}, which are not comparable: {DOMAIN} alone is scored")
    if (agent, user) != (AGENT, USER):
        raise ItoolError(
            f"{path}: runs of the agent {agent!r} with the user {user!r}, which are not comparable: solo runs alone "
            f"({AGENT}, {USER}) are scored"
        )


def _which(row: object, scorer: SoloScorer) -> tuple[str, int]:
    """The task and the trial of a simulation."""
    if not isinstance(row, dict):
        raise _BadSimulationError("simulation", f"a JSON {type(row).__name__}, expected an object")
    task_id, trial = row.get("task_id"), row.get("trial")
    if not isinstance(task_id, str) or not scorer.copies(category_of(task_id), task_id):
        raise _BadSimulationError("task_id", f"{task_id!r} is no task of the split")
    if type(trial) is not int or trial < 0:
        raise _BadSimulationError("trial", f"{trial!r}, expected a number from 0")
    return task_id, trial


def _score(row: dict[str, Any], task_id: str, trial: int, domain: Domain, scorer: SoloScorer) -> Simulated:
    messages = row.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise _BadSimulationError("messages", "not a list of objects")
    reward = _reward(row.get("reward_info"))
    replies = [
        _reply(domain, message, i)
        for i, message in enumerate(messages)
        if message.get("role") not in ("system", "tool")
    ]
    verdict = scorer.score(category_of(task_id), task_id, [replies])
    one = Simulated(replace(verdict, trial=trial), reward)
    return replace(one, returned=_first_other(domain, task_id, replies, messages)) if one.disagrees else one


def _reward(info: object) -> float | None:
    if info is None:
        return None
    reward = info.get("reward") if isinstance(info, dict) else None
    if isinstance(reward, bool) or not isinstance(reward, int | float) or not 0 <= reward <= 1:
        raise _BadSimulationError("reward_info.reward", f"{reward!r}, expected a number from 0 to 1")
    return float(reward)


def _reply(domain: Domain, message: dict[str, Any], place: int) -> str | NativeCalls:
    """An agent's message as a reply in the form of results."""
    role, calls, content = message.get("role"), message.get("tool_calls"), message.get("content")
    if role != "assistant":
        raise _BadSimulationError("messages", f"message {place} is of {role!r}, which no solo run has")
    if calls is None:
        # What the official agent puts in the place of the call that ends it.
        ends = isinstance(content, str) and domain.stop_token in content
        return [{domain.stop_function: "{}"}] if ends else str(content or "")
    made: NativeCalls = []
    for call in calls if isinstance(calls, list) else [calls]:
        match call:
            case {"name": str(name), "arguments": dict(arguments)}:
                made.append({name: json.dumps(arguments)})
            case _:
                raise _BadSimulationError("messages", f"message {place}: no list of calls with name and arguments")
    return made


def _first_other(
    domain: Domain, task_id: str, replies: Sequence[str | NativeCalls], messages: Sequence[dict[str, Any]]
) -> str:
    """The first call, as text, that returns something else here than in a file."""
    simulation, there = Simulation(domain, domain.task(task_id)), [m for m in messages if m.get("role") == "tool"]
    called = 0
    for reply in replies:
        here = simulation.take(reply)
        for call, content in zip(reply, here, strict=False):
            if called >= len(there) or there[called].get("content") != content:
                return json.dumps(call)
            called += 1
        if simulation.end:
            break
    return ""
