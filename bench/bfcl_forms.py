"""Replies to BFCL v4's format sensitivity to try two checkers with: right ones in every form, and odd ones.

A right reply writes an item's accepted calls as its form asks. From it come replies in another form, with another
value, tag or key, cut, empty, damaged, or dressed as models dress them (`bfcl_habits.py`).
"""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from bench.bfcl_habits import dressed
from itool_eval.bfcl.format_sensitivity import FormItem, load_form_items
from itool_eval.bfcl.items import Item
from itool_eval.bfcl.prompt_form import FORMS, PromptForm

Calls = list[tuple[Any, dict[Any, Any]]]
_VALUES: tuple[Any, ...] = (
    "", "x", 0, 1, -1, 1.5, True, None, [], [1], ["a"], {}, {"a": 1}, [{"a": 1}], "True", "1", "[1, 2]", "<b>", "a&b",
    "it's", '"', "\\", "é", 10**20, float("inf"),
)  # fmt: skip
_TYPES = {
    str: "string",
    int: "integer",
    float: "float",
    bool: "boolean",
    list: "array",
    dict: "dict",
    type(None): "null",
}
_ODD_TYPES = (
    "string",
    "integer",
    "float",
    "boolean",
    "array",
    "tuple",
    "dict",
    "object",
    "null",
    "any",
    "int",
    "",
    "list",
)
_SWAPS = (
    ("parameters", "arguments"), ("function", "name"), ("<functions>", "<function_calls>"), ("<params>", ""),
    ("</params>", ""),
    ("<function ", "<Function "), ("TOOLCALL", "toolcall"), ("</TOOLCALL>", ""),
    ("<TOOLCALL>", ""), ("}]", "}"), ("]", ""),
    ('"', "'"), ("}, {", "},{"), ("}, {", "} {"), ("[", "[["), ("{", "{{"),
    ("value=", "val="), ("type=", "kind="),
    ("name=", "Name="), ("</functions>", "</functions><functions></functions>"), ("true", "True"),
    (" ", "\n"), ("<", "&lt;"),
)  # fmt: skip
_WHOLE: tuple[Any, ...] = (
    "", " ", "[]", "[{}]", "{}", "null", "5", '"f"', "[5]", "[[]]", "<functions></functions>", "<functions/>", "None.",
    "<TOOLCALL></TOOLCALL>", "<TOOLCALL>[]</TOOLCALL>", "<TOOLCALL>f()</TOOLCALL>", "<TOOLCALL>5</TOOLCALL>",
    '[{"function": ["f"], "parameters": {}}]', '[{"function": 5, "parameters": {}}]', '[{"function": "f"}]',
    '[{"function": "f", "parameters": []}]', '[{"function": "f", "parameters": {}}, 5]', "[{}, {}]", "f()", "()",
    "'f()'",
    "<functions><function><params/></function></functions>", "<functions><function name='f'/></functions>",
    "<functions><functions><function name='f'/></functions></functions>", "<functions>&x;</functions>",
    "<!DOCTYPE a [<!ENTITY x 'y'>]><functions>&x;</functions>",
    '<TOOLCALL>{"function": "f", "parameters": {}}</TOOLCALL>',
    '<TOOLCALL>"f"</TOOLCALL>',
    '[{"function": "f", "parameters": {"a": 1' + "0" * 5000 + "}}]", None, 7, [], ["f()"], {},
)  # fmt: skip


def form_replies(data: Path, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a right reply to every item in every form, then so many others."""
    draw = random.Random(seed)
    items = load_form_items(data)
    for found in items:
        yield _row(found, written(accepted(found.item, draw), found.form))
    for _ in range(count):
        found = draw.choice(items)
        calls = accepted(found.item if draw.random() < 0.9 else draw.choice(items).item, draw)
        if draw.random() < 0.5:
            _change(calls, draw)
        form = found.form
        if draw.random() < 0.15:
            form = draw.choice(FORMS)
        elif draw.random() < 0.1:
            form = replace(form, tagged=not form.tagged)
        yield _row(found, _odd(written(calls, form, draw), draw))


def _row(found: FormItem, result: Any) -> dict[str, Any]:
    return {"id": found.item.id, "category": found.item.category, "result": result}


def accepted(item: Item, draw: random.Random) -> Calls:
    """Calls that the item accepts, as far as an accepted value of each parameter makes one."""
    calls: Calls = []
    for name, answer in item.answers:
        given = {}
        for parameter, options in answer.items():
            chosen = [option for option in options if option != ""]
            if chosen and ("" not in options or draw.random() < 0.5):
                given[parameter] = _plain(draw.choice(chosen))
        calls.append((name, given))
    return calls


def _plain(option: Any) -> Any:
    if isinstance(option, dict):
        return {
            key: _plain(values[0]) if isinstance(values, list) and values else values for key, values in option.items()
        }
    return [_plain(element) for element in option] if isinstance(option, list) else option


def written(calls: Calls, form: PromptForm, draw: random.Random | None = None) -> str:
    """Calls as a form wants them; XML's types are odd now and then where there is something to draw with."""
    if form.calls == "python":
        text = ", ".join(f"{name}({', '.join(f'{k}={v!r}' for k, v in given.items())})" for name, given in calls)
        text = f"[{text}]"
    elif form.calls == "json":
        text = json.dumps([{"function": name, "parameters": given} for name, given in calls])
    else:
        verbose = form.calls == "verbose_xml"
        text = "".join(
            f"<function name={quoteattr(str(name))}>"
            + ("<params>" if verbose else "")
            + "".join(_parameter(key, value, verbose, draw) for key, value in given.items())
            + ("</params>" if verbose else "")
            + "</function>"
            for name, given in calls
        )
        text = f"<functions>{text}</functions>"
    return f"<TOOLCALL>{text}</TOOLCALL>" if form.tagged else text


def _parameter(key: str, value: Any, verbose: bool, draw: random.Random | None) -> str:
    kind = _TYPES.get(type(value), "string")
    if draw and draw.random() < 0.1:
        kind = draw.choice(_ODD_TYPES)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if verbose:
        return f"<param name={quoteattr(key)} value={quoteattr(text)} type={quoteattr(kind)}/>"
    return f"<param name={quoteattr(key)} type={quoteattr(kind)}>{escape(text)}</param>"


def _change(calls: Calls, draw: random.Random) -> None:
    at = draw.randrange(len(calls))
    name, given = calls[at]
    match draw.randrange(7):
        case 0:
            del calls[at]
        case 1:
            calls.insert(at, (name, dict(given)))
        case 2:
            calls[at] = draw.choice((f"{name}x", name.replace(".", "_"), name.upper(), "")), given
        case 3:
            given[draw.choice(("a", "unit", *given))] = draw.choice(_VALUES)
        case 4:
            given.pop(draw.choice(list(given)), None) if given else None
        case 5:
            calls.reverse()
        case _:
            for key in given:
                given[key] = draw.choice((str(given[key]), [given[key]], draw.choice(_VALUES)))


def _odd(text: str, draw: random.Random) -> Any:
    match draw.randrange(10):
        case 0:
            return draw.choice(_WHOLE)
        case 1:
            return text[: draw.randint(0, len(text))]
        case 2 | 3:
            old, new = draw.choice([swap for swap in _SWAPS if swap[0] in text] or [("", "x")])
            return text.replace(old, new, draw.choice((1, -1)))
        case 4 | 5:
            return dressed(text, draw)
        case 6:
            at = draw.randint(0, len(text))
            return text[:at] + draw.choice("[]{}<>/&'\",:= \n\\\0é") + text[at + draw.randint(0, 2) :]
        case 7:
            return text + draw.choice(("\n", " ", text, "\nDone.", "]", "```"))
        case _:
            return text
