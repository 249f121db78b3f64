"""Fuzz the BFCL decoders and checker: no exception, and no output that takes long (`python -m bench.bfcl_fuzz`).

Outputs with known verdicts are damaged at random: characters, values, quotes, brackets, whole arguments. Time is
processor time, so that a busy machine does not count. With a file name the mutants are also written as result lines,
so that any other checker can be asked about them. Ends with one line of JSON.
"""

import argparse
import gc
import gzip
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.shared import shared_data
from itool_data.assets import bfcl_data
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.single_turn import SingleTurnScorer
from itool_eval.verdicts import Verdict

# What arguments are replaced with, by language; the lists hold what decoders and converters treat specially.
_VALUES: dict[str, list[str]] = json.loads(Path(__file__).with_name("bfcl_fuzz_values.json").read_text("utf-8"))
_CHARACTERS = list("[](){}'\"`,.:;=*+-_/\\ \n\t#@<>?!%&|^~0aZé\u00a0\u200b日\x00\U0001f600")
_VALUE = re.compile(r"(?<==)\s*(?:'[^']*'|\"[^\"]*\"|\[[^\[\]]*\]|\{[^{}]*\}|[\w.+-]+)")


def mutants(seeds: list[dict[str, str]], count: int, seed: int) -> Iterator[dict[str, str]]:
    """Yield damaged copies of the outputs in `seeds`, each category equally often."""
    draw = random.Random(seed)
    by_category: dict[str, list[dict[str, str]]] = {}
    for row in seeds:
        by_category.setdefault(row["category"], []).append(row)
    names = sorted(by_category)
    for number in range(count):
        category = names[number % len(names)]
        row = draw.choice(by_category[category])
        text = row["result"]
        for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 5))):
            text = _damage(text, category, draw, by_category[category])
        yield {"id": row["id"], "category": category, "result": text}


def _damage(text: str, category: str, draw: random.Random, others: list[dict[str, str]]) -> str:
    place = draw.randint(0, len(text))
    match draw.randrange(10):
        case 0:
            return text[:place] + draw.choice(_CHARACTERS) + text[place:]
        case 1:
            return text[:place] + text[place + draw.randint(1, 4) :]
        case 2:
            end = min(len(text), place + draw.randint(1, 40))
            return text[:end] + text[place:end] + text[end:]
        case 3:
            other = draw.choice(others)["result"]
            return text[:place] + other[draw.randint(0, len(other)) :]
        case 4:
            return draw.choice(("[", "(", "{", "'", '"', " ", "```\n", "", "x = ", "Sure: ")) + text
        case 5:
            return text + draw.choice(("]", ")", "}", "'", ";", "\n", " ", "```", ", f()", "# x", ".", "()"))
        case 6 | 7 | 8:
            return _replace_value(text, draw.choice(_VALUES.get(category, _VALUES["python"])), draw)
        case _:
            return _replace_value(text, text[place : place + draw.randint(1, 30)], draw)


def _replace_value(text: str, value: str, draw: random.Random) -> str:
    found = list(_VALUE.finditer(text))
    if not found:
        return text + value
    chosen = draw.choice(found)
    return text[: chosen.start()] + value + text[chosen.end() :]


def known_outputs(folder: Path) -> list[dict[str, str]]:
    """The outputs of the corpus and of the synthetic run, single-turn ones only."""
    rows = []
    for name, field in (("bfcl_v3_corpus.jsonl.gz", "output"), ("bfcl_v3_synthetic_run/results.jsonl.gz", "result")):
        with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
            rows += [{"id": r["id"], "category": r["category"], "result": r[field]} for r in map(json.loads, lines)]
    return [row for row in rows if not row["category"].startswith("multi_turn")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="write the mutants as result lines, with our verdict")
    options = parser.parse_args()
    scorer = SingleTurnScorer(bfcl_data(), Version.V3)
    seeds = known_outputs(shared_data())
    for row in seeds:  # reads the items, so that no mutant waits for them
        scorer.knows(row["category"], row["id"])
    gc.freeze()  # what is loaded is not looked through again: that pause would count for whichever mutant meets it
    slowest: tuple[float, dict[str, str]] = (0.0, {})
    raised: list[str] = []
    written = options.write.open("w", encoding="utf-8") if options.write else None
    begin = time.perf_counter()
    for row in mutants(seeds, options.count, options.seed):
        start = time.process_time()
        verdict = _scored(scorer, row, raised)
        slowest = max(slowest, (time.process_time() - start, row), key=lambda pair: pair[0])
        if written:
            ours: dict[str, Any] = {"valid": verdict.valid, "error_type": verdict.error_type} if verdict else {}
            written.write(json.dumps({**row, **ours}) + "\n")
    print(f"slowest: {slowest[0] * 1000:.1f} ms: {slowest[1]}", *raised[:10], sep="\n")
    summary = {"outputs": options.count, "exceptions": len(raised), "slowest_ms": round(slowest[0] * 1000, 2)}
    print(json.dumps({**summary, "seconds": round(time.perf_counter() - begin, 1)}))
    sys.exit(bool(raised))


def _scored(scorer: SingleTurnScorer, row: dict[str, str], raised: list[str]) -> Verdict | None:
    try:
        return scorer.score(row["category"], row["id"], row["result"])
    except Exception as error:  # noqa: BLE001 - finding any exception is what this measurement is for
        raised.append(f"{type(error).__name__}: {error}: {row}")
        return None


if __name__ == "__main__":
    main()
