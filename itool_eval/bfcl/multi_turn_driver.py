"""The inference loop of BFCL's multi-turn items: a policy in conversation with the simulators (docs/bfcl.md §3 and §8).

In a turn the policy replies until a reply is no list of calls; the calls of every other reply are run and their results
shown to it. Too many of these steps end the conversation. Left out: sampling settings and chat templates, which are the
policy's, and the verdict (`multi_turn_checker.py`).
"""

import copy
from functools import cache
from pathlib import Path

from itool_data.sample import JSON
from itool_eval.bfcl.categories import Language, Version
from itool_eval.bfcl.decoded import DecodeError
from itool_eval.bfcl.multi_turn_calls import call_texts
from itool_eval.bfcl.multi_turn_items import MultiTurnItem, function_docs
from itool_eval.bfcl.multi_turn_world import World
from itool_eval.bfcl.prompt import PromptContract
from itool_eval.bfcl.simulators import Simulators
from itool_eval.conversation import Conversation, Message, Prompt, Turns

# The conversation ends after the first step beyond these.
MAX_STEPS = 20


class MultiTurnDriver:
    """Holds the conversations of one benchmark folder."""

    def __init__(self, data: Path) -> None:
        """Read the prompts and load the simulators.

        Args:
            data: the folder `bfcl_eval/data` of the official wheel.

        Raises:
            ItoolError: the folder does not hold v3.
        """
        self._documents = cache(lambda module: function_docs(data, module))
        self._contract = PromptContract(data, Version.V3)
        self._simulators = Simulators(data)

    def conversation(self, item: MultiTurnItem) -> Conversation:
        """One item's conversation; its result is the replies of each turn, as the official result files hold them.

        Any number of them can be under way at once. The result has fewer turns than the item where it was ended early.
        """
        # Made when the first call comes: most conversations of a weak model never need it.
        world = cache(lambda: self._world(item))
        functions, withheld = self._functions(item)
        messages: list[Message] = []
        turns: Turns = []
        for number, turn in enumerate(item.turns):
            if number in withheld:
                turn = [self._contract.more_functions_message(withheld[number])]
            messages += turn if turns else self._contract.first_messages(turn, functions, Language.PYTHON)
            turns.append([])
            while len(turns[-1]) <= MAX_STEPS:
                reply = (yield Prompt(list(messages))).text
                turns[-1].append(reply)
                messages.append({"role": "assistant", "content": reply})
                calls = _calls(reply)
                if not calls:
                    break
                messages += [
                    {"role": "tool", "name": call, "content": result}
                    for call, result in zip(calls, world().execute(calls), strict=True)
                ]
            else:
                break
        return turns

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


def _calls(reply: str) -> list[str]:
    """The calls of a reply; none where it ends the turn."""
    try:
        return call_texts(reply)
    except DecodeError:
        return []
