"""Seal-Tools in its fine-tuning form: a prompt that holds the candidate tools as a Python literal, and the gold calls.

A row is {id, conversations: [human, gpt]}. The human's text has the lines `api_list = [...]` and
`task_instruction = "..."`, the answer is [{api, parameters, responses}]; `API_call_0` as a value stands for an earlier
result and stays text. Ids that begin with `test` are the data set's test files and are marked so.
"""

from collections.abc import Iterator
from pathlib import Path

from itool_data.errors import ItoolError
from itool_data.sample import JSON, Item, Message, Sample, Tool, ToolCall
from itool_data.sources.files import read_file
from itool_data.sources.rows import BadRowError, convert, expect, get, parse_literal
from itool_data.sources.schemas import flat_parameters
from itool_data.sources.tools import check_offered, render_python, tool


def read(path: str | None) -> Iterator[Item]:
    """Yield the samples of a file in Seal-Tools' fine-tuning form.

    Raises:
        ItoolError: no file is given, or it cannot be read.
    """
    if not path:
        raise ItoolError(
            "seal_tools needs a file: download its fine-tuning data (dev.json, train.json, ...) from "
            "https://github.com/fairyshine/Seal-Tools and give seal_tools:PATH"
        )
    return convert("seal_tools", path, read_file(Path(path)), _read_row)


def _read_row(row: dict[str, JSON], line: int) -> Iterator[Sample]:
    source_id = get(row, "id", str)
    turns = get(row, "conversations", list)
    if len(turns) != 2:
        raise BadRowError("conversations", f"expected 2 turns, found {len(turns)}")
    asked, answered = (
        get(expect(turn, dict, f"conversations[{i}]"), "value", str, f"conversations[{i}]")
        for i, turn in enumerate(turns)
    )
    apis, _, rest = asked.partition("\napi_list = ")[2].partition("\ntask_instruction = ")
    task, found, _ = rest.rpartition("\nOutput:")
    if not found:
        raise BadRowError("conversations[0].value", "holds no api_list, task_instruction and Output")
    tools = tuple(_tool(item, f"api_list[{i}]") for i, item in enumerate(_list(apis, "api_list")))
    gold = "conversations[1].value"
    calls = tuple(_call(item, f"{gold}[{i}]") for i, item in enumerate(_list(answered, gold)))
    if not calls:
        raise BadRowError(gold, "no call")
    check_offered(calls, tools, gold)
    yield Sample(
        source="seal_tools",
        source_id=source_id,
        messages=(Message("user", task.removeprefix('"').removesuffix('"')),),
        tools=tools,
        target=render_python(calls, gold),
        calls=calls,
        split="test" if source_id.startswith("test") else "train",
    )


def _list(text: str, field: str) -> list[JSON]:
    return expect(parse_literal(text, field), list, field)


def _tool(item: JSON, field: str) -> Tool:
    item = expect(item, dict, field)
    properties = get(item, "parameters", dict, field)
    parameters = flat_parameters(properties, get(item, "required", list, field))
    return tool(item.get("api_name"), item.get("api_description"), parameters, field)


def _call(item: JSON, field: str) -> ToolCall:
    item = expect(item, dict, field)
    return ToolCall(get(item, "api", str, field), get(item, "parameters", dict, field))
