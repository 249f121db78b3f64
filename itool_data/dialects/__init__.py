r"""Response text <-> ToolCalls: what a call looks like, a file a dialect.

    python       [f(a=1), g.h(b='x')]                                     itool's own form, and BFCL's
    json         [{"name": "f", "arguments": {"a": 1}}]
    hermes       <tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>
    llama        {"name": "f", "parameters": {"a": 1}}
    lfm2         <|tool_call_start|>[f(a=1)]<|tool_call_end|>
    qwen-xml     <tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>
    glm          <tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>
    gemma        <|tool_call>call:f{a:1}<tool_call|>
    deepseek     ...<｜tool▁sep｜>f\n```json\n{"a": 1}\n```...
    mistral      [TOOL_CALLS]f[ARGS]{"a": 1}
    harmony      <|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}
    atem         to=f<|message|><atem:function_calls>\n<atem:invoke name="f">\n<atem:parameter name="a">1...

`parse` wants a whole response, `parse_prefix` takes what there is so far; both read in one pass, and `render` writes
only what `parse` reads back as the same calls. In all but the first two a text may stand before the calls, and a text
alone is a response without calls. Left out: writing the dialects that only a chat template writes (`native.py`).
"""

from collections.abc import Mapping, Sequence

from itool_data.dialects.atem import Atem
from itool_data.dialects.deepseek import DeepSeek
from itool_data.dialects.dialect import Dialect
from itool_data.dialects.gemma import Gemma
from itool_data.dialects.glm import Glm
from itool_data.dialects.harmony import Harmony
from itool_data.dialects.hermes import Hermes
from itool_data.dialects.json_objects import JsonList
from itool_data.dialects.lfm2 import Lfm2
from itool_data.dialects.llama import Llama
from itool_data.dialects.mistral import Mistral
from itool_data.dialects.python_list import PythonList
from itool_data.dialects.qwen_xml import QwenXml
from itool_data.dialects.reader import (
    GEMMA_QUOTE,
    MAX_CALLS,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_LENGTH,
    CallSyntaxError,
    Notation,
    PartialCalls,
    Reader,
    UnfinishedError,
    begun,
)
from itool_data.errors import ItoolError
from itool_data.kinds import DialectName
from itool_data.sample import Tool, ToolCall

__all__ = [
    "DIALECTS", "GEMMA_QUOTE", "MAX_CALLS", "MAX_DEPTH", "MAX_DIGITS", "MAX_LENGTH", "NATIVE", "OWN", "WRITTEN",
    "CallSyntaxError", "Dialect", "DialectName", "Notation", "PartialCalls", "PythonList", "Reader", "begun",
    "detect_format", "parse", "parse_as", "parse_prefix", "render",
]  # fmt: skip

OWN: DialectName = "python"

WRITTEN: dict[DialectName, PythonList | JsonList | Hermes] = {
    "python": PythonList(),
    "json": JsonList(),
    "hermes": Hermes(),
}  # those that `render` writes
DIALECTS: Mapping[DialectName, Dialect] = {
    **WRITTEN,
    "llama": Llama(),
    "lfm2": Lfm2(),
    "qwen-xml": QwenXml(),
    "glm": Glm(),
    "gemma": Gemma(),
    "deepseek": DeepSeek(),
    "mistral": Mistral(),
    "harmony": Harmony(),
    "atem": Atem(),
}
NATIVE = [name for name in DIALECTS if name not in (OWN, "json")]  # those that models are deployed with


def render(calls: Sequence[ToolCall], dialect: DialectName = OWN) -> str:
    """Write calls as response text that `parse` reads back to equal calls.

    Args:
        calls: to write.
        dialect: one of WRITTEN.

    Raises:
        ItoolError: it would not, because a value is no JSON value (NaN and infinity are none) or is beyond the limits.
    """
    try:
        text = WRITTEN[dialect].render(calls)
        if parse(text, dialect) != list(calls):
            raise ValueError("they would read back as other calls")
    except (CallSyntaxError, TypeError, ValueError, RecursionError) as e:
        raise ItoolError(
            f"calls cannot be written as {dialect}: {e}; use JSON values within the limits of dialects/reader.py"
        ) from e
    return text


def parse(text: str, dialect: DialectName = OWN, tools: Sequence[Tool] = ()) -> list[ToolCall]:
    """Read a complete response.

    Args:
        text: the response.
        dialect: of its calls.
        tools: on offer; where values are raw text, their schemas say of what type they are.

    Raises:
        CallSyntaxError: the text is no valid response in this dialect, or is beyond the limits.
    """
    return parse_as(text, DIALECTS[dialect], tools)


def parse_as(text: str, dialect: Dialect, tools: Sequence[Tool] = ()) -> list[ToolCall]:
    """As `parse`, in a dialect that was made for the functions on offer (`PythonList`)."""
    reader = Reader(text, dialect.notation, tools)
    _read(reader, dialect)
    return reader.calls


def parse_prefix(text: str, dialect: DialectName = OWN, tools: Sequence[Tool] = ()) -> PartialCalls:
    """Read what there is of a response; any text gives an answer. Arguments as `parse` has them."""
    reader = Reader(text, DIALECTS[dialect].notation, tools)
    error, whole, closed = None, False, False
    try:
        closed = _read(reader, DIALECTS[dialect])
        whole = True
    except UnfinishedError:
        pass
    except CallSyntaxError as e:
        error = str(e)
    call = None if reader.name is None else ToolCall(reader.name, reader.arguments or {})
    return PartialCalls(
        tuple(reader.calls),
        call,
        error,
        reader.reading,
        reader.naming,
        reader.promised,
        reader.begins,
        whole,
        closed,
        tuple(reader.step_ends),
        reader.pos,
    )


def _read(reader: Reader, dialect: Dialect) -> bool:
    reader.check_length()
    if not reader.preamble(dialect.begins(reader.text)):
        return False
    closed = dialect.read(reader)
    if not reader.at_end():
        reader.fail("the end of the response")
    return closed


def detect_format(text: str) -> DialectName | None:
    """Say in which dialect a text attempts a call; None is plain text, as is `[]`. JSON must open the text."""
    begins = [(begin, name) for name, dialect in DIALECTS.items() if (begin := dialect.attempt(text)) is not None]
    return min(begins, key=lambda found: found[0])[1] if begins else None
