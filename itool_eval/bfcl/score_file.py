"""Outputs from a file or a folder of official result files -> verdicts, one line each in the same order.

A line that cannot be scored is named and set aside, the rest goes on. With the verdicts comes what a score over them
would hide: results in a form that is not read here, and ids that come too often. Left out: what decides
(`single_turn.py`), and what the verdicts add up to (`aggregate.py`).
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from itool_data.errors import ItoolError
from itool_data.sample import Reject
from itool_eval.bfcl.categories import CATEGORIES, SET_UP, Checker, Version
from itool_eval.bfcl.forms import other_form
from itool_eval.bfcl.items import id_number
from itool_eval.errors import first_class
from itool_eval.verdicts import Verdict


class Scorer(Protocol):
    """What scores some categories of a benchmark version."""

    categories: list[str]

    def copies(self, category: str, item_id: str) -> int:
        """How many items of a category have an id; 0: it is not known."""
        ...

    def score(self, category: str, item_id: str, result: object) -> Verdict:
        """Decide on one result of a known item; raises ItoolError for one that cannot be scored."""
        ...

    def calls(self, category: str, result: object) -> Sequence[Any] | None:
        """The calls (name and arguments each) that a result makes, None if it cannot be read."""
        ...


@dataclass
class Scored:
    """The verdicts on some outputs, in their order, and what is the matter with the outputs.

    Attributes:
        verdicts: one an output.
        rejects: lines that cannot be scored.
        forms: how many results make their calls in which form that is not read; they are wrong, or abstain, by the
            rules, though the official handler of their model may read them.
        comparable: whether most results, of those where a call is wanted, are in the form that is read.
        repeated: how often an id comes that comes more often than the data has it, by category and id.
    """

    verdicts: list[Verdict] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    forms: Counter[str] = field(default_factory=Counter)
    comparable: bool = True
    repeated: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Line:
    file: Path
    number: int
    text: bytes
    # Official result files name their category, their lines do not.
    category: str | None = None


def score_results(results: Path, scorers: Iterable[Scorer], version: Version, native_calls: bool = False) -> Scored:
    """Score every output of a JSONL file or of a folder of official result files.

    Args:
        results: a file of lines {"id", "category", "result"}, an official result file
            (`BFCL_v3_<category>_result.json`, lines {"id", "result"}), or a folder that holds some of one model.
        scorers: who decides; each category goes to the first one that scores it.
        version: whose official files to read; those of other versions in a folder are left alone.
        native_calls: the scorers read native calls, not calls as text.

    Raises:
        ItoolError: there is nothing to read, it is of another version, or the folder holds two files of one category.
    """
    by_category: dict[str, Scorer] = {}
    for scorer in scorers:
        for category in scorer.categories:
            by_category.setdefault(category, scorer)
    scored = Scored()
    # All results and those in another form, each by whether a call is wanted there.
    results_by, unread_by = Counter[bool](), Counter[bool]()
    for line in _lines(results, version.prefix):
        if not line.text.strip():
            continue
        try:
            verdict, result = _score_line(line, by_category)
        except _BadLineError as error:
            scored.rejects.append(Reject("bfcl results", line.file.name, line.number, error.field, error.reason))
            continue
        scored.verdicts.append(verdict)
        checker = CATEGORIES[version][verdict.category].checker
        # Whether a reply is in its form is what is asked there; and an agentic conversation ends in a text.
        if checker in (Checker.FORMS, Checker.AGENTIC):
            continue
        wants_call = checker is not Checker.IRRELEVANCE
        results_by[wants_call] += 1
        form = other_form(result, native_calls)
        if form and not by_category[verdict.category].calls(verdict.category, result):
            scored.forms[form] += 1
            unread_by[wants_call] += 1
    wanted = results_by[True] > 0  # where no call is wanted at all, all results decide
    scored.comparable = 2 * unread_by[wanted] <= results_by[wanted]
    times = Counter((verdict.category, verdict.id) for verdict in scored.verdicts)
    scored.repeated = {(c, i): n for (c, i), n in times.items() if n > by_category[c].copies(c, i)}
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


_OFFICIAL = re.compile(r"(?P<prefix>BFCL_v\d+)_(?P<category>\w+?)_result")


class _BadLineError(Exception):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


def _lines(results: Path, prefix: str) -> Iterator[_Line]:
    found = _official_files(results, prefix) if results.is_dir() else [(results, _category_of(results, prefix))]
    for file, category in found:
        try:
            with file.open("rb") as lines:
                for number, text in enumerate(lines, 1):
                    yield _Line(file, number, text, category)
        except OSError as error:
            raise ItoolError(f"{file}: cannot be read ({error.strerror}); give a JSONL file or a folder") from error


def _category_of(file: Path, prefix: str) -> str | None:
    """The category in an official result file's name; None for a file of another name."""
    name = _OFFICIAL.search(file.name)
    if name and name["prefix"] != prefix:
        raise ItoolError(
            f"{file}: a result file of {name['prefix']}, not of {prefix}; score it by that version's rules"
        )
    return name["category"] if name else None


def _official_files(folder: Path, prefix: str) -> list[tuple[Path, str | None]]:
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob(f"{prefix}_*_result.json")):
        name = re.fullmatch(rf"{prefix}_(\w+)_result\.json", file.name)
        # Conversations that fill a memory are in files of their own; nothing scores them.
        if name and not name[1].endswith(SET_UP):
            if name[1] in found:
                raise ItoolError(
                    f"{folder}: {found[name[1]]} and {file} are both of {name[1]}; give one model's folder"
                )
            found[name[1]] = file
    if not found:
        raise ItoolError(f"{folder}: holds no official result file ({prefix}_<category>_result.json)")
    return [(file, category) for category, file in found.items()]


def _score_line(line: _Line, by_category: dict[str, Scorer]) -> tuple[Verdict, object]:
    """The verdict on a line, and its result."""
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
    if not scorer.copies(category, item_id):
        raise _BadLineError("id", f"{category} has no item {item_id!r}")
    try:
        return scorer.score(category, item_id, row["result"]), row["result"]
    except ItoolError as error:
        raise _BadLineError("result", str(error)) from error


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise _BadLineError(name, f"{value!r}, expected a text" if name in row else "absent")
    return value
