"""Any JSONL file or Hugging Face data set in the OpenAI form: `messages` and `tools`.

`tools` are {type: function, function: {name, description, parameters}} or the inner object alone; an assistant message
has `content` or `tool_calls`, whose arguments are JSON text or an object. Each assistant message is a sample. Where a
message has both, the calls are the response and the content is dropped, as targets hold nothing beside calls.
`tools`, and `messages` too, may themselves be JSON text, as sets write them that keep Arrow from merging schemas.
A Hub row's objects come from Arrow, which fills keys that only other rows have with null: nulls are dropped there.
"""

from collections.abc import Iterator
from pathlib import Path

from itool_data.sample import JSON, Message, Reject, Sample, Tool, ToolCall
from itool_data.sources.files import read_file, stem
from itool_data.sources.rows import BadRowError, convert, expect, get, parse_json, read_hub
from itool_data.sources.tools import check_offered, render_python, tool


def read(path: str) -> Iterator[Sample | Reject]:
    """Yield the assistant turns of a local .jsonl or .json file.

    Raises:
        ItoolError: the file cannot be read.
    """
    name = stem(path)
    return convert(name, path, read_file(Path(path)), lambda row, line: _read_row(name, row, line))


def read_from_hub(name: str, split: str) -> Iterator[Sample | Reject]:
    """Yield the assistant turns of a data set on the Hub.

    Raises:
        ItoolError: the data set cannot be loaded.
    """
    rows = ((line, _without_nulls(row)) for line, row in read_hub(name, split))
    return convert(name, name, rows, lambda row, line: _read_row(name, row, line))


def _read_row(source: str, row: dict[str, JSON], line: int) -> Iterator[Sample | BadRowError]:
    tools = tuple(_tool(item, f"tools[{i}]") for i, item in enumerate(_list(row, "tools")))
    history: list[Message] = []
    for i, message in enumerate(_list(row, "messages")):
        field = f"messages[{i}]"
        message = expect(message, dict, field)
        role = get(message, "role", str, field)
        if role == "assistant":
            calls = _calls(message, field)
            text = render_python(calls, f"{field}.tool_calls") if calls else _text(message, field)
            try:
                sample = _sample(source, f"{row.get('id', line)}-{i}", tuple(history), tools, text, calls, field)
            except BadRowError as bad:
                # The turn itself is lost, but those after it still follow from what was said.
                yield bad
            else:
                yield sample
            history.append(Message("assistant", text))
        elif role in ("system", "developer"):
            history.append(Message("system", _text(message, field)))
        elif role == "user":
            history.append(Message("user", _text(message, field)))
        elif role == "tool":
            history.append(Message("tool", _text(message, field)))
        else:
            raise BadRowError(f"{field}.role", f"expected system, developer, user, assistant or tool, found {role!r}")


def _sample(
    source: str,
    source_id: str,
    before: tuple[Message, ...],
    tools: tuple[Tool, ...],
    text: str,
    calls: tuple[ToolCall, ...],
    field: str,
) -> Sample:
    if not before:
        raise BadRowError(field, "no message before the turn")
    if not text.strip():
        raise BadRowError(f"{field}.content", "empty, and no tool_calls")
    check_offered(calls, tools, f"{field}.tool_calls")
    return Sample(source, source_id, before, tools, text, calls)


def _list(row: dict[str, JSON], key: str) -> list[JSON]:
    value = row.get(key)
    return expect(parse_json(value, key), list, key) if isinstance(value, str) else get(row, key, list)


def _tool(item: JSON, field: str) -> Tool:
    item = expect(item, dict, field)
    function = get(item, "function", dict, field) if "function" in item else item
    return tool(function.get("name"), function.get("description"), function.get("parameters"), field)


def _calls(message: dict[str, JSON], field: str) -> tuple[ToolCall, ...]:
    listed = expect(message.get("tool_calls") or [], list, f"{field}.tool_calls")
    return tuple(_call(item, f"{field}.tool_calls[{i}]") for i, item in enumerate(listed))


def _call(item: JSON, field: str) -> ToolCall:
    item = expect(item, dict, field)
    function = get(item, "function", dict, field) if "function" in item else item
    name = get(function, "name", str, field)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        # Some servers write no arguments as empty text.
        arguments = parse_json(arguments or "{}", f"{field}.arguments")
    return ToolCall(name, expect(arguments, dict, f"{field}.arguments"))


def _text(message: dict[str, JSON], field: str) -> str:
    """A message's text: the content, or its text parts joined."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [expect(part, dict, f"{field}.content") for part in content]
        return "".join(get(part, "text", str, f"{field}.content") for part in parts)
    return expect(content if content is not None else "", str, f"{field}.content")


def _without_nulls(value: JSON) -> JSON:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
