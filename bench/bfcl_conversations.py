"""Conversations of BFCL v4 to try two checkers with: right ones, damaged ones, cut ones, and ones of odd shapes.

A right conversation gives an item's expected calls with all arguments named, one reply a turn or one a call. From it
come the others: calls left out, repeated, moved or with another value, replies that are cut or dressed as models dress
them (`bfcl_habits.py`), turns that are missing or no turns at all; all of them as text and as native calls.
"""

import ast
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.bfcl_habits import dressed, reshaped
from itool_eval.bfcl.categories import CATEGORIES, Checker, Version
from itool_eval.bfcl.decode_python import decode
from itool_eval.bfcl.decoded import DecodeError
from itool_eval.bfcl.multi_turn_items import MultiTurnItem, function_docs, load_multi_turn_items
from itool_eval.bfcl.simulators import Simulators

_VALUES = (
    "''", "0", "None", "True", "[]", "{}", "{'a': {}}", "{'a': 1}", "'x (y)'", "'/'", "1e400", "-1", "f(a=1)", "a",
)  # fmt: skip
_NATIVE_VALUES: tuple[Any, ...] = ("", 0, None, True, [], {}, {"a": {}}, "x (y)", "/", -1, 1e400)
_ODD_STEPS: tuple[Any, ...] = (
    {"ls": "{}"}, {"ls": {}}, [{"ls": {}}], [{"ls": "{}", "pwd": "{}"}], [{}], [[]], [None], ["ls()"], {}, None, 0, "",
    [{"ls": "[]"}], [{"ls": "{"}], [{"ls": None}], [{"ls": "5"}],
    [{"ls": '{"a": 1' + "0" * 5000 + "}"}], [{"ls": {"a": True}}], "ls()", "[ls()]", True, 1.5,
)  # fmt: skip


def conversations(data: Path, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield every right conversation as text and natively, then so many others of each kind."""
    draw = random.Random(seed)
    names = [c.name for c in CATEGORIES[Version.V4].values() if c.checker is Checker.MULTI_TURN]
    items = {name: load_multi_turn_items(data, Version.V4, name) for name in names}
    named = _Namer(data)
    right = {
        item.id: [[named(call, item) for call in turn] for turn in item.answers]
        for of_category in items.values()
        for item in of_category
    }
    for name in names:
        for item in items[name]:
            for native in (False, True):
                for one_by_one in (False, True):
                    yield _row(item, _written(right[item.id], one_by_one, native), native)
    for number in range(count):
        item = draw.choice(items[names[number % len(names)]])
        for native in (False, True):
            turns = _damaged(right[item.id], draw)
            result: Any = _written(turns, draw.random() < 0.5, native)
            for _ in range(draw.choice((0, 1, 1, 2))):
                result = reshaped(result, draw)
            yield _row(item, _odd_replies(result, native, draw), native)


def _row(item: MultiTurnItem, result: Any, native: bool) -> dict[str, Any]:
    return {"id": item.id, "category": item.category, "result": result, "native": native}


class _Namer:
    """Gives positional arguments of expected calls the names of the functions' documents."""

    def __init__(self, data: Path):
        simulators = Simulators(data).by_class
        self._parameters = {
            (name, document["name"]): list(document["parameters"]["properties"])
            for name, simulator in simulators.items()
            for document in function_docs(data, simulator.module)
        }

    def __call__(self, call: str, item: MultiTurnItem) -> str:
        node = ast.parse(call, mode="eval").body
        assert isinstance(node, ast.Call)
        if node.args:
            function = ast.unparse(node.func)
            known = (self._parameters.get((name, function)) for name in item.involved_classes)
            names = next(filter(None, known))
            named = [ast.keyword(n, value) for n, value in zip(names, node.args, strict=False)]
            node.args, node.keywords = [], [*named, *node.keywords]
        return ast.unparse(node)


def _written(turns: list[list[str]], one_by_one: bool, native: bool) -> list[list[Any]]:
    """Turns of calls as turns of replies."""
    written = []
    for turn in turns:
        groups = [[call] for call in turn] if one_by_one else [turn] if turn else []
        written.append([_native(group) if native else f"[{', '.join(group)}]" for group in groups] + ["Done."])
    return written


def _native(calls: list[str]) -> Any:
    try:
        return [{call.name: json.dumps(call.arguments)} for call in decode(f"[{', '.join(calls)}]", Version.V4)]
    except (DecodeError, TypeError, ValueError):
        return [{"f": "{"}]


def _damaged(turns: list[list[str]], draw: random.Random) -> list[list[str]]:
    """Calls left out, repeated, moved, or with another value."""
    turns = [list(turn) for turn in turns]
    for _ in range(draw.choice((0, 1, 1, 2))):
        turn = draw.choice(turns)
        if not turn:
            turn += draw.choice(turns)[:1]
            continue
        at = draw.randrange(len(turn))
        match draw.randrange(6):
            case 0:
                del turn[at]
            case 1:
                turn.insert(at, turn[at])
            case 2:
                turn.reverse()
            case 3:
                draw.choice(turns).append(turn.pop(at))
            case 4:
                turn[at] = _other_value(turn[at], draw)
            case _:
                turn[at:] = []
    return turns


def _other_value(call: str, draw: random.Random) -> str:
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call)
    if node.keywords and draw.random() < 0.8:
        draw.choice(node.keywords).value = ast.parse(draw.choice(_VALUES), mode="eval").body
    else:
        node.keywords.append(ast.keyword(draw.choice(("a", "path", "x")), ast.Constant(1)))
    return ast.unparse(node)


def _odd_replies(result: Any, native: bool, draw: random.Random) -> Any:
    """Some replies cut, dressed or replaced."""
    if not isinstance(result, list) or draw.random() < 0.3:
        return result
    return [[_odd(reply, native, draw) for reply in turn] if isinstance(turn, list) else turn for turn in result]


def _odd(reply: Any, native: bool, draw: random.Random) -> Any:
    chance = draw.random()
    if chance < 0.85:
        return reply
    if chance < 0.9:
        return draw.choice(_ODD_STEPS)
    if native and isinstance(reply, list) and reply and isinstance(reply[0], dict):
        call = dict(draw.choice([r for r in reply if isinstance(r, dict)]))
        for name, arguments in call.items():
            if isinstance(arguments, str) and draw.random() < 0.5:
                call[name] = arguments[: draw.randint(0, len(arguments))]
            elif isinstance(arguments, str):
                call[name] = json.dumps({**_loaded(arguments), "a": draw.choice(_NATIVE_VALUES)})
        return [call]
    if isinstance(reply, str):
        return dressed(reply, draw) if draw.random() < 0.7 else reply[: draw.randint(0, len(reply))]
    return reply


def _loaded(text: str) -> dict[str, Any]:
    try:
        loaded = json.loads(text)
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
