"""Pictures of results, as PNG or SVG by the file's ending.

Paper Figure 3 for a run's policies. Left out: every number, which `itool_eval` computes.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from itool_data.errors import ItoolError
from itool_eval.errors import ErrorClass, ErrorTable, error_table
from itool_eval.predictions import SEVERAL_TURNS, Evaluated

ENDINGS = (".png", ".svg")
# Okabe and Ito's colours, which stay apart for every kind of colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
WIDTH = 9.0  # inches
BAR = 0.24  # inches that a bar is high
LEGEND = 0.6  # inches from the axis down to the legend
EDGE = 0.12  # inches of white around
DOTS = 150  # per inch


def error_classes(evaluated: Sequence[Evaluated]) -> Figure:
    """Paper Figure 3: each class's share of the wrong outputs, a panel a benchmark, a colour a policy.

    Conversations are left out: the paper's classes are of single calls, and a conversation fails by its outcome.

    Raises:
        ItoolError: there is no single-turn output.
    """
    panels: dict[str, list[tuple[str, ErrorTable]]] = {}
    for one in evaluated:
        counted = error_table(v for v in one.verdicts if not v.category.startswith(SEVERAL_TURNS))
        if counted.outputs:
            panels.setdefault(one.benchmark, []).append((one.policy, counted))
    if not panels:
        raise ItoolError("no single-turn outputs to draw; the error classes are of single calls")
    policies = list(dict.fromkeys(policy for tables in panels.values() for policy, _ in tables))
    heights = [len(ErrorClass) * (len(tables) + 0.8) * BAR + 1.2 for tables in panels.values()]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.5), layout=ConstrainedLayoutEngine(w_pad=EDGE, h_pad=EDGE))
    figure.suptitle("What goes wrong: wrong outputs by error class", fontsize=14, fontweight="bold")
    rows = figure.subplots(len(panels), squeeze=False, height_ratios=heights)
    for axes, height, (benchmark, tables) in zip(rows[:, 0], heights, panels.items(), strict=True):
        _panel(axes, benchmark, [(COLOURS[policies.index(p) % len(COLOURS)], p, counted) for p, counted in tables])
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -LEGEND / height), frameon=False, fontsize=9)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a picture.

    Raises:
        ItoolError: the ending is another one, or the file cannot be written.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ItoolError(f"{path}: a picture's name ends in {' or '.join(ENDINGS)}")
    try:
        figure.savefig(path, dpi=DOTS)
    except OSError as error:
        raise ItoolError(f"{path}: cannot write the picture: {error.strerror}") from None


def _panel(axes: Axes, benchmark: str, tables: Sequence[tuple[str, str, ErrorTable]]) -> None:
    height, highest = 0.8 / len(tables), 0.0
    for number, (colour, policy, counted) in enumerate(tables):
        wrong = sum(counted.first.values())
        counts = [counted.first[name] for name in ErrorClass]
        shares = [100 * n / wrong if wrong else 0.0 for n in counts]
        highest = max(highest, *shares)
        places = [row + (number - (len(tables) - 1) / 2) * height for row in range(len(ErrorClass))]
        bars = axes.barh(places, shares, height, color=colour, label=f"{policy}: {wrong} wrong of {counted.outputs}")
        texts = [f"{share:.1f} %  ({n})" if n else "0" for share, n in zip(shares, counts, strict=True)]
        axes.bar_label(bars, texts, padding=4, fontsize=9)
    axes.set_title(benchmark, loc="left", fontsize=11)
    axes.set_yticks(range(len(ErrorClass)), list(ErrorClass))
    axes.invert_yaxis()
    axes.set_xlabel("share of the policy's wrong outputs, % (and how many)")
    axes.set_xlim(0, max(20.0, 1.2 * highest))  # room for the bars' labels, but no share is over 100 %
    axes.set_xticks([tick for tick in axes.get_xticks() if tick <= min(100.0, axes.get_xlim()[1])])
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(left=False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
