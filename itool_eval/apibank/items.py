"""API-Bank's level 1 and 2 samples with their prompts and gold calls (docs/apibank.md §1).

The published files hold 399 and 135 samples; 10 and 16 of them are asked twice, because a call that follows a call was
emitted both as the one's answer and as the other's. Left out: the dialogues' responses, which are no calls.
"""

from dataclasses import dataclass
from pathlib import Path

from itool_data.errors import ItoolError
from itool_data.sample import ToolCall
from itool_data.sources.apibank import REQUEST, read_call
from itool_data.sources.files import read_file
from itool_data.sources.rows import BadRowError, expect, get


@dataclass(frozen=True)
class Level:
    """A level's file, and how many samples it was published with, all and different ones."""

    file: str
    published: int
    different: int


LEVELS = {"level-1": Level("level-1-api.json", 399, 389), "level-2": Level("level-2-api.json", 135, 119)}


@dataclass(frozen=True)
class Item:
    """One sample.

    Attributes:
        id: the dialogue's file and the sample's number in it.
        category: `level-1` or `level-2`.
        instruction: the task, its format and the APIs on offer, as published.
        dialogue: the dialogue so far with its calls and their results, as published.
        gold: the expected call.
        repeated: whether the sample asks what the one before it asked.
    """

    id: str
    category: str
    instruction: str
    dialogue: str
    gold: ToolCall
    repeated: bool

    @property
    def messages(self) -> list[dict[str, str]]:
        """The published prompt: the instruction as system message, the dialogue as the user's."""
        return [{"role": "system", "content": self.instruction}, {"role": "user", "content": self.dialogue}]


def load_items(folder: Path, category: str) -> list[Item]:
    """Read the samples of one level, in the file's order.

    Raises:
        ItoolError: the file is absent, or a sample in it is not what was published.
    """
    path = folder / LEVELS[category].file
    items: list[Item] = []
    seen: set[tuple[str, str, str]] = set()
    for number, row in read_file(path):
        try:
            if isinstance(row, BadRowError):
                raise row
            row = expect(row, dict, "row")
            file, dialogue, expected = (get(row, key, str) for key in ("file", "input", "expected_output"))
            gold = read_call(expected.removeprefix(REQUEST).strip(), "expected_output")
            instruction, place = get(row, "instruction", str), get(row, "id", int)
        except BadRowError as bad:
            raise ItoolError(f"{path}: sample {number}: {bad}; download the file again") from None
        asked = (file, dialogue, expected)
        items.append(Item(f"{file}:{place}", category, instruction, dialogue, gold, asked in seen))
        seen.add(asked)
    return items
