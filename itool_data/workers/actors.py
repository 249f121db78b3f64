"""Workers on Ray Core actors: a policy each, on the GPUs of this machine or of a cluster's machines.

A worker is a process with a policy, a prompter and a judge (its desk, `pool.py`). The pool has a fixed number of seats:
when a worker's process dies, its items go back to those that wait and a new worker takes the seat. A worker's appetite
is the number of items that keeps it busy, which it says when it has started a job.

Items are dealt out a few at a time, so that all workers end together, and stay on their worker until they are done.
A worker runs for a slice of time a call, and one call always waits behind the one that runs: it never waits for this
process, however long a commit takes. A worker that dies is replaced and its open items are dealt out again; an item
that saw several workers die goes alone to one, which tells who is to blame, and is named when all others are done.
Results are the same whoever does the work, because every seed comes from the item itself. Left out: writing (the
caller's), and what a worker opens and does (`open.py`, `pool.py`).
"""

import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from itool_data.errors import ItoolError
from itool_data.policy.base import PolicyId, Usage
from itool_data.policy.load import Adapter
from itool_data.prompt import Wording
from itool_data.workers.pool import Desk, ItemT, Job, ResultT, Session

T = TypeVar("T")

SLICE_SECONDS = 0.25  # a worker's results come back about so often
WAIT_SECONDS = 0.25  # the caller hears from `run` at least so often
CALLS = 2  # of a worker under way: one that runs and one that waits
AHEAD = 2  # times what keeps a worker busy it gets at most: what is finished in a slice is replaced only after the next
SUSPECT = 2  # deaths after which an item gets a worker to itself
DEATHS = 3  # of an item's workers, after which it is given up; so many such items, or starts of a worker, end the work
GIVEN_UP = "give them more memory, or fewer rows at once (--set model.rows=…); everything finished is kept"


class Worker:
    """What runs in a worker's process. Its calls run one after the other, in the order they were made."""

    def __init__(self, open_desk: Callable[[], Desk], threads: int):
        # torch reads it at its import, which comes with the policy; Ray itself sets 1.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._open_desk = open_desk
        self._desk: Desk | None = None
        self._session: Session[Any, Any] | None = None
        self._waiting: deque[Any] = deque()
        self._stream: Iterator[list[Any]] | None = None

    def open(self) -> None:
        """Open the desk; the calls after this one wait for it."""
        self._own_desk()

    def ask(self, question: Callable[[Desk], T]) -> T:
        """Call a function."""
        return question(self._own_desk())

    def start(self, job: Job[Any, Any]) -> int:
        """Start a job; returns how many items keep this worker busy."""
        self._session = job.start(self._own_desk())
        return self._session.appetite

    def work(self, items: Sequence[Any]) -> tuple[list[Any], Usage]:
        """Take items and go on for a slice of time; returns what was finished in it, and all tokens so far."""
        assert self._session is not None
        self._waiting.extend(items)
        results: list[Any] = []
        end = time.monotonic() + SLICE_SECONDS
        while (self._stream or self._waiting) and time.monotonic() < end:
            self._stream = self._stream or self._session.run(self._waiting)
            finished = next(self._stream, None)
            if finished is None:
                self._stream = None
            else:
                results += finished
        return results, self._own_desk().policy.usage

    def use(self, open_desk: "DeskOpener") -> None:
        """Go on with another adapter: the policy at hand if it can, else a new desk in this process."""
        self._open_desk = open_desk
        if self._desk is not None and not self._desk.policy.use(open_desk.adapter_here()):
            self._desk.close()
            self._desk = None
        self._own_desk()

    def sleep(self) -> None:
        """Give device memory back; a desk that cannot be woken then is closed, the process with its imports stays."""
        if self._desk is not None and not self._desk.sleep():
            self._desk.close()
            self._desk = None

    def wake(self) -> None:
        """Be of use again; a desk that was closed is opened when it is needed."""
        if self._desk is not None:
            self._desk.policy.wake()

    def stop(self) -> None:
        """Drop the job and all that is under way."""
        self._waiting.clear()
        self._session = self._stream = None
        if self._desk is not None:
            self._desk.policy.reset()

    def _own_desk(self) -> Desk:
        if self._desk is None:
            self._desk = self._open_desk()
        return self._desk


class DeskOpener(Protocol):
    """Opens a worker's desk, in the worker's process; pickled."""

    def __call__(self) -> Desk:
        """Open it."""
        ...

    def adapter_here(self) -> Adapter | None:
        """The adapter that its policy has, on the worker's machine."""
        ...


class _WorkerDiedError(Exception):
    """Ray found that a worker's process is gone; the message says how."""


@dataclass(eq=False)
class _Seat:
    """A worker's place in the pool; whoever sits there may be replaced.

    Attributes:
        actor: Ray's handle.
        starting: the call that starts the job, until it is answered.
        appetite: items that keep the worker busy; 0 until it has said so.
        calls: of `work`, under way.
        held: its open items by key.
        usage: its tokens so far.
    """

    actor: Any
    starting: Any = None
    appetite: int = 0
    calls: list[Any] = field(default_factory=list)
    held: dict[str, Any] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)


@dataclass
class _Work:
    """A job's items that nobody holds, how often an item's worker died, and what is said of those given up."""

    job: Any  # in Ray's object store
    name: str
    waiting: deque[Any]
    deaths: Counter[str] = field(default_factory=Counter)
    given_up: list[str] = field(default_factory=list)


class RayPool:
    """Policies on Ray's actors; Ray is connected already.

    Args:
        open_desk: opens a worker's desk, in the worker's process; pickled.
        size: how many workers.
        gpus: of each worker.
        threads: of each worker, for what it computes on the CPU.
        opener_of: what opens desks with another adapter; None: there is no other.

    Raises:
        ItoolError: if a worker cannot open its desk.
    """

    def __init__(
        self,
        open_desk: Callable[[], Desk],
        size: int,
        gpus: int = 0,
        threads: int = 1,
        opener_of: Callable[[Adapter | None], DeskOpener] | None = None,
    ):
        import ray

        self.size = size
        self._ray = ray
        self._actors = ray.remote(Worker).options(num_cpus=1, num_gpus=gpus, scheduling_strategy="SPREAD")
        self._arguments: tuple[Callable[[], Desk], int] = (open_desk, threads)
        self._opener_of = opener_of
        self._gone = Usage()  # of workers that died
        self._deaths = 0  # in a row, of workers that were just starting
        self._seats = [self._new_seat() for _ in range(size)]
        self.policy_id, self.context = self.ask(_describe)

    @property
    def usage(self) -> Usage:
        """Tokens that all workers, the dead ones included, have worked on so far."""
        return sum((seat.usage for seat in self._seats), self._gone)

    @property
    def wording(self) -> Wording:
        """What the workers' prompts are made by; all have the same settings."""
        return self.ask(lambda desk: desk.prompter.wording)

    def ask(self, question: Callable[[Desk], T]) -> T:
        """Call a function on the first worker."""
        while True:
            try:
                answer: T = self._get(self._seats[0].actor.ask.remote(question))
            except _WorkerDiedError as death:
                self._replace(self._seats[0], death)
            else:
                self._deaths = 0
                return answer

    def run(self, job: Job[ItemT, ResultT], items: Sequence[ItemT]) -> Iterator[list[ResultT]]:
        """Do every item once, the first ones first.

        Raises:
            ItoolError: if a worker cannot do its work, or workers die again and again; an item that they die at is
                named when the others are done.
        """
        work = _Work(self._ray.put(job), job.name, deque(items))
        for seat in self._seats:
            seat.starting = seat.actor.start.remote(work.job)
        try:
            while len(work.given_up) < DEATHS and (work.waiting or any(seat.held for seat in self._seats)):
                self._deal(work)
                yield self._collect(work)
            if work.given_up:
                raise ItoolError("; ".join([*work.given_up, GIVEN_UP]))
        finally:
            for seat in self._seats:
                seat.actor.stop.remote()
                seat.starting, seat.appetite, seat.calls, seat.held = None, 0, [], {}

    def use(self, adapter: Adapter | None) -> bool:
        """Go on with another adapter; the workers stay, and their engines where these can."""
        if self._opener_of is None:
            return False
        opener = self._opener_of(adapter)
        self._arguments = (opener, self._arguments[1])
        self._all(lambda actor: actor.use.remote(opener))
        self.policy_id, self.context = self.ask(_describe)
        return True

    def sleep(self) -> bool:
        """Give the workers' device memory back; their processes stay."""
        self._all(lambda actor: actor.sleep.remote())
        return True

    def wake(self) -> None:
        """Take the memory again."""
        self._all(lambda actor: actor.wake.remote())

    def close(self) -> None:
        """End all workers."""
        for seat in self._seats:
            self._ray.kill(seat.actor)

    def _all(self, call: Callable[[Any], Any]) -> None:
        """Make a call of every worker, at once, and wait for all; whoever dies at it is replaced, and opens anew."""
        for seat, answer in [(seat, call(seat.actor)) for seat in self._seats]:
            try:
                self._get(answer)
            except _WorkerDiedError as death:
                self._replace(seat, death)

    def _deal(self, work: _Work) -> None:
        """Give out what waits, one item a worker at a time like cards, and keep every worker's calls under way."""
        dealt: dict[_Seat, list[Any]] = {seat: [] for seat in self._seats}
        share = math.ceil((len(work.waiting) + sum(len(seat.held) for seat in self._seats)) / self.size)
        suspects = {key for key, deaths in work.deaths.items() if deaths >= SUSPECT}
        while work.waiting:
            most = 1 if work.waiting[0].key in suspects else share
            free = [
                seat
                for seat in self._seats
                if len(seat.held) < min(AHEAD * seat.appetite, most) and not (suspects and suspects & seat.held.keys())
            ]
            if not free:
                break
            seat, item = min(free, key=lambda seat: len(seat.held)), work.waiting.popleft()
            seat.held[item.key] = item
            dealt[seat].append(item)
        for seat, items in dealt.items():
            if items:
                seat.calls.append(seat.actor.work.remote(items))
            while seat.held and len(seat.calls) < CALLS:
                seat.calls.append(seat.actor.work.remote([]))

    def _collect(self, work: _Work) -> list[Any]:
        """Wait a moment for answers; returns the results among them."""
        asked = {seat.starting: seat for seat in self._seats if seat.starting is not None}
        asked |= {call: seat for seat in self._seats for call in seat.calls}
        self._ray.wait(list(asked), timeout=WAIT_SECONDS)
        answered = set(self._ray.wait(list(asked), num_returns=len(asked), timeout=0)[0])
        results: list[Any] = []
        for call, seat in asked.items():
            if call not in answered or seat not in self._seats:
                continue
            try:
                answer = self._get(call)
            except _WorkerDiedError as death:
                self._take_back(seat, death, work)
                continue
            self._deaths = 0
            if call == seat.starting:
                seat.starting, seat.appetite = None, answer
                continue
            seat.calls.remove(call)
            finished, seat.usage = answer
            for result in finished:
                del seat.held[result.key]
            results += finished
        return results

    def _take_back(self, seat: _Seat, death: _WorkerDiedError, work: _Work) -> None:
        """Replace a dead worker and put its items back."""
        for key, item in reversed(seat.held.items()):
            work.deaths[key] += 1
            if work.deaths[key] >= DEATHS:
                work.given_up.append(f"{work.name} {key}: {DEATHS} workers died at it ({death})")
            elif work.deaths[key] >= SUSPECT:
                work.waiting.append(item)  # the others are not to wait for it
            else:
                work.waiting.appendleft(item)
        new = self._replace(seat, death)
        new.starting = new.actor.start.remote(work.job)

    def _replace(self, seat: _Seat, death: _WorkerDiedError) -> _Seat:
        """Put a new worker in a dead one's place."""
        self._deaths += not seat.appetite
        if self._deaths >= DEATHS * self.size:
            raise ItoolError(f"workers die while they start ({death}); give them more memory, or take fewer --workers")
        self._ray.kill(seat.actor)  # it may be out of reach only
        self._gone += seat.usage
        new = self._seats[self._seats.index(seat)] = self._new_seat()
        return new

    def _new_seat(self) -> _Seat:
        actor = self._actors.remote(*self._arguments)
        actor.open.remote()  # all at once; what fails in it fails again in the first call that is waited for
        return _Seat(actor)

    def _get(self, call: Any) -> Any:
        """The answer to a call.

        Raises:
            _WorkerDiedError: if the worker's process is gone.
            ItoolError: what the worker raised, or Ray itself.
        """
        from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

        try:
            return self._ray.get(call)
        except RayTaskError as error:
            if isinstance(error.cause, ItoolError):
                raise error.cause from None
            raise  # a defect; Ray's text holds the worker's traceback
        except OutOfMemoryError:
            raise _WorkerDiedError("Ray stopped it, because its machine ran out of memory") from None
        except RayActorError as error:
            raise _WorkerDiedError(_last_words(error)) from None
        except RayError as error:
            raise ItoolError(f"Ray: {_last_words(error)}; the same command goes on from the last commit") from None


def _describe(desk: Desk) -> tuple[PolicyId, int]:
    return desk.policy.policy_id, desk.policy.context


def _last_words(error: Exception) -> str:
    """The line of Ray's message that says why, without the advice after it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1].partition("exit detail: ")[2].partition(". ")[0] or lines[-1]
