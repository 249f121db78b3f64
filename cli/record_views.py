"""How one sample, one tree and one pair look on the terminal.

A model's and a data set's text is shown, never obeyed: it goes through `visible` and into `Text`, which knows no
markup. Left out: finding the records, and the tables of many (`show.py`); the page that draws the same (`report`).
"""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from itool_cli.console import visible
from itool_data.differences import Piece, differences
from itool_data.prompt import signature
from itool_data.sample import Sample

CHOSEN, REJECTED = "green", "red"
SHOWN_TOOLS = 5
LEGEND = (
    "Each step: path, Q (Eq. 9), visits N, prior p (Eq. 5), reward r, outcome O (Eq. 6), self-evaluation C (Eq. 7; - "
    "where not asked); best and worst: the pair of their parent."
)
Row = dict[str, Any]


def show_facts(console: Console, title: str, facts: dict[str, object]) -> None:
    """A rule with what is shown, and a line of what is known of it."""
    console.rule(Text(visible(title)))
    console.print("  ".join(f"{name} {visible(str(value))}" for name, value in facts.items()))


def show_question(console: Console, sample: Sample) -> None:
    """What a tree or a pair was searched for: the last message, a line each for some tools, the gold response."""
    grid = _grid()
    grid.add_row("question", _text(sample.messages[-1].content if sample.messages else ""))
    for number, tool in enumerate(sample.tools[:SHOWN_TOOLS]):
        line = Text(visible(signature(tool)), no_wrap=True, overflow="ellipsis")
        grid.add_row("" if number else "tools", line)
    if len(sample.tools) > SHOWN_TOOLS:
        grid.add_row("", f"… {len(sample.tools) - SHOWN_TOOLS} more; itool show sample {sample.sample_id}")
    grid.add_row("gold", _text(sample.target))
    console.print(grid)


def show_sample(console: Console, sample: Sample) -> None:
    """All messages, all tools, the gold response and what else is accepted."""
    grid = _grid()
    for message in sample.messages:
        grid.add_row(message.role, _text(message.content))
    for number, tool in enumerate(sample.tools):
        grid.add_row("" if number else "tools", _text(signature(tool)))
    grid.add_row("gold", _text(sample.target))
    for number, answer in enumerate(sample.accepted):
        optional = f", may be left out: {', '.join(sorted(answer.optional))}" if answer.optional else ""
        grid.add_row("" if number else "accepted", _text(f"{answer.name} {answer.arguments}{optional}"))
    console.print(grid)


def show_tree(console: Console, nodes: Sequence[Row], pairs: Sequence[Row]) -> None:
    """Draw a tree: each step with its figures, the best and the worst child of every pair marked.

    Args:
        console: where to draw.
        nodes: the tree's rows of `nodes`.
        pairs: its rows of `pairs`.
    """
    marks: dict[tuple[str, tuple[int, ...]], tuple[str, str]] = {}
    for pair in pairs:
        marks[pair["path"], tuple(pair["chosen_ids"])] = ("best", CHOSEN)
        marks[pair["path"], tuple(pair["rejected_ids"])] = ("worst", REJECTED)
    drawn: dict[str, Tree] = {}
    for node in sorted(nodes, key=lambda n: [int(i) for i in n["path"].split(".") if i]):
        path = node["path"]
        if not path:
            drawn[path] = Tree(Text(f"root  N {node['visits']}  V {node['v']:+.2f}"))
            continue
        parent = path.rpartition(".")[0]
        mark, colour = marks.get((parent, tuple(node["step_ids"])), ("", ""))
        drawn[path] = drawn[parent].add(_node(node, mark, colour))
    console.print(drawn[""])
    console.print(LEGEND, style="dim")


def _node(node: Row, mark: str, colour: str) -> Text:
    c = "-" if node["self_eval"] is None else f"{node['self_eval']:+.2f}"
    figures = (
        f"{node['path']}  Q {node['q']:+.2f}  N {node['visits']:2}  p {node['prior']:.2f}  r {node['reward']:+.2f}  "
        f"O {node['outcome']:+.2f}  C {c}  "
    )
    end = ("  end", "dim") if node["terminal"] else ""
    return Text.assemble(
        (figures, "dim"), (f"{mark} " if mark else "", f"bold {colour}"), (visible(node["step_text"]), colour), end
    )


def show_pair(console: Console, pair: Row) -> None:
    """The response so far, and the two steps with the fragment in which they differ."""
    chosen, rejected = differences(pair["chosen_text"], pair["rejected_text"])
    plain = console.color_system is None or console.no_color
    grid = _grid()
    grid.add_row("prefix", Text(visible(pair["prefix_text"])))
    grid.add_row("chosen", _pieces(chosen, CHOSEN, ("{+", "+}") if plain else ("", "")))
    grid.add_row("rejected", _pieces(rejected, REJECTED, ("[-", "-]") if plain else ("", "")))
    console.print(grid)


def _pieces(pieces: Sequence[Piece], colour: str, brackets: tuple[str, str]) -> Text:
    """A step with its differing pieces coloured, or in brackets (git's word diff) where there is no colour."""
    text = Text()
    for piece in pieces:
        if piece.differs:
            text.append(visible(piece.text).join(brackets), style=f"bold {colour}")
        else:
            text.append(visible(piece.text))
    return text


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _text(text: str) -> Text:
    return Text(visible(text, keep="\n\t"))
