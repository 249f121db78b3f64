"""The report's first screen: what the run is, what it has, and what it came to.

Left out: the scores themselves (`scores.py`), from which the page takes the headline.
"""

import shlex
from collections.abc import Sequence
from typing import Any

from itool_data.run import Run
from itool_data.store.sql import query
from itool_data.store.tables import Commit


def overview(run: Run, log: Sequence[Commit], base: str) -> dict[str, Any]:
    """Name, date, base model, counts and settings of a run.

    Args:
        run: the run.
        log: its log.
        base: its base model, as rows name it; "" if nothing was made with one yet.
    """
    (counts,) = query(
        run.store,
        "SELECT (SELECT count(*) FROM trees) AS trees, (SELECT count(*) FROM nodes) AS nodes, "
        "(SELECT count(*) FROM pairs) AS pairs, (SELECT count(*) FROM pairs WHERE proved) AS proved, "
        "(SELECT count(*) FROM rejects) AS rejects",
    ).to_pylist()
    sources = query(
        run.store, "SELECT split_part(source, ':', 1) AS name, count(*) AS n FROM samples GROUP BY 1 ORDER BY n DESC, 1"
    ).to_pylist()
    rejects = query(
        run.store, "SELECT stage, count(*) AS n, any_value(reason) AS reason FROM rejects GROUP BY 1 ORDER BY n DESC, 1"
    ).to_pylist()
    return {
        "name": run.folder.resolve().name,
        "folder": shlex.quote(str(run.folder)),
        "base": base or run.config.model.name,
        "changed": log[-1].time.isoformat() if log else None,
        "counts": counts,
        "sources": sources,
        "rejects": rejects,
        "rewardWeight": run.config.reward.weight,
        "settings": run.config.to_yaml(),
    }
