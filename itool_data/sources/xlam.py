"""xLAM function calling 60k (paper 4.5): one query, its tools and its calls, all as JSON text.

A row is {id, query, tools, answers}; a tool's parameters are a flat {name: {type, description, default}} with types
such as `str, optional` or `List[int]`. A parameter is required if its type does not say optional and it has no default.
"""

from collections.abc import Iterator
from pathlib import Path

from itool_data.sample import JSON, Item, Message, Sample, Tool, ToolCall
from itool_data.sources.files import read_file
from itool_data.sources.rows import BadRowError, convert, expect, get, parse_json, read_hub
from itool_data.sources.schemas import from_flat
from itool_data.sources.tools import check_offered, render_python, tool

HUB_NAME = "Salesforce/xlam-function-calling-60k"


def read(path: str | None) -> Iterator[Item]:
    """Yield the samples of a local file in xLAM's form, or of the (gated) data set on the Hub.

    Raises:
        ItoolError: the file or the data set cannot be read.
    """
    rows = read_file(Path(path)) if path else read_hub(HUB_NAME, "train")
    return convert("xlam", path or HUB_NAME, rows, _read_row)


def _read_row(row: dict[str, JSON], line: int) -> Iterator[Sample]:
    query = get(row, "query", str)
    tools = tuple(_tool(item, f"tools[{i}]") for i, item in enumerate(_list(row, "tools")))
    calls = tuple(_call(item, f"answers[{i}]") for i, item in enumerate(_list(row, "answers")))
    if not calls:
        raise BadRowError("answers", "no call")
    check_offered(calls, tools, "answers")
    source_id = str(row.get("id", line))
    yield Sample("xlam", source_id, (Message("user", query),), tools, render_python(calls, "answers"), calls)


def _list(row: dict[str, JSON], key: str) -> list[JSON]:
    return expect(parse_json(get(row, key, str), key), list, key)


def _tool(item: JSON, field: str) -> Tool:
    item = expect(item, dict, field)
    inside = f"{field}.parameters"
    parameters = from_flat(expect(item.get("parameters") or {}, dict, inside), inside)
    return tool(item.get("name"), item.get("description"), parameters, field)


def _call(item: JSON, field: str) -> ToolCall:
    item = expect(item, dict, field)
    return ToolCall(get(item, "name", str, field), get(item, "arguments", dict, field))
