"""ShareGPT's form with tools, as LLaMA-Factory writes it (Glaive's tool calls, for one).

A row is {conversations: [{from: human|gpt|function_call|observation|system, value}], tools}: `tools` is JSON text of a
list of {name, description, parameters}, a call's value JSON text of {name, arguments} or of a list of them. Every reply
and every call is a sample.
"""

from collections.abc import Iterator
from pathlib import Path

from itool_data.errors import ItoolError
from itool_data.sample import JSON, Message, Reject, Role, Sample, Tool, ToolCall
from itool_data.sources.files import read_file, stem
from itool_data.sources.rows import BadRowError, convert, expect, get, parse_json
from itool_data.sources.tools import check_offered, render_python, tool

CALL = "function_call"
ROLES: dict[str, Role] = {
    "human": "user", "gpt": "assistant", CALL: "assistant", "observation": "tool", "system": "system",
}  # fmt: skip


def read(path: str | None) -> Iterator[Sample | Reject]:
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


def _read_row(source: str, row: dict[str, JSON], line: int) -> Iterator[Sample | BadRowError]:
    listed = expect(parse_json(get(row, "tools", str) or "[]", "tools"), list, "tools")
    tools = tuple(_tool(item, f"tools[{i}]") for i, item in enumerate(listed))
    history: list[Message] = []
    for i, turn in enumerate(get(row, "conversations", list)):
        field = f"conversations[{i}]"
        speaker = get(expect(turn, dict, field), "from", str, field)
        text = get(turn, "value", str, field)
        if speaker not in ROLES:
            raise BadRowError(f"{field}.from", f"expected one of {', '.join(ROLES)}, found {speaker!r}")
        calls = _calls(text, f"{field}.value") if speaker == CALL else ()
        text = render_python(calls, f"{field}.value") if calls else text
        if ROLES[speaker] == "assistant":
            try:
                yield _sample(source, f"{line}-{i}", tuple(history), tools, text, calls, f"{field}.value")
            except BadRowError as bad:
                # The turn itself is lost, but those after it still follow from what was said.
                yield bad
        history.append(Message(ROLES[speaker], text))


def _sample(
    source: str,
    source_id: str,
    history: tuple[Message, ...],
    tools: tuple[Tool, ...],
    text: str,
    calls: tuple[ToolCall, ...],
    field: str,
) -> Sample:
    if not history or not text.strip():
        raise BadRowError(field, "empty" if history else "no message before the turn")
    check_offered(calls, tools, field)
    return Sample(source, source_id, history, tools, text, calls)


def _tool(item: JSON, field: str) -> Tool:
    item = expect(item, dict, field)
    return tool(item.get("name"), item.get("description"), item.get("parameters"), field)


def _calls(text: str, field: str) -> tuple[ToolCall, ...]:
    value = parse_json(text, field)
    listed = value if isinstance(value, list) else [value]
    return tuple(
        ToolCall(get(expect(item, dict, field), "name", str, field), get(item, "arguments", dict, field))
        for item in listed
    )
