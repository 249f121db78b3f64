"""Conversations of BFCL v4's agentic items to try two checkers with: memory's, and web search's.

What counts in them is the last text, so it is said, misspelt, cut, spread over replies or replaced by what is no text,
with calls before and after it, as text and as native calls, in turns of odd shapes.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from itool_eval.bfcl.agentic import load_answers
from itool_eval.bfcl.categories import CATEGORIES, Checker, Version

# An @ stands for the answer.
_AROUND = (
    "@", "{'answer': '@', 'context': 'said so'}", '{"answer": "@", "context": "x"}', "It is @.", "@s", "x@", "(@)",
    "**@**", "_@_", "the @-year", "'@'", "\n@\n", "I do not know (@?)", "[@]", "[f(a='@')]", "f(a={})", "<b>@</b>",
    "@ @", "```\n@\n```", "@\u00a0x", "é@é",
)  # fmt: skip
_ENDS: tuple[Any, ...] = (
    "", " ", "[]", "()", "'", "I do not know.", None, 0, 1, True, [], {}, [""], ["@"], ["x", "@"], {"answer": "@"},
    [[]], "[f()]", [{"f": "{}"}], [{"f": {}}], {"f": "{}"}, {"f": {}}, [{}], [{"f": "["}], [{"f": "[1]"}], [None], 1.5,
    "f(a={})",
)  # fmt: skip
_SHAPES: tuple[Any, ...] = (
    None, "", "Error during inference: x", [], {}, 0, [[], []], [[]], [None], ["@"], [{"@": 1}], [{}], [5], [True], "@",
    [["@"], ["@"]], [""], [[["@"]]],
)  # fmt: skip


def answers(data: Path, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a right answer to every item, then so many others, each as text and as a native conversation."""
    draw = random.Random(seed)
    categories = [c.name for c in CATEGORIES[Version.V4].values() if c.checker is Checker.AGENTIC]
    accepted = {category: load_answers(data, category) for category in categories}
    for category in categories:
        for item, options in accepted[category].items():
            for native in (False, True):
                said = f"{{'answer': '{draw.choice(options)}', 'context': 'x'}}"
                yield _row(category, item, [[_step(native), said]], native)
    for number in range(count):
        category = categories[number % len(categories)]
        item = draw.choice(list(accepted[category]))
        answer = draw.choice(accepted[category][item])
        if draw.random() < 0.2:
            answer = draw.choice(draw.choice(list(accepted[category].values())))
        for native in (False, True):
            yield _row(category, item, _result(_respelt(answer, draw), native, draw), native)


def _row(category: str, item: str, result: Any, native: bool) -> dict[str, Any]:
    return {"id": item, "category": category, "result": result, "native": native}


def _step(native: bool) -> Any:
    return [{"core_memory_list_keys": "{}"}] if native else "[core_memory_list_keys()]"


def _respelt(answer: str, draw: random.Random) -> str:
    match draw.randrange(9):
        case 0:
            return answer.upper()
        case 1:
            return answer[: draw.randint(0, len(answer))]
        case 2:
            return answer.replace(" ", draw.choice(("", "  ", "-", "_", "\n", ", ")))
        case 3:
            return draw.choice(".,-_*^()/").join(answer)
        case 4:
            at = draw.randint(0, len(answer))
            return answer[:at] + draw.choice("aé1'\"$% ") + answer[at:]
        case _:
            return answer


def _result(answer: str, native: bool, draw: random.Random) -> Any:
    if draw.random() < 0.12:
        return _filled(draw.choice(_SHAPES), answer)
    replies = [_step(native)] * draw.choice((0, 1, 2))
    replies.append(_filled(draw.choice(_AROUND), answer))
    while draw.random() < 0.35:
        replies.insert(draw.randint(0, len(replies)), _filled(draw.choice(_ENDS), answer))
    return [replies]


def _filled(value: Any, answer: str) -> Any:
    if isinstance(value, str):
        return value.replace("@", answer)
    if isinstance(value, list):
        return [_filled(inner, answer) for inner in value]
    return {_filled(k, answer): _filled(v, answer) for k, v in value.items()} if isinstance(value, dict) else value
