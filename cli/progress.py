"""Progress with rate and time left: a live bar in a terminal, a line now and then elsewhere (logs, CI)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

LINE_SECONDS = 10.0  # between lines where there is no terminal


class Meter:
    """One job's progress.

    Args:
        console: where to show it.
        title: what is done.
        unit: what is counted.
    """

    def __init__(self, console: Console, title: str, unit: str):
        self._console = console
        self._title = title
        self._unit = unit
        self._started = self._shown = time.monotonic()
        self._first: int | None = None
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=console,
            )
            self._task = self._bar.add_task(title, total=None, note="")

    def update(self, done: int, total: int, note: str = "", share: float = 0.0) -> None:
        """Show that `done` of `total` are done (total 0: not known).

        The first call's `done` is where a resumed job starts; the rate counts from there. Where units finish late and
        together, `share` says how much of the work is behind (0: not known), and the time left follows it.
        """
        now = time.monotonic()
        if self._first is None:
            self._first = done
        rate = (done - self._first) / max(now - self._started, 1e-9)
        seconds_left = (total - done) / rate if rate and total else None
        if share:
            seconds_left = (now - self._started) * (1 - share) / share
        left = f", {duration(seconds_left)} left" if seconds_left is not None else ""
        pace = f"{rate:.1f} {self._unit}/s" if rate >= 1 else f"{rate * 60:.1f} {self._unit}/min"
        text = f"{pace}{left}" + (f", {note}" if note else "")
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total or None, note=text)
        elif now - self._shown >= LINE_SECONDS or (total and done == total):
            self._shown = now
            self._console.print(
                f"{self._title}: {done}{f'/{total}' if total else ''} {self._unit}, {text}", highlight=False
            )

    @contextmanager
    def live(self) -> Iterator["Meter"]:
        """Show the bar while the job runs."""
        if self._bar is None:
            yield self
        else:
            with self._bar:
                yield self


def duration(seconds: float) -> str:
    """Seconds as `45s`, `3m 20s` or `2h 05m`."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
