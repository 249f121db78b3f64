"""Outputs from a file or a folder of official result files -> verdicts, one line each in the same order.

A line that cannot be scored is named and set aside, the rest goes on. Left out: what decides (`single_turn.py`), and
what the verdicts add up to (`aggregate.py`).
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from itool_data.errors import ItoolError
from itool_data.sample import Reject
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.items import id_number
from itool_eval.errors import first_class
from itool_eval.verdicts import Verdict


class Scorer(Protocol):
    """What scores some categories of a benchmark version."""

    categories: list[str]

    def knows(self, category: str, item_id: str) -> bool:
        """Whether a category has an item."""
        ...

    def score(self, category: str, item_id: str, result: object) -> Verdict:
        """Decide on one result of a known item; raises ItoolError for one that cannot be scored."""
        ...


@dataclass
class Scored:
    """The verdicts on some outputs, in their order, and what was set aside."""

    verdicts: list[Verdict] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


@dataclass(frozen=True)
class _Line:
    file: Path
    number: int
    text: bytes
    # Official result files name their category, their lines do not.
    category: str | None = None


def score_results(results: Path, scorers: Iterable[Scorer], version: Version) -> Scored:
    """Score every output of a JSONL file or of a folder of official result files.

    Args:
        results: a file of lines {"id", "category", "result"}, or a folder that holds official result files
            (`BFCL_v3_<category>_result.json`, lines {"id", "result"}) of one model.
        scorers: who decides; each category goes to the first one that scores it.
        version: whose official files to read; those of other versions are left alone.

    Raises:
        ItoolError: there is nothing to read, or the folder holds two files of one category.
    """
    by_category: dict[str, Scorer] = {}
    for scorer in scorers:
        for category in scorer.categories:
            by_category.setdefault(category, scorer)
    scored = Scored()
    for line in _lines(results, version.prefix):
        if not line.text.strip():
            continue
        try:
            scored.verdicts.append(_score_line(line, by_category))
        except _BadLineError as error:
            scored.rejects.append(Reject("bfcl results", line.file.name, line.number, error.field, error.reason))
    return scored


def write_verdicts(verdicts: Iterable[Verdict], out: Path) -> None:
    """Write verdicts as JSON lines: id, category, valid, error_type, error_class, message."""
    with out.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(verdict_line(verdict)) + "\n" for verdict in verdicts)


def verdict_line(verdict: Verdict) -> dict[str, Any]:
    """One verdict as it is written."""
    return {
        "id": verdict.id,
        "category": verdict.category,
        "valid": verdict.valid,
        "error_type": verdict.error_type,
        "error_class": first_class(verdict),
        "message": verdict.message,
    }


def write_official_results(results: Iterable[tuple[str, str, Any]], folder: Path, prefix: str) -> list[Path]:
    """Write outputs as official result files, so that the official tool can grade them.

    Args:
        results: category, item id and result of each output.
        folder: where to; made if absent.
        prefix: how the version's files begin, e.g. `BFCL_v3`.

    Returns:
        The files written, one a category.
    """
    by_category: dict[str, list[tuple[str, Any]]] = {}
    for category, item_id, result in results:
        by_category.setdefault(category, []).append((item_id, result))
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for category, rows in by_category.items():
        rows.sort(key=lambda row: id_number(row[0]))
        path = folder / f"{prefix}_{category}_result.json"
        path.write_text("\n".join(json.dumps({"id": i, "result": r}) for i, r in rows), encoding="utf-8")
        files.append(path)
    return files


class _BadLineError(Exception):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


def _lines(results: Path, prefix: str) -> Iterator[_Line]:
    for file, category in _official_files(results, prefix) if results.is_dir() else [(results, None)]:
        try:
            with file.open("rb") as lines:
                for number, text in enumerate(lines, 1):
                    yield _Line(file, number, text, category)
        except OSError as error:
            raise ItoolError(f"{file}: cannot be read ({error.strerror}); give a JSONL file or a folder") from error


def _official_files(folder: Path, prefix: str) -> list[tuple[Path, str | None]]:
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob(f"{prefix}_*_result.json")):
        if name := re.fullmatch(rf"{prefix}_(\w+)_result\.json", file.name):
            if name[1] in found:
                raise ItoolError(
                    f"{folder}: {found[name[1]]} and {file} are both of {name[1]}; give one model's folder"
                )
            found[name[1]] = file
    if not found:
        raise ItoolError(f"{folder}: holds no official result file ({prefix}_<category>_result.json)")
    return [(file, category) for category, file in found.items()]


def _score_line(line: _Line, by_category: dict[str, Scorer]) -> Verdict:
    try:
        row = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        raise _BadLineError("line", f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise _BadLineError("line", f"a JSON {type(row).__name__}, expected an object")
    category = line.category or _text(row, "category")
    item_id = _text(row, "id")
    if "result" not in row:
        raise _BadLineError("result", "absent")
    if category not in by_category:
        raise _BadLineError("category", f"{category!r} is not one that is scored here ({', '.join(by_category)})")
    scorer = by_category[category]
    if not scorer.knows(category, item_id):
        raise _BadLineError("id", f"{category} has no item {item_id!r}")
    try:
        return scorer.score(category, item_id, row["result"])
    except ItoolError as error:
        raise _BadLineError("result", str(error)) from error


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise _BadLineError(name, f"{value!r}, expected a text" if name in row else "absent")
    return value
