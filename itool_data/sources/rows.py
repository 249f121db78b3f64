"""Rows of a data set to samples: reading, checking and setting bad rows aside.

A source gives a `RowReader`, a generator over one row that yields a Sample, a Note of what it left out, or a
BadRowError for one turn of it, and raises BadRowError where the whole row is lost. `convert` runs it over all rows and
names what is bad. Left out: the forms of files (`files.py`), what a row of any one data set looks like (the other files
of this folder) and how tools are normalised (`tools.py`).
"""

import ast
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, TypeVar

from itool_data.errors import ItoolError, first_line
from itool_data.sample import JSON, Item, Note, Reject, Sample

T = TypeVar("T")


class BadRowError(Exception):
    """Why a row, or one turn of it, is set aside: the field and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


NumberedRow = tuple[int, JSON | BadRowError]
RowReader = Callable[[dict[str, JSON], int], Iterator[Sample | Note | BadRowError]]


def convert(source: str, file: str, rows: Iterable[NumberedRow], read_row: RowReader) -> Iterator[Item]:
    """Yield the samples and notes of all rows in order, and a Reject for each bad row or turn."""
    for line, row in rows:
        try:
            if isinstance(row, BadRowError):
                raise row
            for item in read_row(expect(row, dict, "row"), line):
                bad = _unstorable(item) if isinstance(item, Sample) else item
                if isinstance(bad, BadRowError):
                    yield Reject(source, file, line, bad.field, bad.reason)
                elif not isinstance(item, BadRowError):
                    yield item
        except BadRowError as bad:
            yield Reject(source, file, line, bad.field, bad.reason)
        except RecursionError:
            yield Reject(source, file, line, "row", "nested too deeply")


def unused_columns(row: dict[str, JSON], known: frozenset[str]) -> Iterator[Note]:
    """A note of every column that nothing is done with; those that only other rows fill say nothing."""
    for name, value in row.items():
        if name not in known and value is not None:
            yield Note(f"column {name!r} is not used")


def read_hub(name: str, split: str) -> Iterator[NumberedRow]:
    """Yield the rows of a Hugging Face data set, numbered from 1.

    Raises:
        ItoolError: the data set cannot be had: no network, no such name or split, or access not granted.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    try:
        rows = load_dataset(name, split=split)
    # The Hub client reports its failures as any of these; ValueError is an unknown split, RuntimeError a script.
    except (DatasetsError, HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        reason = first_line(error)
        raise ItoolError(
            f"cannot load the data set {name} (split {split}) from the Hugging Face Hub: {reason}; check the name and "
            "the network, accept its terms on its page and run hf auth login if it is gated, or give a local file"
        ) from error
    yield from enumerate(rows, 1)


def expect(value: JSON, kind: type[T], field: str) -> T:
    """Return the value if it has the type.

    Raises:
        BadRowError: it has not.
    """
    if not isinstance(value, kind):
        raise BadRowError(field, f"expected {kind_of(kind())}, found {kind_of(value)}")
    return value


def get(row: dict[str, JSON], key: str, kind: type[T], inside: str = "") -> T:
    """Return `row[key]` if it is there and has the type; `inside` is where the row itself lies.

    Raises:
        BadRowError: it is missing or of another type.
    """
    field = f"{inside}.{key}" if inside else key
    if key not in row:
        raise BadRowError(field, "missing")
    return expect(row[key], kind, field)


def parse_json(text: str, field: str) -> JSON:
    """Parse JSON text.

    Raises:
        BadRowError: the text is no JSON.
    """
    try:
        return json.loads(text, parse_constant=no_constant)
    except ValueError as error:
        raise BadRowError(field, f"invalid JSON: {error}") from error


def json_list(value: JSON, field: str) -> list[JSON]:
    """A list, which may be JSON text; missing, null and empty ones are none.

    Raises:
        BadRowError: it is something else.
    """
    if isinstance(value, str) and value.strip():
        value = parse_json(value, field)
    return expect(value or [], list, field)


def parse_literal(text: str, field: str) -> JSON:
    """Parse a Python literal (nothing is evaluated) into a JSON value.

    Raises:
        BadRowError: the text is no literal, or holds what JSON cannot (a set, bytes, a complex number).
    """
    try:
        # By way of JSON text, so that tuples become lists and anything else that is not JSON is found.
        return json.loads(json.dumps(ast.literal_eval(text.strip()), allow_nan=False))
    except (ValueError, SyntaxError, TypeError, MemoryError) as error:
        raise BadRowError(field, f"not a Python literal of JSON values: {text.strip()[:60]!r}") from error


def _unstorable(sample: Sample) -> BadRowError | None:
    """Say why a sample could not be written as UTF-8 JSON text: tables hold nothing else."""
    try:
        json.dumps(vars(sample), ensure_ascii=False, allow_nan=False, default=_parts).encode()
    except UnicodeEncodeError:
        return BadRowError("row", "an unpaired surrogate is no text")
    except (ValueError, TypeError) as error:
        return BadRowError("row", f"a value that JSON cannot hold: {error}")
    return None


def _parts(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else vars(value)


def no_constant(name: str) -> NoReturn:
    """What a JSON parser calls for NaN and infinity."""
    raise ValueError(f"{name} is no JSON value")


def kind_of(value: JSON) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
