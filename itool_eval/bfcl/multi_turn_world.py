"""The simulators of one side of a conversation, and the running of calls on them (docs/bfcl.md §8).

A call's text is rewritten, parsed and walked: only public methods of the simulators on offer are called, with literals
or the results of such calls. Nothing is evaluated. The rewriting is the official one and goes over the whole text, also
inside strings: a blank before a parenthesis vanishes, and a method's name before one gets its instance's name, which
differs between model and answer.

Deviations: the official runner calls `eval`, so that built-in functions and whatever a reply smuggles in are run; here
every name but the simulators' and `dict` is undefined. Calls that cost too much fail (`simulators.py`). Instances live
as long as their world, never across conversations.
"""

import ast
import copy
import inspect
import json
import re
import warnings
from functools import cache
from typing import Any, Protocol

from itool_eval.bfcl.multi_turn_items import MultiTurnItem
from itool_eval.bfcl.simulators import Simulator, limited_work, own_arithmetic, refuse_costly

# The benchmark's own block-list; it takes a simulator's method of such a name along.
BLOCKED = frozenset({"kill", "exit", "quit", "remove", "unlink", "popen", "Popen", "run"})
_NAME_BEFORE_PARENTHESIS = re.compile(r"\b([A-Za-z_]\w*+)\s*+(?=\()", re.ASCII)


class Classes(Protocol):
    """Simulators by the name of their class."""

    by_class: dict[str, Simulator]


class World:
    """The simulators' instances of one side, kept over all turns.

    Attributes:
        instances: the instances by the name of their class.
    """

    def __init__(self, item: MultiTurnItem, side: str, simulators: Classes) -> None:
        """Create the instances in the state in which the item begins.

        Args:
            item: the conversation.
            side: whose instances these are; part of the names that show in rewritten strings.
            simulators: where the instances come from.
        """
        self.instances: dict[str, Any] = {}
        self._by_name: dict[str, Any] = {}
        self._owners: dict[str, str] = {}
        for name in item.involved_classes:
            instance = simulators.by_class[name].create()
            # Those without a state have no scenario to load.
            if hasattr(instance, "_load_scenario"):
                scenario = copy.deepcopy(item.initial_config.get(name, {}))
                instance._load_scenario(scenario, long_context=item.long_context)
            instance_name = f"{side}_{item.id}_{name.lower()}_instance".replace("-", "_")
            self.instances[name] = self._by_name[instance_name] = instance
            self._owners |= dict.fromkeys(simulators.by_class[name].methods, instance_name)

    def execute(self, calls: list[str]) -> list[str]:
        """Run calls in their order; a call that fails gives the text of its error and the next one goes on."""
        return [self._result(call) for call in calls]

    def _result(self, call: str) -> str:
        try:
            call = _NAME_BEFORE_PARENTHESIS.sub(self._with_owner, call)
            _refuse_blocked(call)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                body = ast.parse(call, mode="eval").body
            with own_arithmetic():
                return _text(self._value(body))
        # A simulator may raise anything on odd arguments, and its message is the result that the model is shown.
        except Exception as error:  # noqa: BLE001
            return f"Error during execution: {error}"

    def _with_owner(self, name: re.Match[str]) -> str:
        owner = self._owners.get(name[1])
        return f"{owner}.{name[1]}" if owner else name[1]

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=method)) if (
                self._owners.get(method) == owner
            ):
                arguments = [self._value(a) for a in node.args]
                return _run(getattr(self._by_name[owner], method), arguments, self._keywords(node))
            # The one other function that replies use as a value, where it is as good as a literal.
            case ast.Call(func=ast.Name(id="dict"), args=[]):
                return self._keywords(node)
            case ast.Dict(keys=keys) if None not in keys:
                return {self._value(k): self._value(v) for k, v in zip(keys, node.values, strict=True) if k}
            case ast.Call() | ast.Name() | ast.Attribute():
                raise NameError(f"name {_root(node)!r} is not defined")
        try:
            return ast.literal_eval(node)
        except ValueError:
            # The message of literal_eval holds an address of memory, which differs from run to run.
            raise ValueError("an argument is not a literal") from None

    def _keywords(self, call: ast.Call) -> dict[str, Any]:
        if any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("arguments must have names")
        return {str(keyword.arg): self._value(keyword.value) for keyword in call.keywords}


def _refuse_blocked(call: str) -> None:
    parts = call.partition("(")[0].split(".")
    name = parts[1] if len(parts) > 1 else parts[0]
    if name in BLOCKED:
        raise ValueError(f"Function call {name} is not allowed.")


_signature = cache(inspect.signature)


def _run(method: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    try:
        bound = _signature(method.__func__).bind(method.__self__, *arguments, **keywords).arguments
    except TypeError:
        # Called below, to fail with Python's own message.
        bound = {}
    refuse_costly(bound)
    with limited_work():
        return method(*arguments, **keywords)


def _root(node: ast.expr) -> str:
    """The name that Python would look up first."""
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ast.unparse(node)


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is dict:
        try:
            return json.dumps(value)
        except (TypeError, ValueError, RecursionError):
            return str(value)
    return str(value)
