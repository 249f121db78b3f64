r"""Reads calls from left to right: names, values and arguments, in Python's notation, JSON's or Gemma's.

What a response's calls look like as a whole is a dialect's (the other files of this folder); here is what they share.
Reading stops half-way where the text does, and keeps what it has read so far, with where the steps end (for
`itool_data/steps.py`). Nothing is ever evaluated, and every limit is a constant below.

Python's notation, beyond the obvious:

- A name (function or parameter) is anything on one line but `= , ( ) [ ]` that does not start with a quote or a brace:
  `Get User's Songs`, `/get-it`, `@id`. Any other name is a string literal: `['f(x)'('a=b'=1)]`.
- A bare word as a value is a string, as in BFCL (so are `inf` and `nan`); `true`, `false`, `null` are JSON's.
- A tuple is a list; implicit concatenation, `r''`, `u''`, triple quotes are read. A keyword given twice, a positional
  argument, a key that is no string, a number beyond floats and a line break inside a plain string are errors.

JSON is strict: no NaN, no trailing comma, no raw control characters.

Gemma's is JSON with bare keys and `<|"|>` around strings, in which nothing is escaped; `True` and `None` are read too.

Left out: `\N{...}` escapes, arithmetic, nested calls.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

from itool_data.errors import ItoolError
from itool_data.sample import JSON, Tool, ToolCall

Notation = Literal["python", "json", "gemma", "raw"]  # raw: a text up to a tag, of the schema's type (typed.py)

MAX_LENGTH = 1_000_000  # characters in a response
MAX_CALLS = 1_000  # calls in a response
MAX_DEPTH = 64  # brackets inside brackets in a value
MAX_DIGITS = 1_000  # characters in a number; Python itself refuses 4,300 digits

SPACE = re.compile(r"[ \t\r\n\f]*+")
BARE = r"[^\s=,()\[\]{}'\"][^\r\n=,()\[\]]*+"
QUOTED = r"'(?:[^'\\\r\n]++|\\.)*+'|\"(?:[^\"\\\r\n]++|\\.)*+\""
NAME = re.compile(BARE)
GEMMA_QUOTE = '<|"|>'
_GEMMA_KEY = re.compile(r"[^\s:{},<\"][^\r\n:{},<\"]*+")
_NOTHING = re.compile("")
_WORD = re.compile(r"[^\W\d]\w*+")
_NUMBER = re.compile(r"[-+.0-9][-+.0-9A-Za-z_]*+")
_INTEGER = re.compile(r"[-+]?(?:0[xXoObB][0-9a-fA-F_]+|[0-9_]+)")
_QUOTES = {
    "python": re.compile(r"[rRuU]?('''|\"\"\"|'|\")"),
    "json": re.compile('"'),
    "gemma": re.compile(re.escape(GEMMA_QUOTE)),
    "raw": re.compile('"'),
}
_STRING_BODY = {
    "'": re.compile(r"(?:[^'\\\r\n]++|\\(?:.|\Z))*+", re.S),
    '"': re.compile(r'(?:[^"\\\r\n]++|\\(?:.|\Z))*+', re.S),
    "'''": re.compile(r"(?:[^'\\]++|\\(?:.|\Z)|'(?!''))*+", re.S),
    '"""': re.compile(r'(?:[^"\\]++|\\(?:.|\Z)|"(?!""))*+', re.S),
}
_GEMMA_STRING_BODY = re.compile(r"(?:[^<]++|<(?!\|\"\|>))*+")
_JSON_STRING_BODY = re.compile(r'(?:[^"\\\x00-\x1f]++|\\(?:.|\Z))*+')
_STRICT_BODY = {"json": _JSON_STRING_BODY, "gemma": _GEMMA_STRING_BODY}
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|(.))", re.S)
_SHORT_ESCAPES = {**dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True)), "\n": ""}
_WORDS: dict[str, JSON] = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}


class CallSyntaxError(ItoolError):
    """The text is no valid response in its call format; the message names the offset and what was expected."""


class UnfinishedError(CallSyntaxError):
    """The text ended where it could still become a valid response."""


Named = Literal["call", "argument"]


@dataclass(frozen=True)
class PartialCalls:
    """What an unfinished response says so far."""

    calls: tuple[ToolCall, ...] = ()  # the complete ones
    open: ToolCall | None = None  # the call under way: its name (once `(` is there) and its complete assignments
    error: str | None = None  # why the text can no longer become a valid response
    reading: tuple[str, int] | None = None  # the parameter whose value is not finished, and where that begins
    naming: tuple[Named, str] | None = None  # what is being named, and what there is of the name, quotes included
    promised: Named | None = None  # what a `,` or an opening marker has announced and is not there yet
    begins: int | None = 0  # offset where the calls begin, after a text before them; None: there is no call so far
    whole: bool = False  # the response may end here
    closed: bool = False  # and must: nothing but white space may follow
    step_ends: tuple[int, ...] = ()  # offsets (exclusive) where the steps read so far end
    read_to: int = 0  # where reading stopped: the end of the text unless there is an error


class Reader:
    """Reads a response from left to right, and keeps what it has read when it stops half-way.

    Args:
        text: the response.
        notation: of its values.
        tools: on offer, whose schemas say of what type a value is where the notation does not.
    """

    def __init__(self, text: str, notation: Notation, tools: Sequence[Tool] = ()) -> None:
        self.text = text
        self.tools = tools
        self.pos = 0
        self.promised: Named | None = None
        self.begins: int | None = 0
        self._notation = notation
        self._python = notation == "python"
        self._quote = _QUOTES[notation]
        self._naming: tuple[Named, int, str] | None = None  # what, since where, and what ends the name
        self.calls: list[ToolCall] = []
        self.name: str | None = None
        self.arguments: dict[str, JSON] | None = None
        self.reading: tuple[str, int] | None = None
        self.step_ends: list[int] = []

    def check_length(self) -> None:
        """Refuse a text beyond all limits."""
        if len(self.text) > MAX_LENGTH:
            self.fail(f"at most {MAX_LENGTH} characters", at=0)

    @property
    def naming(self) -> tuple[Named, str] | None:
        """What is being named, and what there is of the name."""
        if self._naming is None:
            return None
        what, start, end = self._naming
        name = self.text[start:]
        return what, name[: len(name) - begun(name, end)]

    def preamble(self, begins: int | None) -> bool:
        """Go past a text before the calls, a step of its own; returns whether there are calls after it."""
        self.begins = begins
        self.pos = len(self.text) if begins is None else begins
        if begins and self.text[:begins].strip():
            self.step_ends.append(begins)
        return begins is not None

    def assignments(self, close: str, separator: str) -> None:
        """Read the open call's arguments up to and past `close`; each one counts once its `,` or `close` is there."""
        self.begin_arguments()
        for _ in self.items(close, "argument"):
            start = self.pos
            name = self.name_of("argument", "a parameter name", separator)
            self.run(SPACE)
            self.parameter(start, name)
            value = self.value(0)
            self.run(SPACE)
            if self.text.startswith((",", close), self.pos):
                self.give(value, self.pos + 1)
        self.end_step()

    def begin_arguments(self) -> None:
        """Begin the open call's arguments; the step with its name ends here."""
        if self.arguments is not None:
            self.fail("one arguments object only", at=self.pos)
        self.arguments = {}
        self.step_ends.append(self.pos)

    def parameter(self, start: int, name: str) -> None:
        """Begin the value of a parameter, whose name was at `start`."""
        assert self.arguments is not None
        if name in self.arguments:
            self.fail("a parameter not given before", at=start)
        self.reading = name, self.pos
        self.promised = None

    def give(self, value: JSON, end: int) -> None:
        """Count the value of the parameter under way; its step ends at `end`."""
        assert self.arguments is not None and self.reading is not None
        self.arguments[self.reading[0]] = value
        self.reading = None
        self.step_ends.append(end)

    def end_step(self) -> None:
        """End a step here, unless one has just ended."""
        if self.step_ends[-1:] != [self.pos]:
            self.step_ends.append(self.pos)

    def name_of(self, what: Named, expected: str, separator: str = "") -> str:
        """Read a name up to and past what comes after it; until that is there, `a` may be the beginning of `ab`."""
        self.run(SPACE)
        self._naming = what, self.pos, ""
        name = self.key(expected)
        self.take(separator)
        self._naming = None
        return name

    def text_until(self, end: str) -> str:
        """Read raw text up to and past `end`."""
        found = self.text.find(end, self.pos)
        if found < 0:
            self.pos = len(self.text)
            self.fail(f"'{end}'")
        text = self.text[self.pos : found]
        self.pos = found + len(end)
        return text

    def opens_call(self, marker: str) -> None:
        """Go past a marker that opens a call."""
        self.take(marker)
        self.promised = "call"

    def pattern_name(self, what: Named, pattern: re.Pattern[str]) -> str:
        """Read a bare name that ends where the pattern does."""
        self.run(SPACE)
        start = self.pos
        self._naming = what, start, ""
        name = self.run(pattern).rstrip()
        if self.pos == len(self.text):
            self.fail("the name's end")
        if not name:
            self.fail("a name", at=start)
        self._naming = None
        return name

    def bare_name(self, what: Named, end: str) -> str:
        """Read a name of any characters on one line up to and past `end`."""
        start = self.pos
        self._naming = what, start, end
        name = self.text_until(end)
        if not name.strip() or "\n" in name:
            self.fail("a name", at=start)
        self._naming = None
        return name.strip()

    def finish_call(self) -> None:
        """Count the open call as complete."""
        if self.name is None or self.arguments is None:
            self.fail("name and arguments in the call before", at=self.pos)
        if len(self.calls) == MAX_CALLS:
            self.fail(f"at most {MAX_CALLS} calls", at=self.pos)
        self.calls.append(ToolCall(self.name, self.arguments))
        self.name = self.arguments = self.promised = None

    def key(self, what: str) -> str:
        """Read a name: a string literal, or where the notation has such a bare run of characters."""
        self.run(SPACE)
        if self._notation != "gemma" and self.text.startswith(("'", '"') if self._python else '"', self.pos):
            return self.string()
        name = self.run({"python": NAME, "json": _NOTHING, "gemma": _GEMMA_KEY}[self._notation])
        if not name:
            self.fail(what)
        return name.rstrip()

    def value(self, depth: int) -> JSON:
        """Read a value that lies in so many brackets."""
        self.run(SPACE)
        char = self.text[self.pos : self.pos + 1]
        if char in ("{", "[", "(") and depth == MAX_DEPTH:
            self.fail(f"at most {MAX_DEPTH} brackets inside brackets", at=self.pos)
        if char == "{":
            return self._dict(depth + 1)
        if char == "[" or (char == "(" and self._python):
            return self._list("]" if char == "[" else ")", depth + 1)
        if self._notation == "gemma" and GEMMA_QUOTE.startswith(self.text[self.pos : self.pos + len(GEMMA_QUOTE)]):
            self.take(GEMMA_QUOTE)  # of which the text's end may cut off a part
            self.pos -= len(GEMMA_QUOTE)
        if self._quote.match(self.text, self.pos):
            parts = [self.string()]
            while self._python and not self.at_end() and self._quote.match(self.text, self.pos):
                parts.append(self.string())
            return "".join(parts)
        return self._number() if _NUMBER.match(char) else self._word()

    def _dict(self, depth: int) -> dict[str, JSON]:
        self.take("{")
        members: dict[str, JSON] = {}
        for _ in self.items("}"):
            start = self.pos
            key = self.key("a key") if self._notation == "gemma" else self.value(depth)
            if not isinstance(key, str):
                self.fail("a string as key", at=start)
            self.take(":")
            members[key] = self.value(depth)
        return members

    def _list(self, close: str, depth: int) -> JSON:
        self.pos += 1
        items: list[JSON] = []
        for _ in self.items(close):
            items.append(self.value(depth))
            end = self.pos
        return items[0] if close == ")" and len(items) == 1 and "," not in self.text[end : self.pos] else items

    def string(self) -> str:
        """Read a string literal."""
        start = self.pos
        opening = self.run(self._quote)
        quote = opening.lstrip("rRuU")
        body = self.run(_STRING_BODY[quote] if self._python else _STRICT_BODY[self._notation])
        if not self.text.startswith(quote, self.pos):
            self.fail(f"the string's closing {quote}")
        self.pos += len(quote)
        try:
            if self._notation == "json":
                return str(json.loads(f'"{body}"'))
            if self._notation == "gemma":
                return body
            return body if opening[0] in "rR" else _ESCAPE.sub(_unescape, body)
        except (ValueError, OverflowError):
            self.fail("a string with valid escapes", at=start)

    def _number(self) -> JSON:
        start = self.pos
        token = self.run(_NUMBER)
        if self.pos == len(self.text):
            self.fail("the number's end")
        if len(token) > MAX_DIGITS:
            self.fail(f"a number of at most {MAX_DIGITS} characters", at=start)
        try:
            number = (
                json.loads(token) if not self._python else int(token, 0) if _INTEGER.fullmatch(token) else float(token)
            )
        except ValueError:
            self.fail("a number", at=start)
        if isinstance(number, float) and not math.isfinite(number):
            self.fail("a finite number", at=start)
        return number

    def _word(self) -> JSON:
        start = self.pos
        word = self.run(_WORD)
        if not word or self.pos == len(self.text):
            self.fail("a value")
        if not self._python and word not in (("true", "false", "null") if self._notation == "json" else _WORDS):
            self.fail("a JSON value", at=start)
        return _WORDS.get(word, word)

    def items(self, close: str, what: Named | None = None) -> Iterator[None]:
        """Stop at each item up to `close`, then go past it. Only Python allows a `,` before `close`.

        Args:
            close: what closes the list.
            what: that its items are, if a `,` is to count as the promise of one.
        """
        more = not self.tries(close)
        while more:
            self.run(SPACE)
            yield
            if self.tries(close):
                return
            if not self.tries(","):
                self.fail(f"',' or '{close}'")
            self.promised = what or self.promised
            more = not self._python or not self.tries(close)
        if what is not None:
            self.promised = None

    def tries(self, token: str) -> bool:
        """Go past a token if it is next, white space before it included; returns whether it was."""
        self.run(SPACE)
        if self.text.startswith(token, self.pos):
            self.pos += len(token)
            return True
        if self.pos < len(self.text) and token.startswith(self.text[self.pos :]):  # the text's end cuts it short
            self.pos = len(self.text)
            self.fail(f"'{token}'")
        return False

    def take(self, token: str) -> None:
        """Go past a token that must be next."""
        self.run(SPACE)
        if not self.text.startswith(token, self.pos):
            if token.startswith(self.text[self.pos :]):  # The text's end cuts the token short.
                self.pos = len(self.text)
            self.fail(f"'{token}'")
        self.pos += len(token)

    def at_end(self) -> bool:
        """Whether only white space is left."""
        self.run(SPACE)
        return self.pos == len(self.text)

    def run(self, pattern: re.Pattern[str]) -> str:
        """Go past what the pattern matches here, which may be nothing."""
        match = pattern.match(self.text, self.pos)
        self.pos = match.end() if match else self.pos
        return match[0] if match else ""

    def fail(self, expected: str, at: int | None = None) -> NoReturn:
        """Stop; without `at` the reason is the next character, and the end of the text only leaves it unfinished."""
        offset = self.pos if at is None else at
        found = repr(self.text[offset : offset + 20]) if offset < len(self.text) else "the end of the text"
        unfinished = at is None and self.pos == len(self.text)
        kind = UnfinishedError if unfinished else CallSyntaxError
        raise kind(f"offset {offset}: expected {expected}, found {found}")


def begun(text: str, end: str) -> int:
    """How many characters at a text's end are the beginning of what may end it, and not all of that."""
    return next((n for n in range(len(end) - 1, 0, -1) if text.endswith(end[:n])), 0)


def place(text: str, marker: str) -> int | None:
    """Where a marker is first in a text; None where it is not."""
    found = text.find(marker)
    return None if found < 0 else found


def _unescape(match: re.Match[str]) -> str:
    octal, hexadecimal, char = match.groups()
    if char is None:
        return chr(int(octal, 8) if octal else int(hexadecimal[1:], 16))
    if char in "xuUN":
        raise ValueError(char)
    return _SHORT_ESCAPES.get(char, match[0])
