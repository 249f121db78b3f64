"""The one form in which every item of every benchmark is asked: a conversation.

It yields what is asked next, is sent the reply, and returns the item's result once it is over. An item of one question
is a conversation of one reply. Left out: who replies (`chat.py`, `server_chat.py`).
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from itool_data.prompt import Asked

# A role and a content; where a model calls functions natively, the calls and what they returned too (OpenAI's form).
Message = dict[str, Any]
# Native calls in the form of official result files: [{name: arguments as JSON text}].
NativeCalls = list[dict[str, str]]
# A reply's text or its native calls; for several turns, those of each turn's replies.
Turns = list[list[str | NativeCalls]]
Result = str | NativeCalls | Turns


@dataclass(frozen=True)
class Prompt:
    """What is asked.

    Attributes:
        messages: all so far.
        tools: the functions on offer (OpenAI's `tools`) where they are to be called natively.
        asked: what a prompt in the run's form is made of, which a chat asks instead of the messages; native calls then
            come back as text of our own form.
        must_call: a reply has to call some of the functions; only a server can be held to it.
    """

    messages: list[Message]
    tools: tuple[dict[str, Any], ...] = ()
    asked: Asked | None = None
    must_call: bool = False


@dataclass(frozen=True)
class Said:
    """What a model replied: a text, or native calls with the text before them.

    Attributes:
        text: as it came.
        calls: name and arguments as JSON text.
        ids: those that a server gave the calls, "" for none; empty where nobody gives any.
    """

    text: str
    calls: tuple[tuple[str, str], ...] = ()
    ids: tuple[str, ...] = ()

    @property
    def result(self) -> str | NativeCalls:
        """The reply as a result: its calls if there are any."""
        return [{name: arguments} for name, arguments in self.calls] or self.text


Conversation = Generator[Prompt, Said, Result]


def one_reply(prompt: Prompt) -> Conversation:
    """A conversation whose first reply is the result."""
    said = yield prompt
    return said.result


def native_message(said: Said, step: int) -> Message:
    """A reply as OpenAI's messages hold it, its calls with ids that tie results to them.

    Args:
        said: the reply.
        step: its place among the messages.
    """
    message: Message = {"role": "assistant", "content": said.text}
    if said.calls:
        message["tool_calls"] = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
            for id_, (name, arguments) in zip(_ids(said, step), said.calls, strict=True)
        ]
    return message


def _ids(said: Said, step: int) -> list[str]:
    """What ties results to a reply's calls: the server's ids, and ours where it gives none or one twice.

    Ours have nine letters and digits, as Mistral's models want them.
    """
    ids: list[str] = []
    for i, given in enumerate(said.ids or [""] * len(said.calls)):
        ids.append(given if given and given not in ids else f"c{step:05d}{i:03d}")
    return ids
