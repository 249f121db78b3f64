r"""Response text <-> ToolCalls, in three call formats.

    python  [f(a=1), g.h(b='x')]
    json    [{"name": "f", "arguments": {"a": 1}}]
    xml     <tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>

One hand-written machine reads all three in one pass: `parse` wants a whole response, `parse_prefix` takes what there is
so far, and both learn where the steps end (for `steps.py`). Nothing is ever evaluated, every limit is a constant below,
and `render` writes only what `parse` reads back as the same calls.

The Python form, beyond the obvious:

- A name (function or parameter) is anything on one line but `= , ( ) [ ]` that does not start with a quote or a brace:
  `Get User's Songs`, `/get-it`, `@id`. Any other name is written as a string literal: `['f(x)'('a=b'=1)]`.
- A bare word as a value is a string, as in BFCL (so are `inf` and `nan`); `true`, `false`, `null` are JSON's.
- A tuple is a list; implicit concatenation, `r''`, `u''`, triple quotes are read. A keyword given twice, a positional
  argument, a key that is no string, a number beyond floats and a line break inside a plain string are errors.

JSON is strict (no NaN, no trailing comma, no raw control characters), but "parameters" stands for "arguments", a
"function" object may hold both, the arguments may be JSON text (the OpenAI form), and one object may stand for a list
of one. It cannot tell two surrogates that make a pair from their character, so `render` refuses the former.

Left out: text around the calls, `\N{...}` escapes, arithmetic, nested calls, and BFCL's own decoder with its quirks.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

from itool_data.errors import ItoolError
from itool_data.sample import JSON, ToolCall

CallFormat = Literal["python", "json", "xml"]

MAX_LENGTH = 1_000_000  # characters in a response
MAX_CALLS = 1_000  # calls in a response
MAX_DEPTH = 64  # brackets inside brackets in a value
MAX_DIGITS = 1_000  # characters in a number; Python itself refuses 4,300 digits

_SPACE = re.compile(r"[ \t\r\n\f]*+")
_BARE = r"[^\s=,()\[\]{}'\"][^\r\n=,()\[\]]*+"
_QUOTED = r"'(?:[^'\\\r\n]++|\\.)*+'|\"(?:[^\"\\\r\n]++|\\.)*+\""
_NAME = re.compile(_BARE)
_WORD = re.compile(r"[^\W\d]\w*+")
_NUMBER = re.compile(r"[-+.0-9][-+.0-9A-Za-z_]*+")
_INTEGER = re.compile(r"[-+]?(?:0[xXoObB][0-9a-fA-F_]+|[0-9_]+)")
_QUOTE = re.compile(r"[rRuU]?('''|\"\"\"|'|\")")
_STRING_BODY = {
    "'": re.compile(r"(?:[^'\\\r\n]++|\\(?:.|\Z))*+", re.S),
    '"': re.compile(r'(?:[^"\\\r\n]++|\\(?:.|\Z))*+', re.S),
    "'''": re.compile(r"(?:[^'\\]++|\\(?:.|\Z)|'(?!''))*+", re.S),
    '"""': re.compile(r'(?:[^"\\]++|\\(?:.|\Z)|"(?!""))*+', re.S),
}
_JSON_STRING_BODY = re.compile(r'(?:[^"\\\x00-\x1f]++|\\(?:.|\Z))*+')
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|(.))", re.S)
_SHORT_ESCAPES = {**dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True)), "\n": ""}
_WORDS: dict[str, JSON] = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}

_OTHER_CALL = re.compile(rf"(<tool_call>)|\[\s*+(?:{_BARE}|{_QUOTED})\(\s*+(?:\)|\Z|(?:{_BARE}|{_QUOTED})=)")
_JSON_CALL = re.compile(r'\s*+(?:\[\s*+)?+\{(?=.*"name"\s*+:)(?=.*"(?:arguments|parameters)"\s*+:)', re.S)


class CallSyntaxError(ItoolError):
    """The text is no valid response in its call format; the message names the offset and what was expected."""


class _UnfinishedError(CallSyntaxError):
    """The text ended where it could still become a valid response."""


@dataclass(frozen=True)
class PartialCalls:
    """What an unfinished response says so far."""

    calls: tuple[ToolCall, ...] = ()  # the complete ones
    open: ToolCall | None = None  # the call under way: its name (once `(` is there) and its complete assignments
    error: str | None = None  # why the text can no longer become a valid response
    reading: tuple[str, int] | None = None  # the parameter whose value is not finished, and where that begins
    closed: bool = False  # only white space may follow; never so in xml, where another call may
    step_ends: tuple[int, ...] = ()  # offsets (exclusive) where the steps read so far end
    read_to: int = 0  # where reading stopped: the end of the text unless there is an error


def render(calls: Sequence[ToolCall], fmt: CallFormat = "python") -> str:
    """Write calls as response text that `parse` reads back to equal calls.

    Raises:
        ItoolError: it would not, because a value is no JSON value (NaN and infinity are none) or is beyond the limits.
    """
    try:
        if fmt == "python":
            text = "[" + ", ".join(map(_render_python, calls)) + "]"
        else:
            objects = [{"name": call.name, "arguments": call.arguments} for call in calls]
            blocks = (f"<tool_call>\n{_render_json(o)}\n</tool_call>" for o in objects)
            text = _render_json(objects) if fmt == "json" else "\n".join(blocks)
        if parse(text, fmt) != list(calls):
            raise ValueError("they would read back as other calls")
    except (CallSyntaxError, TypeError, ValueError, RecursionError) as e:
        raise ItoolError(f"calls cannot be written as {fmt}: {e}; use JSON values within the limits of calls.py") from e
    return text


def parse(text: str, fmt: CallFormat = "python") -> list[ToolCall]:
    """Read a complete response.

    Raises:
        CallSyntaxError: the text is no valid response in this format, or is beyond this module's limits.
    """
    machine = _Machine(text, json=fmt != "python")
    machine.run(fmt)
    return machine.calls


def parse_prefix(text: str, fmt: CallFormat = "python") -> PartialCalls:
    """Read what there is of a response; any text gives an answer."""
    machine = _Machine(text, json=fmt != "python")
    error, closed = None, False
    try:
        machine.run(fmt)
        closed = fmt != "xml"
    except _UnfinishedError:
        pass
    except CallSyntaxError as e:
        error = str(e)
    call = None if machine.name is None else ToolCall(machine.name, machine.arguments or {})
    return PartialCalls(
        tuple(machine.calls), call, error, machine.reading, closed, tuple(machine.step_ends), machine.pos
    )


def detect_format(text: str) -> CallFormat | None:
    """Say in which format a text attempts a call; None is plain text, as is `[]`. JSON must open the text."""
    if _JSON_CALL.match(text):
        return "json"
    call = _OTHER_CALL.search(text)
    return None if call is None else "xml" if call[1] else "python"


def _render_python(call: ToolCall) -> str:
    arguments = ", ".join(f"{_render_name(name)}={value!r}" for name, value in call.arguments.items())
    return f"{_render_name(call.name)}({arguments})"


def _render_name(name: str) -> str:
    bare = _NAME.fullmatch(name) and name.isprintable() and name == name.rstrip()
    return name if bare else repr(name)


def _render_json(value: JSON) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # A raw surrogate has no UTF-8, so a tokenizer could not take it.
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


class _Machine:
    """Reads a response from left to right, and keeps what it has read when it stops half-way."""

    def __init__(self, text: str, json: bool) -> None:
        self.text = text
        self.json = json
        self.quote = re.compile('"') if json else _QUOTE
        self.pos = 0
        self.calls: list[ToolCall] = []
        self.name: str | None = None
        self.arguments: dict[str, JSON] | None = None
        self.reading: tuple[str, int] | None = None
        self.step_ends: list[int] = []

    def run(self, fmt: CallFormat) -> None:
        if len(self.text) > MAX_LENGTH:
            self._fail(f"at most {MAX_LENGTH} characters", at=0)
        {"python": self._python, "json": self._json, "xml": self._xml}[fmt]()
        if not self._at_end():
            self._fail("the end of the response")

    def _python(self) -> None:
        self._take("[")
        for _ in self._items("]"):
            name = self._key("a function name")
            self._take("(")
            self.name = name
            self._assignments(")", "=")
            self._finish_call()

    def _json(self) -> None:
        if self._try("["):
            for _ in self._items("]"):
                self._call_members()
                self.step_ends.append(self.pos)
        else:
            self._call_members()

    def _xml(self) -> None:
        while not self._at_end():
            self._take("<tool_call>")
            self._call_members()
            self._take("</tool_call>")
            self.step_ends.append(self.pos)

    def _call_members(self, inside_function: bool = False) -> None:
        self._take("{")
        for _ in self._items("}"):
            start = self.pos
            key = self._key("a key")
            self._take(":")
            if key == "name":
                if self.name is not None:
                    self._fail("one name only", at=start)
                self.name = self._key("a function name")
            elif key in ("arguments", "parameters"):
                self._call_arguments()
            elif key == "function" and not inside_function:
                self._call_members(inside_function=True)
            else:
                self._value(0)
        if not inside_function:
            self._finish_call()

    def _call_arguments(self) -> None:
        self._run(_SPACE)
        start = self.pos
        if self.text.startswith('"', start):
            inner = _Machine(self._string(), json=True)
            try:
                inner._call_arguments()
            except CallSyntaxError as e:  # Also where it is unfinished: its closing quote is there already.
                self._fail(f"arguments as JSON text (at its {e})", at=start)
            if not inner._at_end() or self.arguments is not None:
                self._fail("one arguments object only", at=start)
            self.arguments = inner.arguments
        else:
            self._take("{")
            self._assignments("}", ":")

    def _assignments(self, close: str, separator: str) -> None:
        """Read the open call's arguments up to and past `close`; each one counts once its `,` or `close` is there."""
        if self.arguments is not None:
            self._fail("one arguments object only", at=self.pos)
        self.arguments = {}
        self.step_ends.append(self.pos)
        for _ in self._items(close):
            start = self.pos
            name = self._key("a parameter name")
            self._take(separator)  # Until it is there, `a` may be the beginning of `ab`.
            if name in self.arguments:
                self._fail("a parameter not given before", at=start)
            self._run(_SPACE)
            self.reading = name, self.pos
            value = self._value(0)
            self._run(_SPACE)
            if self.text.startswith((",", close), self.pos):
                self.arguments[name] = value
                self.reading = None
                self.step_ends.append(self.pos + 1)
        if self.step_ends[-1] != self.pos:
            self.step_ends.append(self.pos)

    def _finish_call(self) -> None:
        if self.name is None or self.arguments is None:
            self._fail("name and arguments in the call before", at=self.pos)
        if len(self.calls) == MAX_CALLS:
            self._fail(f"at most {MAX_CALLS} calls", at=self.pos)
        self.calls.append(ToolCall(self.name, self.arguments))
        self.name = self.arguments = None

    def _key(self, what: str) -> str:
        """Read a name: a string literal, or in the Python form a bare run of characters."""
        self._run(_SPACE)
        if self.text.startswith('"' if self.json else ("'", '"'), self.pos):
            return self._string()
        name = "" if self.json else self._run(_NAME)
        if not name:
            self._fail(what)
        return name.rstrip()

    def _value(self, depth: int) -> JSON:
        self._run(_SPACE)
        char = self.text[self.pos : self.pos + 1]
        if char in ("{", "[", "(") and depth == MAX_DEPTH:
            self._fail(f"at most {MAX_DEPTH} brackets inside brackets", at=self.pos)
        if char == "{":
            return self._dict(depth + 1)
        if char == "[" or (char == "(" and not self.json):
            return self._list("]" if char == "[" else ")", depth + 1)
        if self.quote.match(self.text, self.pos):
            parts = [self._string()]
            while not self.json and not self._at_end() and self.quote.match(self.text, self.pos):
                parts.append(self._string())
            return "".join(parts)
        return self._number() if _NUMBER.match(char) else self._word()

    def _dict(self, depth: int) -> dict[str, JSON]:
        self._take("{")
        members: dict[str, JSON] = {}
        for _ in self._items("}"):
            start = self.pos
            key = self._value(depth)
            if not isinstance(key, str):
                self._fail("a string as key", at=start)
            self._take(":")
            members[key] = self._value(depth)
        return members

    def _list(self, close: str, depth: int) -> JSON:
        self.pos += 1
        items: list[JSON] = []
        for _ in self._items(close):
            items.append(self._value(depth))
            end = self.pos
        return items[0] if close == ")" and len(items) == 1 and "," not in self.text[end : self.pos] else items

    def _string(self) -> str:
        start = self.pos
        opening = self._run(self.quote)
        quote = opening.lstrip("rRuU")
        body = self._run(_JSON_STRING_BODY if self.json else _STRING_BODY[quote])
        if not self.text.startswith(quote, self.pos):
            self._fail(f"the string's closing {quote}")
        self.pos += len(quote)
        try:
            if self.json:
                return str(json.loads(f'"{body}"'))
            return body if opening[0] in "rR" else _ESCAPE.sub(_unescape, body)
        except (ValueError, OverflowError):
            self._fail("a string with valid escapes", at=start)

    def _number(self) -> JSON:
        start = self.pos
        token = self._run(_NUMBER)
        if self.pos == len(self.text):
            self._fail("the number's end")
        if len(token) > MAX_DIGITS:
            self._fail(f"a number of at most {MAX_DIGITS} characters", at=start)
        try:
            number = json.loads(token) if self.json else int(token, 0) if _INTEGER.fullmatch(token) else float(token)
        except ValueError:
            self._fail("a number", at=start)
        if isinstance(number, float) and not math.isfinite(number):
            self._fail("a finite number", at=start)
        return number

    def _word(self) -> JSON:
        start = self.pos
        word = self._run(_WORD)
        if not word or self.pos == len(self.text):
            self._fail("a value")
        if self.json and word not in ("true", "false", "null"):
            self._fail("a JSON value", at=start)
        return _WORDS.get(word, word)

    def _items(self, close: str) -> Iterator[None]:
        """Stop at each item up to `close`, then go past it. Only Python allows a `,` before `close`."""
        more = not self._try(close)
        while more:
            self._run(_SPACE)
            yield
            if self._try(close):
                return
            if not self._try(","):
                self._fail(f"',' or '{close}'")
            more = self.json or not self._try(close)

    def _try(self, char: str) -> bool:
        self._run(_SPACE)
        found = self.text.startswith(char, self.pos)
        self.pos += found
        return found

    def _take(self, token: str) -> None:
        self._run(_SPACE)
        if not self.text.startswith(token, self.pos):
            if token.startswith(self.text[self.pos :]):  # The text's end cuts the token short.
                self.pos = len(self.text)
            self._fail(f"'{token}'")
        self.pos += len(token)

    def _at_end(self) -> bool:
        self._run(_SPACE)
        return self.pos == len(self.text)

    def _run(self, pattern: re.Pattern[str]) -> str:
        """Go past what the pattern matches here, which may be nothing."""
        match = pattern.match(self.text, self.pos)
        self.pos = match.end() if match else self.pos
        return match[0] if match else ""

    def _fail(self, expected: str, at: int | None = None) -> NoReturn:
        """Stop; without `at` the reason is the next character, and the end of the text only leaves it unfinished."""
        offset = self.pos if at is None else at
        found = repr(self.text[offset : offset + 20]) if offset < len(self.text) else "the end of the text"
        unfinished = at is None and self.pos == len(self.text)
        kind = _UnfinishedError if unfinished else CallSyntaxError
        raise kind(f"offset {offset}: expected {expected}, found {found}")


def _unescape(match: re.Match[str]) -> str:
    octal, hexadecimal, char = match.groups()
    if char is None:
        return chr(int(octal, 8) if octal else int(hexadecimal[1:], 16))
    if char in "xuUN":
        raise ValueError(char)
    return _SHORT_ESCAPES.get(char, match[0])
