"""A study's points as a table and as a picture: scores with their 95 % intervals, one panel a score.

Left out: which points there are (`study.py`), and every number (`itool_eval`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from itool_data.errors import ItoolError

if TYPE_CHECKING:
    from rich.console import Console

    from itool_eval.summary import Score

FORMATS = (".png", ".svg")
COLUMNS = 3  # panels beside one another
PANEL = (5.4, 3.8)  # inches
DODGE = 0.012  # of the axis, between lines, so that their intervals do not cover each other


@dataclass(frozen=True)
class Point:
    """A policy's scores.

    Attributes:
        line: which line it is on.
        label: what it is called.
        x: where it stands.
        scores: by benchmark and score name, in the order shown.
    """

    line: str
    label: str
    x: float
    scores: dict[tuple[str, str], "Score"]


@dataclass(frozen=True)
class Chart:
    """A study's picture.

    Attributes:
        title: what it shows.
        x_label: of the horizontal axis, with its unit.
        points: line by line, each from left to right.
        joined: whether a line joins the points: not where their order means nothing.
        labels: where the points' labels stand: on the axis in place of numbers, or at the marks.
    """

    title: str
    x_label: str
    points: Sequence[Point]
    joined: bool = True
    labels: Literal["axis", "marks", "nowhere"] = "axis"


def check_output(path: Path) -> None:
    """Refuse a picture's name before hours are spent on it.

    Raises:
        ItoolError: if its ending is none of the formats'.
    """
    if path.suffix.lower() not in FORMATS:
        raise ItoolError(f"--output {path}: the picture's name must end in {' or '.join(FORMATS)}")


def show(console: "Console", chart: Chart) -> None:
    """Print the points, and say where they were not asked the same."""
    from rich.table import Table

    several = len({point.line for point in chart.points}) > 1
    columns = ["policy", "benchmark", "score", "%", "95 % interval", "n"]
    table = Table(*(["", *columns] if several else columns), title=chart.title)
    for point in chart.points:
        for (benchmark, name), score in point.scores.items():
            interval = f"{score.interval.low * 100:.1f} to {score.interval.high * 100:.1f}"
            cells = [point.label, benchmark, name, f"{score.value * 100:.1f}", interval, str(score.n)]
            table.add_row(*([point.line, *cells] if several else cells))
    console.print(table)
    for key in _panels(chart):
        sizes = sorted({point.scores[key].n for point in chart.points if key in point.scores})
        if len(sizes) > 1:
            console.print(
                f"warning: {' '.join(key)}: not all were asked the same items (n is {', '.join(map(str, sizes))}); "
                "`itool run --run DIR --from evaluate-0` asks a run what its settings say now"
            )


def draw(chart: Chart, path: Path) -> None:
    """Draw the points into a PNG or SVG file.

    Raises:
        ItoolError: if the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels = _panels(chart)
    columns = 2 if len(panels) == 4 else min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(PANEL[0] * columns + 0.6, PANEL[1] * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, key in zip(grid, panels, strict=False):
        _panel(axes, chart, key)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle(chart.title, fontsize=11)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context({"svg.fonttype": "none"}):  # text stays text, which can be searched and copied
            figure.savefig(path, dpi=160)
    except OSError as error:
        raise ItoolError(f"{path}: cannot write the picture: {error.strerror or error}") from None


def _panels(chart: Chart) -> list[tuple[str, str]]:
    return list(dict.fromkeys(key for point in chart.points for key in point.scores))


def _panel(axes: Any, chart: Chart, key: tuple[str, str]) -> None:
    lines = list(dict.fromkeys(point.line for point in chart.points))
    xs = [point.x for point in chart.points]
    width = (max(xs) - min(xs)) or 1.0
    for number, line in enumerate(lines):
        points = [point for point in chart.points if point.line == line and key in point.scores]
        scores = [point.scores[key] for point in points]
        values = [100 * score.value for score in scores]
        where = [point.x + (number - (len(lines) - 1) / 2) * DODGE * width for point in points]
        # A percentile interval can end a rounding error inside the value.
        below = [max(0.0, v - 100 * s.interval.low) for v, s in zip(values, scores, strict=True)]
        above = [max(0.0, 100 * s.interval.high - v) for v, s in zip(values, scores, strict=True)]
        style = "o-" if chart.joined else "o"
        axes.errorbar(where, values, yerr=[below, above], fmt=style, capsize=3, linewidth=1.5, label=line)
        # Beside the mark, where no interval passes; of two lines the left one's to the left.
        left = len(lines) > 1 and number % 2 == 0
        for position, (point, x, value) in enumerate(zip(points, where, values, strict=True)):
            marked = chart.labels == "marks"
            # Neighbours in time can be close; lines mostly rise, so what stands to the right stands lower.
            below_mark = position % 2 == 1 if marked else len(lines) > 1 and not left
            axes.annotate(
                f"{point.label}\n{value:.1f}" if marked else f"{value:.1f}", (x, value),
                (-6 if left else 6, -4 if below_mark else 4), textcoords="offset points", fontsize=8,
                ha="right" if left else "left", va="top" if below_mark else "bottom", color=f"C{number}",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
            )  # fmt: skip
    if chart.labels == "axis":
        names = {point.x: point.label for point in chart.points}
        axes.set_xticks(list(names), list(names.values()))
    axes.margins(x=0.18 if chart.labels == "marks" else 0.12)
    bottom, top = axes.get_ylim()
    axes.set_ylim(min(bottom, -0.04 * top), top)  # from 0, with room for its mark
    axes.set_title(" · ".join(key), fontsize=10)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel("right, % (95 % interval)")
    axes.grid(axis="y", alpha=0.3)
    if len(lines) > 1:
        axes.legend(fontsize=8)
