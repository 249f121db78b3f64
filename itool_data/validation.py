"""Validation samples: which of a data set are set aside, which of those are asked, and that none is trained on.

Samples with the same first user message are a family and fall on one side: the turns of a conversation, and a question
that two data sets share. Which side is a hash of that message, so neither the order of the rows nor what else is
imported matters. Left out: BFCL, which has families of its own (`sources/bfcl.py`), and near-duplicates (`overlap.py`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from itool_data.errors import ItoolError
from itool_data.policy.base import derive_seed
from itool_data.sample import Sample


def family(sample: Sample) -> str:
    """The first user message; of a conversation without any, all of it."""
    said = [m.content for m in sample.messages if m.role == "user"] or ["\n".join(m.content for m in sample.messages)]
    return said[0]


def divided(sample: Sample, share: float) -> Sample:
    """The sample, marked `validation` if it is for training and its family is among the share that is set aside.

    A smaller share's families are among a larger one's.
    """
    digest = hashlib.sha256(family(sample).encode("utf-8", "surrogatepass")).digest()
    held_out = sample.split == "train" and int.from_bytes(digest[:4]) < share * 2**32
    return replace(sample, split="validation") if held_out else sample


def drawn(samples: Sequence[Sample], n: int) -> list[Sample]:
    """At most so many of the samples, the same ones in every run: a larger n takes them too."""
    return sorted(samples, key=lambda s: derive_seed("validation", s.sample_id))[:n]


def refuse_trained_on(validation: Sequence[Sample], training: Sequence[Sample]) -> None:
    """Stop where a validation sample asks what a training sample asks: it would say what was learnt by heart.

    Raises:
        ItoolError: naming how many and the first.
    """
    trained_on = {family(sample): sample for sample in training}
    both = [(sample, trained_on[family(sample)]) for sample in validation if family(sample) in trained_on]
    if both:
        one, other = both[0]
        raise ItoolError(
            f"{len(both)} of {len(validation)} validation samples ask what a training sample asks, the first: "
            f"{one.source} {one.source_id} as {other.source} {other.source_id}; data.max_overlap=0.9 sets such "
            "training samples aside"
        )
