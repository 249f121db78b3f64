"""What a benchmark is answered by: many conversations' next replies at once, greedily, whoever generates them.

Here the protocol and its form over a policy, which speaks token ids. Left out: a server that speaks messages
(`server_chat.py`), and holding the conversations (`predict.py`).
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from itool_data.errors import ItoolError
from itool_data.policy.base import FinishReason, Policy, PolicyId, Request, Usage
from itool_data.prompt import Prompter
from itool_eval.conversation import Prompt, Said

# BFCL's own margin between the prompt, the answer and the end of the context.
_MARGIN = 2


@dataclass(frozen=True)
class Reply:
    """A reply, the tokens of its prompt and its own (end-of-turn included), and why it ended."""

    said: Said
    tokens_prompt: int
    tokens_output: int
    finish: FinishReason


@dataclass(frozen=True)
class Refusal:
    """Why a prompt gets no reply: it does not fit the context, or a server takes exception to it."""

    reason: str
    finish: Literal["context", "refused"] = "context"


class Chat(Protocol):
    """Replies to conversations."""

    max_rows: int  # replies worked on at once

    @property
    def usage(self) -> Usage:
        """Tokens worked on so far."""
        ...

    @property
    def policy_id(self) -> PolicyId:
        """Who replies."""
        ...

    def submit(self, key: str, prompt: Prompt, max_tokens: int) -> None:
        """Ask for a reply of at most so many tokens, and of what the context leaves; it is worked on by `step`."""
        ...

    def step(self) -> list[tuple[str, Reply | Refusal]]:
        """Move everything under way on; return what is finished, each with its key."""
        ...

    def reset(self) -> None:
        """Drop everything under way."""
        ...

    def close(self) -> None:
        """Give back what it holds; it is of no use afterwards."""
        ...


class PolicyChat:
    """A policy as a chat.

    Args:
        policy: generates.
        prompter: with the policy's tokenizer.
    """

    def __init__(self, policy: Policy, prompter: Prompter):
        self.max_rows = policy.max_rows
        self._policy = policy
        self._prompter = prompter
        self._lengths: dict[str, int] = {}
        self._refused: list[tuple[str, Reply | Refusal]] = []

    @property
    def usage(self) -> Usage:
        """The policy's."""
        return self._policy.usage

    @property
    def policy_id(self) -> PolicyId:
        """The policy's."""
        return self._policy.policy_id

    def submit(self, key: str, prompt: Prompt, max_tokens: int) -> None:
        """Queue a prompt.

        Raises:
            ItoolError: if functions are to be called natively, for which a policy's prompt has no form.
        """
        if prompt.tools:
            raise ItoolError("native function calling is a server's: itool eval run … --policy openai --base-url URL")
        ids = self._prompter.chat_ids(prompt.messages)
        room = min(max_tokens, self._policy.context - len(ids) - _MARGIN)
        if room < 1:
            reason = f"{len(ids)} prompt tokens leave no room in a context of {self._policy.context}"
            self._refused.append((key, Refusal(reason)))
            return
        self._lengths[key] = len(ids)
        self._policy.submit(Request(key, ids, (0,), room, 0.0))

    def step(self) -> list[tuple[str, Reply | Refusal]]:
        """What was refused at once, else one step of the policy."""
        if self._refused:
            refused, self._refused = self._refused, []
            return refused
        replies: list[tuple[str, Reply | Refusal]] = []
        for completion in self._policy.step():
            (draw,) = completion.draws
            said = Said(self._prompter.decode(draw.ids))
            length = self._lengths.pop(completion.request_id)
            replies.append((completion.request_id, Reply(said, length, len(draw.ids), draw.finish)))
        return replies

    def reset(self) -> None:
        """Drop everything under way."""
        self._policy.reset()
        self._lengths.clear()
        self._refused.clear()

    def close(self) -> None:
        """Close the policy."""
        self._policy.close()
