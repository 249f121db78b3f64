"""How far our BFCL scores agree with the official checker's (`python -m bench.bfcl_agreement`).

On v3's corpora: verdict and error type of every row. On the synthetic run: counts and error types of every category,
and the columns of the official tables. With `--official PYTHON` also v4, whose official code is asked
(`bfcl_v4_agreement.py`).
Ends with one line of JSON; exits with 1 where anything differs.
"""

import argparse
import csv
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.bfcl_v4_agreement import Agreement, outputs, prompts, tables, verdicts
from bench.shared import shared_data
from itool_data.assets import BFCL_V4, bfcl_data
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.multi_turn_checker import MultiTurnScorer
from itool_eval.bfcl.official_tables import official_tables
from itool_eval.bfcl.score_file import Scorer
from itool_eval.bfcl.single_turn import SingleTurnScorer
from itool_eval.scores import Tally
from itool_eval.summary import tally
from itool_eval.verdicts import Verdict


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a gzipped JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def corpus_differences(scorer: Scorer, corpus: Path) -> tuple[int, list[str]]:
    """How many corpus rows there are, and those where verdict or error type differ."""
    rows, differences = 0, []
    for row in read_rows(corpus):
        rows += 1
        verdict = scorer.score(row["category"], row["id"], row["result"] if "result" in row else row["output"])
        official = (row["official_valid"], row["official_error_type"])
        if (verdict.valid, verdict.error_type) != official:
            differences.append(f"{row['id']}: {(verdict.valid, verdict.error_type)}, officially {official}")
    return rows, differences


def run_differences(scorers: Sequence[Scorer], run: Path) -> tuple[int, list[str]]:
    """How many numbers of the synthetic run were compared, and those that differ from the official ones."""
    official = json.loads((run / "accuracy.json").read_text("utf-8"))
    by_category = {category: scorer for scorer in scorers for category in scorer.categories}
    verdicts = [
        by_category[row["category"]].score(row["category"], row["id"], row["result"])
        for row in read_rows(run / "results.jsonl.gz")
    ]
    tallies = {name: Tally(counts["correct_count"], counts["total_count"]) for name, counts in official.items()}
    ours = tally(verdicts)
    differences = [f"{name}: {ours[name]}, officially {tallies[name]}" for name in ours if ours[name] != tallies[name]]
    types = _error_types(verdicts)
    differences += [f"{name}: error types differ" for name in ours if types[name] != official[name]["error_types"]]
    compared = 2 * len(ours)
    for table, columns in official_tables(ours, Version.V3).items():
        with (run / f"{table}.csv").open(encoding="utf-8", newline="") as file:
            printed = next(csv.DictReader(file))
        compared += len(columns)
        differences += [
            f"{table}, {column}: {text}, officially {printed[column]}"
            for column, text in columns.items()
            if text != printed[column]
        ]
    return compared, differences


def _error_types(verdicts: list[Verdict]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        types = counts.setdefault(verdict.category, Counter())
        if verdict.error_type:
            types[verdict.error_type] += 1
    return {category: dict(types) for category, types in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--official", type=Path, help="Python of the official v4 code's environment (bfcl_official.py)")
    parser.add_argument("--count", type=int, default=20_000, help="odd outputs of each kind of v4")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = shared_data()
    single_turn, multi_turn = SingleTurnScorer(bfcl_data(), Version.V3), MultiTurnScorer(bfcl_data(), Version.V3)
    start = time.perf_counter()
    rows, in_corpus = corpus_differences(single_turn, folder / "bfcl_v3_corpus.jsonl.gz")
    conversations, in_conversations = corpus_differences(multi_turn, folder / "bfcl_v3_multiturn_corpus.jsonl.gz")
    numbers, in_run = run_differences([single_turn, multi_turn], folder / "bfcl_v3_synthetic_run")
    print(f"corpus: {rows - len(in_corpus)} of {rows} verdicts and error types agree", *in_corpus, sep="\n  ")
    agreeing = conversations - len(in_conversations)
    print(f"multi-turn corpus: {agreeing} of {conversations} agree", *in_conversations, sep="\n  ")
    compared = f"{numbers - len(in_run)} of {numbers} counts, error types and cells of the official CSVs agree"
    print(f"synthetic run: {compared}", *in_run, sep="\n  ")
    summary = {"corpus_rows": rows, "corpus_differences": len(in_corpus)}
    summary |= {"multi_turn_rows": conversations, "multi_turn_differences": len(in_conversations)}
    summary |= {"run_numbers": numbers, "run_differences": len(in_run)}
    if options.official:
        summary |= _v4(options)
    print(json.dumps({**summary, "seconds": round(time.perf_counter() - start, 2)}))
    sys.exit(any(n for name, n in summary.items() if name.endswith("differences")))


def _v4(options: argparse.Namespace) -> dict[str, int]:
    data, summary = bfcl_data(BFCL_V4), {}

    def show(name: str, agreement: Agreement) -> None:
        print(f"{name}: {agreement.agreeing} of {agreement.compared} agree", *agreement.differences[:20], sep="\n  ")
        sys.stdout.flush()  # it takes minutes to the next one
        key = name.replace(": ", " ").replace(" ", "_").replace("-", "_")
        summary.update({key: agreement.compared, f"{key}_differences": len(agreement.differences)})

    for kind, rows in outputs(data, options.count, options.seed).items():
        show(f"v4 {kind}: verdicts", verdicts(options.official, rows))
    for kind, agreement in prompts(options.official, data, options.seed).items():
        show(f"v4 {kind}: conversations as asked", agreement)
    show("v4 official tables: cells", tables(options.official, data, options.seed))
    return summary


if __name__ == "__main__":
    main()
