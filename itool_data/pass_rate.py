"""How often a policy answers a sample right: whole responses, drawn and checked (`replay.select: pass-rate`).

Left out: which samples are drawn, and what is made of their rates (`selection.py`).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from itool_data.match import response_matches
from itool_data.policy.base import Draw, Policy, Request, UnansweredError, derive_seed
from itool_data.prompt import Prompter, Tokenised
from itool_data.rejects import of_sample
from itool_data.sample import GivenUp, Sample


@dataclass(frozen=True)
class PassRate:
    """One sample's draws, and how many of them are right."""

    key: str  # the sample's id
    draws: int
    right_draws: int


@dataclass(frozen=True)
class Drawing:
    """How responses are drawn: so many of a sample, each with a seed of its own made of the run's seed and the round.

    One that is not finished within `max_tokens` is not right.
    """

    draws: int
    max_tokens: int
    temperature: float
    seed: int
    round: int


def pass_rates(
    policy: Policy, prompter: Prompter, drawing: Drawing, most: int, waiting: deque[Tokenised]
) -> Iterator[list[PassRate | GivenUp]]:
    """Draw whole responses and check them.

    Args:
        policy: whose rates they are.
        prompter: with the policy's tokenizer.
        drawing: how many, and from what.
        most: samples under way at once; changes no rate.
        waiting: what is to be drawn; more may be appended meanwhile.

    Yields:
        At every step of the policy the samples finished in it, mostly none; one that it cannot draw for is given up.
    """
    under_way: dict[str, Sample] = {}
    while waiting or under_way:
        while waiting and len(under_way) < most:
            item = waiting.popleft()
            under_way[item.key] = item.sample
            policy.submit(
                Request(
                    request_id=item.key,
                    prompt=item.prompt,
                    seeds=[derive_seed(drawing.seed, drawing.round, item.key, n) for n in range(drawing.draws)],
                    max_tokens=drawing.max_tokens,
                    temperature=drawing.temperature,
                )
            )
        try:
            completions = policy.step()
        except UnansweredError as error:
            yield [GivenUp(error.request_id, of_sample(under_way.pop(error.request_id), error.reason))]
        else:
            yield [_rate(under_way.pop(c.request_id), c.draws, prompter) for c in completions]


def _rate(sample: Sample, draws: Sequence[Draw], prompter: Prompter) -> PassRate:
    form = prompter.form
    right = [d.finish == "stop" and response_matches(form.decode(d.ids), sample, form.dialect) for d in draws]
    return PassRate(sample.sample_id, len(draws), sum(right))
