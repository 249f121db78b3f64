"""API-Bank: levels 1 and 2 (evaluation) and the level-3 training calls.

A row holds an instruction with the tools (level 3: in the input), the dialogue so far, and one gold call in
`expected_output` (levels 1 and 2: `test`) or `output` (level 3: `train`). The dialogue's earlier calls become assistant
and tool messages. Tools that an earlier ToolSearcher call found are on offer too: they are what is called next.

The data's own call syntax is loose: lists stand in quotes (`x='['a', 'b']'`), texts without (`x=New York`). Both are
read as what they mean, since levels 1 and 2 must keep their 399 and 135 items. For the same reason a test item may call
what is not offered (14 items of level 2) or use a parameter that its description lacks (8 items of level 1).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from itool_data.dialects import CallSyntaxError, parse
from itool_data.errors import ItoolError
from itool_data.sample import JSON, Item, Message, Sample, Tool, ToolCall
from itool_data.sources.files import read_file
from itool_data.sources.rows import BadRowError, convert, expect, get, parse_json, parse_literal
from itool_data.sources.schemas import flat_parameters
from itool_data.sources.tools import check_offered, render_python, tool

REQUEST = "API-Request: "
SEARCH = "ToolSearcher"
YEAR = re.compile(r"^The current year is \d+\.", re.MULTILINE)
PAST_CALL = re.compile(r"(\[.*?\)\])->(.*)")
CALL = re.compile(r"\[(\w+)\((.*)\)\]")
ASSIGNMENT = re.compile(r"\b(\w++)=(.*?)(?:,\s*(?=\w+=)|$)")


def read(path: str | None) -> Iterator[Item]:
    """Yield the samples of one of API-Bank's files.

    Raises:
        ItoolError: no file is given, or it cannot be read.
    """
    if not path:
        raise ItoolError(
            "apibank needs a file: download level-1-api.json, level-2-api.json or lv3-api-train.json of API-Bank from "
            "https://github.com/AlibabaResearch/DAMO-ConvAI (api-bank) and give apibank:PATH"
        )
    source = f"apibank:{Path(path).stem}"

    def read_row(row: dict[str, JSON], line: int) -> Iterator[Sample]:
        yield _sample(source, row, line)

    return convert(source, path, read_file(Path(path)), read_row)


def _sample(source: str, row: dict[str, JSON], line: int) -> Sample:
    instruction = get(row, "instruction", str)
    gold = "expected_output" if "expected_output" in row else "output"
    messages = []
    if year := YEAR.search(instruction):
        messages.append(Message("system", year[0]))
    described = instruction.partition("API descriptions:\n")[2]
    tools = [_tool(parse_json(text, "instruction"), "instruction") for text in described.splitlines() if text.strip()]
    for text in get(row, "input", str).splitlines():
        if text.startswith("{"):
            tools.append(_tool(parse_json(text, "input"), "input"))
        elif text.startswith("User: "):
            messages.append(Message("user", text.removeprefix("User: ")))
        elif text.startswith("AI: "):
            messages.append(Message("assistant", text.removeprefix("AI: ")))
        elif text.startswith(REQUEST):
            call, result = _past_call(text.removeprefix(REQUEST))
            messages += [Message("assistant", render_python([call], "input")), Message("tool", result)]
            if call.name == SEARCH:
                tools += [found for found in _found(result) if found not in tools]
        elif not text.startswith("Generate API Request:"):
            raise BadRowError("input", f"expected User:, AI: or API-Request:, found {text[:40]!r}")
    calls = (read_call(get(row, gold, str).removeprefix(REQUEST).strip(), gold),)
    test = gold == "expected_output"
    if not test:
        check_offered(calls, tools, gold)
    return Sample(
        source=source,
        source_id=f"{get(row, 'file', str)}:{row.get('id')}" if test else str(line),
        messages=tuple(messages),
        tools=tuple(tools),
        target=render_python(calls, gold),
        calls=calls,
        split="test" if test else "train",
    )


def _tool(item: JSON, field: str) -> Tool:
    """Read a tool in either of the data's two spellings; all parameters are required, as the official check has it."""
    item = expect(item, dict, field)
    names = ("apiCode", "parameters") if "apiCode" in item else ("name", "input_parameters")
    properties = get(item, names[1], dict, field)
    return tool(item.get(names[0]), item.get("description"), flat_parameters(properties, list(properties)), field)


def _found(result: str) -> list[Tool]:
    found = parse_literal(result, "input")
    return [_tool(item, "input") for item in (found if isinstance(found, list) else [found])]


def _past_call(text: str) -> tuple[ToolCall, str]:
    past = PAST_CALL.fullmatch(text)
    if not past:
        raise BadRowError("input", f"expected [Name(...)]->result, found {text[:40]!r}")
    return read_call(past[1], "input"), past[2]


def read_call(text: str, field: str) -> ToolCall:
    """Read one call, strictly where it is well-formed, else by the data's loose syntax.

    Raises:
        BadRowError: the text is not one `[Name(...)]`.
    """
    try:
        (call,) = parse(text, "python")
        return call
    except (CallSyntaxError, ValueError):
        loose = CALL.fullmatch(text)
    if not loose:
        raise BadRowError(field, f"expected one [Name(key='value')], found {text[:60]!r}")
    return ToolCall(loose[1], {name: _value(value) for name, value in ASSIGNMENT.findall(loose[2])})


def _value(text: str) -> JSON:
    """Read a value that is a literal, a list in quotes, or bare text."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    for literal in (text[1:-1], text) if quoted and text[1:2] == "[" else (text,):
        try:
            return parse_literal(literal, "")
        except BadRowError:
            continue
    return text
