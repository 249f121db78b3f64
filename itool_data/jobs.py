"""The jobs that workers do for mining: scoring samples by Eq. 4, drawing their pass rates, and searching them.

A search's rows are made where the tree is, so that a finished tree travels as a few small Arrow streams and the process
that writes does little else (Ray's own way with Arrow tables would take it half a millisecond each). Left out:
evaluation's job (`itool_eval.predict`), and who chooses the items (`choosing.py`).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from itool_data.config import Config
from itool_data.kinds import SearchKind
from itool_data.pass_rate import Drawing, PassRate, pass_rates
from itool_data.perplexity import CHUNK, Score, score_samples
from itool_data.prompt import Tokenised
from itool_data.rejects import of_sample
from itool_data.sample import GivenUp
from itool_data.search.miner import Miner, tree_rows
from itool_data.search.task import Task
from itool_data.store.schema import SCHEMAS
from itool_data.workers.pool import Desk


@dataclass(frozen=True)
class ScoreJob:
    """Perplexities of gold responses."""

    name = "sample"

    def start(self, desk: Desk) -> "ScoreSession":
        """Begin on a worker."""
        return ScoreSession(desk)


class ScoreSession:
    """Scores samples with one policy."""

    appetite = 2 * CHUNK

    def __init__(self, desk: Desk):
        self._desk = desk

    def run(self, waiting: deque[Tokenised]) -> Iterator[list[Score | GivenUp]]:
        """Score what waits, a chunk at a time."""
        return score_samples(self._desk.policy, self._desk.prompter, waiting)


@dataclass(frozen=True)
class DrawJob:
    """Pass rates of samples."""

    drawing: Drawing
    name = "sample"

    def start(self, desk: Desk) -> "DrawSession":
        """Begin on a worker."""
        return DrawSession(self, desk)


class DrawSession:
    """Draws whole responses with one policy."""

    def __init__(self, job: DrawJob, desk: Desk):
        self._drawing = job.drawing
        self._desk = desk
        # Some draws always wait, so that no row of the policy is empty while a sample waits for its longest draw.
        self.appetite = max(1, 2 * desk.policy.max_rows // job.drawing.draws)

    def run(self, waiting: deque[Tokenised]) -> Iterator[list[PassRate | GivenUp]]:
        """Draw what waits; yields at every step of the policy."""
        return pass_rates(self._desk.policy, self._desk.prompter, self._drawing, self.appetite, waiting)


@dataclass(frozen=True)
class Found:
    """A finished tree, and its rows of `trees`, `nodes`, `pairs` and `fragments` as Arrow IPC streams."""

    key: str
    requests: int
    pairs: int
    judged: int
    streams: dict[str, bytes]


@dataclass(frozen=True)
class SearchJob:
    """Searches under a run's settings."""

    config: Config
    search: SearchKind
    name = "tree"

    def start(self, desk: Desk) -> "SearchSession":
        """Begin on a worker."""
        return SearchSession(self, desk)


class SearchSession:
    """Searches with one policy."""

    def __init__(self, job: SearchJob, desk: Desk):
        self._job = job
        self._desk = desk
        self._miner = Miner(desk.policy, desk.prompter, job.config, desk.judge(job.config, job.search), job.search)
        self.appetite = self._miner.most_open

    def run(self, waiting: deque[Task]) -> Iterator[list[Found | GivenUp]]:
        """Search what waits; yields at every step of the policy."""
        job, desk = self._job, self._desk
        for trees in self._miner.run(waiting):
            found: list[Found | GivenUp] = []
            for tree in trees:
                if tree.given_up:
                    found.append(GivenUp(tree.task.tree_id, of_sample(tree.task.sample, tree.given_up)))
                    continue
                rows = tree_rows([tree], desk.policy.policy_id, desk.prompter, job.config, job.search)
                streams = {name: _pack(name, rows[name]) for name in rows}
                found.append(Found(tree.task.tree_id, tree.requests, len(tree.pairs), tree.judged, streams))
            yield found


def _pack(name: str, rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMAS[name]) as stream:
        stream.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[name]))
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def tables(found: Sequence[Found]) -> dict[str, pa.Table]:
    """The rows of finished trees, together, by table."""
    return {
        name: pa.concat_tables([pa.ipc.open_stream(tree.streams[name]).read_all() for tree in found])
        for name in found[0].streams
    }
