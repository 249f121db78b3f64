"""The scorer of BFCL's multi-turn categories: turns of replies and an item's id -> a verdict (docs/bfcl.md §8).

The replies and the answer's calls run on simulators of their own, and after each turn that expects calls two things
must hold: both sides are in the same state, and the model has seen every result of this turn's answer so far. The first
turn that fails decides. Left out: how replies come about (`multi_turn_driver.py`), and what the official code has but
does not use (order of calls, calls where none is expected).
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from itool_data.errors import ItoolError
from itool_eval.bfcl import native
from itool_eval.bfcl.categories import CATEGORIES, Checker, Version
from itool_eval.bfcl.decode_python import decode
from itool_eval.bfcl.decoded import Call, DecodeError
from itool_eval.bfcl.multi_turn_calls import call_texts
from itool_eval.bfcl.multi_turn_items import MultiTurnItem, load_multi_turn_items
from itool_eval.bfcl.multi_turn_world import World
from itool_eval.bfcl.simulators import Simulators
from itool_eval.verdicts import Fault, Verdict


class MultiTurnScorer:
    """Scores conversations of one version's multi-turn items.

    Attributes:
        categories: the names of the categories that it scores.
    """

    def __init__(self, data: Path, version: Version, native_calls: bool = False) -> None:
        """Prepare the scorer; items and simulators are read when first needed.

        Args:
            data: the folder `bfcl_eval/data` of the official wheel of that version.
            version: the benchmark version.
            native_calls: replies are native calls, and a text is no call however it reads.
        """
        as_text = partial(call_texts, version=version), partial(_decode, version=version)
        self._texts: Callable[[object], list[str]] = native.call_texts if native_calls else as_text[0]
        self._decode: Callable[[object], list[Call]] = native.decode if native_calls else as_text[1]
        self.categories = [c.name for c in CATEGORIES[version].values() if c.checker is Checker.MULTI_TURN]
        self._items = cache(lambda name: {item.id: item for item in load_multi_turn_items(data, version, name)})
        self._simulators = cache(lambda: Simulators(data))

    def copies(self, category: str, item_id: str) -> int:
        """How many items of a category have an id; 0: it is not known."""
        return int(item_id in self._items(category))

    def score(self, category: str, item_id: str, result: object) -> Verdict:
        """Decide on one conversation of a known item: a list of turns, each a list of the replies' texts.

        Raises:
            ItoolError: a turn is nothing that holds replies; the official checker ends with an exception there.
        """
        item: MultiTurnItem = self._items(category)[item_id]
        fault = self._fault(item, result)
        return Verdict(item.id, item.category, (fault,) if fault else ())

    def calls(self, category: str, result: object) -> list[Call] | None:
        """The calls of all replies in their order, replies that are no calls left out; None if there are no replies."""
        if not isinstance(result, list):
            return None
        found: list[Call] = []
        for turn in result:
            for reply in turn:
                with suppress(DecodeError):
                    found += self._decode(reply)
        return found

    def _fault(self, item: MultiTurnItem, result: object) -> Fault | None:
        if not isinstance(result, list):
            return Fault("multi_turn:inference_error", f"a {type(result).__name__} instead of a list of turns")
        if len(result) != len(item.answers):
            message = f"{len(result)} turns of {len(item.answers)}: the conversation was ended early"
            return Fault("multi_turn:force_terminated", message)
        turns = [self._steps(turn, number) for number, turn in enumerate(result)]
        return check(item, turns, self._simulators())

    def _steps(self, turn: object, number: int) -> list[list[str]]:
        """The calls of each reply of a turn that is a list of calls; other replies are no step."""
        # Officially whatever can be looped over is a turn: a text by its characters, an object by its keys.
        if not isinstance(turn, list | str | dict):
            raise ItoolError(f"turn {number} is a {type(turn).__name__}; a turn is a list of replies")
        steps = []
        for reply in turn:
            with suppress(DecodeError):
                if calls := self._texts(reply):
                    steps.append(calls)
        return steps


def check(item: MultiTurnItem, turns: list[list[list[str]]], simulators: Simulators) -> Fault | None:
    """Run a conversation beside the answer and compare them turn by turn.

    Args:
        item: the conversation's item.
        turns: per turn of the answer the steps, each with the texts of its calls.
        simulators: the simulators; what instances share in a long context is shared by both sides, as officially.
    """
    if item.long_context:
        simulators.begin_long_context()
    model, answer = World(item, "model", simulators), World(item, "answer", simulators)
    seen: Counter[str] = Counter()
    for number, (steps, expected) in enumerate(zip(turns, item.answers, strict=True)):
        for step in steps:
            seen.update(model.execute(step))
        results = answer.execute(expected)
        if not expected:
            continue
        if not steps:
            return Fault("multi_turn:empty_turn_model_response", f"turn {number}: no reply is a call")
        if differing := [name for name in item.involved_classes if not _same_state(model, answer, name)]:
            message = f"turn {number}: {', '.join(differing)} in another state than after the expected calls"
            return Fault("multi_turn:instance_state_mismatch", message)
        if missing := Counter(results) - seen:
            message = f"turn {number}: results that never came up: {_shortened(list(missing))}"
            return Fault("multi_turn:execution_response_mismatch", message)
    return None


def _decode(reply: object, version: Version) -> list[Call]:
    if not isinstance(reply, str):
        raise DecodeError("not a text")
    return decode(reply, version)


def _same_state(model: World, answer: World, name: str) -> bool:
    """Whether an instance has the same public attributes on both sides."""
    state, expected = _public(model.instances[name]), _public(answer.instances[name])
    try:
        return all(attribute in state and state[attribute] == value for attribute, value in expected.items())
    except RecursionError:
        # A folder that a reply copied into itself; the official checker ends with this error.
        return False


def _public(instance: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(instance).items() if not name.startswith("_")}


def _shortened(results: list[str]) -> str:
    text = "; ".join(results)
    return text if len(text) <= 200 else text[:200] + "…"
