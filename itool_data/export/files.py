"""How exported files are written: JSON lines, settings as YAML, and the paths that they are found by."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

import yaml

from itool_data.errors import ItoolError


def json_text(value: Any) -> str:
    """A value as JSON on one line; what readers must not merge with other rows' values is written so."""
    return json.dumps(value, ensure_ascii=False)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines."""
    with writing(path) as stream:
        stream.writelines(f"{json_text(row)}\n" for row in rows)


def write_settings(path: Path, settings: Mapping[str, Any], comment: str) -> None:
    """Write a trainer's settings, with a comment before them."""
    with writing(path) as stream:
        stream.write(f"# {comment}\n{yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)}")


def writing(path: Path) -> TextIO:
    """A text file to write.

    Raises:
        ItoolError: it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise ItoolError(f"{path}: cannot write: {error.strerror}") from None
