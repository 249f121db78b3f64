"""Fuzz the BFCL decoders and checker: no exception, and no output that takes long (`python -m bench.bfcl_fuzz`).

Four kinds of outputs: known ones damaged at random (characters, values, quotes, brackets, whole arguments), right calls
with the habits of real models and conversations of odd shapes (`bfcl_habits.py`), and degenerate replies of 16 KB, one
piece again and again, as weak models give them. Time is processor time, so that a busy machine does not count; what
tree-sitter takes of it is told apart, for its recovery from errors is quadratic in the worst case. With a file name the
outputs are also written as result lines, so that any other checker can be asked about them. Ends with one line of JSON.
"""

import argparse
import contextlib
import gc
import gzip
import json
import random
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

from tree_sitter import Node

from bench.bfcl_habits import habits, odd_conversations
from bench.shared import shared_data
from itool_data.assets import bfcl_data
from itool_data.errors import ItoolError
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.grammar import Grammar
from itool_eval.bfcl.multi_turn_checker import MultiTurnScorer
from itool_eval.bfcl.score_file import Scorer
from itool_eval.bfcl.single_turn import SingleTurnScorer

# What arguments are replaced with, by language: what decoders and converters treat specially. And what degenerate
# replies repeat.
_VALUES: dict[str, list[str]] = json.loads(Path(__file__).with_name("bfcl_fuzz_values.json").read_text("utf-8"))
_CHARACTERS = list("[](){}'\"`,.:;=*+-_/\\ \n\t#@<>?!%&|^~0aZé\u00a0\u200b日\x00\U0001f600")
# How a right call of each category's first item begins.
_BEGUN = {
    "simple": "[calculate_triangle_area(base=",
    "java": "[GeometryPresentation.createPresentation(controller=",
    "javascript": "[validateUserInput(inputField=",
    "irrelevance": "[f(a=",
}
_DEGENERATE = 16_384
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
    for name, column in (("bfcl_v3_corpus.jsonl.gz", "output"), ("bfcl_v3_synthetic_run/results.jsonl.gz", "result")):
        with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
            rows += [{"id": r["id"], "category": r["category"], "result": r[column]} for r in map(json.loads, lines)]
    return [row for row in rows if not row["category"].startswith("multi_turn")]


def degenerate() -> Iterator[dict[str, str]]:
    """Yield replies of 16 KB that are one piece again and again, alone and as an argument's value."""
    for category, begin in _BEGUN.items():
        for piece in _VALUES["degenerate"]:
            for start in ("", begin, f"{begin}'"):
                text = start + piece * (_DEGENERATE // len(piece))
                yield {"id": f"{category}_0", "category": category, "result": text[:_DEGENERATE]}


@dataclass
class Findings:
    """What one kind of outputs showed; times in seconds."""

    outputs: int = 0
    raised: list[str] = field(default_factory=list)
    slowest: tuple[float, float, str] = (0.0, 0.0, "")  # all, of it tree-sitter, the output
    own: float = 0.0  # the most that an output took outside tree-sitter

    def add(self, row: dict[str, Any], seconds: float, parser: float) -> None:
        """Count one output."""
        self.outputs += 1
        self.slowest = max(self.slowest, (seconds, parser, json.dumps(row)[:200]))
        self.own = max(self.own, seconds - parser)


class _ParserClock:
    """Counts the time that tree-sitter takes."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count every parse in this block."""
        parse = Grammar.parse

        def timed(grammar: Grammar, source: str) -> Node:
            start = time.process_time()
            try:
                return parse(grammar, source)
            finally:
                self.seconds += time.process_time() - start

        with mock.patch.object(Grammar, "parse", timed):
            yield


def examine(
    rows: Iterable[dict[str, Any]], scorers: Sequence[Scorer], clock: _ParserClock, written: TextIO | None
) -> Findings:
    """Score outputs one by one."""
    by_category = {category: scorer for scorer in scorers for category in scorer.categories}
    found = Findings()
    for row in rows:
        scorer, ours = by_category[row["category"]], {}
        if not found.outputs:
            gc.freeze()  # what is loaded is not looked through again: the pause would count for one of the outputs
        start, clock.seconds = time.process_time(), 0.0
        try:
            verdict = scorer.score(row["category"], row["id"], row["result"])
            ours = {"valid": verdict.valid, "error_type": verdict.error_type}
        except ItoolError:
            pass  # a result that the official checker raises on; a result file's line would be set aside
        except Exception as error:  # noqa: BLE001 - finding any exception is what this measurement is for
            found.raised.append(f"{type(error).__name__}: {error}: {json.dumps(row)[:500]}")
        seconds = time.process_time() - start
        found.add(row, seconds, clock.seconds)
        if written:
            written.write(json.dumps({**row, **ours}) + "\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000, help="damaged outputs")
    parser.add_argument("--habits", type=int, default=50_000, help="outputs with habits; a tenth as many conversations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="write the outputs as result lines, with our verdict")
    options = parser.parse_args()
    data = bfcl_data()
    scorers: list[Scorer] = [SingleTurnScorer(data, Version.V3), MultiTurnScorer(data, Version.V3)]
    seeds = known_outputs(shared_data())
    kinds: dict[str, Iterator[dict[str, Any]]] = {
        "damaged": mutants(seeds, options.count, options.seed),
        "habits": habits(data, options.habits, options.seed),
        "conversations": odd_conversations(data, options.habits // 10, options.seed),
        "degenerate": degenerate(),
    }
    for scorer in scorers:  # reads the items, so that no output waits for them
        for category in scorer.categories:
            scorer.copies(category, "")
    scorers[1].score("multi_turn_base", "multi_turn_base_0", [[], [], [], []])
    begin = time.perf_counter()
    summary: dict[str, Any] = {}
    clock = _ParserClock()
    out = options.write.open("w", encoding="utf-8") if options.write else contextlib.nullcontext()
    with clock.running(), out as written:
        for kind, rows in kinds.items():
            found = examine(rows, scorers, clock, written)
            all_, in_parser, output = found.slowest
            print(f"{kind}: {found.outputs} outputs, {len(found.raised)} exceptions", *found.raised[:10], sep="\n  ")
            print(f"  slowest: {all_ * 1000:.1f} ms, of which tree-sitter {in_parser * 1000:.1f} ms: {output}")
            summary[kind] = {
                "outputs": found.outputs,
                "exceptions": len(found.raised),
                "slowest_ms": round(all_ * 1000, 1),
                "slowest_without_tree_sitter_ms": round(found.own * 1000, 1),
            }
    print(json.dumps({**summary, "seconds": round(time.perf_counter() - begin, 1)}))
    sys.exit(any(kind["exceptions"] for kind in summary.values()))


if __name__ == "__main__":
    main()
