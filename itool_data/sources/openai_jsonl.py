"""Any JSONL file or Hugging Face data set in the OpenAI form: `messages` and `tools`.

`tools` are {type: function, function: {name, description, parameters}} or the inner object alone; missing, null and
empty ones are none; the older `functions` are read as tools. An assistant message has `content`, `tool_calls` (whose
arguments are JSON text or an object), the older `function_call`, or calls as text in its content (`turns.py`). Each is
a sample, unless it says that it is not to be learnt. `tools`, `messages` and `tool_calls` may themselves be JSON text,
as sets write them that keep Arrow from merging schemas. A Hub row's objects come from Arrow, which fills keys that only
other rows have with null.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from itool_data.sample import JSON, Item, Message, Note, Sample, Tool, ToolCall
from itool_data.sources.files import read_file, stem
from itool_data.sources.rows import BadRowError, convert, expect, get, json_list, read_hub, unused_columns
from itool_data.sources.tools import function
from itool_data.sources.turns import Turn, call_of, has_thought, learnt, read_turn, samples_of

COLUMNS = frozenset({"messages", "tools", "functions", "system", "id", "tool_choice", "parallel_tool_calls"})


def read(path: str) -> Iterator[Item]:
    """Yield the assistant turns of a local .jsonl or .json file.

    Raises:
        ItoolError: the file cannot be read.
    """
    name = stem(path)
    return convert(name, path, read_file(Path(path)), lambda row, line: _read_row(name, row, line))


def read_from_hub(name: str, split: str) -> Iterator[Item]:
    """Yield the assistant turns of a data set on the Hub.

    Raises:
        ItoolError: the data set cannot be loaded.
    """
    return convert(name, name, read_hub(name, split), lambda row, line: _read_row(name, row, line))


def _read_row(source: str, row: dict[str, JSON], line: int) -> Iterator[Sample | Note | BadRowError]:
    yield from unused_columns(row, COLUMNS)
    tools = tuple(function(item, f"tools[{i}]") for i, item in enumerate(_tools(row)))
    system = row.get("system")
    history = [Message("system", expect(system, str, "system"))] if system else []
    if "messages" not in row:
        hint = "; rows with conversations are read by sharegpt:PATH" if "conversations" in row else ""
        raise BadRowError("messages", f"missing{hint}")
    for i, message in enumerate(json_list(row["messages"], "messages")):
        field = f"messages[{i}]"
        message = expect(message, dict, field)
        role = get(message, "role", str, field)
        text = _text(message, field)
        if role == "assistant":
            inside = next((name for name in ("tool_calls", "function_call") if message.get(name)), "content")
            where = f"{field}.{inside}"
            read = partial(_read_turn, message, text, tools, field, where)
            source_id = f"{row.get('id', line)}-{i}"
            said = yield from samples_of(source, source_id, history, tools, read, learnt(message), where)
            history.append(Message("assistant", text if said is None else said))
        elif role in ("system", "developer"):
            history.append(Message("system", text))
        elif role == "user":
            history.append(Message("user", text))
        elif role in ("tool", "function"):
            history.append(Message("tool", text))
        else:
            raise BadRowError(f"{field}.role", f"expected system, developer, user, assistant or tool, found {role!r}")


def _read_turn(message: dict[str, JSON], text: str, tools: tuple[Tool, ...], field: str, where: str) -> Turn:
    return read_turn(text, _calls(message, field), has_thought(message), tools, where)


def _tools(row: dict[str, JSON]) -> list[JSON]:
    """The functions on offer."""
    return json_list(row.get("tools"), "tools") or json_list(row.get("functions"), "functions")


def _calls(message: dict[str, JSON], field: str) -> tuple[ToolCall, ...]:
    older = message.get("function_call")
    if older:
        return (call_of(older, f"{field}.function_call"),)
    inside = f"{field}.tool_calls"
    return tuple(call_of(item, f"{inside}[{i}]") for i, item in enumerate(json_list(message.get("tool_calls"), inside)))


def _text(message: dict[str, JSON], field: str) -> str:
    """A message's text: the content, or its text parts joined."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [expect(part, dict, f"{field}.content") for part in content]
        return "".join(get(part, "text", str, f"{field}.content") for part in parts)
    return expect(content if content is not None else "", str, f"{field}.content")
