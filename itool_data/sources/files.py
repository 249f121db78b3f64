"""The rows of a file, in whatever form a file of JSON values has.

One value a line, one array, values printed over several lines, gzip, UTF-8 with or without a byte order mark, UTF-16:
told from what is in the file, not from its name. Lines are read one at a time, everything else whole. A line that is no
JSON is a bad row, and the others go on. Left out: what a row means (the other files of this folder), and forms that are
not JSON.
"""

import codecs
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import IO

from itool_data.errors import ItoolError
from itool_data.sources.rows import BadRowError, NumberedRow, kind_of, no_constant, parse_json

SUFFIXES = (".jsonl", ".json", ".ndjson", ".jsonl.gz", ".json.gz", ".ndjson.gz")
GZIP = b"\x1f\x8b"
# UTF-32 begins as UTF-16 does, and nobody writes it.
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_rows(path: str) -> bool:
    """Whether a file's name says that it has rows."""
    return path.lower().endswith(SUFFIXES)


def stem(path: str) -> str:
    """A file's name without its folder and without what says its form."""
    name = Path(path).name
    end = next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(end)]


def read_file(path: Path) -> Iterator[NumberedRow]:
    """Yield the rows of a file: numbered by line where each has one of its own, else from 1.

    Raises:
        ItoolError: the file cannot be read, has another suffix, or holds one value that is no list of rows.
    """
    if not is_rows(path.name):
        raise ItoolError(f"{path}: cannot read the suffix {path.suffix!r}; give a .jsonl or a .json file (.gz too)")
    try:
        with _opened(path) as raw:
            yield from _rows(path, raw)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ItoolError(f"{path}: cannot read the data set: {reason}; check the path") from error


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
    return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]


def _rows(path: Path, raw: IO[bytes]) -> Iterator[NumberedRow]:
    begins = raw.read(2)
    raw.seek(0)
    if begins in UTF16:
        try:
            raw = BytesIO(raw.read().decode("utf-16").encode())
        except UnicodeDecodeError as error:
            raise ItoolError(f"{path}: invalid UTF-16 at byte {error.start}; write it as UTF-8") from error
    before: list[bytes] = []
    for line in raw:
        before.append(line)
        if line.strip():
            break
    if before and isinstance(_parsed(before[-1]), dict):
        yield from _by_line(chain(before, raw))
        return
    text = b"".join(chain(before, raw))
    values = _printed(text)
    if isinstance(values, BadRowError):
        rows = list(_by_line(BytesIO(text)))
        if not any(isinstance(row, dict) for _, row in rows):
            raise ItoolError(f"{path}: expected JSON rows, {values.reason}; write one object a line, or one array")
        yield from rows
    elif len(values) == 1 and isinstance(values[0], list):
        yield from enumerate(values[0], 1)
    elif len(values) == 1 and not isinstance(values[0], dict):
        raise ItoolError(f"{path}: expected rows, found {kind_of(values[0])}; give an object a row")
    else:
        yield from enumerate(values, 1)


def _by_line(lines: Iterable[bytes]) -> Iterator[NumberedRow]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, _parsed(line)


def _printed(raw: bytes) -> list[object] | BadRowError:
    """The JSON values of a text, one after the other, each over as many lines as it likes; or why it is not that.

    A list among several values is rows too: some write an array a line.
    """
    try:
        text = raw.decode("utf-8-sig")
        decoder, position, values = json.JSONDecoder(parse_constant=no_constant), 0, []
        while (position := _next(text, position)) < len(text):
            value, position = decoder.raw_decode(text, position)
            values.append(value)
    except UnicodeDecodeError as error:
        return BadRowError("row", f"invalid UTF-8 at byte {error.start}")
    except ValueError as error:
        return BadRowError("row", f"invalid JSON: {error}")
    except RecursionError:
        return BadRowError("row", "nested too deeply")
    if len(values) > 1:
        return [row for value in values for row in (value if isinstance(value, list) else [value])]
    return values


def _next(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def read_lines(path: Path) -> Iterator[NumberedRow]:
    """Yield the rows of a file with one JSON value a line, numbered by line; blank lines are passed over.

    Raises:
        ItoolError: the file cannot be read.
    """
    try:
        with path.open("rb") as lines:
            yield from _by_line(lines)
    except OSError as error:
        raise ItoolError(f"{path}: cannot read the data set: {error.strerror}; check the path") from error


def _parsed(raw: bytes) -> object:
    try:
        return parse_json(raw.decode("utf-8-sig"), "row")
    except UnicodeDecodeError as error:
        return BadRowError("row", f"invalid UTF-8 at byte {error.start}")
    except BadRowError as bad:
        return bad
    except RecursionError:
        return BadRowError("row", "nested too deeply")
