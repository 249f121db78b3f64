"""A policy with no model: a table of whole responses and their weights, for tests and for counting a search's cost.

The weights of the responses that begin with what was said so far define the next token's distribution, so draws, their
log-probabilities and scores are exact and agree with each other, and nothing depends on what runs beside. Left out:
anything a table cannot say (a prompt that is not in it is an error).
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence

from itool_data.errors import ItoolError
from itool_data.policy.base import Completion, Draw, PolicyId, Request, Usage, ending, uniforms
from itool_data.policy.load import Adapter

Ids = tuple[int, ...]


class ScriptedPolicy:
    """Answers from a table.

    Args:
        table: prompt -> {whole response, its end-of-turn included: weight}.
        max_rows: draws moved on in one step, as a model's batch would be; does not change any answer.
        context: most tokens of prompt and continuation together.
    """

    def __init__(self, table: Mapping[Ids, Mapping[Ids, float]], max_rows: int = 8, context: int = 4096):
        self.usage = Usage()
        self.context = context
        self._table = table
        self.max_rows = max_rows
        self._waiting: deque[Request] = deque()

    @property
    def policy_id(self) -> PolicyId:
        """Always `scripted@0`."""
        return PolicyId("scripted", "0")

    def submit(self, request: Request) -> None:
        """Queue a request."""
        self._waiting.append(request)

    def release(self, group: str) -> None:
        """Nothing is kept."""

    def reset(self) -> None:
        """Drop the queued requests."""
        self._waiting.clear()

    def use(self, adapter: Adapter | None) -> bool:
        """It cannot."""
        return False

    def leave(self, memory: float) -> None:
        """Nothing is held."""

    def sleep(self) -> bool:
        """Nothing is held."""
        return True

    def wake(self) -> None:
        """It always is."""

    def close(self) -> None:
        """Nothing is held."""

    def step(self) -> list[Completion]:
        """Answer as many whole requests as fit `max_rows` (at least one)."""
        done: list[Completion] = []
        draws = 0
        while self._waiting and (not done or draws + len(self._waiting[0].seeds) <= self.max_rows):
            request = self._waiting.popleft()
            draws += len(request.seeds)
            drawn = tuple(self._draw(request, seed) for seed in request.seeds)
            self.usage.prefilled += len(request.prompt)
            self.usage.decoded += sum(len(d.ids) for d in drawn)
            done.append(Completion(request.request_id, drawn, len(request.prompt), 0))
        self.usage.steps += 1
        return done

    def score(self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the log-probability of each continuation token; -inf where the table never says it."""
        scores = []
        for prompt, continuation in zip(prompts, continuations, strict=True):
            said: Ids = tuple(prompt)
            logprobs = []
            for token in continuation:
                weights = self._next(said)
                share = weights.get(token, 0.0) / sum(weights.values())
                logprobs.append(math.log(share) if share else -math.inf)
                said = (*said, token)
            scores.append(logprobs)
            self.usage.scored += len(said)
        return scores

    def _next(self, said: Ids) -> dict[int, float]:
        """Weights of the next token after a prompt and the response so far."""
        for prompt, responses in self._table.items():
            if said[: len(prompt)] == prompt:
                begun = said[len(prompt) :]
                weights: dict[int, float] = {}
                for response, weight in responses.items():
                    if response[: len(begun)] == begun and len(response) > len(begun):
                        token = response[len(begun)]
                        weights[token] = weights.get(token, 0.0) + weight
                if weights:
                    return weights
        raise ItoolError(f"scripted policy: no answer begins with {said}; add it to the table")

    def _draw(self, request: Request, seed: int) -> Draw:
        numbers = uniforms(seed, request.max_tokens)
        ids: list[int] = []
        logprobs: list[float] = []
        while True:
            weights = self._next((*request.prompt, *ids))
            total = sum(weights.values())
            token = _choose(weights, request.temperature, numbers[len(ids)])
            ids.append(token)
            logprobs.append(math.log(weights[token] / total))
            said = tuple(ids)
            if finish := ending(request, said, self._ended((*request.prompt, *said)), request.max_tokens):
                return Draw(said, tuple(logprobs), finish)

    def _ended(self, said: Ids) -> bool:
        return any(
            said[: len(prompt)] == prompt and said[len(prompt) :] in responses
            for prompt, responses in self._table.items()
        )


def _choose(weights: dict[int, float], temperature: float, u: float) -> int:
    """Draw a token by inverse distribution function at a temperature; the heaviest at 0."""
    if temperature == 0:
        return max(weights, key=weights.__getitem__)
    tempered = {token: weight ** (1 / temperature) for token, weight in sorted(weights.items())}
    rest = u * sum(tempered.values())
    for token, weight in tempered.items():
        rest -= weight
        if rest < 0:
            return token
    return token
