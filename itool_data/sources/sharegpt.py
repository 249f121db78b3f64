"""ShareGPT's form with tools, as LLaMA-Factory writes it (Glaive's tool calls, for one) and as Hermes does.

A row is {conversations: [{from: human|gpt|function_call|observation|system|tool, value}], tools, system}: `tools` is a
list of functions or JSON text of it, `system` the text before the conversation. A call is a turn of its own, JSON text
of {name, arguments} or of a list of them, or stands as text in a reply (`turns.py`); a reply's value may be an object
too. Every reply and every call is a sample, unless it says that it is not to be learnt. Where there is no column of
tools, Hermes's list of them in the system text is read, and that text, which says how to write calls in a form that is
not the run's, is left out.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from itool_data.errors import ItoolError
from itool_data.sample import JSON, Item, Message, Note, Role, Sample, Tool, ToolCall
from itool_data.sources.files import read_file, stem
from itool_data.sources.rows import BadRowError, convert, expect, get, json_list, parse_json, unused_columns
from itool_data.sources.tools import function
from itool_data.sources.turns import Turn, call_of, has_thought, learnt, read_turn, samples_of

CALL = "function_call"
ROLES: dict[str, Role] = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", CALL: "assistant",
    "observation": "tool", "tool": "tool", "function_response": "tool", "system": "system",
}  # fmt: skip
COLUMNS = frozenset({"conversations", "tools", "system", "id"})
TOOLS_IN_TEXT = re.compile(r"<tools>(.*?)</tools>", re.DOTALL)
RESPONSE = re.compile(r"\s*<tool_response>(.*)</tool_response>\s*", re.DOTALL)
SYSTEM_LEFT = "system texts that list the functions are left out"


def read(path: str | None) -> Iterator[Item]:
    """Yield the replies and calls of a file in ShareGPT's form.

    Raises:
        ItoolError: no file is given, or it cannot be read.
    """
    if not path:
        raise ItoolError(
            "sharegpt needs a file in ShareGPT's form with tools, such as data/glaive_toolcall_en_demo.json of "
            "https://github.com/hiyouga/LLaMA-Factory; give sharegpt:PATH"
        )
    name = stem(path)
    return convert(name, path, read_file(Path(path)), lambda row, line: _read_row(name, row, line))


def _read_row(source: str, row: dict[str, JSON], line: int) -> Iterator[Sample | Note | BadRowError]:
    yield from unused_columns(row, COLUMNS)
    turns = [expect(turn, dict, f"conversations[{i}]") for i, turn in enumerate(get(row, "conversations", list))]
    tools = _tools(row, [text for turn in turns if isinstance(text := turn.get("value"), str)])
    history: list[Message] = []
    if row.get("system"):
        turns = [{"from": "system", "value": row["system"]}, *turns]
    first = len(turns) - len(row["conversations"])
    for i, turn in enumerate(turns, -first):
        field = f"conversations[{i}]" if i >= 0 else "system"
        speaker = _said(turn, ("from", "role"), field)
        text = _said(turn, ("value", "content"), field)
        if speaker not in ROLES:
            raise BadRowError(f"{field}.from", f"expected one of {', '.join(ROLES)}, found {speaker!r}")
        role = ROLES[speaker]
        if role == "system" and TOOLS_IN_TEXT.search(text):
            yield Note(SYSTEM_LEFT)
            continue
        if role == "tool" and (wrapped := RESPONSE.fullmatch(text)):
            text = wrapped[1].strip()
        if role == "assistant":
            where = f"{field}.value"
            read = partial(_read_turn, turn, text, speaker == CALL, tools, where)
            said = yield from samples_of(source, f"{line}-{i}", history, tools, read, learnt(turn), where)
            text = text if said is None else said
        if role == "system" and history and history[-1].role == "system":  # the column's, and one of its own
            text = f"{history.pop().content}\n\n{text}"
        history.append(Message(role, text))


def _said(turn: dict[str, JSON], keys: tuple[str, str], field: str) -> str:
    """A turn's speaker, or its text, by the first of two names that it has."""
    return get(turn, next((key for key in keys if key in turn), keys[0]), str, field)


def _read_turn(turn: dict[str, JSON], text: str, is_call: bool, tools: tuple[Tool, ...], field: str) -> Turn:
    listed = _calls(text, field) if is_call else ()
    said = read_turn("" if listed else text, listed, has_thought(turn), tools, field)
    if is_call and not said.calls:
        raise BadRowError(field, "no call")
    return said


def _calls(text: str, field: str) -> tuple[ToolCall, ...]:
    """The calls of a turn that is one, as JSON; none: they are written in another way."""
    try:
        value = parse_json(text, field)
    except BadRowError:
        return ()
    items = value if isinstance(value, list) else [value]
    named = all(isinstance(item, dict) and "name" in item for item in items)
    return tuple(call_of(item, field) for item in items) if named else ()


def _tools(row: dict[str, JSON], texts: list[str]) -> tuple[Tool, ...]:
    written, inside = row.get("tools"), "tools"
    if not written and (found := next(filter(None, map(TOOLS_IN_TEXT.search, texts)), None)):
        written, inside = found[1], "tools in the system text"
    return tuple(function(item, f"{inside}[{i}]") for i, item in enumerate(json_list(written, inside)))
