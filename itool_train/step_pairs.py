"""What is trained on, as token ids: pairs of steps and right steps alone; who only validates; the order of updates.

A prompt is everything before the step, the response's prefix included; its ids are the policy's own, and nothing is
added to them: a step that is not the response's end gets no end-of-turn. A *span* says which of a step's tokens the
loss is over. Left out: reading them (`lessons`).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from itool_data.policy.base import derive_seed


@dataclass(frozen=True)
class StepPair:
    """A prompt and the two steps after it, as token ids; or a right step alone, whose `rejected` is empty.

    Attributes:
        pair_id: names it among a round's.
        sample_id: names what shares a prompt.
        prompt: before the steps.
        chosen: the better step.
        rejected: the worse one.
        chosen_from: its first token that the loss is over; the last one is its end.
        rejected_span: the first token that the loss is over and the one after the last; None: all of them.
        weight: of its loss among those of an update.
    """

    pair_id: str
    sample_id: str
    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    chosen_from: int = 0
    rejected_span: tuple[int, int] | None = None
    weight: float = 1.0

    @property
    def spans(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of the chosen and of the rejected step: the first token that the loss is over, and the one after the last."""
        return (self.chosen_from, len(self.chosen)), self.rejected_span or (0, len(self.rejected))

    def __len__(self) -> int:
        """Tokens of the longer of the two sequences."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


def divide(pairs: Sequence[StepPair], share: float, seed: int) -> tuple[list[StepPair], list[StepPair]]:
    """Divide pairs into those to train on and those to validate on (paper B.1), all of a sample on one side."""
    samples = sorted({p.sample_id for p in pairs}, key=lambda s: derive_seed(seed, "validation", s))
    held_out = set(samples[: round(share * len(samples))])
    return [p for p in pairs if p.sample_id not in held_out], [p for p in pairs if p.sample_id in held_out]


def ordered_updates(pairs: Sequence[StepPair], batch: int, epochs: int, seed: int) -> list[list[StepPair]]:
    """The pairs of each update, of all epochs in turn.

    Samples are shuffled anew each epoch, and the pairs of one are never in two updates, so that what they share is
    computed once. An epoch has as many updates as `batch` pairs in each would make, all of nearly the same size; so an
    update has about that many. Right steps alone are counted where there are no pairs.
    """
    counted = sum(bool(pair.rejected) for pair in pairs) or len(pairs)
    by_sample: dict[str, list[StepPair]] = {}
    for pair in sorted(pairs, key=lambda p: p.pair_id):
        by_sample.setdefault(pair.sample_id, []).append(pair)
    updates: list[list[StepPair]] = []
    for epoch in range(epochs):
        samples = sorted(by_sample)
        random.Random(derive_seed(seed, "order", epoch)).shuffle(samples)
        in_order = [pair for sample in samples for pair in by_sample[sample]]
        updates += filter(None, shares(in_order, -(-counted // batch)))
    return updates


def shares(pairs: Sequence[StepPair], n: int) -> list[list[StepPair]]:
    """Cut a sequence into n contiguous parts between samples, of sizes as near as that allows; some may be empty."""
    ends = [i for i in range(1, len(pairs)) if pairs[i].sample_id != pairs[i - 1].sample_id]
    ends = [0, *ends, len(pairs)]
    cuts = [min(ends, key=lambda end: abs(end - len(pairs) * i / n)) for i in range(n + 1)]
    return [list(pairs[a:b]) for a, b in pairwise(cuts)]
