"""Writes the pages that say what the code says: commands.md, configuration.md and tables.md.

`python docs/generate.py` (`make docs`) writes them; with `--check` it writes nothing and fails where one is stale, as
the tests do. Left out: every page that a person writes.
"""

import html
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from itool_data.config import Config
from itool_data.config_file import load_config
from itool_data.run import FREE
from itool_data.store.schema import LOG_TABLE, TABLES, Described

DOCS = Path(__file__).parent
MADE = "<!-- Made by docs/generate.py (`make docs`): change the code instead. -->\n"
SIGNS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))

CONFIGURATION = """# Settings

Settings are in YAML, one section a heading below: `mcts: {width: 4}`. A command takes them from `--config`, or from
the run's own `config.yaml`, and `--set mcts.width=4` changes one. A file may begin with `extends: OTHER.yaml`, whose
settings hold where it says nothing itself. What is left out has the default. `itool config show --explain` lists the
same for a given file or run.

The defaults are the paper's (tables 6, 7 and 9). *laptop* is what `configs/laptop.yaml`, for the embedded 135M model,
has in their place, and says why.

A run keeps to the settings that it was made with: a command with other ones in a section that something was already
made with is refused unless it is forced (`--force`). Settings marked ° say where, how fast or how much, not what, and
may change at any time.
"""

TABLES_PAGE = """# Tables

A run's tables are Delta tables under `RUN/tables`; `itool sql` asks them, and so does anything that reads Delta or
Parquet. Rows become visible by commits over several tables at once, which `itool log` lists; `--as-of N` asks the
tables as they were at one of them. JSON is stored as text (`messages->0->>'content'` reads it in SQL).
"""


def commands() -> str:
    """Every command and option, by Typer's own generator."""
    made = subprocess.run(
        [sys.executable, "-m", "typer", "itool_cli.main", "utils", "docs", "--name", "itool", "--title", "Commands"],
        capture_output=True,
        text=True,
        check=True,
    )
    return MADE + html.unescape(made.stdout).rstrip() + "\n"


def configuration() -> str:
    """Every setting, its default, its value on a laptop, what it may be and what it means."""
    default, laptop = Config(), load_config(DOCS.parent / "configs" / "laptop.yaml", [])
    parts = [MADE, CONFIGURATION]
    for name, field in Config.model_fields.items():
        section = getattr(default, name)
        if not hasattr(section, "model_dump"):
            parts.append(f"`{name}` (default: {_value(section)}): {field.description}.\n")
            continue
        rows = []
        for key, inner in type(section).model_fields.items():
            value, other = getattr(section, key), getattr(getattr(laptop, name), key)
            free = "°" if (name, key) in FREE else ""
            shown = _value(value), "" if other == value else _value(other), _kind(inner)
            rows.append((f"`{key}`{free}", *shown, inner.description or ""))
        parts.append(f"## {name}\n\n{type(section).__doc__}\n")
        parts.append(_table(("key", "default", "laptop", "kind", "meaning"), rows))
    return "\n".join(parts)


def tables() -> str:
    """Every table and column."""
    parts = [MADE, TABLES_PAGE]
    for name, table in {**TABLES, "log": LOG_TABLE}.items():
        parts.append(f"## {name}\n\nA row is {table.row}.\n\n{_columns(table)}")
    return "\n".join(parts)


def _columns(table: Described) -> str:
    rows = ((f"`{name}`", str(kind).replace("item: ", ""), what) for name, (kind, what) in table.columns.items())
    return _table(("column", "type", "meaning"), rows)


def _value(value: Any) -> str:
    if value is None or value in ("", []):
        return "empty"
    return f"`{', '.join(map(str, value)) if isinstance(value, list) else value}`"


def _kind(field: FieldInfo) -> str:
    """A setting's type and bounds in words; for a choice, what there is to choose from."""
    annotation = field.annotation
    if type(None) in (options := get_args(annotation)):
        annotation = options[0]
    choices = get_args(annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(f"`{choice}`" for choice in choices)
    name = str(annotation).replace("<class '", "").replace("'>", "").replace(" | None", "").replace("str", "text")
    bounds = [
        f"{sign} {getattr(bound, attribute):g}"
        for bound in field.metadata
        for kind, attribute, sign in SIGNS
        if isinstance(bound, kind)
    ]
    return " ".join([name, ", ".join(bounds)]).rstrip()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def main() -> None:
    """Write the pages, or with `--check` name those that are stale."""
    pages = {"commands.md": commands(), "configuration.md": configuration(), "tables.md": tables()}
    if "--check" in sys.argv[1:]:
        stale = [name for name, text in pages.items() if _read(DOCS / name) != text]
        if stale:
            sys.exit(f"stale: {', '.join(f'docs/{name}' for name in stale)}; `make docs` writes them anew")
        return
    for name, text in pages.items():
        (DOCS / name).write_text(text, encoding="utf-8")


def _read(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.is_file() else ""


if __name__ == "__main__":
    main()
