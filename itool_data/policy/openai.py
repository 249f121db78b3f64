"""A policy on an OpenAI-compatible server: token ids in and out through its completions, as vLLM gives them.

A draw is a request of its own, with its own seed; the server's prefix cache computes their prompt once. One that is to
end where the caller says is drawn in pieces of a few tokens, and what a piece has beyond that end is cut. Sampling that
a model's `generation_config.json` would change is asked for in full. Scores are a prompt's log-probabilities, or those
of chosen tokens after it. Before anything is drawn, a probe sees whether the server gives all this and is the model
that the run works on. Left out: servers without token ids (a text that is tokenised again is not what the model drew;
they can be evaluated), and groups, for which the server keeps what it likes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from itool_data.config import ModelSettings
from itool_data.errors import ItoolError
from itool_data.policy.base import (
    Completion,
    Draw,
    FinishReason,
    Gathering,
    PolicyId,
    Request,
    UnansweredError,
    Usage,
    check_prompt,
    check_sequence,
    derive_seed,
    ending,
)
from itool_data.policy.load import Adapter, BaseModel, context_of, load_tokenizer, policy_id
from itool_data.policy.served import Models, Served, serve_adapter, served_models
from itool_data.policy.server import OPENING_PATIENCE, Ask, Refused, Server

PATH = "/completions"
# What vLLM would otherwise take from the model's own generation_config.json.
PLAIN = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}
PROBE = "The answer is: {'naïve': [1.5, true]} →"
_HOT = 2.0  # the most that vLLM takes
_NEAR = 0.5  # nats between two computations of one log-probability, in half precision too
_SEEDS = 2**63  # vLLM's are signed
PIECE = 8  # tokens asked for at once where the caller says what ends a draw; a step has about so many


@dataclass(frozen=True)
class _Drawn:
    """A draw, or a piece of one, and what the server says of its cost."""

    draw: Draw
    prompt: tuple[int, ...]
    prefilled: int
    reused: int


@dataclass
class _Drawing:
    """A draw under way: its job and place in it, the longest that it may be, and what there is of it."""

    job: Gathering
    index: int
    room: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    pieces: int = 0
    asked: int = 0  # tokens of the piece under way
    decoded: int = 0
    prefilled: int = 0
    reused: int = 0

    def add(self, piece: _Drawn) -> Draw | None:
        """Take the tokens of a piece up to the draw's end; returns the draw if it ends here."""
        drawn = piece.draw
        self.pieces += 1
        self.decoded += len(drawn.ids)
        self.prefilled += piece.prefilled
        self.reused += piece.reused
        room = self.room if len(drawn.ids) == self.asked else self.decoded  # fewer: the server has a limit of its own
        for place, (token, logprob) in enumerate(zip(drawn.ids, drawn.logprobs, strict=True), 1):
            self.ids.append(token)
            self.logprobs.append(logprob)
            ids = tuple(self.ids)
            stopped = drawn.finish == "stop" and place == len(drawn.ids)
            if finish := ending(self.job.request, ids, stopped, room):
                return Draw(ids, tuple(self.logprobs), finish)
        return None


class ServerPolicy:
    """A served model as a policy.

    Args:
        server: where it is.
        name: what the server calls the model or adapter.
        policy_id: who it is.
        context: the server's limit of prompt and continuation together.
    """

    def __init__(self, server: Server, name: str, policy_id: PolicyId, context: int):
        self.usage = Usage()
        self.max_rows = server.rows
        self._server = server
        self._name = name
        self._id = policy_id
        # A scored sequence is all prompt to the server, which draws one token more.
        self._context = context - 1
        self._drawings: dict[str, _Drawing] = {}
        self._unanswered: list[UnansweredError] = []  # to be raised by the next steps

    @property
    def policy_id(self) -> PolicyId:
        """Base model, revision and adapter in use."""
        return self._id

    @property
    def context(self) -> int:
        """Most tokens of prompt and continuation together."""
        return self._context

    def submit(self, request: Request) -> None:
        """Send a request, a draw each.

        Raises:
            ItoolError: if the prompt leaves no room in the context, or is empty.
        """
        check_prompt(request, self.context)
        job = Gathering(request)
        room = min(request.max_tokens, self.context - len(request.prompt))
        for index in range(len(request.seeds)):
            self._ask_for_tokens(_Drawing(job, index, room))

    def _ask_for_tokens(self, drawing: _Drawing) -> None:
        """Ask for the rest of a draw, or for its next piece."""
        request = drawing.job.request
        seed, drawing.asked = request.seeds[drawing.index], drawing.room
        if request.until is not None:
            seed, drawing.asked = derive_seed(seed, drawing.pieces), min(PIECE, drawing.room - len(drawing.ids))
        body = self.body([*request.prompt, *drawing.ids], drawing.asked, request.temperature)
        body |= {"seed": seed % _SEEDS, "logprobs": 0, "return_token_ids": True, "ignore_eos": request.ignore_stop}
        asked = drawing.asked
        key = f"{request.request_id}\x00{drawing.index}"
        self._drawings[key] = drawing
        self._server.submit(key, Ask(PATH, body, lambda answer: _read_draw(answer, asked)))

    def step(self) -> list[Completion]:
        """Wait for draws, not for long; return the requests that are finished.

        Raises:
            UnansweredError: the server works, but does not complete a request, which is dropped.
        """
        if self._unanswered:
            raise self._unanswered.pop()
        finished = []
        for key, drawn in self._server.step():
            drawing = self._drawings.pop(key, None)
            if drawing is None:  # of a request that was dropped
                continue
            job = drawing.job
            if isinstance(drawn, Refused):
                self._drawings = {k: other for k, other in self._drawings.items() if other.job is not job}
                self._unanswered.append(self._does_not("complete", drawn, job.request.request_id))
                continue
            draw = drawing.add(drawn)
            if draw is None:
                self._ask_for_tokens(drawing)
                continue
            self.usage.decoded += drawing.decoded - len(draw.ids)  # what was cut
            completion = job.add(drawing.index, draw, drawing.prefilled, drawing.reused, self.usage)
            if completion is not None:
                finished.append(completion)
        self.usage.steps += 1
        return finished

    def _does_not(self, what: str, refused: Refused, request_id: str = "") -> UnansweredError:
        message = f"{self._server.base_url}: does not {what} {request_id or 'a prompt'}: {refused.reason}"
        return UnansweredError(message, request_id, refused.reason)

    def release(self, group: str) -> None:
        """Nothing is kept here; the server's cache forgets by itself."""

    def reset(self) -> None:
        """Drop every request under way; the server is told by the closed connections."""
        self._server.reset()
        self._drawings.clear()
        self._unanswered.clear()

    def use(self, adapter: Adapter | None) -> bool:
        """It cannot."""
        return False

    def leave(self, memory: float) -> None:
        """Nothing is held on this machine."""

    def sleep(self) -> bool:
        """Nothing is held on this machine."""
        return True

    def wake(self) -> None:
        """It always is."""

    def close(self) -> None:
        """Nothing is held beyond what is under way."""
        self.reset()

    def score(self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the log-probability of each continuation token.

        Continuations of one token after the same prompt (the options of a self-evaluation) are one request, which the
        server's prefix cache can help; longer ones are prompts to it, whose log-probabilities it computes anew.

        Raises:
            ItoolError: if a prompt is empty, or prompt and continuation do not fit the context.
            UnansweredError: the server works, but does not score a prompt.
        """
        options: dict[tuple[int, ...], list[int]] = {}
        whole: list[int] = []
        for i, (prompt, continuation) in enumerate(zip(prompts, continuations, strict=True)):
            check_sequence(prompt, continuation, self.context)
            if len(continuation) == 1:
                options.setdefault(tuple(prompt), []).append(i)
            else:
                whole.append(i)
        asks = [self._options(prompt, [continuations[i][0] for i in found]) for prompt, found in options.items()]
        answers = self._server.ask_all(asks)
        for i in whole:
            # One at a time, which costs little as a prefill fills the machine: several in one batch end vLLM 0.32 on a
            # CPU where it serves adapters.
            answers += self._server.ask_all([self._whole(prompts[i], continuations[i])])
        if refused := next((a for a in answers if isinstance(a, Refused)), None):
            raise self._does_not("score", refused)
        self.usage.scored += sum(map(len, options)) + sum(len(prompts[i]) + len(continuations[i]) for i in whole)
        scores: list[list[float]] = [[] for _ in prompts]
        for found, logprobs in zip(options.values(), answers, strict=False):
            for i, logprob in zip(found, logprobs, strict=True):
                scores[i] = [logprob]
        for i, logprobs in zip(whole, answers[len(options) :], strict=True):
            scores[i] = logprobs
        return scores

    def body(self, prompt: list[int] | str, max_tokens: int, temperature: float) -> dict[str, Any]:
        """What every request to the model says."""
        return PLAIN | {
            "model": self._name,
            "prompt": prompt,
            "add_special_tokens": False,
            "max_tokens": max_tokens,
            "temperature": temperature,
        }

    def _options(self, prompt: Sequence[int], tokens: list[int]) -> Ask:
        asked = {"logprobs": 0, "logprob_token_ids": tokens, "return_tokens_as_token_ids": True}

        def read(answer: Any) -> list[float]:
            logprobs = answer["choices"][0]["logprobs"]["top_logprobs"][0]
            return [float(logprobs[f"token_id:{token}"]) for token in tokens]

        return Ask(PATH, self.body(list(prompt), 1, 0.0) | asked, read)

    def _whole(self, prompt: Sequence[int], continuation: Sequence[int]) -> Ask:
        def read(answer: Any) -> list[float]:
            logprobs = answer["choices"][0]["prompt_logprobs"][len(prompt) :]
            return [float(at[str(token)]["logprob"]) for at, token in zip(logprobs, continuation, strict=True)]

        return Ask(PATH, self.body([*prompt, *continuation], 1, 0.0) | {"prompt_logprobs": 0}, read)


def open_server_policy(settings: ModelSettings, base: BaseModel, adapter: Adapter | None) -> ServerPolicy:
    """The policy of a base model and an adapter on the settings' server.

    Raises:
        ItoolError: the server does not serve this model or adapter, or does not give what mining needs.
    """
    server = Server(settings)
    models = served_models(server)
    served = _find_base(server, models, settings, base)
    name = serve_adapter(server, adapter, models) if adapter else served.name
    # Where the server does not say, it has the model's own; what does not fit it after all is refused one by one.
    policy = ServerPolicy(server, name, policy_id(base, adapter), served.context or context_of(base))
    _probe(server, policy, base)
    return policy


_NO_MINING = "does not give {}, so its models can be evaluated but not mined; vLLM gives it"


def _find_base(server: Server, models: Models, settings: ModelSettings, base: BaseModel) -> Served:
    """The base model among a server's; by its own name or place, or by the name that the settings give it.

    Such a name needs no list: the server knows it or refuses the first request.
    """
    own = {settings.served_name} if settings.served_name else {settings.name, base.name, str(base.path)}
    for model in models.listed:
        if not model.parent and (model.name in own or (model.root in own and not settings.served_name)):
            return model
    wanted = settings.served_name or base.name
    if settings.served_name and wanted not in {model.name for model in models.listed}:
        return Served(wanted, "", "", 0)
    raise ItoolError(
        f"{server.base_url}: serves {models}, and none of it is {wanted}; set model.served_name to the name "
        "under which it serves the run's base model"
    )


def _probe(server: Server, policy: ServerPolicy, base: BaseModel) -> None:
    """Draw and score one token, to see that the server gives token ids and the model's own log-probabilities.

    Drawn hot and from the most probable token alone, so that a log-probability after the sampling settings would be 0.
    """
    asked = {"top_k": 1, "logprobs": 0, "return_token_ids": True}
    # One attempt: an answer without token ids is no failure that would pass.
    probe = Ask(PATH, policy.body(PROBE, 1, _HOT) | asked, _read_any)
    answer = server.ask(probe, OPENING_PATIENCE)
    if isinstance(answer, Refused):
        raise ItoolError(
            f"{server.base_url}: does not complete a prompt as vLLM does, so it cannot be mined: {answer.reason}"
        )
    try:
        drawn = _read_draw(answer, 1)
    except (ValueError, LookupError, TypeError):
        raise ItoolError(
            f"{server.base_url}: {_NO_MINING.format('token ids and log-probabilities (return_token_ids, logprobs)')}"
        ) from None
    server.call_witness(probe)
    expected = load_tokenizer(base)(PROBE, add_special_tokens=False)["input_ids"]
    if list(drawn.prompt) != list(expected):
        raise ItoolError(
            f"{server.base_url}: its tokenizer is not that of {base.name}; serve the run's base model there, or set "
            "model.name to what it serves"
        )
    ((again,),) = policy.score([drawn.prompt], [drawn.draw.ids])
    *_, scored = policy.score([drawn.prompt[:-1]], [[drawn.prompt[-1], *drawn.draw.ids]])[0]
    if max(abs(again - drawn.draw.logprobs[0]), abs(scored - drawn.draw.logprobs[0])) > _NEAR:
        raise ItoolError(
            f"{server.base_url}: its log-probabilities change with the temperature ({drawn.draw.logprobs[0]:.2f}, "
            f"{again:.2f}, {scored:.2f} for one token); start it with --logprobs-mode raw_logprobs"
        )
    policy.usage = Usage()


def _read_any(answer: Any) -> Any:
    """An answer that completes something, whatever it says of it."""
    return answer if answer["choices"][0] else None


def _read_draw(answer: Any, asked: int) -> _Drawn:
    """A draw of a completion of at most `asked` tokens; fails where it is none, as one that the server aborted."""
    choice, usage = answer["choices"][0], answer.get("usage") or {}
    ids, logprobs = tuple(map(int, choice["token_ids"])), tuple(map(float, choice["logprobs"]["token_logprobs"]))
    told = choice["finish_reason"]
    if not ids or len(ids) != len(logprobs) or told in ("abort", "error"):
        raise ValueError(f"{len(ids)} token ids, {len(logprobs)} log-probabilities, finish_reason {told!r}")
    # A reason of the server's own: it ended where it need not.
    finish: FinishReason = told if told in ("stop", "length") else "stop" if len(ids) < asked else "length"
    prompt = tuple(map(int, choice["prompt_token_ids"]))
    reused = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    return _Drawn(Draw(ids, logprobs, finish), prompt, len(prompt) - reused, reused)
