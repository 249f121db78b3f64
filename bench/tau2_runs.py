"""Runs of tau2's telecom tasks to compare evaluations on: the tasks' own solutions, and these cut and damaged.

A run is {"task", "kind", "replies"}, a reply [text, [[name, arguments as JSON text], ...]]. Which ones there are
depends on the seed alone.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from itool_eval.tau2.domain import Domain

Reply = tuple[str, list[tuple[str, str]]]
Action = tuple[str, dict[str, Any]]

DONE: Reply = ("", [("done", "{}")])
# Real values of the domain's data, and odd ones.
VALUES = [
    "C1001", "C1002", "L1001", "L1002", "B1001", "B1234321", "P1001", "D1001", "555-123-2002", "John Smith",
    "1985-06-15", "messaging", "browser", "sms", "storage", "Storage", "2g_only", "4g_5g_preferred", "5g", "internet",
    "", "✈️", "2.0", 2, 2.0, -1, 0, 1e308, True, None, [], {}, {"apn_name": "broken"}, {"mms_port": "x"},
    {"apn_name": "internet", "mmsc_url": None}, [[["deep"]]],
]  # fmt: skip
TEXTS = ["", "I will look at that.", "Done. ###STOP###", "###STOP###"]
# Arguments that no call can have, or that the official code stumbles over.
ODD = [
    "",
    "null",
    "[]",
    '"x"',
    "{",
    "{'a': 1}",
    '{"a": NaN}',
    '{"self": 1}',
    '{"tool_name": "done"}',
    '{"requestor": "user"}',
]
READS = [
    ("get_details_by_id", {"id": "C1001"}), ("get_customer_by_phone", {"phone_number": "555-123-2002"}),
    ("get_bills_for_customer", {"customer_id": "C1001"}),
    ("get_data_usage", {"customer_id": "C1001", "line_id": "L1002"}),
    ("check_network_status", {}), ("run_speed_test", {}), ("can_send_mms", {}), ("check_vpn_status", {}),
    ("check_app_permissions", {"app_name": "messaging"}), ("check_payment_request", {}),
]  # fmt: skip


def calls(actions: Sequence[Action]) -> list[tuple[str, str]]:
    """Actions as a reply's calls."""
    return [(name, json.dumps(arguments)) for name, arguments in actions]


def one_by_one(actions: Sequence[Action]) -> list[Reply]:
    """A reply an action."""
    return [("", calls([action])) for action in actions]


def runs(domain: Domain, task_ids: Sequence[str], a_task: int, seed: int = 42) -> Iterator[dict[str, Any]]:
    """Each task's own solution, and so many changes of it.

    Args:
        domain: of the tasks.
        task_ids: whose runs.
        a_task: how many changed ones of each.
        seed: of the changes.
    """
    names = [(tool["function"]["name"], list(tool["function"]["parameters"]["properties"])) for tool in domain.tools]
    for task_id in task_ids:
        random_ = random.Random(f"{seed}/{task_id}")
        solution = [(a.name, a.arguments) for a in domain.task(task_id).evaluation_criteria.actions]
        yield {"task": task_id, "kind": "solution", "replies": [*one_by_one(solution), DONE]}
        kinds = random_.sample(list(CHANGES), k=min(a_task, len(CHANGES)))
        for kind in kinds + random_.choices(list(CHANGES), k=a_task - len(kinds)):
            replies = CHANGES[kind](random_, list(solution), names)
            yield {"task": task_id, "kind": kind, "replies": replies}


def _call_of(random_: random.Random, names: list[tuple[str, list[str]]]) -> Action:
    """Any function, with any values."""
    name, parameters = random_.choice(names[:-1])
    return name, {parameter: random_.choice(VALUES) for parameter in parameters if random_.random() < 0.95}


def _cut(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    return [*one_by_one(actions[: random_.randrange(len(actions))]), DONE]


def _without_one(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    del actions[random_.randrange(len(actions))]
    return [*one_by_one(actions), DONE]


def _one_twice(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    actions.insert(random_.randrange(len(actions) + 1), random_.choice(actions))
    return [*one_by_one(actions), DONE]


def _other_order(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    random_.shuffle(actions)
    return [*one_by_one(actions), DONE]


def _together(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    return [("" if random_.random() < 0.7 else "Now.", calls(actions)), DONE]


def _with_reads(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    for _ in range(random_.randint(1, 6)):
        actions.insert(random_.randrange(len(actions) + 1), random_.choice(READS))
    return [*one_by_one(actions), DONE]


def _with_anything(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    for _ in range(random_.randint(1, 8)):
        actions.insert(random_.randrange(len(actions) + 1), _call_of(random_, names))
    return [*one_by_one(actions), DONE]


def _other_arguments(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    i = random_.randrange(len(actions))
    name, arguments = actions[i]
    changed = {k: random_.choice(VALUES) for k in arguments} or {random_.choice(["x", "mode", "id"]): 1}
    actions[i] = (name, {**arguments, random_.choice(list(changed)): random_.choice(VALUES)})
    return [*one_by_one(actions), DONE]


def _no_such_tool(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    wrong = random_.choice(["toggle", "db", "turn_data_on", "set_data_usage", "_toggle_data", "", "calculate"])
    replies = [*one_by_one(actions), DONE]
    replies.insert(random_.randrange(len(actions) + 1), ("", [(wrong, "{}")]))
    return replies


def _odd_arguments(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    replies = [*one_by_one(actions), DONE]
    replies.insert(random_.randrange(len(actions) + 1), ("", [(random_.choice(names)[0], random_.choice(ODD))]))
    return replies


def _text(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    replies = [*one_by_one(actions), DONE]
    i = random_.randrange(len(replies))
    replies[i] = (random_.choice(TEXTS), replies[i][1] if random_.random() < 0.6 else [])
    return replies


def _done_beside(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    last = actions[-random_.randint(1, len(actions)) :]
    beside = [*calls(last), ("done", random_.choice(["{}", '{"reason": "ok"}']))]
    random_.shuffle(beside)
    return [*one_by_one(actions[: -len(last)]), (random_.choice(TEXTS), beside)]


def _never_done(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    return one_by_one(actions)


def _many_errors(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    wrong = [("resume_line", {"customer_id": "C1001", "line_id": "L9"})] * random_.randint(7, 12)
    replies = one_by_one(wrong) if random_.random() < 0.5 else [("", calls(wrong))]
    return [*replies, *one_by_one(actions), DONE]


def _too_long(random_: random.Random, actions: list[Action], names: Any) -> list[Reply]:
    steps = random_.choice([97, 98, 99, 100, 101, 110]) - len(actions)
    return [*one_by_one(actions), *one_by_one([("check_status_bar", {})] * steps), DONE]


CHANGES: dict[str, Callable[[random.Random, list[Action], Any], list[Reply]]] = {
    "cut": _cut,
    "without one": _without_one,
    "one twice": _one_twice,
    "other order": _other_order,
    "together": _together,
    "with reads": _with_reads,
    "with anything": _with_anything,
    "other arguments": _other_arguments,
    "no such tool": _no_such_tool,
    "odd arguments": _odd_arguments,
    "text": _text,
    "done beside calls": _done_beside,
    "never done": _never_done,
    "many errors": _many_errors,
    "too long": _too_long,
}
