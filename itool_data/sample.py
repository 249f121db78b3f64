"""The one vocabulary everything speaks: Sample, Message, Tool, ToolCall.

A *sample* is one assistant turn of a tool-use data set: the messages before it, the tools on offer, the gold response
and its parsed calls. All values are JSON values, so a sample is stored as text and named by the hash of its content.
Left out: how a sample becomes a prompt (`prompt.py`) and how response text becomes calls (`dialects/`).
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

# A value that JSON can hold; recursive aliases need Python 3.12, so the leaves are all we can say here.
JSON = Any
Role = Literal["system", "user", "assistant", "tool"]
Split = Literal["train", "validation", "test"]


def canonical_json(value: JSON) -> str:
    """Serialise to JSON text that is equal for equal values (sorted keys, no blanks, non-ASCII kept)."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class ToolCall:
    """One call: a function's name and its keyword arguments as JSON values."""

    name: str
    arguments: dict[str, JSON]


@dataclass(frozen=True)
class Tool:
    """A function on offer; `parameters` is a JSON schema of type object ({"type", "properties", "required"})."""

    name: str
    description: str
    parameters: dict[str, JSON]


@dataclass(frozen=True)
class Message:
    """One message before the turn; `tool` messages carry a call's result as text."""

    role: Role
    content: str


@dataclass(frozen=True)
class AcceptedCall:
    """What a call may look like to count as right, where a benchmark accepts several values.

    `arguments` maps each parameter to its accepted values; `optional` names those that may be left out.
    """

    name: str
    arguments: dict[str, list[JSON]]
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Sample:
    """One assistant turn.

    Attributes:
        source: data set name, e.g. `toolace`, `bfcl:live_multiple`.
        source_id: the data set's own id of the item (with the turn's number where an item has several).
        messages: what came before the turn, oldest first.
        tools: the functions on offer.
        target: the gold response as text, in the source's call format rendered by `calls.render`.
        calls: the gold calls; empty when the gold response is plain text.
        accepted: per gold call what counts as right; empty means exactly `calls`.
        split: `train`, or `validation` (to tune settings on) and `test` for items that may never be trained on
            (BFCL-half).
    """

    source: str
    source_id: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    target: str
    calls: tuple[ToolCall, ...] = ()
    accepted: tuple[AcceptedCall, ...] = ()
    split: Split = "train"

    @cached_property
    def sample_id(self) -> str:
        """16 hex digits of the SHA-256 over messages, tools and target: equal content is one sample."""
        content = {
            "messages": [vars(m) for m in self.messages],
            "tools": [vars(t) for t in self.tools],
            "target": self.target,
        }
        return hashlib.sha256(canonical_json(content).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @cached_property
    def answers(self) -> tuple[AcceptedCall, ...]:
        """What the checker compares with: `accepted`, or the gold calls themselves with nothing optional."""
        return self.accepted or tuple(
            AcceptedCall(c.name, {k: [v] for k, v in c.arguments.items()}) for c in self.calls
        )


@dataclass(frozen=True)
class Note:
    """What a source left out of a row that it reads; the same words for every such row, so that they can be counted."""

    text: str


@dataclass(frozen=True)
class Reject:
    """A bad input row: where it came from and what was wrong."""

    source: str
    file: str
    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.reason}"


@dataclass(frozen=True)
class GivenUp:
    """An item of work (by its key) on which the policy cannot work, and why."""

    key: str
    reject: Reject


Item = Sample | Note | Reject  # what a source yields
