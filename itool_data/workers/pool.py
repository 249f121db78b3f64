"""Who does the work of a stage: a job over a pool of policies, which may be one policy in this process.

A job (a search, a perplexity pass, an evaluation) is sent to every worker once and started over what the worker has,
its desk. It takes items from a deque, more of which may come while it runs, and gives a result for each item, by the
item's key. Only results travel back: the caller alone writes them to the store. Left out: workers in other processes
(`actors.py`), and how a desk comes about (`open.py`).
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from itool_data.config import Config
from itool_data.kinds import SearchKind
from itool_data.policy.base import Described, Policy, PolicyId, Usage
from itool_data.policy.load import Adapter, find_model
from itool_data.policy.open import open_policy, open_prompter, other_judge
from itool_data.prompt import Prompter, Wording
from itool_data.search.reward import Judge
from itool_data.sizing.policy import judging
from itool_data.sizing.shape import read_shape

T = TypeVar("T")


class Desk:
    """What one worker works with: a policy, its prompter, and whoever judges for it."""

    def __init__(self, policy: Policy, prompter: Prompter):
        self.policy = policy
        self.prompter = prompter
        self._judge: Judge | None = None
        self._judging: Policy | None = None  # another one than the policy

    def judge(self, config: Config, search: SearchKind) -> Judge | None:
        """Who answers self-evaluations: the policy, or another model (loaded once); nobody at weight 0 or in a walk."""
        if not config.reward.weight or search == "walk":
            return None
        if self._judge is None:
            policy, prompter = self.policy, self.prompter
            model = other_judge(config, search)
            if model is not None:
                base = find_model(model)
                if model.policy != "openai":  # it takes a part of the policy's device
                    self.policy.leave(judging(read_shape(base.path)).total)
                policy, prompter = open_policy(model, base, None), open_prompter(model, base)
                self._judging = policy
            self._judge = Judge(policy, prompter, config.reward)
        return self._judge

    def sleep(self) -> bool:
        """Give device memory back, if the policy can and still be woken; another judge is opened anew."""
        if not self.policy.sleep():
            return False
        self._dismiss()
        return True

    def close(self) -> None:
        """Give the memory of the policy and of whoever judges back."""
        self._dismiss()
        self.policy.close()

    def _dismiss(self) -> None:
        if self._judging is not None:
            self._judging.close()
        self._judge = self._judging = None


class Keyed(Protocol):
    """An item of work, or its result: both have the same key."""

    @property
    def key(self) -> str:
        """Names the item among a job's."""
        ...


ItemT = TypeVar("ItemT", bound=Keyed)
ResultT = TypeVar("ResultT", bound=Keyed)


class Session(Protocol[ItemT, ResultT]):
    """A job started on a worker."""

    @property
    def appetite(self) -> int:
        """How many items keep the worker busy."""
        ...

    def run(self, waiting: deque[ItemT]) -> Iterator[list[ResultT]]:
        """Do the waiting items, and those that are appended meanwhile; yields often, mostly nothing."""
        ...


class Job(Protocol[ItemT, ResultT]):
    """Work that can be sent to a worker (pickled)."""

    name: str  # what an item is called in messages, such as `tree`

    def start(self, desk: Desk) -> Session[ItemT, ResultT]:
        """Begin on a worker."""
        ...


class Pool(Described, Protocol):
    """Policies that work side by side."""

    size: int  # how many

    @property
    def usage(self) -> Usage:
        """Tokens that all of them have worked on so far."""
        ...

    @property
    def wording(self) -> Wording:
        """What their prompts are made by."""
        ...

    def run(self, job: Job[ItemT, ResultT], items: Sequence[ItemT]) -> Iterator[list[ResultT]]:
        """Do every item once, in about their order; yields the results of each moment, often none.

        What is under way when the caller stops is dropped.
        """
        ...

    def ask(self, question: Callable[[Desk], T]) -> T:
        """Call a function on one worker that has nothing under way."""
        ...

    def use(self, adapter: Adapter | None) -> bool:
        """Go on with another adapter of the same base model; False if the pool has to be opened anew for that."""
        ...

    def sleep(self) -> bool:
        """Give the memory of devices back until `wake`; False if the pool has to be closed for that."""
        ...

    def wake(self) -> None:
        """Be of use again, after `sleep`."""
        ...

    def close(self) -> None:
        """Let the policies go."""
        ...


class LocalPool:
    """One policy in this process."""

    size = 1

    def __init__(self, desk: Desk):
        self._desk = desk

    @property
    def policy_id(self) -> PolicyId:
        """Who makes the rows."""
        return self._desk.policy.policy_id

    @property
    def context(self) -> int:
        """Most tokens of prompt and continuation together."""
        return self._desk.policy.context

    @property
    def usage(self) -> Usage:
        """Tokens that the policy has worked on so far."""
        return replace(self._desk.policy.usage)

    @property
    def wording(self) -> Wording:
        """What the prompter's prompts are made by."""
        return self._desk.prompter.wording

    def run(self, job: Job[ItemT, ResultT], items: Sequence[ItemT]) -> Iterator[list[ResultT]]:
        """Do every item here."""
        try:
            yield from job.start(self._desk).run(deque(items))
        finally:
            self._desk.policy.reset()

    def ask(self, question: Callable[[Desk], T]) -> T:
        """Call it."""
        return question(self._desk)

    def use(self, adapter: Adapter | None) -> bool:
        """Go on with another adapter of the same base model, if the policy can."""
        return self._desk.policy.use(adapter)

    def sleep(self) -> bool:
        """Give the policy's device memory back, if it can be woken then."""
        return self._desk.sleep()

    def wake(self) -> None:
        """Take the memory again."""
        self._desk.policy.wake()

    def close(self) -> None:
        """Give the policy's memory back."""
        self._desk.close()
