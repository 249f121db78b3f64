"""`itool show sample|tree|pair`: one record of a run on the terminal; without an id, those most worth a look.

Left out: how a record is drawn (`record_views.py`), and every other question (`itool sql`).
"""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from itool_cli.options import RunFolder

if TYPE_CHECKING:
    from rich.console import Console

    from itool_data.sample import Sample
    from itool_data.store.lookup import Kind
    from itool_data.store.tables import Store

app = typer.Typer(help="One sample, tree or pair of a run.", no_args_is_help=True)
LISTED = 10
# Those most worth a look, by kind of record.
_LISTS: dict["Kind", str] = {
    "sample": "SELECT sample_id, source, difficulty, perplexity, messages FROM samples "
    "LEFT JOIN (SELECT sample_id, arg_max(perplexity, round) AS perplexity FROM perplexity GROUP BY sample_id) "
    "USING (sample_id) ORDER BY perplexity DESC NULLS LAST, sample_id",
    "tree": "SELECT tree_id, t.round, search, nodes, pairs, delta_q, messages FROM trees t "
    "JOIN samples USING (sample_id) LEFT JOIN (SELECT tree_id, max(q_chosen - q_rejected) AS delta_q "
    "FROM pairs GROUP BY tree_id) USING (tree_id) ORDER BY delta_q DESC NULLS LAST, tree_id",
    "pair": "SELECT pair_id, round, q_chosen - q_rejected AS delta_q, error_class AS breaks, chosen_text AS chosen, "
    "rejected_text AS rejected FROM pairs ORDER BY delta_q DESC, pair_id",
}

Id = Annotated[
    str | None,
    typer.Argument(metavar="ID", help="Its id, or as much of the beginning as no other has; without: a list."),
]


@app.command()
def sample(run: RunFolder, id_: Id = None) -> None:
    """Show a sample: messages, tools, gold, difficulty, perplexity, its fragments, trees, pairs and answers.

    Without an id: those with the highest perplexity.
    """
    from itool_cli import record_views as views

    found = _one("sample", run, id_)
    if found is None:
        return
    console, store, row = found
    whole = _sample(store, row["sample_id"])
    views.show_facts(
        console,
        f"sample {whole.sample_id}",
        {
            "source": f"{whole.source} {whole.source_id}",
            "split": whole.split,
            "difficulty": row["difficulty"],
            "tools (a)": row["a"],
            "characters of the tools (b)": row["b"],
            "calls (c)": row["c"],
        },
    )
    views.show_sample(console, whole)
    _show_history(console, store, whole)


@app.command()
def tree(run: RunFolder, id_: Id = None) -> None:
    """Draw a tree: every step with Q, N, prior and rewards, and what each pair was made of.

    Without an id: those with the largest difference of Q in a pair.
    """
    from itool_cli import record_views as views

    found = _one("tree", run, id_)
    if found is None:
        return
    console, store, row = found
    views.show_facts(
        console,
        f"tree {row['tree_id']}",
        {
            **{key: row[key] for key in ("round", "policy", "search", "nodes", "pairs")},
            "tokens decoded": row["tokens_decoded"],
            "dropped pairs: close Q": row["dropped_delta_q"],
            "similar": row["dropped_similarity"],
            "chosen not good": row["dropped_q_chosen"],
        },
    )
    views.show_question(console, _sample(store, row["sample_id"]))
    views.show_tree(
        console,
        _ask(store, "SELECT * FROM nodes WHERE tree_id = ?", row["tree_id"]),
        _ask(store, "SELECT * FROM pairs WHERE tree_id = ?", row["tree_id"]),
    )


@app.command()
def pair(run: RunFolder, id_: Id = None) -> None:
    """Show a pair: the response so far, both steps, the fragment in which they differ, and whether it is proved.

    Without an id: those with the largest difference of Q.
    """
    from itool_cli import record_views as views

    found = _one("pair", run, id_)
    if found is None:
        return
    console, store, row = found
    views.show_facts(
        console,
        f"pair {row['pair_id']}",
        {
            "round": row["round"],
            "policy": row["policy"],
            "breaks": row["error_class"],
            "ΔQ": f"{row['q_chosen'] - row['q_rejected']:.2f} ({row['q_chosen']:+.2f} / {row['q_rejected']:+.2f})",
            "similarity": f"{row['similarity']:.2f}",
            "proved": _proved(row),
        },
    )
    views.show_question(console, _sample(store, row["sample_id"]))
    views.show_pair(console, row)


def _proved(pair: dict[str, Any]) -> str:
    """Whether the gold calls prove a pair; if not, what is the matter with it."""
    if pair["proved"]:
        return "yes"
    if not pair["state_right"]:
        return "no, the response was broken before"
    return "no, the rejected step breaks nothing" if pair["chosen_right"] else "no, the chosen step is wrong itself"


def _one(kind: "Kind", run: Any, id_: str | None) -> tuple["Console", "Store", dict[str, Any]] | None:
    """The record of an id, and where to show it; without an id a list is shown, and there is no record."""
    from itool_cli.console import make_console
    from itool_data.run import open_run
    from itool_data.store.lookup import find

    console, store = make_console(), open_run(run).store
    if id_ is not None:
        return console, store, find(store, kind, id_)
    _list(console, kind, run, _ask(store, f"{_LISTS[kind]} LIMIT {LISTED}"))
    return None


def _ask(store: "Store", sql: str, *parameters: object) -> list[dict[str, Any]]:
    from itool_data.store.sql import query

    rows: list[dict[str, Any]] = query(store, sql, None, list(parameters)).to_pylist()
    return rows


def _sample(store: "Store", sample_id: str) -> "Sample":
    from itool_data.errors import ItoolError
    from itool_data.store.samples import read_samples

    found = read_samples(store, "sample_id = ?", [sample_id])
    if not found:
        raise ItoolError(f"{store.place}: the sample {sample_id} is not there; import its data set again")
    return found[0]


def _show_history(console: "Console", store: "Store", of: "Sample") -> None:
    """What the run did with a sample, round by round."""
    perplexity = "SELECT round, policy, n_tokens, perplexity FROM perplexity WHERE sample_id = ? ORDER BY round"
    trees = (
        "SELECT tree_id, round, search, nodes, pairs, tokens_decoded FROM trees WHERE sample_id = ? ORDER BY round, 1"
    )
    pairs = (
        "SELECT pair_id, q_chosen - q_rejected AS delta_q, error_class AS breaks, chosen_text AS chosen, "
        "rejected_text AS rejected FROM pairs WHERE sample_id = ? ORDER BY pair_id"
    )
    fragments = (
        'SELECT round, number, kind, coalesce(parameter, function) AS about, step_text AS "right", probability, '
        "wrong_text AS wrong, wrong_probability AS p_wrong, error_class AS breaks FROM fragments WHERE sample_id = ? "
        "ORDER BY round, policy, number"
    )
    answers = (
        "SELECT benchmark, policy, CASE WHEN valid THEN 'right' ELSE coalesce(error_class, 'wrong') END AS verdict, "
        "output FROM predictions WHERE 'bfcl:' || category = ? AND item = ? ORDER BY benchmark, policy"
    )
    _table(console, "perplexity of the gold response (Eq. 4)", _ask(store, perplexity, of.sample_id), "not measured")
    _table(console, "fragments of a right response", _ask(store, fragments, of.sample_id), "not looked at")
    _table(console, "trees", _ask(store, trees, of.sample_id), "not searched")
    _table(console, "pairs", _ask(store, pairs, of.sample_id), "none")
    _table(console, "answers in evaluations", _ask(store, answers, of.source, of.source_id), "not asked")


def _list(console: "Console", kind: str, run: Any, rows: list[dict[str, Any]]) -> None:
    """Some records, and how to see one whole."""
    for row in rows:
        if "messages" in row:
            messages = json.loads(row.pop("messages"))
            row["question"] = messages[-1]["content"] if messages else ""
    _table(console, f"{kind}s", rows, f"none yet in {run}")
    if rows:
        console.print(f"one whole: itool show {kind} ID --run {run}")


def _table(console: "Console", title: str, rows: list[dict[str, Any]], none: str) -> None:
    """Rows as a table, a line each, or a line that says there are none; where it is narrow, texts are cut."""
    from rich.table import Table
    from rich.text import Text

    from itool_cli.console import visible

    if not rows:
        console.print(f"{title}: {none}")
        return
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, no_wrap=name.endswith("_id"))  # the rest gives way, the widest first
    for row in rows:
        cells = (f"{v:.3g}" if isinstance(v, float) else "" if v is None else str(v) for v in row.values())
        table.add_row(*(Text(visible(cell), no_wrap=True, overflow="ellipsis") for cell in cells))
    console.print(table)
