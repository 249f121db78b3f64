"""Samples from which the needed functions are taken away, so that the right answer is to call nothing.

A policy that is trained on calls alone forgets to refuse. A *variant* of a sample with gold calls is the same
conversation without the functions that they call; whatever calls nothing is right, and the gold response is a plain
sentence. Where no function is left, those of another sample of its source are offered, none of which is `alike` to one
that is gone. Where all seem to be, as in a set about one function, none is offered: the sentence stays true, and BFCL
asks that too (four items of live_irrelevance).

Which samples get a variant, and its sentence, follow from the seed and the sample alone; whose functions it borrows
depends on the other samples, but few borrow others when samples are added. Left out: conversations in which the
assistant has spoken or a system message names a function that would be gone, because the refusal would take back what
was said; and whether a function that stays could do as well, where a data set's own choice of distractors is trusted.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from itool_data.overlap import grams
from itool_data.policy.base import derive_seed
from itool_data.sample import Sample, Tool

PREFIX = "abstain:"  # of a variant's source, before its sample's
SENTENCES = (
    "None of the functions can do this.",
    "There is no function here that can do this.",
    "I cannot do this with the functions I have.",
    "No function on offer fits this request.",
    "This cannot be done with the functions on offer.",
)
# By eye on BFCL, Glaive, Seal-Tools and ToolRL: functions that do the same are nearly all above it, as are up to a
# quarter of those that do not.
ALIKE = 0.2
TRIES = 50  # samples whose functions are looked at; more would only take long where all are alike

Offer = tuple[str, tuple[Tool, ...]]  # what a sample offers, after its id


def variants(samples: Sequence[Sample], share: float, seed: int) -> list[Sample]:
    """One variant each of a share of the samples that have gold calls, in their order, no two of the same content.

    Args:
        samples: of the split `train`.
        share: of the samples that can have one, 0 to 1; a larger share has the variants of a smaller one too.
        seed: chooses the samples, the sentences and whose functions are borrowed.
    """
    offers = _offers(samples)
    found: dict[str, Sample] = {}
    for sample in samples:
        if sample.calls and derive_seed(seed, "abstain", sample.sample_id) < share * 2**64:
            called = {call.name for call in sample.calls}
            tools = tuple(tool for tool in sample.tools if tool.name not in called)
            tools = tools or _borrowed(sample, offers[sample.source], derive_seed(seed, "borrow", sample.sample_id))
            if not _promised(sample, tools):
                sentence = SENTENCES[derive_seed(seed, "sentence", sample.sample_id) % len(SENTENCES)]
                source = f"{PREFIX}{sample.source}"
                variant = replace(sample, source=source, tools=tools, target=sentence, calls=(), accepted=())
                found.setdefault(variant.sample_id, variant)
    return list(found.values())


def alike(one: Tool, other: Tool) -> bool:
    """Whether two functions may do the same, as far as their names, alone and with the descriptions, can tell."""
    texts = ((one.name, other.name), (f"{one.name} {one.description}", f"{other.name} {other.description}"))
    return any(len(a & b) >= ALIKE * len(a | b) for a, b in ((grams(x), grams(y)) for x, y in texts))


def _offers(samples: Sequence[Sample]) -> dict[str, list[Offer]]:
    """What the samples of each source offer, each set of names once, in the order of the samples' ids."""
    found: dict[str, dict[frozenset[str], Offer]] = defaultdict(dict)
    for sample in sorted(samples, key=lambda s: s.sample_id):
        names = frozenset(tool.name for tool in sample.tools)
        found[sample.source].setdefault(names, (sample.sample_id, sample.tools))
    return {source: list(by_names.values()) for source, by_names in found.items()}


def _borrowed(sample: Sample, offers: list[Offer], seed: int) -> tuple[Tool, ...]:
    """Functions that another sample offers, none of them like one of this sample's; no function if none are found."""
    # Ids are spread as seeds are: an offer that is added takes over from its neighbour alone.
    start = bisect_left(offers, f"{seed:016x}", key=lambda offer: offer[0])
    for _, tools in (offers * 2)[start : start + TRIES]:
        if not any(alike(own, tool) for own in sample.tools for tool in tools):
            return tools
    return ()


def _promised(sample: Sample, offered: Sequence[Tool]) -> bool:
    """Whether a refusal would contradict what the assistant or a system message said before."""
    gone = {tool.name for tool in sample.tools} - {tool.name for tool in offered}
    return any(
        message.role in ("assistant", "tool")
        or (message.role == "system" and any(name in message.content for name in gone))
        for message in sample.messages
    )
