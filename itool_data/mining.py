"""Searches over a run folder: what has no tree yet is searched, and finished trees are committed as they come.

The same command after a kill goes on where the last commit was. Left out: which samples are searched (`choosing.py`),
and the searches (`search/`).
"""

import time
from collections.abc import Iterator, Sequence

from itool_data.jobs import Found, SearchJob, tables
from itool_data.kinds import SearchKind
from itool_data.rejects import key_of, of_sample, record_rejects, recorded
from itool_data.run import Run
from itool_data.sample import GivenUp
from itool_data.search.task import Task
from itool_data.store.sql import query
from itool_data.workers.pool import Pool

STAGE = "mine"


def unfinished(run: Run, wanted: Sequence[Task]) -> list[Task]:
    """The tasks that have no tree yet; those of samples that were set aside come last and hold nothing up."""
    done = {row["tree_id"] for row in query(run.store, "SELECT tree_id FROM trees").to_pylist()}
    aside = recorded(run, STAGE)
    missing = [t for t in wanted if t.tree_id not in done]
    return sorted(missing, key=lambda task: key_of(of_sample(task.sample, "")) in aside)


def mine(run: Run, pool: Pool, wanted: Sequence[Task], search: SearchKind) -> Iterator[list[Found | GivenUp]]:
    """Search tasks and commit finished trees in groups; yields at every step the trees finished in it, mostly none.

    A sample on which the policy cannot work is recorded in `rejects`.

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
            run.store.commit(STAGE, tables(finished), round=round_, policy=policy, search=search)

    settings = run.config.mine
    together = settings.commit_trees * pool.size  # a commit takes the same time whatever its size
    try:
        for finished in pool.run(SearchJob(run.config, search), wanted):
            waiting += [tree for tree in finished if isinstance(tree, Found)]
            record_rejects(run, STAGE, [tree.reject for tree in finished if isinstance(tree, GivenUp)])
            if len(waiting) >= together or time.monotonic() - last > settings.commit_seconds:
                commit()
            yield finished
    finally:
        commit()
