"""A toy run whose processes are killed (`kill -9`) at random moments: what is lost, done twice, or comes out otherwise.

    stage     a command of its own, begun from the undisturbed run as it was before that
    kills     processes that were killed before they ended
    resumes   the same command started again
    lost      commits that a killed process had made and that are not in the log
    twice     rows of a finished stage whose key another row has too
    same      of the stages that finished in the end, those whose tables, adapters and published files are the
              undisturbed run's, by hash

Each of the stages, in turn, is begun, killed up to KILLS times and gone on with to its end, until there were as many
kills as asked. Hashes are over all columns but those of time. Left out: object stores, several processes, servers
(tests), and machines that lose power.

    python -m bench.kills [--kills 300] [--seed 0]
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import prefork
from bench.toy_loop import write_config, write_source
from itool_data import run_samples
from itool_data.store.sql import query
from itool_data.store.tables import Commit, Store

KILLS = 5  # of one stage, before it is let to its end
IMPORTED, IMPORT_ROWS = 1_000, 100  # rows, and those of a commit (5,000 in earnest)
# What each stage is begun from; the first two make a run of their own.
BEFORE = {
    "import": "",
    "imported": "",
    "warmup": "imported",
    "evaluate-0": "warmup",
    "perplexity-1": "evaluate-0",
    "mine-1": "perplexity-1",
    "preference-1": "mine-1",
    "evaluate-1": "preference-1",
    "publish": "evaluate-1",
}
KILLED = tuple(stage for stage in BEFORE if stage not in ("imported", "evaluate-0"))
# What may happen often in a few seconds, so that there is something to go on from, and a short warm-up.
SETTINGS: dict[str, dict[str, object]] = {
    "warmup": {"checkpoint_seconds": 0.5, "epochs": 3},
    "preference": {"checkpoint_seconds": 0.5},
    "mine": {"commit_seconds": 0.1},
    "walk": {"max_step_tokens": 6},
}
KEYS = {
    "samples": "sample_id",
    "rejects": "stage, source, file, line, field",
    "perplexity": "sample_id, round, policy",
    "pass_rates": "sample_id, round, policy",
    "all_fragments": "sample_id, round, policy, tree_id, number",
    "trees": "tree_id",
    "nodes": "tree_id, path",
    "pairs": "pair_id",
    "training": 'round, policy, objective, split, "update"',
    "predictions": "benchmark, policy, category, position",
}
TIMED = ("trees", "training", "predictions")  # have a column of seconds


@dataclass
class Tally:
    """What came of a stage's kills."""

    kills: int = 0
    resumes: int = 0
    finished: int = 0
    lost: int = 0
    twice: int = 0
    same: int = 0
    differing: Counter[str] = field(default_factory=Counter)


class Bench:
    """The undisturbed run, and what is done to copies of it.

    Args:
        folder: for all of it.
        seed: of the moments.
    """

    def __init__(self, folder: Path, seed: int):
        self._folder = folder
        self._moments = random.Random(seed)
        self._config = write_config(folder, rounds=1, search="walk")  # which finds pairs whatever was learnt
        settings = json.loads(self._config.read_text())
        for section, values in SETTINGS.items():
            settings.setdefault(section, {}).update(values)
        self._config.write_text(json.dumps(settings))
        self._rows = write_source(folder / "many.jsonl", IMPORTED)
        self._seconds: dict[str, float] = {}
        self._expected: dict[str, dict[str, str]] = {}
        self.tallies = {stage: Tally() for stage in KILLED}

    def undisturbed(self) -> None:
        """Do every stage in one go, and keep the run as it was after each."""
        prefork.run(self._folder / "said", time.time)  # the libraries are loaded before anything is timed
        for stage in BEFORE:
            place = self._begin(stage, self._folder / "undisturbed" / stage)
            started = time.monotonic()
            words = self._words(stage, place)
            prefork.run(place / "said", command, str(place / "made"), *words, TMPDIR=str(place))
            self._seconds[stage] = time.monotonic() - started
            self._expected[stage] = digests(place)
            print(f"{stage}: {self._seconds[stage]:.1f} s, {rows_of(place)}", flush=True)

    def _begin(self, stage: str, place: Path) -> Path:
        """A run as it was before a stage."""
        place.mkdir(parents=True)
        if BEFORE[stage]:
            shutil.copytree(self._folder / "undisturbed" / BEFORE[stage] / "run", place / "run")
        return place

    def _words(self, stage: str, place: Path) -> list[str]:
        run = ["--run", str(place / "run")]
        if stage == "import":
            return ["data", "import", str(self._rows), *run]
        if stage == "publish":
            return ["publish", *run, "--to", str(place / "published")]
        if stage == "imported":
            return ["run", str(self._config), *run, "--until", "import"]
        return ["run", *run, "--until", stage]

    def disturbed(self, stage: str, kills: int) -> None:
        """Begin a stage, kill it so many times, unless it ends before, and let it to its end."""
        tally, made, before = self.tallies[stage], set[tuple[int, str]](), list[Commit]()
        with tempfile.TemporaryDirectory(prefix="itool-kills-", dir=self._folder) as name:
            place = self._begin(stage, Path(name) / "run")
            for attempt in range(kills + 1):
                tally.resumes += bool(attempt)
                until = self._moments.uniform(0, 1.2 * self._seconds[stage]) if attempt < kills else None
                started = time.monotonic()
                code = self._run(stage, place, until)
                if code == 0 and not attempt:  # the machine has become quicker: it is to be killed before its end
                    self._seconds[stage] = min(self._seconds[stage], time.monotonic() - started)
                log = Store(place / "run" / "tables").log()
                made |= {(int(version), operation) for version, operation in _lines(place / "made")}
                tally.lost += len(made - {(c.version, c.operation) for c in log}) + (log[: len(before)] != before)
                before = log
                if code == 0:
                    break
                assert code == -signal.SIGKILL, (place / "said").read_text()
                tally.kills += 1
            tally.finished += 1
            tally.twice += doubled(place)
            found, wanted = digests(place), self._expected[stage]
            tally.same += found == wanted
            tally.differing.update(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))

    def _run(self, stage: str, place: Path, until: float | None) -> int | None:
        """Start a stage's command; kill it after so many seconds. Gives its exit code."""
        words = self._words(stage, place)
        process = prefork.start(place / "said", command, str(place / "made"), *words, TMPDIR=str(place))
        process.join(until)
        if process.is_alive():
            prefork.end(process, signal.SIGKILL)
        return process.exitcode


def command(made: str, *words: str) -> None:
    """An `itool` command, for a process of its own, which writes down every commit after it has made it."""
    commit = Store.commit
    file = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def noted(store: Store, *arguments: Any, **info: Any) -> Commit:
        done = commit(store, *arguments, **info)
        os.write(file, f"{done.version} {done.operation}\n".encode())
        return done

    Store.commit = noted  # type: ignore[assignment, method-assign]
    run_samples.IMPORT_ROWS = IMPORT_ROWS
    prefork.command(*words)


def _lines(file: Path) -> Iterator[list[str]]:
    return (line.split() for line in (file.read_text().splitlines() if file.is_file() else ()))


def doubled(place: Path) -> int:
    """Rows of a run's tables whose key another row has too."""
    store = Store(place / "run" / "tables")
    sql = "SELECT count(*) - count(DISTINCT ({})) AS n FROM {}"
    return sum(int(query(store, sql.format(key, table)).to_pylist()[0]["n"]) for table, key in KEYS.items())


def rows_of(place: Path) -> str:
    """How many rows a run's tables have."""
    commits = Store(place / "run" / "tables").log()
    rows = sum((Counter(commit.rows) for commit in commits), Counter[str]())
    return f"{len(commits)} commits: " + ", ".join(f"{n:,} {table}" for table, n in rows.items())


def digests(place: Path) -> dict[str, str]:
    """Hashes of a run's tables, its adapters, and what was published of it."""
    store = Store(place / "run" / "tables")
    found = {}
    for table in KEYS:
        columns = "* EXCLUDE (seconds)" if table in TIMED else "*"
        rows = query(store, f"SELECT {columns} FROM {table} ORDER BY ALL").to_pylist()
        found[table] = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    for folder in (place / "run" / "adapters", place / "published"):
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                name = str(file.relative_to(place))
                found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def table_of(tallies: dict[str, Tally]) -> str:
    """The tallies as a table, with a line of sums, and what differed."""
    lines = [f"{'stage':<14}{'kills':>7}{'resumes':>9}{'lost':>6}{'twice':>7}{'same':>12}"]
    counts = ("kills", "resumes", "lost", "twice", "same", "finished")
    total = Tally(**{name: sum(getattr(tally, name) for tally in tallies.values()) for name in counts})
    for stage, tally in [*tallies.items(), ("all", total)]:
        same = f"{tally.same} of {tally.finished}"
        lines.append(f"{stage:<14}{tally.kills:>7}{tally.resumes:>9}{tally.lost:>6}{tally.twice:>7}{same:>12}")
        lines += [f"    {name} differs in {n}" for name, n in tally.differing.most_common()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300, help="how many, over all stages")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="itool-kills-") as folder:
        bench = Bench(Path(folder), options.seed)
        bench.undisturbed()
        started, kills = time.monotonic(), 0
        while kills < options.kills:
            for stage in KILLED:
                bench.disturbed(stage, max(0, min(KILLS, options.kills - kills)))
                kills = sum(tally.kills for tally in bench.tallies.values())
                print(f"\n{kills} kills in {time.monotonic() - started:.0f} s\n{table_of(bench.tallies)}", flush=True)


if __name__ == "__main__":
    main()
