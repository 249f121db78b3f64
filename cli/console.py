"""The console that commands print to: as wide as the terminal, and wide enough for tables where there is none.

It obeys no markup and no emoji codes, because what is printed often comes from a data set or a model; styles are given
apart.
"""

import sys

from rich.console import Console

PIPED_WIDTH = 160


def make_console() -> Console:
    """Return a console on standard output."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False, markup=False, emoji=False)


def visible(text: str, keep: str = "") -> str:
    """Text with a terminal's control codes and other unprintable characters shown as escapes, but for those to keep."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
