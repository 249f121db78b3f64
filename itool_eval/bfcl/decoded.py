"""What the three decoders share: a decoded call, the ways decoding fails, and the bracket rule (docs/bfcl.md §4)."""

from typing import Any, NamedTuple


class Call(NamedTuple):
    """A call as a model wrote it; the name None stands for arguments that have none (`**x`)."""

    name: str
    arguments: dict[str | None, Any]


class DecodeError(ValueError):
    """The text is not a list of calls: the official decoder fails on it too (or would have to run it)."""


class NoCallError(DecodeError):
    """The text parses, but as something that is no call: officially a wrong output format, not a failed decode."""


def bracketed(text: str) -> str:
    """Strip back-ticks, newlines and spaces from both ends, then add the outer brackets where they are missing."""
    text = text.strip("`\n ")
    if not text.startswith("["):
        text = "[" + text
    return text if text.endswith("]") else text + "]"


class OfficialRaisesError(Exception):
    """The official checker ends with an exception where this is raised."""
