"""The report's trees, their samples and their pairs, in the form that the page reads.

The page has an index of all trees, and the trees themselves in chunks that it unpacks when one of them is looked at;
all pairs are another chunk. Where there are more trees than a browser can hold, those with the largest ΔQ are kept.
Left out: compression (`build.py`).
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from itool_data.differences import differences
from itool_data.run import Run
from itool_data.store.sql import query

MOST_TREES = 2000
CHUNK = 32  # trees that are unpacked together
TITLE = 160  # characters of a question in the index
DIGITS = 4

Row = dict[str, Any]
NODE = ("path", "step_text", "logprob", "prior", "visits", "q", "v", "reward", "outcome", "self_eval", "terminal")


@dataclass(frozen=True)
class Forest:
    """What the page holds of the trees.

    Attributes:
        total: trees that the run has.
        index: a row a tree that is shown.
        chunks: the trees themselves in the order of the index, CHUNK at a time.
        pairs: a row a pair of these trees, by the tree's place in the index.
    """

    total: int
    index: list[Row]
    chunks: list[list[Row]]
    pairs: list[Row]


def forest(run: Run, names: Mapping[str, str]) -> Forest:
    """Read the run's trees, by round, those with the largest ΔQ first.

    Args:
        run: the run.
        names: what its policies are called.
    """
    total = query(run.store, "SELECT count(*) AS n FROM trees").to_pylist()[0]["n"]
    trees = query(
        run.store,
        f"""
        WITH best AS (SELECT tree_id, max(q_chosen - q_rejected) AS delta_q FROM pairs GROUP BY tree_id),
        shown AS (SELECT * FROM trees LEFT JOIN best USING (tree_id)
                  ORDER BY delta_q DESC NULLS LAST, nodes DESC, tree_id LIMIT {MOST_TREES})
        SELECT shown.*, s.source, s.source_id, s.messages, s.tools, s.target, s.accepted, s.difficulty, p.perplexity
        FROM shown LEFT JOIN samples s USING (sample_id)
        LEFT JOIN (SELECT sample_id, round, policy, any_value(perplexity) AS perplexity FROM perplexity GROUP BY ALL) p
        ON p.sample_id = shown.sample_id AND p.round = shown.round AND p.policy = shown.policy
        ORDER BY shown.round, delta_q DESC NULLS LAST, nodes DESC, tree_id
        """,
    ).to_pylist()
    place = {tree["tree_id"]: number for number, tree in enumerate(trees)}
    ids = list(place)
    nodes, pairs = _by_tree(run, "nodes", ids), _by_tree(run, "pairs", ids)
    children = {key: _Children(rows) for key, rows in nodes.items()}
    shown = [
        _tree(tree, nodes[tree["tree_id"]], [_ends(pair, children[pair["tree_id"]]) for pair in pairs[tree["tree_id"]]])
        for tree in trees
    ]
    return Forest(
        total,
        [_entry(tree, nodes[tree["tree_id"]], pairs[tree["tree_id"]], names) for tree in trees],
        [shown[start : start + CHUNK] for start in range(0, len(shown), CHUNK)],
        [_pair(pair, place[pair["tree_id"]]) for key in ids for pair in pairs[key]],
    )


def _by_tree(run: Run, table: str, ids: Sequence[str]) -> dict[str, list[Row]]:
    """Rows of a table by tree; the token ids of prompts stay where they are."""
    columns = "* EXCLUDE (prompt_ids)" if table == "pairs" else "*"
    sql = f"SELECT {columns} FROM {table} WHERE tree_id IN (SELECT unnest(?)) ORDER BY tree_id, path"
    found: dict[str, list[Row]] = defaultdict(list)
    for row in query(run.store, sql, None, [list(ids)]).to_pylist():
        found[row["tree_id"]].append(row)
    return found


class _Children:
    """A tree's children by their parent's path."""

    def __init__(self, nodes: Sequence[Row]):
        self._by_parent: dict[str, list[Row]] = defaultdict(list)
        for node in nodes:
            if node["path"]:
                self._by_parent[node["path"].rpartition(".")[0]].append(node)

    def find(self, parent: str, step_ids: Sequence[int]) -> str:
        """The path of the child that a step leads to."""
        path: str = next(n["path"] for n in self._by_parent[parent] if n["step_ids"] == step_ids)
        return path


def _ends(pair: Row, children: _Children) -> Row:
    """A pair as the tree shows it: its two nodes and what is wrong with the rejected one."""
    return {
        "chosen": children.find(pair["path"], pair["chosen_ids"]),
        "rejected": children.find(pair["path"], pair["rejected_ids"]),
        "similarity": _round(pair["similarity"]),
        "class": pair["error_class"],
    }


def _entry(tree: Row, nodes: Sequence[Row], pairs: Sequence[Row], names: Mapping[str, str]) -> Row:
    return {
        "id": tree["tree_id"],
        "round": tree["round"],
        "policy": names.get(tree["policy"], tree["policy"]),
        "source": f"{tree['source'] or 'sample'} {tree['source_id'] or tree['sample_id']}",
        "title": _question(tree["messages"])[:TITLE],
        "nodes": len(nodes),
        "pairs": len(pairs),
        "deltaQ": _round(tree["delta_q"]),
        "classes": sorted({pair["error_class"] for pair in pairs}),
        "right": any(node["terminal"] and node["outcome"] == 1 for node in nodes),
    }


def _tree(tree: Row, nodes: Sequence[Row], pairs: Sequence[Row]) -> Row:
    return {
        "id": tree["tree_id"],
        "nodes": [[_round(node[name]) for name in NODE] for node in nodes],
        "pairs": list(pairs),
        "search": tree["search"],
        "seconds": _round(tree["seconds"]),
        "requests": tree["requests"],
        "decoded": tree["tokens_decoded"],
        "dropped": [tree["dropped_delta_q"], tree["dropped_similarity"], tree["dropped_q_chosen"]],
        "difficulty": tree["difficulty"],
        "perplexity": _round(tree["perplexity"]),
        "target": tree["target"] or "",
        "messages": json.loads(tree["messages"] or "[]"),
        "tools": json.loads(tree["tools"] or "[]"),
        "accepted": json.loads(tree["accepted"] or "[]"),
    }


def _pair(pair: Row, place: int) -> Row:
    chosen, rejected = differences(pair["chosen_text"], pair["rejected_text"])
    return {
        "tree": place,
        "round": pair["round"],
        "path": pair["path"],
        "prefix": pair["prefix_text"],
        "chosen": [list(piece) for piece in chosen],
        "rejected": [list(piece) for piece in rejected],
        "qChosen": _round(pair["q_chosen"]),
        "qRejected": _round(pair["q_rejected"]),
        "similarity": _round(pair["similarity"]),
        "class": pair["error_class"],
        "proved": pair["proved"],
        "pRejected": _round(math.exp(pair["rejected_logprob"])) if pair["rejected_logprob"] is not None else None,
    }


def _question(messages: str | None) -> str:
    """The last thing that the user said, on one line."""
    said = [str(message["content"]) for message in json.loads(messages or "[]") if message["role"] == "user"]
    return " ".join(said[-1].split()) if said else ""


def _round(value: Any) -> Any:
    """Floats to a few digits: a page has room for no more."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
