"""The inference loop of BFCL's multi-turn items: a policy in conversation with the simulators (docs/bfcl.md §3 and §8).

In a turn the policy replies until a reply is no list of calls; the calls of every other reply are run and their results
shown to it. Too many of these steps end the conversation. Left out: sampling settings and chat templates, which are the
policy's, and the verdict (`multi_turn_checker.py`).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from itool_data.sample import JSON
from itool_eval.bfcl import native
from itool_eval.bfcl.categories import Language, Version
from itool_eval.bfcl.decoded import DecodeError
from itool_eval.bfcl.multi_turn_calls import call_texts
from itool_eval.bfcl.multi_turn_items import MultiTurnItem, function_docs
from itool_eval.bfcl.multi_turn_world import World
from itool_eval.bfcl.prompt import PromptContract
from itool_eval.bfcl.simulators import Simulators
from itool_eval.conversation import Conversation, Message, Prompt, Said, Turns, native_message

# The conversation ends after the first step beyond these.
MAX_STEPS = 20
Function = dict[str, JSON]


class MultiTurnDriver:
    """Holds the conversations of one benchmark folder."""

    def __init__(self, data: Path, version: Version, native_calls: bool = False) -> None:
        """Read the prompts and load the simulators.

        Args:
            data: the folder `bfcl_eval/data` of the official wheel of that version.
            version: the benchmark version.
            native_calls: the functions are offered as tools, to be called natively.

        Raises:
            ItoolError: the folder does not hold that version.
        """
        self._documents = cache(lambda module: function_docs(data, module))
        contract = PromptContract(data, version)
        self._form = form_of(contract, version, native_calls)
        self._simulators = Simulators(data)

    def conversation(self, item: MultiTurnItem) -> Conversation:
        """One item's conversation; its result is the replies of each turn, as the official result files hold them.

        Any number of them can be under way at once. The result has fewer turns than the item where it was ended early.
        """
        functions, withheld = self._functions(item)
        # Made when the first call comes: most conversations of a weak model never need it.
        return hold(self._form, item.turns, functions, cache(lambda: self._world(item)), withheld)

    def _world(self, item: MultiTurnItem) -> World:
        """The simulators of one conversation; a copy, so that it shares nothing with the others under way."""
        if item.long_context:
            self._simulators.begin_long_context()
        return copy.deepcopy(World(item, "model", self._simulators))

    def _functions(self, item: MultiTurnItem) -> tuple[list[dict[str, JSON]], dict[int, list[dict[str, JSON]]]]:
        """The functions on offer from the start, and those that a later turn brings."""
        modules = [self._simulators.by_class[name].module for name in item.involved_classes]
        functions = {str(f["name"]): f for module in modules for f in self._documents(module)}
        withheld = {turn: [functions.pop(name) for name in names] for turn, names in item.missed_functions.items()}
        return list(functions.values()), withheld


def form_of(contract: PromptContract, version: Version, native_calls: bool) -> "_AsText | _Natively":
    """How functions are offered and called."""
    return (_Natively if native_calls else _AsText)(contract, version)


def hold(
    form: "_AsText | _Natively",
    said_by_user: Sequence[list[Message]],
    functions: list[Function],
    world: Callable[[], World],
    withheld: Mapping[int, list[Function]],
) -> Conversation:
    """Hold a conversation to its end, or until a turn has too many steps.

    Args:
        form: how functions are offered and called.
        said_by_user: the messages of each turn; none in a turn that brings functions.
        functions: on offer from the start.
        world: where calls are run.
        withheld: what a later turn brings.
    """
    added: list[Function] = []
    messages: list[Message] = []
    turns: Turns = []
    for number, turn in enumerate(said_by_user):
        if number in withheld:
            turn = [form.more_functions(withheld[number])]
        messages += turn if turns else form.first_messages(turn, functions)
        added = added + withheld.get(number, [])
        turns.append([])
        while len(turns[-1]) <= MAX_STEPS:
            said = yield Prompt(list(messages), form.tools(functions, added))
            turns[-1].append(said.result)
            reply = form.reply(said, len(messages))
            messages.append(reply)
            calls = form.calls(said)
            if not calls:
                break
            results = zip(calls, world().execute(calls), strict=True)
            messages += [form.returned(reply, i, call, result) for i, (call, result) in enumerate(results)]
        else:
            break
    return turns


class _AsText:
    """Functions in the system message; calls and what they return as text."""

    def __init__(self, contract: PromptContract, version: Version):
        self._contract = contract
        self._version = version

    def first_messages(self, turn: list[Message], functions: list[Function]) -> list[Message]:
        return self._contract.first_messages(turn, functions, Language.PYTHON)

    def more_functions(self, functions: list[Function]) -> Message:
        return self._contract.more_functions_message(functions)

    def tools(self, functions: list[Function], added: list[Function]) -> tuple[Function, ...]:
        return ()

    def reply(self, said: Said, step: int) -> Message:
        return {"role": "assistant", "content": said.text}

    def calls(self, said: Said) -> list[str]:
        """The calls of a reply; none where it ends the turn."""
        try:
            return call_texts(said.text, self._version)
        except DecodeError:
            return []

    def returned(self, reply: Message, index: int, call: str, result: str) -> Message:
        return {"role": "tool", "name": call, "content": result}


class _Natively:
    """Functions as tools; calls and what they return as OpenAI's messages hold them."""

    def __init__(self, contract: PromptContract, version: Version):
        self._contract = contract
        self._version = version

    def first_messages(self, turn: list[Message], functions: list[Function]) -> list[Message]:
        return list(turn)

    def more_functions(self, functions: list[Function]) -> Message:
        return {"role": "user", "content": self._contract.functions_added}

    def tools(self, functions: list[Function], added: list[Function]) -> tuple[Function, ...]:
        if self._version is Version.V3:
            return native.tools([*functions, *added], Language.PYTHON)
        # In v4 the documents that a turn brings name no language.
        return native.tools(functions, Language.PYTHON) + native.as_tools(added)

    def reply(self, said: Said, step: int) -> Message:
        if said.calls and not self.calls(said):
            # Nothing was called, and a server that reads arguments would refuse the rest of the conversation for them.
            written = "\n".join(f"{name}({arguments})" for name, arguments in said.calls)
            return {"role": "assistant", "content": f"{said.text}\n{written}".strip()}
        return native_message(said, step)

    def calls(self, said: Said) -> list[str]:
        """The calls of a reply; none where it ends the turn."""
        try:
            return native.call_texts(said.result)
        except DecodeError:
            return []

    def returned(self, reply: Message, index: int, call: str, result: str) -> Message:
        return {"role": "tool", "tool_call_id": reply["tool_calls"][index]["id"], "content": result}
