"""How a policy was asked: everything that decides whether two scores of a benchmark may be compared.

Spelled out and hashed: every answered item carries the hash, and the table `protocols` what stands behind it. Two
scores are of one protocol if everything here is the same; how the policy was made, and which items it was asked how
often, are no part of it. Left out: comparing (`compare.py`), which pairs whatever both were asked.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from itool_data.prompt import Wording
from itool_data.sample import canonical_json
from itool_eval.benchmark import Benchmark, Contract

BENCHMARKS_OWN = "the benchmark's own"


@dataclass(frozen=True)
class Protocol:
    """How items were asked.

    Attributes:
        data: where they come from, with its version or hash.
        prompt: who writes it and how functions are shown.
        template: the chat template around it, by its hash and settings.
        dialect: how calls are read from a reply.
        system: whose system text the prompt has.
        decoding: how replies are generated.
        history: what a conversation keeps.
    """

    data: str
    prompt: str
    template: str
    dialect: str
    system: str
    decoding: str
    history: str

    @property
    def fingerprint(self) -> str:
        """12 hex digits of the SHA-256 over all of it."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()[:12]

    @property
    def text(self) -> str:
        """All of it on one line."""
        return "; ".join(f"{name}: {value}" for name, value in asdict(self).items())

    def differences(self, other: "Protocol") -> list[str]:
        """What another protocol has otherwise, as `what: this one's, other's`."""
        mine, others = asdict(self), asdict(other)
        return [f"{name}: {mine[name]}; {others[name]}" for name in mine if mine[name] != others[name]]


def closest(
    some: Sequence[Protocol | None], others: Sequence[Protocol | None]
) -> tuple[Protocol | None, Protocol | None]:
    """One of each to compare: a protocol that both have, or the last ones."""
    shared = [protocol for protocol in some if protocol and protocol in others]
    return (shared[-1], shared[-1]) if shared else (some[-1], others[-1])


def protocol_of(benchmark: Benchmark, wording: Wording, max_tokens: int) -> Protocol:
    """How a policy is asked a benchmark's items.

    Args:
        benchmark: whose items.
        wording: what the policy's prompts are made by.
        max_tokens: upper bound on a reply.
    """
    own = benchmark.contract is Contract.RUN
    how = f"tries drawn at temperature {benchmark.temperature:g}" if benchmark.temperature else "greedy"
    return Protocol(
        data=benchmark.data,
        prompt=f"{benchmark.contract}, {wording.functions or benchmark.functions}" if own else str(benchmark.contract),
        template=wording.template,
        dialect=BENCHMARKS_OWN if benchmark.contract is Contract.TEXT else wording.dialect,
        system=wording.system if own else BENCHMARKS_OWN,
        decoding=f"{how}, at most {max_tokens} tokens a reply",
        history=benchmark.history,
    )
