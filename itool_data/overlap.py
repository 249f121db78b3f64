"""Near-duplicates between training and held-out samples: Jaccard's index of character 5-grams.

What is compared of a sample is what a model is asked: the user's messages, alone and together with the names of the
functions on offer, whichever is more alike; in lower case, everything but letters and digits as one blank. The question
alone finds the item that only got other distractors. Exact, by an inverted index: 3,900 x 2,500 samples take 2 s, so no
MinHash is needed. Left out: paraphrases, which share no 5-grams, and what is done about a near-duplicate
(`itool_data.run_samples`).
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from itool_data.sample import Sample

GRAM = 5
_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class NearDuplicate:
    """A training sample, the held-out one that is most like it, and their similarity, 0 to 1."""

    sample: Sample
    held_out: Sample
    similarity: float


def near_duplicates(training: Sequence[Sample], held_out: Sequence[Sample], threshold: float) -> list[NearDuplicate]:
    """The training samples whose similarity with any held-out sample reaches the threshold, in their order.

    Args:
        training: the samples that are looked at.
        held_out: the samples that nothing trained on may be like.
        threshold: of Jaccard's index, above 0, at most 1.
    """
    if not held_out:
        return []
    indexes = [(text, _Index([grams(text(sample)) for sample in held_out])) for text in (question, question_and_tools)]
    found = []
    for sample in training:
        similarity = np.max([index.similarities(grams(text(sample))) for text, index in indexes], axis=0)
        best = int(similarity.argmax())
        if similarity[best] >= threshold:
            found.append(NearDuplicate(sample, held_out[best], float(similarity[best])))
    return found


def question(sample: Sample) -> str:
    """The user's messages."""
    return " ".join(m.content for m in sample.messages if m.role == "user")


def question_and_tools(sample: Sample) -> str:
    """The user's messages and the functions' names, sorted."""
    return " ".join([question(sample), *sorted(t.name for t in sample.tools)])


def grams(text: str) -> frozenset[str]:
    """The character 5-grams of a text, normalised."""
    plain = f" {_NOT_WORD.sub(' ', text.lower()).strip()} "
    return frozenset(plain[i : i + GRAM] for i in range(max(1, len(plain) - GRAM + 1)))


class _Index:
    """Which of some sets hold an element."""

    def __init__(self, sets: Sequence[frozenset[str]]):
        self._sizes = np.array([len(one) for one in sets])
        holders: dict[str, list[int]] = defaultdict(list)
        for i, one in enumerate(sets):
            for element in one:
                holders[element].append(i)
        self._holders = {element: np.array(where) for element, where in holders.items()}

    def similarities(self, own: frozenset[str]) -> NDArray[np.float64]:
        """Jaccard's index of a set with each of the index's, [sets]."""
        holders = [self._holders[element] for element in own if element in self._holders]
        if not holders:
            return np.zeros(len(self._sizes))
        common = np.bincount(np.concatenate(holders), minlength=len(self._sizes))
        similarity: NDArray[np.float64] = common / (len(own) + self._sizes - common)
        return similarity
