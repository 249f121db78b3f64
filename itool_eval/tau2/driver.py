"""A policy in conversation with the telecom domain, as the official solo agent is (docs/tau2.md §3).

A system message with policy and ticket, the functions of company and phone as tools, and no user: every reply calls
some of them, until it calls the one that ends it. Left out: sampling settings and chat templates, which are the
policy's, and the reward (`scorer.py`).
"""

from typing import Any

from itool_eval.conversation import Conversation, Message, NativeCalls, Prompt, Said, native_message
from itool_eval.tau2.domain import Domain
from itool_eval.tau2.simulation import Simulation


def conversation(domain: Domain, task: Any) -> Conversation:
    """One task's conversation; its result is one turn, the list of the replies.

    Any number of them can be under way at once.
    """
    messages: list[Message] = [{"role": "system", "content": domain.system(task)}]
    replies: list[str | NativeCalls] = []
    simulation = None
    while simulation is None or simulation.end is None:
        said = yield Prompt(list(messages), domain.tools, must_call=True)
        # Made when the first reply comes: a prompt's length is asked of every task beforehand.
        simulation = simulation or Simulation(domain, task)
        replies.append(_reply(domain, said))
        results = simulation.take(replies[-1])
        message = native_message(said, len(messages))
        messages.append(message)
        for call, result in zip(message.get("tool_calls", ()), results, strict=False):
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    return [replies]


def _reply(domain: Domain, said: Said) -> str | NativeCalls:
    """A reply as a result; its text alone where that says the end beside calls, at which the official run breaks."""
    ends = any(name == domain.stop_function for name, _ in said.calls)
    return said.text if domain.stop_token in said.text and not ends else said.result
