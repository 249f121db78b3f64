"""Outputs with the habits of real models, for the BFCL fuzz: right calls in wrong clothes.

Each output takes an item's accepted calls and writes them in one of the forms that models have learnt elsewhere (JSON
calls, tags, fences, prose around, one call a line, positional arguments), with some values in another spelling.
Conversations are changed in shape. Left out: damage without a sense (`bfcl_fuzz.py`).
"""

import ast
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from itool_eval.bfcl.categories import Language, Version, single_turn
from itool_eval.bfcl.items import load_items
from itool_eval.bfcl.multi_turn_items import load_multi_turn_items

Calls = list[tuple[str, dict[str, str]]]
# Spellings of values that models mix up, by language; {} stands for the right one.
_SPELLINGS: dict[str, list[str]] = json.loads(Path(__file__).with_name("bfcl_habits_values.json").read_text("utf-8"))
_PROSE = (
    "Sure! Here is the call: ",
    "I will use the function.\n\n",
    "Thought: I need it.\nAction: ",
    "1. ",
    "- ",
    "> ",
)
_AFTER = (".", "\n\nLet me know!", "\n# done", "  // done", " Is that right?", "\n```", "</s>", "<|im_end|>", ";", ",")
_FENCES = ("```json\n{}\n```", "```python\n{}\n```", "```tool_code\n{}\n```", "```\n{}\n```", "``{}``", "`{}`")
_TAGS = (
    "<tool_call>\n{}\n</tool_call>",
    "<functioncall> {}",
    "<|python_tag|>{}",
    "<TOOLCALL>{}</TOOLCALL>",
    "[TOOL_CALLS] {}",
)


def habits(data: Path, count: int, seed: int, version: Version = Version.V3) -> Iterator[dict[str, Any]]:
    """Yield single-turn outputs, each category equally often."""
    draw = random.Random(seed)
    items = {c: load_items(data, version, c.name) for c in single_turn(version)}
    called = [item for category in items for item in items[category] if item.answers]
    for number in range(count):
        category = list(items)[number % len(items)]
        item = draw.choice(items[category])
        # Where nothing should be called, somebody else's calls are made.
        answered = item if item.answers else draw.choice(called)
        language = category.language if category.has_answers else Language.PYTHON
        calls = [(name, _arguments(answer, language, draw)) for name, answer in answered.answers]
        for _ in range(draw.choice((0, 0, 1, 1, 2, 3))):
            _respell(calls, language, draw)
        yield {"id": item.id, "category": category.name, "result": dressed(_written(calls, draw), draw)}


def odd_conversations(data: Path, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield multi-turn results of odd shapes, with replies in the same habits."""
    draw = random.Random(seed)
    categories = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")
    items = {category: load_multi_turn_items(data, Version.V3, category) for category in categories}
    for number in range(count):
        category = categories[number % len(categories)]
        item = draw.choice(items[category])
        result: Any = [_replies(turn, draw) for turn in item.answers]
        for _ in range(draw.choice((0, 1, 1, 2))):
            result = reshaped(result, draw)
        yield {"id": item.id, "category": category, "result": result}


def _arguments(answer: dict[str, Any], language: Language, draw: random.Random) -> dict[str, str]:
    given = {}
    for parameter, options in answer.items():
        chosen = [option for option in options if option != ""]
        if chosen and (options[-1] != "" or draw.random() < 0.5):
            value = _plain(draw.choice(chosen))
            text = repr(value) if language is Language.PYTHON else json.dumps(value, ensure_ascii=False)
            given[parameter] = text if language is Language.PYTHON or draw.random() < 0.5 else str(value)
    return given


def _plain(option: Any) -> Any:
    """An accepted value with the options inside a dict resolved."""
    if isinstance(option, dict):
        return {
            key: _plain(values[0]) if isinstance(values, list) and values else values for key, values in option.items()
        }
    return [_plain(element) for element in option] if isinstance(option, list) else option


def _respell(calls: Calls, language: Language, draw: random.Random) -> None:
    arguments = draw.choice(calls)[1] if calls else {}
    if arguments:
        name = draw.choice(list(arguments))
        spellings = _SPELLINGS[language.value] if draw.random() < 0.8 else _SPELLINGS["any"]
        arguments[name] = draw.choice(spellings).replace("{}", arguments[name])


def _written(calls: Calls, draw: random.Random) -> str:
    return draw.choice(_FORMS)(calls, draw)


def dressed(text: str, draw: random.Random) -> str:
    """A text as models dress it: prose, fences, tags, other quotes and blanks around it."""
    for _ in range(draw.choice((0, 0, 1, 1, 2))):
        match draw.randrange(8):
            case 0:
                text = draw.choice(_PROSE) + text
            case 1:
                text += draw.choice(_AFTER)
            case 2 | 3:
                text = draw.choice(_FENCES).replace("{}", text)
            case 4:
                text = draw.choice(_TAGS).replace("{}", text)
            case 5:
                text = text.replace("'", draw.choice('’‘“"`'))
            case 6:
                text = text.replace(
                    draw.choice((", ", "=", "(")), draw.choice((",\n    ", " = ", "(\n", ",", "\r\n", "\t"))
                )
            case _:
                text = draw.choice(("\ufeff", "\u00a0", "\n\n", " ", "\t", "[", "'", '"')) + text
    return text


def _plain_call(name: str, arguments: dict[str, str]) -> str:
    return f"{name}({', '.join(f'{key}={value}' for key, value in arguments.items())})"


def _python_list(calls: Calls, _draw: random.Random) -> str:
    return f"[{', '.join(_plain_call(*call) for call in calls)}]"


def _lines(calls: Calls, draw: random.Random) -> str:
    joint = draw.choice(("\n", ";\n", ", ", "; ", " and ", "\n\n", "],["))
    before = draw.choice(("", "", "result = ", "print(", "await ", "return ", "functions.", "default_api.", "* "))
    after = ")" if before == "print(" else ""
    return joint.join(before + _plain_call(*call) + after for call in calls)


def _positional(calls: Calls, draw: random.Random) -> str:
    texts = []
    for name, arguments in calls:
        values, keys = list(arguments.values()), list(arguments)
        split = draw.randint(0, len(values))
        named = [f"{k}={v}" for k, v in zip(keys[split:], values[split:], strict=True)]
        parts = draw.choice(([*values[:split], *named], [*named, *values[:split]]))
        texts.append(f"{name}({', '.join(parts)}{draw.choice(('', '', ',', ', **{}', ', *[]', ' # all'))})")
    return f"[{', '.join(texts)}]"


def _json_calls(calls: Calls, draw: random.Random) -> str:
    key = draw.choice(("arguments", "parameters", "args"))
    objects: list[Any] = [{"name": name, key: {k: _value(v) for k, v in a.items()}} for name, a in calls]
    match draw.randrange(6):
        case 0:
            objects = [{o["name"]: o[key]} for o in objects]
        case 1:
            function = [{"name": o["name"], "arguments": json.dumps(o[key])} for o in objects]
            return json.dumps({"tool_calls": [{"id": "call_1", "type": "function", "function": f} for f in function]})
        case 2:
            return "\n".join(map(json.dumps, objects))
        case 3:
            return str(objects)
        case 4:
            return "".join(f"<function={o['name']}>{json.dumps(o[key])}</function>" for o in objects)
        case _:
            pass
    return json.dumps(
        objects if len(objects) != 1 or draw.random() < 0.5 else objects[0], indent=draw.choice((None, 2))
    )


def _braces(calls: Calls, draw: random.Random) -> str:
    """One object as the argument, or colons for equal signs, as in JavaScript and Swift."""
    opening, closing = draw.choice((("({", "})"), ("(", ")"), ("{", "}")))
    texts = [f"{n}{opening}{', '.join(f'{k}: {v}' for k, v in a.items())}{closing}" for n, a in calls]
    return draw.choice(("[{}]", "{}", "{};", "const x = {};")).replace("{}", ", ".join(texts))


def _renamed(calls: Calls, draw: random.Random) -> str:
    change: Callable[[str], str] = draw.choice(
        (str.upper, lambda n: n.replace(".", "_"), lambda n: n.split(".")[-1], lambda n: f"api.{n}", lambda n: f"'{n}'")
    )
    return _python_list([(change(name), arguments) for name, arguments in calls], draw)


def _value(text: str) -> Any:
    """The value that a Python text stands for, if JSON can hold it, else the text."""
    try:
        value = ast.literal_eval(text)
        json.dumps(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
    return value


_FORMS: Sequence[Callable[[Calls, random.Random], str]] = (
    _python_list, _python_list, _python_list, _python_list, _lines, _positional, _json_calls, _braces, _renamed,
)  # fmt: skip


def _replies(turn: list[str], draw: random.Random) -> list[Any]:
    """The expected calls of a turn as replies: all at once, or one by one, some of them dressed."""
    groups = [[call] for call in turn] if draw.random() < 0.5 else [turn]
    replies: list[Any] = [f"[{', '.join(group)}]" for group in groups if group]
    if replies and draw.random() < 0.2:
        place = draw.randrange(len(replies))
        replies[place] = dressed(replies[place], draw)
    return [*replies, *draw.choice(([], ["Done."], [""], ["[]"]))]


def reshaped(result: Any, draw: random.Random) -> Any:
    """A conversation of another shape: turns or replies missing, added, or of another type."""
    if not isinstance(result, list) or not result:
        return result
    place = draw.randrange(len(result))
    turn = result[place]
    match draw.randrange(12):
        case 0:
            return [
                *result[:place],
                draw.choice(([], "", "[]", None, 0, {}, {"a": 1}, [[]], [None], True)),
                *result[place + 1 :],
            ]
        case 1:
            return [*result, draw.choice(([], ["Done."], turn))]
        case 2:
            return result[:place] + result[place + 1 :]
        case 3:
            return draw.choice(
                (None, "", "Error during inference: x", 0, {}, [], json.dumps(result), [result], {"turns": result})
            )
        case 4:
            return [*result[:place], "".join(map(str, turn)) if isinstance(turn, list) else turn, *result[place + 1 :]]
        case 5:
            return [[step for t in result if isinstance(t, list) for step in t]]
        case 6:
            return result[::-1]
        case _:
            if not isinstance(turn, list):
                return result
            odd = draw.choice((None, "", "[]", "()", "{}", 7, [], {"a": 1}, "no call", "[f()]", "f(a={})", *turn[:2]))
            at = draw.randint(0, len(turn))
            return [*result[:place], [*turn[:at], odd, *turn[at:]], *result[place + 1 :]]
