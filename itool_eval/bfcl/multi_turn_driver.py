"""The inference loop of BFCL's multi-turn items: a policy in conversation with the simulators (spec sections 2 and 8).

In a turn the policy replies until a reply is no list of calls; the calls of every other reply are run and their results
shown to it. Too many of these steps end the conversation. Left out: sampling settings and chat templates, which are the
policy's, and the verdict (`multi_turn_checker.py`).
"""

from collections.abc import Callable, Generator
from pathlib import Path

from itool_data.sample import JSON
from itool_eval.bfcl.categories import Language
from itool_eval.bfcl.decoded import DecodeError
from itool_eval.bfcl.multi_turn_calls import call_texts
from itool_eval.bfcl.multi_turn_items import MultiTurnItem, function_docs
from itool_eval.bfcl.multi_turn_world import World
from itool_eval.bfcl.prompt import PromptContract
from itool_eval.bfcl.simulators import Simulators

Message = dict[str, str]
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
        self._data = data
        self._contract = PromptContract(data)
        self._simulators = Simulators(data)

    def converse(self, item: MultiTurnItem, generate: Callable[[list[Message]], str]) -> list[list[str]]:
        """Hold one conversation.

        Args:
            item: the conversation's item.
            generate: the policy: all messages so far, with roles system, user, assistant and tool, to the next reply.

        Returns:
            The replies of each turn, as the official result files hold them; fewer turns than the item has where the
            conversation was ended early.
        """
        conversation = self.conversation(item)
        try:
            messages = next(conversation)
            while True:
                messages = conversation.send(generate(messages))
        except StopIteration as end:
            turns: list[list[str]] = end.value
            return turns

    def conversation(self, item: MultiTurnItem) -> Generator[list[Message], str, list[list[str]]]:
        """One conversation as a generator, so that a caller can hold many side by side and batch their replies.

        Yields all messages so far, is sent the next reply, and returns what `converse` does.
        """
        self._simulators.begin_conversation()
        world = World(item, "model", self._simulators)
        functions, withheld = self._functions(item)
        messages: list[Message] = []
        turns: list[list[str]] = []
        for number, turn in enumerate(item.turns):
            if number in withheld:
                turn = [self._contract.more_functions_message(withheld[number])]
            messages += turn if turns else self._contract.first_messages(turn, functions, Language.PYTHON)
            turns.append([])
            while len(turns[-1]) <= MAX_STEPS:
                reply = yield list(messages)
                turns[-1].append(reply)
                messages.append({"role": "assistant", "content": reply})
                calls = _calls(reply)
                if not calls:
                    break
                messages += [
                    {"role": "tool", "name": call, "content": result}
                    for call, result in zip(calls, world.execute(calls), strict=True)
                ]
            else:
                break
        return turns

    def _functions(self, item: MultiTurnItem) -> tuple[list[dict[str, JSON]], dict[int, list[dict[str, JSON]]]]:
        """The functions on offer from the start, and those that a later turn brings."""
        modules = [self._simulators.by_class[name].module for name in item.involved_classes]
        functions = {str(f["name"]): f for module in modules for f in function_docs(self._data, module)}
        withheld = {turn: [functions.pop(name) for name in names] for turn, names in item.missed_functions.items()}
        return list(functions.values()), withheld


def _calls(reply: str) -> list[str]:
    """The calls of a reply; none where it ends the turn."""
    try:
        return call_texts(reply)
    except DecodeError:
        return []
