"""How firmly a policy ends: the log-probability of the tokens that close right responses, end-of-turn included."""

from collections.abc import Sequence

from itool_data.prompt import Prompter, Tokenised
from itool_data.workers.pool import Pool
from itool_train.lessons import closing


def mean_end(pool: Pool, prompter: Prompter, samples: Sequence[Tokenised]) -> float:
    """Mean over all closing tokens of the samples' gold responses, in nats."""
    starts = [closing(t.response, prompter.decode) for t in samples]
    scores = pool.ask(
        lambda desk: desk.policy.score(
            [[*t.prompt, *t.response[:start]] for t, start in zip(samples, starts, strict=True)],
            [t.response[start:] for t, start in zip(samples, starts, strict=True)],
        )
    )
    return sum(map(sum, scores)) / len(scores)
