"""What publishing costs: time and bytes, to a Hub on loopback and to a folder, and once more after another round.

Run `python -m bench.publish`. The run has as many pairs as asked, in five rounds, then a sixth; its text and token ids
are random, so they compress worse than real ones. Each publication is a process of its own, start and reading back
included. The last line is JSON: seconds and bytes of both, and `second_ratio`: bytes sent for the second publication
over the growth of the folder, which is what the round's files weigh. Left out: the network.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.store import Rows, commits
from itool_data.run import write_run
from itool_data.sample import Message, Sample, Tool

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
TOKEN = "hf_loopbackToken1234567890abcdefghij"  # the only one that the server takes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100_000, help="how many pairs the first publication has")
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory(prefix="itool-bench-") as scratch, _server(Path(scratch) / "hub") as url:
        run, folder = Path(scratch) / "run", Path(scratch) / "folder"
        rows = _with_real_ids(commits(pairs * (ROUNDS + 1) // ROUNDS, ROUNDS + 1))
        rest = _write(run, rows, ROUNDS)
        first = _publish(url, run, folder)
        print(f"{pairs:,} pairs, {ROUNDS} rounds: {_describe(first)}", flush=True)
        _write(run, rest, ROUNDS + 1)
        second = _publish(url, run, folder)
        print(f"one round more: {_describe(second)}")
        peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    figures = {f"first_{name}": value for name, value in first.items()}
    figures |= {f"second_{name}": value for name, value in second.items()}
    figures |= {"second_ratio": second["hub_bytes"] / second["folder_bytes"], "peak_rss_gb": peak_gb}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def _with_real_ids(rows: Iterator[tuple[str, Rows]]) -> Iterator[tuple[str, Rows]]:
    """The same commits, samples named by their content as an import names them."""
    ids: dict[str, str] = {}
    for operation, tables in rows:
        for row in tables.get("samples", ()):
            messages = tuple(Message(**m) for m in json.loads(row["messages"]))
            tools = tuple(Tool(**t) for t in json.loads(row["tools"]))
            ids[row["sample_id"]] = Sample(row["source"], row["source_id"], messages, tools, row["target"]).sample_id
        for table in tables.values():
            for row in table:
                if "sample_id" in row:
                    row["sample_id"] = ids[row["sample_id"]]
        yield operation, tables


def _write(run: Path, rows: Iterator[tuple[str, Rows]], until: int) -> Iterator[tuple[str, Rows]]:
    """Commit rows up to the end of a round; returns those that are left."""
    with write_run(run, None, []) as opened:
        for operation, tables in rows:
            if operation == "perplexity":  # begins a round, and is not published
                if tables["perplexity"][0]["round"] > until:
                    break
                continue
            info = {"source": "toolace"} if operation == "import" else {}
            opened.store.commit(operation, tables, **info)
    return rows


def _publish(url: str, run: Path, folder: Path) -> dict[str, float]:
    """Seconds and bytes of a publication to the folder and to the Hub."""
    size, sent = _size(folder), _sent(url)
    folder_s = _itool(url, "publish", "--run", str(run), "--to", str(folder))
    hub_s = _itool(url, "publish", "--run", str(run), "--repo", "me/bench")
    return {
        "folder_s": folder_s, "hub_s": hub_s, "folder_bytes": _size(folder) - size, "hub_bytes": _sent(url) - sent,
    }  # fmt: skip


def _describe(figures: dict[str, float]) -> str:
    return (
        f"folder {figures['folder_s']:.1f} s, {figures['folder_bytes'] / 1e6:.1f} MB; "
        f"Hub {figures['hub_s']:.1f} s, {figures['hub_bytes'] / 1e6:.1f} MB sent"
    )


def _itool(url: str, *arguments: str) -> float:
    environment = os.environ | {"HF_ENDPOINT": url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", "from itool_cli.main import main; main()", *arguments]
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _sent(url: str) -> int:
    with urllib.request.urlopen(f"{url}/stats") as answer:
        return int(json.load(answer)["bodies"])


@contextmanager
def _server(objects: Path) -> Iterator[str]:
    """The tests' Hub as a process of its own; gives its address."""
    objects.mkdir()
    command = [sys.executable, str(ROOT / "tests" / "hub_server.py"), str(objects)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


if __name__ == "__main__":
    main()
