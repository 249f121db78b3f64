"""What a server means by an error: its words, whatever JSON they stand in, and whether to ask again, later or shorter.

Every kind of server has its own words and statuses for a prompt that is too long; some put an error into an answer of
status 200. Left out: what is done about it (`server.py`).
"""

import json
import re
from dataclasses import dataclass
from typing import Any

# Of 4xx those that may pass; 5xx all may.
_AGAIN = {408, 409, 425, 429}
# These are about who asks and for what, not about how much.
_NOT_ABOUT_LENGTH = {401, 402, 403, 404}
_TOO_LARGE = 413
_STATUSES = range(400, 600)
_STATUS_NAMES = ("code", "status", "status_code")
_WORD_NAMES = ("message", "error", "detail", "msg")
_RATE = re.compile(r"rate.?limit|too many requests|quota|per (second|min|hour|day)", re.IGNORECASE)
_BUSY = re.compile(rf"{_RATE.pattern}|overload|busy|queue|unavailable|tim(e|ed).?out|took|taking", re.IGNORECASE)
# What is about the length of this very request, also where the same words could be about how much is asked at once.
_REQUEST_TOO_LARGE = re.compile(
    r"(request|prompt|inputs?|messages?)( is| are)? too (large|long)|reduce (the|your) (message|prompt|length)",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"""
    context.?(length|size|window|limit|overflow|shift)
    | \bmax_(\w+_)?(tokens?|len|length)\b | maxOutputTokens | \bn_(ctx|predict)\b | \bnum_(ctx|predict)\b
    | \bmax(imum)?\b.{0,30}\b(length|tokens)\b
    | \b(prompt|inputs?|messages?|request|body|text|content|sequence|string)\b.{0,40}\btoo\ (long|large|big)
    | \btoo\ (long|large|big)\ (for|to)\b
    | \btoo\ many\b.{0,20}\btokens
    | \b(exceed\w*|longer|larger|greater|more|less|fewer|reduce)\b.{0,60}\b(tokens?|length)\b
    | \btokens?\b.{0,80}\b(exceed\w*|longer|larger|greater|limit)\b
    | \blength\b.{0,60}\b(exceed\w*|longer|larger|greater|limit|should\ be)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True)
class ServerError:
    """An error that a server told.

    Attributes:
        status: the HTTP status that it has, or that it means where it stands in an answer of status 200.
        words: what it says.
        too_long: it finds the request, or what is asked for with it, too long.
    """

    status: int
    words: str
    too_long: bool

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered later."""
        return not self.too_long and (self.status >= 500 or self.status in _AGAIN)


def error_of(status: int, text: str) -> ServerError:
    """The error of a response with an error status."""
    try:
        words = _words(json.loads(text))
    except (ValueError, RecursionError):
        words = ""
    # A long text's end may be where the reason is, so all of it is looked at.
    return ServerError(status, words or text, _is_too_long(status, text))


def error_in(answer: Any) -> ServerError | None:
    """The error that stands in the JSON of an answer that can't be used, if any does."""
    found = _error_object(answer)
    if found is None:
        return None
    text = json.dumps(found, ensure_ascii=False)
    status = _status(found) or (429 if _RATE.search(text) else 500)
    return ServerError(status, _words(found) or text, _is_too_long(status, text))


def _error_object(answer: Any) -> Any:
    if isinstance(answer, list) and answer:
        answer = answer[0]
    if not isinstance(answer, dict):
        return None
    choices = answer.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict) and choices[0].get("error"):
        return {"error": choices[0]["error"]}
    return answer if answer.get("object") == "error" or any(answer.get(name) for name in _WORD_NAMES) else None


def _status(error: Any) -> int:
    """The status that an error object names, 0 for none."""
    for told in (error, error.get("error")):
        for name in _STATUS_NAMES if isinstance(told, dict) else ():
            number = str(told.get(name))
            if number.isdecimal() and int(number) in _STATUSES:
                return int(number)
    return 0


def _words(told: Any) -> str:
    """The message in an error's JSON, from the first of the places where servers put it; "" for none."""
    if isinstance(told, list) and told:
        return _words(told[0])
    if isinstance(told, dict):
        return next((words for name in _WORD_NAMES if (words := _words(told.get(name)))), "")
    return told if isinstance(told, str) else ""


def _is_too_long(status: int, text: str) -> bool:
    if status in _NOT_ABOUT_LENGTH:
        return False
    if status == 429 or ((status >= 500 or status in _AGAIN) and _BUSY.search(text)):
        return bool(_REQUEST_TOO_LARGE.search(text))
    return status == _TOO_LARGE or bool(_TOO_LONG.search(text))
