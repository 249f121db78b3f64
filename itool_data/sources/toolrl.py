"""ToolRL's SFT set: ToolACE, xLAM and Hammer samples as one dialogue text each, with thoughts.

A row is {instruction, input, output}. The instruction lists the tools, three lines each (Name, Description, Parameters
as a JSON object); the input is the dialogue so far in <user>, <tool_call>, <obs> and <response> tags; the output is the
turn: a JSON object a line in <tool_call>, or a <response>. A parameter with an empty default is required. Left out: the
<think> parts, because targets here hold the answer alone.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from itool_data.errors import ItoolError
from itool_data.sample import JSON, Item, Message, Role, Sample, Tool, ToolCall
from itool_data.sources.files import read_file
from itool_data.sources.rows import BadRowError, convert, expect, get, parse_json
from itool_data.sources.schemas import flat_parameters
from itool_data.sources.tools import check_offered, render_python, tool

TOOL = re.compile(r"^\d+\. Name: (.*)\nDescription: ((?:.|\n)*?)\nParameters: (\{.*\})$", re.MULTILINE)
THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
PART = re.compile(r"<(user|tool_call|obs|response)>(.*?)</\1>", re.DOTALL)
ROLES: dict[str, Role] = {"user": "user", "tool_call": "assistant", "obs": "tool", "response": "assistant"}


def read(path: str | None) -> Iterator[Item]:
    """Yield the samples of a file in the form of ToolRL's SFT set.

    Raises:
        ItoolError: no file is given, or it cannot be read.
    """
    if not path:
        raise ItoolError(
            "toolrl needs a file: download rlla_sft.json of ToolRL from https://github.com/qiancheng0/ToolRL and give "
            "toolrl:PATH"
        )
    return convert("toolrl", path, read_file(Path(path)), _read_row)


def _read_row(row: dict[str, JSON], line: int) -> Iterator[Sample]:
    listed = TOOL.findall(get(row, "instruction", str))
    tools = tuple(
        _tool(name, description, parameters, f"instruction.tools[{i}]")
        for i, (name, description, parameters) in enumerate(listed)
    )
    messages = [Message(ROLES[tag], _text(tag, body, "input")) for tag, body in _parts(get(row, "input", str))]
    answers = _parts(get(row, "output", str))
    if not messages or not answers:
        raise BadRowError("output" if messages else "input", "holds no part in tags")
    # Where a turn has both, the calls are the response, as in the other sources.
    tag, body = next((part for part in answers if part[0] == "tool_call"), answers[0])
    calls = _calls(body, "output") if tag == "tool_call" else ()
    check_offered(calls, tools, "output")
    yield Sample("toolrl", str(line), tuple(messages), tools, _text(tag, body, "output"), calls)


def _parts(text: str) -> list[tuple[str, str]]:
    return PART.findall(THOUGHT.sub("", text))


def _text(tag: str, body: str, field: str) -> str:
    return render_python(_calls(body, field), field) if tag == "tool_call" else body.strip()


def _calls(body: str, field: str) -> tuple[ToolCall, ...]:
    items = [expect(parse_json(line, field), dict, field) for line in body.splitlines() if line.strip()]
    if not items:
        raise BadRowError(field, "no call")
    return tuple(ToolCall(get(item, "name", str, field), get(item, "parameters", dict, field)) for item in items)


def _tool(name: str, description: str, parameters: str, field: str) -> Tool:
    properties = expect(parse_json(parameters, field), dict, field)
    required = [key for key, said in properties.items() if expect(said, dict, field).get("default", "") == ""]
    return tool(name, description, flat_parameters(properties, required), field)
