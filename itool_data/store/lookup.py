"""A run's samples, trees and pairs by the beginning of their ids, as git finds commits.

Left out: how what is found is shown, and every other question, which `sql.query` answers.
"""

from typing import Any, Literal

from itool_data.errors import ItoolError
from itool_data.store.sql import query
from itool_data.store.tables import Store

Kind = Literal["sample", "tree", "pair"]
_NAMED = 5  # ids that an error names
_MAKES = {"sample": "data import SOURCE", "tree": "mine", "pair": "mine"}


def find(store: Store, kind: Kind, prefix: str) -> dict[str, Any]:
    """The one row whose id is `prefix`, or else the only one whose id begins with it.

    Args:
        store: the run's tables.
        kind: which table (`samples`, `trees`, `pairs`).
        prefix: of the id.

    Raises:
        ItoolError: naming the ids that begin so, or the nearest where none does.
    """
    table, column = f"{kind}s", f"{kind}_id"
    sql = f"SELECT * FROM {table} WHERE starts_with({column}, ?) ORDER BY {column} = ? DESC, {column} LIMIT ?"
    rows: list[dict[str, Any]] = query(store, sql, None, [prefix, prefix, _NAMED + 1]).to_pylist()
    if len(rows) == 1 or (rows and rows[0][column] == prefix):
        return rows[0]
    if rows:
        more = ", …" if len(rows) > _NAMED else ""
        raise ItoolError(
            f"{kind} {prefix!r}: several ids begin so ({', '.join(r[column] for r in rows[:_NAMED])}{more}); "
            "give more of it"
        )
    sql = f"SELECT {column} AS id FROM {table} ORDER BY levenshtein(left({column}, length(?)), ?), {column} LIMIT 3"
    nearest = [r["id"] for r in query(store, sql, None, [prefix, prefix]).to_pylist()]
    if not nearest:
        raise ItoolError(f"{store.place}: no {table} yet; `itool {_MAKES[kind]} --run DIR` makes some")
    raise ItoolError(f"{kind} {prefix!r}: no id begins so; the nearest are {', '.join(nearest)}")
