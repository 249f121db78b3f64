"""Fuzz the BFCL decoders and checker: no exception, and no output that takes long (`python -m bench.bfcl_fuzz`).

Outputs with known verdicts are damaged at random: characters, values, quotes, brackets, whole arguments. With a file
name the mutants are also written as result lines, so that any other checker can be asked about them. Ends with one
line of JSON.
"""

import argparse
import gzip
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.shared import bfcl_data, shared_data
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.single_turn import SingleTurnScorer
from itool_eval.verdicts import Verdict

_PYTHON = """1+1|2**3|'a'+'b'|-5|+5|not True|~3|True|false|None|null|[1, 2.5]|(1, 2)|(1,)|{}|{'a': 1}|{'a': ['b']}|[[1], [2]]|
[{'a': 1}]|f(x=1)|g()|g(1)|d['k']|d[1:2]|d[1,2]|a.b|{1, 2}|f'x'|[x for x in y]|1<2|a and b|1 if True else 2|lambda: 1|*a|b'x'|1j|...|''|
[]|()|[None]|""|' ., '|1e400|0x10|1_000|5/2|10//3|7%4|'%s' % 'x'|'%d%%' % 5|'ab'*2|[1]*3|[0]+[1]|1<<3|3|--1|-1+2|(1,)+(2,)|1-1j|
9**9**9|'a'*10**9|1/0|x+1|'a'+1|[*a]|{**a}|{[1]: 2}|{(1, 2): 3}|"it's"|'''x'''|r'\\d'|'\\d'|u'x'|'é'|[1, 'a', None]|{'a': {'b': [1]}}|-x|-'a'|
(1)|((1))|[[[[1]]]]|1.0|0.5|100|'100'|[True]|[1.0]|['a', 'b']|{'a': None}|f(**x)|f(*x)|x:=1|await z|-1.5|- 1|1 + 2 * 3|(2 + 3) * 4|10**20|1e3""".split("|")
_JAVA = """new int[]{1, 2}|new String[]{"a","b"}|new String[]{a}|new ArrayList<>(Arrays.asList(1,2))|new ArrayList<String>() {{ add("a"); }}|
new ArrayList<>()|"new ArrayList<>() {{ add(1); add(x); }}"|new HashMap<String, Integer>() {{ put("k", 1); }}|new HashMap<>()|
"new HashMap<String, Object>() {{ put(\\"k\\", 1); }}"|"new HashMap<>() {{ put("k", 1); }}"|1L|1.5f|1.5|3|null|"é"|'c'|true|A.B|(int) 5|x -> y|a.b()|
new Foo(1, "x")|new Foo(new Bar(1), y)|List.of(1)|Foo.class|-1|\"\"\"text\"\"\"|a ? b : c|x[0]|new int[3]|new int[][]{{1},{2}}|"a" + "b"|a + b|this|
"日本"|Collections.emptyList()|new ArrayList<String>(Arrays.asList("a", "b"))|new char[]{'a'}|new long[]{1L, 2L}|{1, 2}|[1, 2]|/* c */ 1""".split("|")
_JAVASCRIPT = """[1, 2]|[[1,2],[3]]|[[1], 2]|new Array(1,2)|new Array([1],[2])|{a: 1, b: 'x'}|{'k': [1,2]}|{"k": {"a": 1}}|{}|[]|[[]]|[{a: 1}]|`t`|null|
undefined|x => x|12n|function(){}|/re/g|...a|[ "a", 'b' ]|new Map()|await x|a?.b|"a" + "b"|-1.5|1e3|{\n a: 1}|{a: 1, 'b,c': 2, d: "x:y"}|{a: true, b: "z",}|
{a: [1, 2], b: [3]}|"'a'"|'"a"'|true|false|3|3.0|"é"|f(1)|f(a=1)|a[0]|{a}|[1,,2]|[1, 2,]|['x,y']|{a: 1; b: 2}|[\n1,\n2]|/* c */ 1|x // y""".split("|")
_VALUES = {"java": _JAVA, "javascript": _JAVASCRIPT}
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
            return _replace_value(text, draw.choice(_VALUES.get(category, _PYTHON)), draw)
        case _:
            return _replace_value(text, text[place : place + draw.randint(1, 30)], draw)


def _replace_value(text: str, value: str, draw: random.Random) -> str:
    found = list(_VALUE.finditer(text))
    if not found:
        return text + value
    chosen = draw.choice(found)
    return text[: chosen.start()] + value.strip("\n") + text[chosen.end() :]


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
        scorer.item(row["category"], row["id"])
    slowest: tuple[float, dict[str, str]] = (0.0, {})
    raised: list[str] = []
    written = options.write.open("w", encoding="utf-8") if options.write else None
    begin = time.perf_counter()
    for row in mutants(seeds, options.count, options.seed):
        start = time.perf_counter()
        verdict = _scored(scorer, row, raised)
        slowest = max(slowest, (time.perf_counter() - start, row), key=lambda pair: pair[0])
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
