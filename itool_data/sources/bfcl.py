"""BFCL v3's single-turn Python items: the BFCL-half data set (paper 4.5).

Eight categories are read from the pinned wheel. Java and JavaScript are left out because their values are source text
of those languages, which the call format here cannot hold; (live_)irrelevance and live_relevance because they have no
gold response (`asked` and `split_of` read those too, for the evaluation); multi-turn because its answers are checked by
state, not by a response.

Every item is yielded, marked `train` or `test` by the SHA-256 of its id's family: an even first byte is train. A live
id `live_simple_4-3-0` ends with index, family and variant, and variants ask the same functions in other words, so the
family (`live_simple_3`) falls on one side as a whole; other ids are their own family. Hashing whole ids instead would
leave 470 of 1,126 test items with a tool list that is also in train; by families it is 84 of 1,180 (and 62 of them,
mostly `simple` against `multiple`, share a question but never the tools with it). Whoever tunes settings needs items
for it that are not the test half: `bfcl:SHARE` marks about that share of the training families `validation`, by the
hash's next four bytes, so that a smaller share's families are among a larger one's.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from itool_data import assets
from itool_data.errors import ItoolError
from itool_data.sample import JSON, AcceptedCall, Item, Message, Role, Sample, Split, Tool, ToolCall
from itool_data.sources.files import read_lines
from itool_data.sources.rows import BadRowError, NumberedRow, convert, expect, get
from itool_data.sources.tools import render_python, tool

CATEGORIES = (
    "simple",
    "multiple",
    "parallel",
    "parallel_multiple",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
)
LIVE = tuple(category for category in CATEGORIES if category.startswith("live_"))
# In a list of accepted values "" means that the parameter, or the key of an object, may be left out.
OMITTED = ""
OPTIONS = "$options"
# Where the checker takes the only tool's name, whatever the answer calls it.
SINGLE_TOOL = ("bfcl:simple", "bfcl:live_simple")
ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
LIVE_ID = re.compile(r"(.+)_\d+-(\d+)-\d+")


def read(categories: Sequence[str] = CATEGORIES, validation: float = 0.0) -> Iterator[Item]:
    """Yield all items of some categories.

    Args:
        categories: of the eight.
        validation: the share of the training half that is set aside.

    Raises:
        ItoolError: the wheel cannot be fetched.
    """
    data = assets.bfcl_data()
    for category in categories:
        yield from read_category(data, category, validation)


def validation_share(text: str) -> float:
    """Read the share of `bfcl:SHARE` or `bfcl-live:SHARE`; none is 0.

    Raises:
        ItoolError: it is no number from 0 to below 1.
    """
    try:
        share = float(text or 0)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise ItoolError(f"bfcl:{text}: expected the share of the training half to set aside, such as bfcl:0.1")
    return share


def read_category(data: Path, category: str, validation: float = 0.0) -> Iterator[Item]:
    """Yield the items of one category from a BFCL data folder.

    Args:
        data: the folder.
        category: of the eight.
        validation: the share of the training half that is set aside.

    Raises:
        ItoolError: a file cannot be read.
    """
    name = f"BFCL_v3_{category}.json"
    source = f"bfcl:{category}"

    def read_row(row: dict[str, JSON], line: int) -> Iterator[Sample]:
        yield _sample(source, row, validation)

    yield from convert(source, name, _with_answers(data / name, data / "possible_answer" / name), read_row)


def split_of(item_id: str, validation: float = 0.0) -> Split:
    """The half an item falls in, by the hash of its id's family; of the training half, a share is set aside."""
    live = LIVE_ID.fullmatch(item_id)
    family = f"{live[1]}_{live[2]}" if live else item_id
    digest = hashlib.sha256(family.encode()).digest()
    if digest[0] % 2:
        return "test"
    return "validation" if int.from_bytes(digest[1:5]) < validation * 2**32 else "train"


class AskedItem(NamedTuple):
    """What an item's prompt is made of."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]


def asked(turns: list[JSON], functions: list[JSON]) -> AskedItem:
    """The messages and functions of an item, whether or not it has a gold response.

    Args:
        turns: the item's `question`.
        functions: its `function`.

    Raises:
        BadRowError: a message or a function is not as BFCL has them.
    """
    tools = tuple(_tool(function, f"function[{i}]") for i, function in enumerate(functions))
    messages = (_message(message) for turn in turns for message in expect(turn, list, "question"))
    return AskedItem(tuple(messages), tools)


def accepted_call(called: Tool, answer: dict[str, JSON], field: str) -> AcceptedCall:
    """What the checker accepts for one call, from BFCL's possible answers.

    The checker asks for required parameters before it looks at the answer, so "" makes only others optional; among the
    accepted values it stays only where it is the only one (the checker lets "" pass for every optional text, which is
    no answer to learn). An answer's parameter that the schema lacks can never be given: it goes if it may be left out.
    An object among the values is {key: [accepted values]} and becomes {"$options": that}.

    Raises:
        BadRowError: no call can satisfy the answer.
    """
    properties, required = called.parameters["properties"], called.parameters["required"]
    arguments: dict[str, list[JSON]] = {}
    optional = set()
    for parameter in answer:
        options = get(answer, parameter, list, field)
        may_omit = OMITTED in options and parameter not in required
        if parameter not in properties and may_omit:
            continue
        if parameter not in properties:
            raise BadRowError(f"{field}.{parameter}", f"no accepted answer: {called.name!r} has no such parameter")
        if not options:
            raise BadRowError(f"{field}.{parameter}", "no accepted answer: the list of accepted values is empty")
        values = [option for option in options if option != OMITTED] or [OMITTED]
        arguments[parameter] = [_wrapped(value) for value in values]
        if may_omit:
            optional.add(parameter)
    if absent := [parameter for parameter in required if parameter not in arguments]:
        raise BadRowError(field, f"no accepted answer: it lacks the required parameter {absent[0]!r}")
    return AcceptedCall(called.name, arguments, frozenset(optional))


def _with_answers(questions: Path, answers: Path) -> Iterator[NumberedRow]:
    """Put each item's answer into its row; ids are unique in these categories."""
    by_id = {row.get("id"): row.get("ground_truth") for _, row in read_lines(answers) if isinstance(row, dict)}
    for line, row in read_lines(questions):
        yield line, {**row, "ground_truth": by_id.get(row.get("id"))} if isinstance(row, dict) else row


def _sample(source: str, row: dict[str, JSON], validation: float) -> Sample:
    item_id = get(row, "id", str)
    messages, tools = asked(get(row, "question", list), get(row, "function", list))
    calls, accepted = [], []
    for i, call in enumerate(get(row, "ground_truth", list)):
        field = f"ground_truth[{i}]"
        for name, answer in expect(call, dict, field).items():
            called = _called(source, name, tools, field)
            accepted.append(accepted_call(called, expect(answer, dict, field), field))
            calls.append(_gold_call(accepted[-1], answer))
    return Sample(
        source=source,
        source_id=item_id,
        messages=messages,
        tools=tools,
        target=render_python(calls, "ground_truth"),
        calls=tuple(calls),
        accepted=tuple(accepted),
        split=split_of(item_id, validation),
    )


def _tool(function: JSON, field: str) -> Tool:
    function = expect(function, dict, field)
    return tool(function.get("name"), function.get("description"), function.get("parameters"), field)


def _message(message: JSON) -> Message:
    message = expect(message, dict, "question")
    role = get(message, "role", str, "question")
    if role not in ROLES:
        raise BadRowError("question.role", f"expected {' or '.join(ROLES)}, found {role!r}")
    return Message(ROLES[role], get(message, "content", str, "question"))


def _called(source: str, name: str, tools: Sequence[Tool], field: str) -> Tool:
    """The tool an answer means: by name, but in the simple categories the only one, as the checker has it."""
    if source in SINGLE_TOOL and len(tools) == 1:
        return tools[0]
    for candidate in tools:
        if candidate.name == name:
            return candidate
    raise BadRowError(field, f"calls {name!r}, which is not offered")


def _gold_call(accepted: AcceptedCall, answer: dict[str, list[JSON]]) -> ToolCall:
    """The call of first accepted values, without the optional parameters whose first option is to leave them out."""
    given = {
        parameter: _first(values)
        for parameter, values in accepted.arguments.items()
        if not (parameter in accepted.optional and answer[parameter][0] == OMITTED)
    }
    return ToolCall(accepted.name, given)


def _wrapped(value: JSON) -> JSON:
    """Mark an object's accepted values per key, also where it is an item of a list; deeper ones are literal."""
    if isinstance(value, list):
        return [{OPTIONS: item} if isinstance(item, dict) else item for item in value]
    return {OPTIONS: value} if isinstance(value, dict) else value


def _first(values: list[JSON]) -> JSON:
    """The first accepted value, with objects made of their keys' first values."""
    value = values[0]
    if isinstance(value, list):
        return [_object(item) for item in value]
    return _object(value)


def _object(value: JSON) -> JSON:
    if isinstance(value, dict) and OPTIONS in value:
        return {key: options[0] for key, options in value[OPTIONS].items() if options[0] != OMITTED}
    return value
