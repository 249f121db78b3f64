"""What a conversation is worth, by the official evaluation of solo runs (docs/tau2.md §4).

The calls are run once more on a new world, where they must return what they returned; then the task's assertions are
asked of it, its data are compared with those after the task's own actions, and the calls with these actions. The reward
is 1 if all of that holds which the task's reward rests on. Left out: what is said to a user, and judges; no task of the
domain rests on them.
"""

import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from itool_eval.tau2.domain import Domain
from itool_eval.tau2.simulation import End, Simulation
from itool_eval.verdicts import Fault


@dataclass(frozen=True)
class Outcome:
    """What holds at the end, whether the reward rests on it or not.

    Attributes:
        database: the data of company and phone are those after the task's own actions.
        assertions: the task's assertions as text, and whether each holds.
        actions: the task's own actions as text, and whether each was done.
    """

    database: bool
    assertions: tuple[tuple[str, bool], ...]
    actions: tuple[tuple[str, bool], ...]


def faults(domain: Domain, task: Any, simulation: Simulation) -> list[Fault]:
    """Why the reward is 0; none: it is 1.

    Args:
        domain: of the task.
        task: the official task.
        simulation: gone through to the end of the replies.
    """
    match simulation.end:
        case None:
            return [Fault("tau2:unfinished", "the replies end before the conversation does")]
        case End.STOPPED:
            pass
        case end:
            return [Fault(f"tau2:{end}", "the conversation did not come to its end")]
    try:
        outcome = evaluate(domain, task, simulation)
    # Odd arguments leave a world that fails when it is asked; the official evaluation ends there, and gives nothing.
    except Exception as error:  # noqa: BLE001
        return [Fault("tau2:evaluation_error", f"the official evaluation fails: {error}")]
    found = {
        "DB": [] if outcome.database else [Fault("tau2:database", "other data than after the task's own actions")],
        "ENV_ASSERTION": [
            Fault("tau2:env_assertion", f"{text} does not hold") for text, holds in outcome.assertions if not holds
        ],
        "ACTION": [Fault("tau2:action", f"{text} was not done") for text, done in outcome.actions if not done],
    }
    return [fault for basis in task.evaluation_criteria.reward_basis for fault in found[basis.value]]


def evaluate(domain: Domain, task: Any, simulation: Simulation) -> Outcome:
    """Ask the world that the calls lead to.

    Raises:
        Exception: whatever the official world raises, above all where a call returns something else the second time.
    """
    criteria = task.evaluation_criteria
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # data that arguments have spoilt are written down with one
        world = domain.environment(task, simulation.trajectory)
        database = _hashes(world) == _hashes(_world_of_actions(domain, task))
        assertions = [
            (_text(a.func_name, a.arguments), world.run_env_assertion(a, False)) for a in criteria.env_assertions
        ]
    calls = [call for message in simulation.trajectory for call in getattr(message, "tool_calls", None) or ()]
    actions = [
        (_text(action.name, action.arguments), any(action.compare_with_tool_call(call) for call in calls))
        for action in criteria.actions
    ]
    return Outcome(database, tuple(assertions), tuple(actions))


def _world_of_actions(domain: Domain, task: Any) -> Any:
    """The world after the task's own actions, where the user's are the user's."""
    world = domain.environment(task, solo=False)
    for action in task.evaluation_criteria.actions:
        with suppress(Exception):  # one that fails is passed over, as officially
            world.make_tool_call(action.name, action.requestor, **action.arguments)
    return world


def _hashes(world: Any) -> tuple[str, str]:
    return world.get_db_hash(), world.get_user_db_hash()


def _text(name: str, arguments: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
