"""v4's memory: conversations that fill one, and questions about what was said in them (docs/bfcl.md §8.1).

A scenario's conversations come one after another, each with the memory that the one before left; its questions all come
with the last one's. What a conversation leaves is found by running its calls again, so its result is all that need be
kept. Left out: the back ends themselves (`memory_stores.py`), and the verdict (`agentic.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from itool_data.errors import ItoolError
from itool_eval.bfcl.categories import SET_UP, Version
from itool_eval.bfcl.decoded import DecodeError
from itool_eval.bfcl.items import read_sorted
from itool_eval.bfcl.memory_stores import BACK_ENDS, VECTOR, Memory, MemoryStores, class_of, memory_of
from itool_eval.bfcl.multi_turn_calls import call_texts
from itool_eval.bfcl.multi_turn_driver import form_of, hold
from itool_eval.bfcl.multi_turn_items import MultiTurnItem, function_docs
from itool_eval.bfcl.multi_turn_world import World
from itool_eval.bfcl.native import call_texts as native_call_texts
from itool_eval.bfcl.prompt import PromptContract
from itool_eval.conversation import Conversation, Message


@dataclass(frozen=True)
class MemoryItem:
    """A conversation that fills a memory, or a question about it.

    Attributes:
        id: the official id.
        category: the back end's category; with `SET_UP` where the conversation fills the memory.
        scenario: whose memory it is.
        turns: what the user says, as {role, content} messages per turn.
    """

    id: str
    category: str
    scenario: str
    turns: list[list[Message]]

    @property
    def back_end(self) -> str:
        """The category of the questions."""
        return self.category.removesuffix(SET_UP)

    @property
    def chain(self) -> str:
        """Back end and scenario, by which its memory is known."""
        return f"{self.back_end}/{self.scenario}"

    @property
    def sets_up(self) -> bool:
        """Whether it fills the memory."""
        return self.category.endswith(SET_UP)


def load_memory_items(data: Path, category: str) -> list[MemoryItem]:
    """Read a back end's questions, or the conversations that fill its memory, each scenario's in their order.

    Args:
        data: the folder `bfcl_eval/data` of v4's official wheel.
        category: a back end's, with `SET_UP` for the conversations.

    Raises:
        ItoolError: a file is absent or not what the wheel holds.
    """
    folder, back_end = data / "memory_prereq_conversation", category.removesuffix(SET_UP)
    files = (
        sorted(folder.glob("memory_*.json")) if category != back_end else [data / f"{Version.V4.prefix}_memory.json"]
    )
    if not files:
        raise ItoolError(f"{folder}: holds no conversations; fetch the wheel's data again")
    return [
        MemoryItem(row["id"].replace("memory", back_end), category, row["scenario"], row["question"])
        for file in files
        for row in read_sorted(file)
    ]


class MemoryDriver:
    """Holds memory's conversations, and says what they leave.

    Attributes:
        back_ends: those whose conversations can be held here.
        chains: by back end and scenario the conversations that fill that memory, in their order.
    """

    def __init__(self, data: Path, native_calls: bool = False) -> None:
        """Read the prompts and load the back ends.

        Args:
            data: the folder `bfcl_eval/data` of v4's official wheel.
            native_calls: the functions are offered as tools, to be called natively.

        Raises:
            ItoolError: the folder does not hold v4.
        """
        self._contract = PromptContract(data, Version.V4)
        self._form = form_of(self._contract, Version.V4, native_calls)
        self._native = native_calls
        self._stores = MemoryStores(data)
        self._documents = cache(lambda module: function_docs(data, module))
        self.back_ends = [name for name in (*BACK_ENDS, VECTOR) if class_of(name) in self._stores.by_class]
        self.chains: dict[str, list[MemoryItem]] = {}
        for back_end in self.back_ends:
            for item in load_memory_items(data, back_end + SET_UP):
                self.chains.setdefault(item.chain, []).append(item)

    def conversation(self, item: MemoryItem, memory: Memory) -> Conversation:
        """One conversation over a memory; its result is the replies of each turn."""
        world = self._world(item, memory)
        unified = item.back_end == "memory_rec_sum"
        content = _store(world)._dump_core_memory_to_context()
        system = self._contract.memory(item.scenario, unified, content)
        if not item.sets_up:
            system += "\n\n" + self._contract.final_answer
        first: list[Message] = [{"role": "system", "content": system}, *item.turns[0]]
        functions = self._documents(item.back_end)
        return hold(self._form, [first, *item.turns[1:]], functions, lambda: world, {})

    def after(self, item: MemoryItem, memory: Memory, result: object) -> Memory:
        """What a memory is after a conversation; one that broke off left it as it was, as officially."""
        if not isinstance(result, list):
            return memory
        world = self._world(item, memory)
        for reply in (reply for turn in result for reply in turn):
            try:
                calls = native_call_texts(reply) if self._native else call_texts(reply, Version.V4)
            except DecodeError:
                continue
            world.execute(calls)
        # As it comes out of the official file.
        left: Memory = json.loads(json.dumps(memory_of(_store(world))))
        return left

    def filled(self, chain: str, results: Mapping[str, object]) -> tuple[Memory, MemoryItem | None]:
        """A memory as the conversations that were held leave it, and the first that was not held.

        Args:
            chain: whose memory.
            results: of the conversations that were held, by their ids.
        """
        memory: Memory = {}
        for item in self.chains[chain]:
            if item.id not in results:
                return memory, item
            memory = self.after(item, memory, results[item.id])
        return memory, None

    def _world(self, item: MemoryItem, memory: Memory) -> World:
        name = class_of(item.back_end)
        as_item = MultiTurnItem(item.id, item.category, item.turns, {name: memory}, [name], {}, [])
        return World(as_item, "model", self._stores)


def chain_of(category: str, item_id: str) -> str | None:
    """Back end and scenario of an item's memory; None where it asks about none."""
    return f"{category}/{item_id.split('-')[1]}" if category in (*BACK_ENDS, VECTOR) else None


def _store(world: World) -> Any:
    (store,) = world.instances.values()
    return store
