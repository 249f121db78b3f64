"""The console that commands print to: as wide as the terminal, and wide enough for tables where there is none."""

import sys

from rich.console import Console

PIPED_WIDTH = 160


def make_console() -> Console:
    """Return a console on standard output."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)
