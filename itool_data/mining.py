"""Searches over a run folder: what has no tree yet is searched, and finished trees are committed as they come.

The same command after a kill goes on where the last commit was. Left out: which samples are searched (`choosing.py`),
and the searches (`search/`).
"""

import time
from collections.abc import Iterator, Sequence

from itool_data.jobs import Found, SearchJob, tables
from itool_data.kinds import SearchKind
from itool_data.run import Run
from itool_data.search.task import Task
from itool_data.store.sql import query
from itool_data.workers.pool import Pool


def unfinished(run: Run, wanted: Sequence[Task]) -> list[Task]:
    """The tasks that have no tree yet."""
    done = {row["tree_id"] for row in query(run.store, "SELECT tree_id FROM trees").to_pylist()}
    return [t for t in wanted if t.tree_id not in done]


def mine(run: Run, pool: Pool, wanted: Sequence[Task], search: SearchKind) -> Iterator[list[Found]]:
    """Search tasks and commit finished trees in groups; yields at every step the trees finished in it, mostly none.

    Whatever is finished when the caller stops (Ctrl-C included) is committed first.
    """
    waiting: list[Found] = []
    policy = str(pool.policy_id)
    round_ = wanted[0].round if wanted else 0
    last = time.monotonic()

    def commit() -> None:
        nonlocal waiting, last
        finished, waiting, last = waiting, [], time.monotonic()
        if finished:
            run.store.commit("mine", tables(finished), round=round_, policy=policy, search=search)

    settings = run.config.mine
    together = settings.commit_trees * pool.size  # a commit takes the same time whatever its size
    try:
        for finished in pool.run(SearchJob(run.config, search), wanted):
            waiting += finished
            if len(waiting) >= together or time.monotonic() - last > settings.commit_seconds:
                commit()
            yield finished
    finally:
        commit()
