"""BFCL's multi-turn items with their answers and function documents, from the wheel's data (docs/bfcl.md §2, §8).

An item names simulators instead of carrying functions: their documents lie in files of their own. Left out: what the
simulators do (`simulators.py`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itool_data.errors import ItoolError
from itool_data.sample import JSON
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.items import read_sorted


@dataclass(frozen=True)
class MultiTurnItem:
    """One conversation.

    Attributes:
        id: the official id.
        category: the category's name.
        turns: what the user says, as {role, content} messages per turn; none in a turn that brings functions.
        initial_config: per simulator the state that it starts in.
        involved_classes: the simulators on offer.
        missed_functions: per turn the names of the functions that are not shown before it.
        answers: the expected calls of each turn, as Python text; none where nothing is expected.
    """

    id: str
    category: str
    turns: list[list[dict[str, str]]]
    initial_config: dict[str, Any]
    involved_classes: list[str]
    missed_functions: dict[int, list[str]]
    answers: list[list[str]]

    @property
    def long_context(self) -> bool:
        """Whether the simulators are to hold and return far more than the conversation needs."""
        return "long_context" in self.category


def load_multi_turn_items(data: Path, version: Version, category: str) -> list[MultiTurnItem]:
    """Read the items of one multi-turn category.

    Args:
        data: the folder `bfcl_eval/data` of the official wheel of that version.
        version: which version's files to read.
        category: the category's name.

    Raises:
        ItoolError: a file is absent or not what the wheel holds.
    """
    name = f"{version.prefix}_{category}.json"
    prompts, answers = read_sorted(data / name), read_sorted(data / "possible_answer" / name)
    if len(prompts) != len(answers):
        raise ItoolError(
            f"{data / name}: {len(prompts)} items but {len(answers)} answers; fetch the wheel's data again"
        )
    return [
        MultiTurnItem(
            p["id"],
            category,
            p["question"],
            p["initial_config"],
            p["involved_classes"],
            {int(turn): names for turn, names in p.get("missed_function", {}).items()},
            a["ground_truth"],
        )
        for p, a in zip(prompts, answers, strict=True)
    ]


def function_docs(data: Path, simulator: str) -> list[dict[str, JSON]]:
    """Read the documents of a simulator's functions.

    Args:
        data: the folder `bfcl_eval/data` of the official wheel.
        simulator: the file name of the simulator's module, without its ending.

    Raises:
        ItoolError: the file is absent or not what the wheel holds.
    """
    path = data / "multi_turn_func_doc" / f"{simulator}.json"
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise ItoolError(f"{path}: cannot be read as BFCL data ({error}); fetch the wheel's data again") from error
