"""What generates and scores tokens: the protocol every policy speaks.

Token ids go in and token ids come out; nobody re-tokenises text that a policy made. A request asks for several draws
of one prompt, each with its own seed; many requests are under way at once, and `step` moves all of them on. Left out:
how a prompt is built (`prompt.py`), and any policy (one file each beside this one).
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from itool_data.errors import ItoolError

if TYPE_CHECKING:
    from itool_data.policy.load import Adapter  # which names policies by what is here

FinishReason = Literal["stop", "step", "length"]  # end-of-turn, `Request.until`, or the longest that was asked for


@dataclass(frozen=True)
class PolicyId:
    """Who made a row: base model, its revision, and the hash of the adapter's content ("" for none)."""

    base: str
    revision: str
    adapter: str = ""

    def __str__(self) -> str:
        return f"{self.base}@{self.revision}" + (f"+{self.adapter}" if self.adapter else "")


@dataclass(frozen=True)
class Request:
    """Draws of one prompt's continuation.

    Attributes:
        request_id: the caller's name for it; comes back in the Completion.
        prompt: token ids.
        seeds: one per draw; equal (prompt, seed, temperature) is the same draw whatever else is running.
        max_tokens: upper bound on a draw's length, end-of-turn included.
        temperature: 0 takes the most probable token.
        group: requests of one group share the prefix that the group's first request had as its prompt; the policy
            keeps what it computed for them until `release(group)`. "" shares nothing with other requests.
        ignore_stop: go on over an end-of-turn, so that every draw is as long as `max_tokens`: for measurements of
            models that run here.
        until: asked after every token with a draw's ids so far; true ends the draw there (finish `step`). What it
            says of some ids must depend on these ids alone. None: only end-of-turn and `max_tokens` end a draw.
    """

    request_id: str
    prompt: Sequence[int]
    seeds: Sequence[int]
    max_tokens: int
    temperature: float
    group: str = ""
    ignore_stop: bool = False
    until: Callable[[tuple[int, ...]], bool] | None = None


@dataclass(frozen=True)
class Draw:
    """One continuation: its ids (end-of-turn included where it was reached) and their log-probabilities.

    These are at temperature 1, whatever temperature drew them, because Eq. 5's prior is the policy's own probability.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: FinishReason


@dataclass(frozen=True)
class Completion:
    """The draws of one request, in the order of its seeds, and the prompt tokens computed and reused for them."""

    request_id: str
    draws: tuple[Draw, ...]
    prefilled: int
    reused: int


@dataclass
class Usage:
    """Tokens a policy has worked on so far."""

    prefilled: int = 0
    reused: int = 0
    decoded: int = 0
    scored: int = 0
    steps: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


def ending(request: Request, ids: tuple[int, ...], stopped: bool, room: int) -> FinishReason | None:
    """Whether a draw is at its end with its last token, and why.

    Args:
        request: whose draw it is.
        ids: the draw so far.
        stopped: whether the last token ends a turn.
        room: the longest that it may be.
    """
    if stopped:
        return "stop"
    if request.until is not None and request.until(ids):
        return "step"
    return "length" if len(ids) >= room else None


@dataclass
class Gathering:
    """A request whose draws are made one by one, elsewhere."""

    request: Request
    draws: dict[int, Draw] = field(default_factory=dict)
    prefilled: int = 0
    reused: int = 0

    def add(self, index: int, draw: Draw, prefilled: int, reused: int, usage: Usage) -> Completion | None:
        """Take a draw and what its prompt cost, which also goes to `usage`; returns the request's end with the last."""
        self.draws[index] = draw
        self.prefilled += prefilled
        self.reused += reused
        usage.prefilled += prefilled
        usage.reused += reused
        usage.decoded += len(draw.ids)
        if len(self.draws) < len(self.request.seeds):
            return None
        draws = tuple(self.draws[i] for i in range(len(self.draws)))
        return Completion(self.request.request_id, draws, self.prefilled, self.reused)


def check_prompt(request: Request, context: int) -> None:
    """Refuse a request whose prompt is empty or leaves no room in the context.

    Raises:
        ItoolError: naming the request and its length.
    """
    if not 0 < len(request.prompt) < context:
        raise ItoolError(
            f"request {request.request_id}: a prompt of {len(request.prompt)} tokens does not fit the context of "
            f"{context}; set the sample aside"
        )


def check_sequence(prompt: Sequence[int], continuation: Sequence[int], context: int) -> None:
    """Refuse to score after an empty prompt, or beyond the context.

    Raises:
        ItoolError: naming both lengths.
    """
    if not prompt or len(prompt) + len(continuation) > context:
        raise ItoolError(
            f"a sequence of {len(prompt)} + {len(continuation)} tokens cannot be scored in a context of "
            f"{context}; set the sample aside"
        )


class UnansweredError(ItoolError):
    """A policy cannot work on one request, and can on others: a server that refuses it, or fails on it every time.

    Attributes:
        request_id: of the request, "" where log-probabilities were asked for.
        reason: why.
    """

    def __init__(self, message: str, request_id: str, reason: str):
        super().__init__(message)
        self.request_id = request_id
        self.reason = reason


class Described(Protocol):
    """What is known of a policy without asking it anything: of the policy itself, or of several equal ones."""

    @property
    def policy_id(self) -> PolicyId:
        """Base model, revision and adapter in use."""
        ...

    @property
    def context(self) -> int:
        """Most tokens of prompt and continuation together."""
        ...


class Policy(Described, Protocol):
    """Generates and scores token ids."""

    usage: Usage
    max_rows: int  # draws worked on at once

    def submit(self, request: Request) -> None:
        """Queue a request; it is worked on by `step`."""
        ...

    def step(self) -> list[Completion]:
        """Move every request under way on by at most one token a draw; return those that are finished.

        Raises:
            UnansweredError: it drops a request on which it cannot work; the others go on at the next step.
        """
        ...

    def release(self, group: str) -> None:
        """Forget what was kept for a group; its requests are all finished."""
        ...

    def reset(self) -> None:
        """Drop every request under way and whatever was kept for groups."""
        ...

    def use(self, adapter: "Adapter | None") -> bool:
        """Go on with another adapter of the same base model (None: with none); nothing may be under way.

        Returns:
            False, with nothing changed, if a policy has to be opened anew for that.
        """
        ...

    def leave(self, memory: float) -> None:
        """Plan with so many bytes of the device less, which another model takes; nothing may be under way."""
        ...

    def sleep(self) -> bool:
        """Give back the memory of the policy's device, but keep what makes starting dear; nothing may be under way.

        Returns:
            False, with nothing changed, if only `close` gives it back.
        """
        ...

    def wake(self) -> None:
        """Be of use again, after `sleep`."""
        ...

    def close(self) -> None:
        """Give back the memory that the policy holds; it is of no use afterwards."""
        ...

    def score(self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the log-probability at temperature 1 of each continuation token after its prompt.

        Raises:
            UnansweredError: it cannot work on one of them.
        """
        ...


def generate(policy: Policy, requests: Iterable[Request]) -> list[Completion]:
    """Run requests to their end and return the completions in the order of the requests."""
    order = []
    for request in requests:
        policy.submit(request)
        order.append(request.request_id)
    done: dict[str, Completion] = {}
    while len(done) < len(order):
        done |= {c.request_id: c for c in policy.step()}
    return [done[request_id] for request_id in order]


def derive_seed(*parts: object) -> int:
    """Hash parts (run seed, round, sample id, node path, draw) to a 64-bit seed.

    Never from arrival order: the same search gives the same tree whatever ran beside it.
    """
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def uniforms(seed: int, n: int) -> np.ndarray:
    """Return the n uniform numbers in [0, 1) of a draw, one per token, float64 (Philox, a counter-based generator)."""
    return np.random.Generator(np.random.Philox(key=seed)).random(n)
