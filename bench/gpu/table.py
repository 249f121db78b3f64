"""What steps held of a device's memory beside what was estimated, as a table in Markdown.

Left out: all other figures of the steps, which their lines have.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

HEADS = (
    "device", "work", "tokens or pairs a second", "utilisation", "held, GiB", "estimated, GiB", "estimated / held",
)  # fmt: skip
ESTIMATED = "_gib_estimated"


def memory_table(lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A row for each piece of work whose memory was estimated; nothing if there is none.

    Args:
        lines: of steps.
    """
    rows = [row for line in lines for row in _rows(line)]
    if rows:
        yield from ("| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS), *rows)


def _rows(line: Mapping[str, Any]) -> Iterator[str]:
    for name in line:
        work = name.removesuffix(ESTIMATED)
        if work == name:
            continue
        rate = line.get(f"{work}_tokens", line.get(f"{work}_pairs"))
        rest = (line.get(f"{work}_{figure}") for figure in ("utilisation", "gib", "gib_estimated", "gib_ratio"))
        cells = (line["device"], work.replace("_", " "), *(_said(figure) for figure in (rate, *rest)))
        yield "| " + " | ".join(cells) + " |"


def _said(figure: float | None) -> str:
    """A figure; nothing where none was measured."""
    return "" if figure is None else f"{figure:,.2f}"
