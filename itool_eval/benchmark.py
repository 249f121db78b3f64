"""A benchmark in one form: items as conversations, who decides on them, and what every score of it rests on.

Left out: which benchmarks there are (`benchmarks.py`, and a `benchmark.py` of each), and holding the conversations
(`predict.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from itool_data.prompt import Asked, ToolStyle, prompt_messages
from itool_data.sample import Sample, Split
from itool_eval.bfcl.categories import SET_UP
from itool_eval.bfcl.memory import MemoryDriver
from itool_eval.bfcl.memory_stores import Memory
from itool_eval.bfcl.score_file import Scorer
from itool_eval.conversation import Conversation, Prompt

ONE_REPLY = "one reply an item"


class Contract(StrEnum):
    """Who writes a benchmark's prompts."""

    TEXT = "the benchmark's own text"
    TOOLS = "functions offered as tools"
    RUN = "the run's own prompt"


@dataclass(frozen=True)
class Question:
    """An item as a policy is asked it.

    Attributes:
        category: the item's category.
        id: its id.
        position: its place in its category, as an id can stand for two items.
        begin: opens a conversation about it.
    """

    category: str
    id: str
    position: int
    begin: Callable[[], Conversation] = field(compare=False)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that can be run.

    Attributes:
        name: as the tables record it.
        source: as `open_benchmark` takes it.
        scorers: who decides; no category is scored by two of them.
        questions: a category's items, in the data's order.
        data: where the items come from, with its version or hash.
        contract: who writes the prompts.
        functions: how those of the run's own show the functions, unless its form does that by itself.
        history: what a conversation keeps.
        split: which of the run's samples its items may be; items that are no samples of the run are `test`.
        halved: the categories whose items are never samples, but fall in halves as the samples do.
        on_request: the categories that are asked only where they are named, because the scores do without them.
        refused: the categories that are scored but cannot be asked, and why.
        memory: what holds the conversations of items that ask about a memory; None: no items do.
        memories: of these items, by back end and scenario, as far as they are filled.
        samples: of the run, where they are its items; `open_benchmark` takes them.
        trials: how often each item is tried.
        temperature: at which the replies are drawn; 0: greedily.
    """

    name: str
    source: str
    scorers: Sequence[Scorer]
    questions: Callable[[str], list[Question]]
    data: str
    contract: Contract
    functions: str = ""
    history: str = ONE_REPLY
    split: Split = "test"
    halved: Sequence[str] = ()
    on_request: Sequence[str] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    memory: MemoryDriver | None = None
    memories: Mapping[str, Memory] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    trials: int = 1
    temperature: float = 0.0

    @property
    def categories(self) -> list[str]:
        """All categories that can be asked, in the order in which they are."""
        return [c for scorer in self.scorers for c in scorer.categories if c not in self.refused]

    def scorer(self, category: str) -> Scorer:
        """Who decides on a category's results."""
        name = category.removesuffix(SET_UP)
        return next(scorer for scorer in self.scorers if name in scorer.categories)


def own_prompt(asked: Asked, tools: ToolStyle) -> Prompt:
    """A prompt in the form that the run trains and searches with."""
    return Prompt(prompt_messages(asked.messages, asked.tools, tools), asked=asked)


def shown_as(tools: ToolStyle) -> str:
    """How the run's own prompt shows functions, in words."""
    return f"functions as {tools}"
