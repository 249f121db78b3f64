"""What an assistant says in a turn of a data set: calls, wherever they stand, or prose; and what it thought before.

Calls stand in a field of their own, or as text in one of the dialects that models write (`dialects/`), or as JSON
objects with a name and arguments. Text that attempts a call and cannot be read is refused: taken for prose it would
teach a model to write it. Where a turn has calls, the text beside them is left out, as targets hold nothing else, and
so are thoughts; both are counted. A turn that says of itself that it is not to be learnt is history and no sample.
"""

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from itool_data.dialects import DIALECTS, OWN, CallSyntaxError, PythonList, parse_as
from itool_data.sample import JSON, Message, Note, Sample, Tool, ToolCall
from itool_data.sources.rows import BadRowError, expect, get, parse_json
from itool_data.sources.tools import check_offered, parse_python, render_python, without_filled

THOUGHT = re.compile(r"\s*<think(?:ing)?>.*?</think(?:ing)?>\s*", re.DOTALL)
# Of a model whose template opens the thought itself.
UNOPENED = re.compile(r"(?:(?!<think).)*?</think(?:ing)?>\s*", re.DOTALL)
THOUGHT_OPEN = re.compile(r"\s*<think(?:ing)?>")
THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought")
LEARN_FIELDS = ("weight", "loss", "train", "loss_weight", "trainable", "training")
UNLEARNT = (0, "0", "false", "False")
ARGUMENTS = ("arguments", "parameters")
FENCED = re.compile(r"```(?:json|python|tool_code|tool_call)?\s*\n?(.*?)\n?```", re.DOTALL)
# What else opens a call in some form that is not read here.
FOREIGN = re.compile(
    r"<function[_ ]?calls?>|<function=|<tool_calls?>|<tool_code>|<invoke |<\|python_tag\|>|✿FUNCTION✿|\[TOOL_CALLS\]"
    r"|<｜tool▁calls▁begin｜>|<\|tool_call|^Action: *\S",
    re.IGNORECASE | re.MULTILINE,
)
TEXT_BESIDE = "text beside calls is left out"
THOUGHT_LEFT = "thoughts are left out"
NOT_LEARNT = "turns that say they are not to be learnt are history only"


@dataclass(frozen=True)
class Turn:
    """One turn.

    Attributes:
        text: the calls in Python form, or the prose.
        calls: the calls; empty: it is prose.
        notes: what was left out of it.
    """

    text: str
    calls: tuple[ToolCall, ...]
    notes: tuple[str, ...]


def read_turn(text: str, listed: Sequence[ToolCall], thought: bool, tools: Sequence[Tool], field: str) -> Turn:
    """Read a turn.

    Args:
        text: what is said, calls in it or not.
        listed: the calls that stand in a field of their own.
        thought: whether a thought stands in a field of its own.
        tools: on offer.
        field: where the turn is, for errors.

    Raises:
        BadRowError: the text attempts a call that cannot be read, or a thought does not end.
    """
    begun = THOUGHT.match(text) or UNOPENED.match(text)
    said = text[begun.end() :] if begun else text
    if THOUGHT_OPEN.match(said):
        raise BadRowError(field, "a thought that does not end")
    notes = [THOUGHT_LEFT] if thought or said != text else []
    calls, beside = (tuple(listed), said) if listed else _written(said, tools, field)
    if not calls:
        return Turn(said, (), tuple(notes))
    if beside.strip():
        notes.append(TEXT_BESIDE)
    calls = without_filled(calls, tools)
    return Turn(render_python(calls, field), calls, tuple(notes))


def samples_of(
    source: str,
    source_id: str,
    history: Sequence[Message],
    tools: tuple[Tool, ...],
    read: Callable[[], Turn],
    learn: bool,
    field: str,
) -> Generator[Sample | Note | BadRowError, None, str | None]:
    """Yield what an assistant's turn gives: a sample and notes of what was left out of it, or why it gives none.

    Args:
        source: of the sample.
        source_id: its id there.
        history: what was said before.
        tools: on offer.
        read: reads the turn; a BadRowError that it raises is yielded.
        learn: whether the turn is to be learnt.
        field: where it is, for errors.

    Returns:
        What was said, for the history; None where the turn cannot be read: it is lost, but those after it still follow
        from what was said.
    """
    try:
        turn = read()
        if not learn:
            yield Note(NOT_LEARNT)
            return turn.text
        if not history or not turn.text.strip():
            raise BadRowError(field, "empty" if history else "no message before the turn")
        check_offered(turn.calls, tools, field)
    except BadRowError as bad:
        yield bad
        return None
    yield Sample(source, source_id, tuple(history), tools, turn.text, turn.calls)
    yield from map(Note, turn.notes)
    return turn.text


def learnt(message: dict[str, JSON]) -> bool:
    """Whether nothing in a message says that it is not to be learnt."""
    return all(message.get(name) is None or message[name] not in UNLEARNT for name in LEARN_FIELDS)


def has_thought(message: dict[str, JSON]) -> bool:
    """Whether a message has a thought in a field of its own."""
    return any(message.get(name) for name in THOUGHT_FIELDS)


def call_of(item: JSON, field: str) -> ToolCall:
    """A call as an object: {function: {name, arguments}} or the inner one alone, arguments as JSON text or an object.

    Raises:
        BadRowError: it is none.
    """
    item = expect(item, dict, field)
    function = get(item, "function", dict, field) if isinstance(item.get("function"), dict) else item
    arguments = next((function[key] for key in ARGUMENTS if key in function), None)
    if isinstance(arguments, str):
        arguments = parse_json(arguments.strip() or "{}", f"{field}.arguments")
    # Every spelling of none.
    return ToolCall(get(function, "name", str, field), expect(arguments or {}, dict, f"{field}.arguments"))


def _written(text: str, tools: Sequence[Tool], field: str) -> tuple[tuple[ToolCall, ...], str]:
    """The calls in a text, and what stands before them."""
    fenced = FENCED.fullmatch(text.strip())
    bare = fenced[1].strip() if fenced else text.strip()
    if calls := _objects(bare, field):
        return calls, ""
    reason = ""
    own = PythonList([tool.name for tool in tools])
    for name, dialect in {**DIALECTS, OWN: own}.items():
        begins = dialect.attempt(bare)
        # Brackets amid prose are no attempt at a call, unless at one of a function on offer (below).
        if begins is None or (name == OWN and begins):
            continue
        try:
            calls = tuple(parse_as(bare, dialect, tools))
        except CallSyntaxError as error:
            reason = reason or f": {error}"
            continue
        if calls:
            return calls, bare[:begins]
    offered = [re.escape(tool.name) for tool in tools]
    if offered and re.fullmatch(rf"(?:{'|'.join(offered)})\(.*\)", bare, re.DOTALL):
        return parse_python(f"[{bare}]", tools, field), ""
    if reason or FOREIGN.search(bare) or (offered and re.search(_attempts(offered), bare)):
        raise BadRowError(field, f"text that attempts a call and cannot be read as one{reason}")
    return (), text


def _attempts(names: list[str]) -> str:
    """A pattern of what stands for a call of one of some functions amid prose."""
    either = "|".join(names)
    return rf"""\[\s*(?:{either})\(|["']name["']\s*:\s*["'](?:{either})["']"""


def _objects(text: str, field: str) -> tuple[ToolCall, ...]:
    """The calls of a text that is one JSON object or a list of them, each with a name and arguments."""
    if not text.startswith(("{", "[")):
        return ()
    try:
        value = parse_json(text, field)
    except BadRowError:
        return ()
    items = value if isinstance(value, list) else value.get("tool_calls", [value])
    if not isinstance(items, list) or not items or not all(map(_is_call, items)):
        return ()
    return tuple(call_of(item, f"{field}[{i}]") for i, item in enumerate(items))


def _is_call(item: JSON) -> bool:
    inner = item.get("function", item) if isinstance(item, dict) else None
    return isinstance(inner, dict) and isinstance(inner.get("name"), str) and any(key in inner for key in ARGUMENTS)
