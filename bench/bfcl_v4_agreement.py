"""How far BFCL v4 here agrees with the official code, which is asked in an environment of its own.

`bfcl_official.py` says how to make that environment. Compared are verdict and error type of right, damaged and odd
outputs of every kind of item, by prompt and by native calls; all that is asked in conversations with scripted replies
and in every form of the prompt; and the cells of the official tables for a folder of results.
"""

import hashlib
import json
import random
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from bench.bfcl_answers import answers
from bench.bfcl_conversations import conversations
from bench.bfcl_forms import accepted, form_replies, written
from bench.bfcl_habits import habits
from itool_data.errors import ItoolError
from itool_eval.benchmark import Benchmark
from itool_eval.bfcl.benchmark import bfcl, bfcl_scorers
from itool_eval.bfcl.categories import CATEGORIES, FORMAT_SENSITIVITY, SET_UP, Checker, Language, Version, single_turn
from itool_eval.bfcl.format_sensitivity import by_form, load_form_items
from itool_eval.bfcl.items import load_items
from itool_eval.bfcl.memory import MemoryItem, load_memory_items
from itool_eval.bfcl.memory_stores import BACK_ENDS, Memory
from itool_eval.bfcl.official_tables import official_tables
from itool_eval.bfcl.prompt_form import DEFAULT
from itool_eval.bfcl.score_file import write_official_results
from itool_eval.conversation import Conversation, Said
from itool_eval.summary import tally

_SCRIPT = Path(__file__).with_name("bfcl_official.py")
_MODEL = "openbmb_MiniCPM3-4B"  # the official registry's name of the model whose results the tables are made of


@dataclass
class Agreement:
    """How much was compared, and what differs."""

    compared: int = 0
    differences: list[str] = field(default_factory=list)

    def add(self, name: str, ours: object, official: object) -> None:
        """Compare one thing."""
        self.compared += 1
        if ours != official:
            self.differences.append(f"{name}: {ours}, officially {official}")

    @property
    def agreeing(self) -> int:
        """How much agrees."""
        return self.compared - len(self.differences)


def ask(python: Path, what: str, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The lines that the official code makes of some."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
        given.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        subprocess.run([python, _SCRIPT, what, given, out], check=True)
        with out.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def outputs(data: Path, count: int, seed: int) -> dict[str, Iterator[dict[str, Any]]]:
    """Outputs by kind: every right one, and so many others."""
    return {
        "single turns": habits(data, count, seed, Version.V4),
        "multi-turn": conversations(data, count // 2, seed),
        "memory and web search": answers(data, count // 2, seed),
        "format sensitivity": form_replies(data, count, seed),
    }


def verdicts(python: Path, rows: Iterable[dict[str, Any]]) -> Agreement:
    """Compare verdict and error type; where the official code raises, ours must set the output aside or fail it."""
    scorers = {
        (category, native): scorer
        for native in (False, True)
        for scorer in bfcl_scorers(Version.V4, native)
        for category in scorer.categories
    }
    found = Agreement()
    for row in ask(python, "score", rows):
        scorer = scorers[row["category"], row.get("native", False)]
        official: Any = row["official_valid"], row["official_error_type"]
        try:
            verdict = scorer.score(row["category"], row["id"], row["result"])
            ours: Any = verdict.valid, verdict.error_type
        except ItoolError as error:
            ours = None, str(error)
        if official[0] is None and not ours[0]:
            ours = official
        found.add(f"{row['id']} {json.dumps(row['result'])[:300]}", ours, official)
    return found


def prompts(python: Path, data: Path, seed: int) -> dict[str, Agreement]:
    """Compare what is asked: every conversation, memory's in their order, and every item in every form."""
    draw = random.Random(seed)
    benchmarks = {native: bfcl(Version.V4, native) for native in (False, True)}
    multi_turn = [c.name for c in CATEGORIES[Version.V4].values() if c.checker is Checker.MULTI_TURN]
    in_turn = [
        {"id": row["id"], "category": row["category"], "native": row["native"], "replies": _replies(row["result"])}
        for row in conversations(data, 0, seed)
        if draw.random() < 0.25
    ]
    in_forms = [{"id": f.item.id, "category": FORMAT_SENSITIVITY, "replies": []} for f in load_form_items(data)]
    found = {
        "multi-turn": _asked(ask(python, "prompts", in_turn), benchmarks, multi_turn),
        "format sensitivity": _asked(ask(python, "prompts", in_forms), benchmarks, [FORMAT_SENSITIVITY]),
        "memory": Agreement(),
    }
    memories: dict[tuple[bool, str], Memory] = {}
    items = {item.id: item for back_end in BACK_ENDS for item in _memory_items(data, back_end)}
    for row in ask(python, "prompts", _memory_scripts(data, draw)):
        item, driver = items[row["id"]], benchmarks[row["native"]].memory
        assert driver
        before = memories.get((row["native"], item.chain), {})
        digest, result = _held(driver.conversation(item, before), row["replies"])
        if item.sets_up:
            memories[row["native"], item.chain] = driver.after(item, before, result)
        found["memory"].add(f"{item.id}, native {row['native']}", (digest, result), (row["prompts"], row["result"]))
    return found


def _memory_items(data: Path, back_end: str) -> list[MemoryItem]:
    return [*load_memory_items(data, back_end + SET_UP), *load_memory_items(data, back_end)]


def _asked(rows: Iterable[dict[str, Any]], benchmarks: dict[bool, Benchmark], categories: Iterable[str]) -> Agreement:
    questions = {
        (native, question.id): question
        for native, benchmark in benchmarks.items()
        for category in categories
        for question in (benchmark.questions(category) if category in benchmark.categories else ())
    }
    found = Agreement()
    for row in rows:
        held = _held(questions[row.get("native", False), row["id"]].begin(), row["replies"])
        found.add(row["id"], held, (row["prompts"], row["result"]))
    return found


def _held(conversation: Conversation, replies: list[Any]) -> tuple[str, Any]:
    """The digest of all that a conversation asks, given some replies and then that it is done; and its result."""
    asked, left = [], list(replies)
    prompt = next(conversation)
    while True:
        asked.append([prompt.messages, list(prompt.tools)])
        reply = left.pop(0) if left else "Done."
        said = Said(reply) if isinstance(reply, str) else Said("", tuple((name, given) for name, given in reply))
        try:
            prompt = conversation.send(said)
        except StopIteration as end:
            text = json.dumps(asked, sort_keys=True)
            return hashlib.sha256(text.encode()).hexdigest(), json.loads(json.dumps(end.value))


def _replies(result: list[list[Any]]) -> list[Any]:
    """A conversation's replies as a script."""
    steps = chain.from_iterable(result)
    return [r if isinstance(r, str) else [pair for call in r for pair in call.items()] for r in steps]


_KEYS = ("name", "age_2", "job_title", "pet", "x y", "fav_color", "first_order")
_TEXTS = ("Michael", "35, Seattle", "it's (ok)", "a\nb", "é", "x" * 400, 5)


def _memory_scripts(data: Path, draw: random.Random) -> Iterator[dict[str, Any]]:
    """Scripts of every conversation that fills a memory, and then of some questions about it."""
    for native in (False, True):
        for back_end in BACK_ENDS:
            for item in _memory_items(data, back_end):
                if not item.sets_up and draw.random() > 0.3:
                    continue
                replies: list[Any] = []
                for _ in item.turns:
                    calls = [_memory_call(back_end, draw) for _ in range(draw.choice((0, 1, 1, 2)))]
                    replies += [[[n, json.dumps(given)]] if native else _as_text(n, given) for n, given in calls]
                    replies.append("Done.")
                if draw.random() < 0.03 and len(replies) > 1:
                    replies = [reply for reply in replies if reply != "Done."] * 30
                yield {"id": item.id, "category": back_end, "native": native, "replies": replies}


def _as_text(name: str, given: dict[str, Any]) -> str:
    return f"[{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})]"


def _memory_call(back_end: str, draw: random.Random) -> tuple[str, dict[str, Any]]:
    key, text, part = draw.choice(_KEYS), draw.choice(_TEXTS), draw.choice(("core", "archival"))
    calls: tuple[tuple[str, dict[str, Any]], ...]
    if back_end == "memory_rec_sum":
        calls = (
            *[("memory_append", {"text": text})] * 3, ("memory_update", {"text": text}), ("memory_retrieve", {}),
            ("memory_replace", {"old_text": "Michael", "new_text": text}), ("memory_clear", {}),
        )  # fmt: skip
        return draw.choice(calls)
    calls = (
        *[("memory_add", {"key": key, "value": text})] * 4, ("memory_key_search", {"query": f"the {key} name"}),
        ("memory_key_search", {"query": key, "k": 2}), ("memory_remove", {"key": key}), ("memory_list_keys", {}),
        ("memory_replace", {"key": key, "value": text}), ("memory_retrieve", {"key": key}), ("nothing", {}),
    )  # fmt: skip
    name, given = draw.choice(calls)
    return f"{part}_{name}", given


def tables(python: Path, data: Path, seed: int) -> Agreement:
    """Compare the cells of the official tables, for results of which some are right, without web search and vectors."""
    draw = random.Random(seed)
    rows = list(_results(data, draw))
    by_category = {category: scorer for scorer in bfcl_scorers(Version.V4) for category in scorer.categories}
    verdicts_ = [by_category[category].score(category, item, result) for category, item, result in rows]
    ours = official_tables(tally(verdicts_), Version.V4, by_form(verdicts_))
    with tempfile.TemporaryDirectory() as folder:
        write_official_results(rows, Path(folder, _MODEL), Version.V4.prefix)
        out = Path(folder, "tables.json")
        subprocess.run([python, _SCRIPT, "tables", folder, out], check=True)
        official = json.loads(out.read_text("utf-8"))
    found = Agreement()
    for table, columns in ours.items():
        for column, text in columns.items():
            found.add(f"{table}, {column}", text, official[table].get(column))
    return found


def _results(data: Path, draw: random.Random) -> Iterator[tuple[str, str, Any]]:
    for category in single_turn(Version.V4):
        python = category.language is Language.PYTHON
        for item in load_items(data, Version.V4, category.name):
            right = written(accepted(item, draw), DEFAULT) if python and draw.random() < 0.7 else "x"
            yield category.name, item.id, right
    for row in {row["id"]: row for row in conversations(data, 0, 0) if not row["native"]}.values():
        yield row["category"], row["id"], row["result"] if draw.random() < 0.6 else [["x"]]
    for row in answers(data, 0, 0):
        if not row["native"] and row["category"] in BACK_ENDS:
            yield row["category"], row["id"], row["result"] if draw.random() < 0.4 else [["x"]]
    for found in load_form_items(data):
        text = written(accepted(found.item, draw), found.form)
        yield FORMAT_SENSITIVITY, found.item.id, text if draw.random() < 0.5 + 0.03 * len(found.form.calls) else ""
