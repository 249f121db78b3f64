"""BFCL's single-turn items with their accepted answers, read from the official wheel's data folder (docs/bfcl.md §2).

Prompts and answers are each sorted by the number after the id's last `_` and then paired by position, as the official
runner does; a repeated id stays two items. Left out: multi-turn items (`multi_turn_items.py`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itool_data.assets import BFCL_V3, BFCL_V4, bfcl_data
from itool_data.errors import ItoolError
from itool_data.sample import JSON
from itool_eval.bfcl.categories import CATEGORIES, Version

# {parameter: accepted values}; "" among the values means that the parameter may be left out.
Answer = dict[str, Any]
_WHEELS = {Version.V3: BFCL_V3, Version.V4: BFCL_V4}


@dataclass(frozen=True)
class Item:
    """One test case.

    Attributes:
        id: the official id; some releases of the data hold one id twice.
        category: the category's name.
        turns: what the user asks, as {role, content} messages per turn.
        functions: the function documents on offer.
        answers: per expected call its name and the accepted values of each parameter; empty for (ir)relevance.
    """

    id: str
    category: str
    turns: list[list[dict[str, str]]]
    functions: list[dict[str, JSON]]
    answers: tuple[tuple[str, Answer], ...] = ()


def id_number(item_id: str) -> int:
    """The number by which official files are sorted: after the last `_` before a `:`, up to the first `-`."""
    return int(item_id.partition(":")[0].rpartition("_")[2].partition("-")[0])


def data_folder(version: Version) -> Path:
    """The folder `bfcl_eval/data` of a version's official wheel, fetched on the first call.

    Raises:
        ItoolError: it cannot be had.
    """
    return bfcl_data(_WHEELS[version])


def data_version(version: Version) -> str:
    """The wheel that a version's items come from, such as `bfcl-eval 2025.8.6.2`."""
    wheel = _WHEELS[version]
    return f"{wheel.name} {wheel.version}"


def load_items(data: Path, version: Version, category: str) -> list[Item]:
    """Read the items of one single-turn category.

    Args:
        data: the folder `bfcl_eval/data` of the official wheel.
        version: which version's files to read.
        category: a name of `CATEGORIES[version]`.

    Raises:
        ItoolError: a file is absent or not what the wheel of that version holds.
    """
    name = f"{version.prefix}_{category}.json"
    prompts = read_sorted(data / name)
    if not CATEGORIES[version][category].has_answers:
        return [Item(p["id"], category, p["question"], p["function"]) for p in prompts]
    answers = read_sorted(data / "possible_answer" / name)
    if len(prompts) != len(answers):
        raise ItoolError(
            f"{data / name}: {len(prompts)} items but {len(answers)} answers; fetch the wheel's data again"
        )
    return [
        Item(
            p["id"],
            category,
            p["question"],
            p["function"],
            tuple(pair for g in a["ground_truth"] for pair in g.items()),
        )
        for p, a in zip(prompts, answers, strict=True)
    ]


def read_sorted(path: Path) -> list[dict[str, Any]]:
    """Read one file of the data, sorted as the official runner sorts it.

    Raises:
        ItoolError: it is absent or not BFCL data.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return sorted(rows, key=lambda row: id_number(row["id"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ItoolError(f"{path}: cannot be read as BFCL data ({error}); fetch the wheel's data again") from error
