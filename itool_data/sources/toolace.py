"""ToolACE, the paper's training data (paper 4.1): dialogues with a system text that holds the tools as JSON.

A row is {system, conversations: [{from: user|assistant|tool, value}]}; an assistant's value is a list of Python calls
or plain text, and each one is a sample. Of the system text, the tools and the sentence that gives the current time are
kept; the rest says how to write calls, which is the prompt's business here. `toolace-system` keeps all of the text, for
our own form, whose calls are the same: the prompt is then ToolACE's (`system_text.py`).
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from itool_data.dialects import PythonList, detect_format
from itool_data.sample import JSON, Item, Message, Note, Role, Sample, Tool
from itool_data.sources.files import read_file
from itool_data.sources.rows import BadRowError, convert, expect, get, read_hub
from itool_data.sources.tools import parse_python, render_python, tool
from itool_data.sources.turns import Turn, samples_of
from itool_data.system_text import listed_functions

HUB_NAME = "Team-ACE/ToolACE"
TIME = re.compile(r"(?:The current time is|Today is) [^.\[{]+")
ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "tool": "tool"}


def read(path: str | None, whole_system: bool = False) -> Iterator[Item]:
    """Yield the assistant turns of a local file in ToolACE's form, or of the data set on the Hub.

    Args:
        path: of the file; None: the Hub.
        whole_system: keep the system text with its functions and what it says of calls.

    Raises:
        ItoolError: the file or the data set cannot be read.
    """
    rows = read_file(Path(path)) if path else read_hub(HUB_NAME, "train")
    return convert("toolace", path or HUB_NAME, rows, partial(_read_row, whole_system))


def _read_row(whole_system: bool, row: dict[str, JSON], line: int) -> Iterator[Sample | Note | BadRowError]:
    system = get(row, "system", str)
    tools = _tools(system)
    time = TIME.search(system)
    kept = system if whole_system else f"{time[0].strip()}." if time else ""
    history = [Message("system", kept)] if kept else []
    for i, turn in enumerate(get(row, "conversations", list)):
        field = f"conversations[{i}]"
        speaker = get(expect(turn, dict, field), "from", str, field)
        text = get(turn, "value", str, field)
        if speaker not in ROLES:
            raise BadRowError(f"{field}.from", f"expected user, assistant or tool, found {speaker!r}")
        if speaker == "assistant":
            where = f"{field}.value"
            said = yield from samples_of(
                "toolace", f"{line}-{i}", history, tools, partial(_read_turn, tools, text, where), True, where
            )
            text = text if said is None else said
        history.append(Message(ROLES[speaker], text))


def _read_turn(tools: tuple[Tool, ...], text: str, field: str) -> Turn:
    # Text that stands in brackets as a whole is a list of calls, if a broken one.
    in_brackets = text.strip().startswith("[") and text.strip().endswith("]")
    bare_names = PythonList([tool.name for tool in tools])
    if not in_brackets and not detect_format(text) and bare_names.attempt(text) is None:
        return Turn(text, (), ())
    calls = parse_python(text.strip(), tools, field)
    if not calls:
        raise BadRowError(field, "no call")
    return Turn(render_python(calls, field), calls, ())


def _tools(system: str) -> tuple[Tool, ...]:
    try:
        listed = listed_functions(system)
    except ValueError as error:
        raise BadRowError("system", f"invalid JSON in the list of tools: {error}") from error
    if listed is None:
        raise BadRowError("system", "holds no list of tools as JSON")
    tools = []
    for i, item in enumerate(listed):
        field = f"system.tools[{i}]"
        item = expect(item, dict, field)
        tools.append(tool(item.get("name"), item.get("description"), item.get("parameters"), field))
    return tuple(tools)
