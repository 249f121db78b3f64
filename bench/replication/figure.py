"""The picture of docs/results.md: every comparison with its interval, and what was wrong as the policy was trained on.

Left out: the numbers themselves (`report.py`).
"""

from collections import Counter
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.replication.first import BFCL, PLAN, SEEDS
from bench.replication.report import Compared, comparisons, wrong_by_class
from bench.replication.results import Results
from itool_cli.figures import COLOURS
from itool_eval.errors import ErrorClass

# Seed by seed, what each more step of training left wrong.
PATH = (
    "raw", "warm-up", "sft-25-percent", "sft-50-percent", "sft-everything", "sft-round-1", "sft-round-2", "sft-round-3",
)  # fmt: skip
LINE = 0.3  # inches that a line of either panel is high
LEGEND = 0.6  # inches
SEED_COLOURS = {None: "#000000", 1: COLOURS[0], 2: COLOURS[1]}


def draw(results: Results) -> Figure:
    """Both panels, of BFCL's test items."""
    compared = comparisons(PLAN, results, BFCL)
    bars = _bars(results)
    heights = [len(compared) * LINE + 0.8, len(bars) * LINE + 0.8]
    figure = Figure(figsize=(11, sum(heights) + LEGEND), layout="constrained")
    upper, lower = figure.subplots(2, height_ratios=heights)
    _forest(upper, compared)
    _errors(lower, bars)
    figure.legend(*lower.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _forest(axes: Axes, compared: Sequence[Compared]) -> None:
    for line, one in enumerate(compared):
        low, high, mean = (100 * v for v in (one.interval.low, one.interval.high, one.difference))
        axes.plot([low, high], [line, line], color=SEED_COLOURS[one.seed], linewidth=3 if one.seed is None else 1.5)
        axes.plot(mean, line, "o", color=SEED_COLOURS[one.seed], markersize=6)
        axes.text(high, line, f"  {mean:+.1f}", va="center", fontsize=8)
    axes.axvline(0, color="grey", linewidth=0.8)
    names = [f"{one.question}  ({f'seed {one.seed}' if one.seed else 'both seeds'})" for one in compared]
    axes.margins(x=0.1, y=0.02)
    unit = "points of right items, after minus before, with 95 % intervals"
    _label(axes, "Comparisons by item, on BFCL's held-out half", names, unit)


def _bars(results: Results) -> list[tuple[str, int, Counter[str | None]]]:
    """The arms on the path that have run: name, right items, wrong ones by class."""
    asked = [(f"{arm}, seed {seed}", results.outcomes(arm, seed, BFCL)) for seed in SEEDS for arm in PATH]
    return [(name, sum(o.valid for o in some), wrong_by_class(some)) for name, some in asked if some]


def _errors(axes: Axes, bars: Sequence[tuple[str, int, Counter[str | None]]]) -> None:
    left = [0] * len(bars)
    for name, colour in zip(("right", *ErrorClass), ("#BBBBBB", *COLOURS), strict=False):
        widths = [right if name == "right" else wrong[name] for _, right, wrong in bars]
        if any(widths):
            drawn = axes.barh(range(len(bars)), widths, 0.8, left, color=colour, label=str(name))
            texts = [str(n) if n > 5 else "" for n in widths]
            axes.bar_label(drawn, texts, label_type="center", fontsize=8, color="black")
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.margins(x=0, y=0.02)
    _label(axes, "Right items, and wrong ones by error class", [name for name, *_ in bars], "items")


def _label(axes: Axes, title: str, lines: Sequence[str], unit: str) -> None:
    """Name a panel, its lines from the top down, and what they count."""
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_yticks(range(len(lines)), lines, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(unit, fontsize=9)
