"""One task under way: an agent's replies, one by one, on a world of its own (docs/tau2.md §3).

The rules are the official ones of the loop for solo agents: what ends it, what counts as an error. A reply is a text or
native calls in the form of results, so that a conversation can be gone through again from its result alone. Left out:
the prompts (`driver.py`), and what it is worth (`reward.py`).
"""

import json
from enum import StrEnum
from typing import Any

from itool_data.sample import ToolCall
from itool_eval.conversation import NativeCalls
from itool_eval.tau2.domain import Domain

# Officially 200 steps: a reply is one, running its calls is another, and the first reply is none. A reply after this
# one could only end too late.
MAX_REPLIES = 100
MAX_ERRORS = 10


class End(StrEnum):
    """How it ended, in the official words."""

    STOPPED = "agent_stop"
    AGENT_ERROR = "agent_error"
    MAX_STEPS = "max_steps"
    TOO_MANY_ERRORS = "too_many_errors"


class Simulation:
    """A world, and what was said and done in it.

    Attributes:
        end: how it ended; None: it goes on.
        trajectory: the official messages so far.
    """

    def __init__(self, domain: Domain, task: Any) -> None:
        self.end: End | None = None
        self.trajectory: list[Any] = []
        self._domain = domain
        self._world = domain.environment(task)
        self._replies = self._errors = 0

    def take(self, reply: str | NativeCalls) -> list[str]:
        """Run a reply's calls; returns what they return. Where it ended, there is none."""
        try:
            calls = read_calls(reply)
        except (ValueError, RecursionError):
            self.end = End.AGENT_ERROR
            return []
        if any(call.name == self._domain.stop_function for call in calls):
            # Whatever else the reply calls is not run, as officially.
            self._say(content=self._domain.stop_token)
            self.end = End.STOPPED
            return []
        self._replies += 1
        messages = self._domain.messages
        try:
            made = [
                messages.ToolCall(id=f"{self._replies}-{i}", name=call.name, arguments=call.arguments)
                for i, call in enumerate(calls)
            ]
            returned = [self._world.get_response(call) for call in made]
            self._world.sync_tools()
        # The world catches what its tools raise; what comes through ends the official run too.
        except Exception:  # noqa: BLE001
            self.end = End.AGENT_ERROR
            return []
        self._say(tool_calls=made)
        self.trajectory += returned
        self._errors += sum(message.error for message in returned)
        if self._errors >= MAX_ERRORS:
            self.end = End.TOO_MANY_ERRORS
        elif self._replies >= MAX_REPLIES:
            self.end = End.MAX_STEPS
        return [message.content for message in returned]

    def _say(self, **content: object) -> None:
        self.trajectory.append(self._domain.messages.AssistantMessage(role="assistant", **content))


def read_calls(reply: object) -> list[ToolCall]:
    """The calls of a reply in the form of results.

    Raises:
        ValueError: it makes none, or arguments are no JSON object.
        RecursionError: arguments are nested too deeply.
    """
    if not isinstance(reply, list) or not reply:
        raise ValueError("no calls")
    calls = []
    for call in reply:
        ((name, text),) = call.items()
        arguments = json.loads(text)
        if not isinstance(arguments, dict):
            raise ValueError(f"arguments are no object but {type(arguments).__name__}")
        calls.append(ToolCall(name, arguments))
    return calls
