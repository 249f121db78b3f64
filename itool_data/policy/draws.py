"""What the transformers policy has under way: requests, and the draws of them that are being decoded.

Left out: the policy itself (`transformers.py`).
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from itool_data.policy.base import Draw, Request
from itool_data.policy.groups import Group


@dataclass(eq=False)
class Job:
    """A request under way.

    Attributes:
        request: what is asked.
        key: of the group that it shares a prefix with.
        group: that group, once it is there.
        tail: the prompt after the group's prefix.
        to_draw: draws that are not begun.
        draws: those that are finished.
        prefilled: tokens of the prompt that were computed for it.
    """

    request: Request
    key: str
    group: Group | None = None
    tail: tuple[int, ...] = ()
    to_draw: deque[int] = field(default_factory=deque)
    draws: dict[int, Draw] = field(default_factory=dict)
    prefilled: int = 0

    def begin_again(self) -> None:
        """Forget all but the finished draws."""
        self.group, self.tail = None, ()
        self.to_draw = deque(draw for draw in range(len(self.request.seeds)) if draw not in self.draws)


@dataclass(eq=False)
class Row:
    """One draw being decoded; a row with `draw` -1 only computes what follows its job's prompt."""

    job: Job
    draw: int
    ids: list[int]
    logprobs: list[float]
    uniforms: np.ndarray
    feed: int
