"""The `vllm` policy: vLLM's engine in this process, for models and batches that transformers is too slow for.

Each draw is one request of the engine with the draw's own seed; what they share, the engine's prefix cache serves. An
adapter is a LoRA named by its content, so that nothing cached for another one is ever reused; on a CPU, where vLLM's
LoRA kernels decode several times slower than the bare model, it is merged and the merged weights are loaded into the
running engine. What else the engine takes (several GPUs a model, quantisation, shares of memory) is `model.engine`.
Left out: vLLM's own samplers (top-p, top-k).
"""

import importlib.util
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from textwrap import shorten
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from itool_data.errors import ItoolError
from itool_data.policy.base import (
    Completion,
    Draw,
    Gathering,
    PolicyId,
    Request,
    Usage,
    check_prompt,
    check_sequence,
    ending,
)
from itool_data.policy.load import Adapter, BaseModel, load_model, policy_id, stop_ids
from itool_data.policy.memory import return_freed_memory
from itool_data.policy.vllm_arguments import engine_arguments
from itool_data.sample import JSON

if TYPE_CHECKING:
    from vllm.lora.request import LoRARequest
    from vllm.outputs import RequestOutput
    from vllm.v1.engine.llm_engine import LLMEngine

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # the sizes that vLLM makes room for
MAX_TEMPERATURE = 2.0  # of vLLM's SamplingParams
SEED_BITS = (1 << 63) - 1  # its GPU sampler keeps seeds as signed 64-bit numbers


class VllmPolicy:
    """A causal language model in a vLLM engine as a policy.

    Args:
        engine: with prefix caching, `raw_logprobs`, and no tokenizer (see `load_vllm_policy`).
        base: the model that it runs.
        stop: token ids that end a response.
        max_rows: draws decoded at once; the engine queues more.
        max_rank: of the adapters that the engine has room for; 0: they are merged into its weights.
    """

    def __init__(self, engine: "LLMEngine", base: BaseModel, stop: frozenset[int], max_rows: int, max_rank: int):
        self.usage = Usage()
        self.max_rows = max_rows
        self._engine = engine
        self._base = base
        self._id = policy_id(base, None)
        self._stop = sorted(stop)
        self._max_rank = max_rank
        self._lora: LoRARequest | None = None
        self._lora_ids: dict[str, int] = {}  # adapter's content -> the engine's number for it
        self._jobs: dict[str, tuple[Gathering, int]] = {}  # engine request -> whose draw it is
        self._scored: dict[str, RequestOutput | None] = {}
        self._done: list[Completion] = []
        self._submitted = 0

    @property
    def policy_id(self) -> PolicyId:
        """Base model, revision and adapter in use."""
        return self._id

    @property
    def context(self) -> int:
        """Most tokens of prompt and continuation together."""
        return int(self._engine.model_config.max_model_len)

    def use(self, adapter: Adapter | None) -> bool:
        """Go on with another adapter of the same base model; the engine stays, and nothing may be under way.

        Returns:
            False, with nothing changed, if its rank is larger than the engine has room for.

        Raises:
            ItoolError: if vLLM cannot use such an adapter.
        """
        assert not self._jobs, "an adapter is not changed under requests"
        if self._max_rank:
            if adapter is not None and lora_rank(adapter) > self._max_rank:
                return False
            self._lora = self._load_lora(adapter) if adapter else None
        else:
            self._load_merged(adapter)
        self._id = replace(self._id, adapter=adapter.content if adapter else "")
        return True

    def _load_lora(self, adapter: Adapter) -> "LoRARequest":
        from vllm.lora.request import LoRARequest

        number = self._lora_ids.setdefault(adapter.content, len(self._lora_ids) + 1)
        lora = LoRARequest(lora_name=adapter.content, lora_int_id=number, lora_path=str(adapter.path))
        try:
            self._engine.add_lora(lora)
        except ValueError as error:
            raise ItoolError(f"{adapter.path}: vLLM cannot use this adapter: {shorten(str(error), 300)}") from None
        return lora

    def _load_merged(self, adapter: Adapter | None) -> None:
        weights = load_model(self._base.path, adapter.path if adapter else None, dtype="float32").state_dict()
        self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})
        self._engine.reset_prefix_cache()  # its keys name no weights

    def submit(self, request: Request) -> None:
        """Queue a request.

        Raises:
            ItoolError: if the prompt leaves no room in the context, or is empty, or the temperature is too high.
        """
        check_prompt(request, self.context)
        if request.temperature > MAX_TEMPERATURE:
            raise ItoolError(
                f"vLLM draws at temperatures up to {MAX_TEMPERATURE}, not {request.temperature}; "
                "lower mcts.temperature or set model.policy to transformers"
            )
        job = Gathering(request)
        for draw, seed in enumerate(request.seeds):
            name = self._add(
                request.prompt,
                seed=seed & SEED_BITS,
                temperature=request.temperature,
                max_tokens=min(request.max_tokens, self.context - len(request.prompt)),
                stop_token_ids=[] if request.ignore_stop else self._stop,
                logprobs=0,  # the drawn token's own
                watched=request.until is not None,
            )
            self._jobs[name] = (job, draw)

    def _add(self, prompt: Sequence[int], watched: bool = False, **sampling: Any) -> str:
        """Queue a request of the engine, whose output comes with every token if it is watched; returns its name."""
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        self._submitted += 1
        name = str(self._submitted)
        # Which tokens end a draw is the same as for the other policies, so the engine's own rule is off.
        kind = RequestOutputKind.CUMULATIVE if watched else RequestOutputKind.FINAL_ONLY
        parameters = SamplingParams(ignore_eos=True, detokenize=False, output_kind=kind, **sampling)
        self._engine.add_request(name, tokens_input(list(prompt)), parameters, lora_request=self._lora)
        return name

    def release(self, group: str) -> None:
        """Nothing is kept by group: what is least recently used leaves the engine's cache when room is needed."""

    def reset(self) -> None:
        """Drop every request under way and the engine's prefix cache."""
        self._engine.abort_request([*self._jobs, *self._scored])
        self._jobs.clear()
        self._scored.clear()
        self._done.clear()
        self._engine.reset_prefix_cache()

    def leave(self, memory: float) -> None:
        """It cannot: the engine took its share of the device when it started."""

    def sleep(self) -> bool:
        """On a GPU the weights move to the machine's memory, and keys and values are let go."""
        assert not self._jobs, "an engine is not put to sleep under requests"
        if not self._engine.vllm_config.model_config.enable_sleep_mode:
            return False
        self._engine.sleep(level=1)
        return True

    def wake(self) -> None:
        """Take the memory again, if it was given back."""
        if self._engine.is_sleeping():
            self._engine.wake_up()

    def close(self) -> None:
        """Shut the engine down; weights and cache go back to the system or the GPU."""
        from accelerate.utils.memory import clear_device_cache

        self._engine.engine_core.shutdown()
        del self._engine
        clear_device_cache(garbage_collection=True)
        return_freed_memory()

    def step(self) -> list[Completion]:
        """Let the engine decode a token of every draw; return the requests that are finished."""
        self._advance()
        done, self._done = self._done, []
        return done

    def _advance(self) -> None:
        self.usage.steps += 1
        for output in self._engine.step():
            if output.request_id in self._scored:
                self._scored[output.request_id] = output
            else:
                self._look(output)

    def _look(self, output: "RequestOutput") -> None:
        """See whether a draw is at its end; one that the engine would go on with is aborted."""
        job, draw = self._jobs[output.request_id]
        (drawn,) = output.outputs
        ids = tuple(drawn.token_ids)
        # How long the draw may be, the engine knows.
        finish = ending(job.request, ids, drawn.finish_reason == "stop", len(ids) + (not output.finished))
        if finish is None:
            return
        del self._jobs[output.request_id]
        if not output.finished:
            self._engine.abort_request([output.request_id])
        logprobs = tuple(row[token].logprob for row, token in zip(drawn.logprobs, ids, strict=True))
        reused = output.num_cached_tokens
        made = Draw(ids, logprobs, finish)
        completion = job.add(draw, made, len(job.request.prompt) - reused, reused, self.usage)
        if completion is not None:
            self._done.append(completion)

    def score(self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the log-probability of each continuation token; draws under way go on meanwhile.

        The last token of a continuation is read off the engine's next-token distribution and the others off its prompt
        log-probabilities, for which it computes the whole prompt anew. So continuations of one token (the options of a
        self-evaluation) are served by the prefix cache, and those after the same prompt take one pass.

        Raises:
            ItoolError: if a prompt is empty or prompt and continuation do not fit the context.
        """
        passes: dict[tuple[int, ...], list[int]] = {}
        for i, (prompt, continuation) in enumerate(zip(prompts, continuations, strict=True)):
            check_sequence(prompt, continuation, self.context)
            if continuation:
                passes.setdefault((*prompt, *continuation[:-1]), []).append(i)
        names = {}
        for tokens, members in passes.items():
            last = sorted({continuations[i][-1] for i in members})
            within = any(len(continuations[i]) > 1 for i in members)
            name = self._add(
                tokens, temperature=0.0, max_tokens=1, logprob_token_ids=last, prompt_logprobs=0 if within else None
            )
            names[name] = tokens
            self._scored[name] = None
        while any(self._scored[name] is None for name in names):
            self._advance()
        results: list[list[float]] = [[] for _ in prompts]
        for name, tokens in names.items():
            output = self._scored.pop(name)
            assert output is not None
            self.usage.scored += len(tokens) - output.num_cached_tokens
            for i in passes[tokens]:
                results[i] = _logprobs(output, tokens, continuations[i])
        return results


def _logprobs(output: "RequestOutput", tokens: tuple[int, ...], continuation: Sequence[int]) -> list[float]:
    """Read a continuation's log-probabilities off the pass over its prompt and all but its last token."""
    first = len(tokens) + 1 - len(continuation)
    within = [output.prompt_logprobs[i][tokens[i]].logprob for i in range(first, len(tokens))]
    return [*within, output.outputs[0].logprobs[0][continuation[-1]].logprob]


def lora_rank(adapter: Adapter) -> int:
    """The rank of an adapter, as its PEFT settings have it."""
    config = json.loads((adapter.path / "adapter_config.json").read_text(encoding="utf-8"))
    return int(max([config["r"], *(config.get("rank_pattern") or {}).values()]))


def load_vllm_policy(
    base: BaseModel,
    adapter: Adapter | None,
    device: str,
    max_rows: int,
    own: Mapping[str, JSON] = MappingProxyType({}),
    lora: bool | None = None,
) -> VllmPolicy:
    """Start an engine on a model folder (safetensors).

    Weights are float32 on a CPU and bfloat16 on a GPU, as in the transformers policy. On a GPU the engine takes the
    memory that vLLM's defaults give it; the context is the model's, or what fits.

    Args:
        base: the model.
        adapter: the one to begin with; `use` changes it.
        device: `cpu` or `cuda`.
        max_rows: draws decoded at once.
        own: further arguments of the engine (`model.engine`), before ours.
        lora: whether adapters are applied per request instead of merged; None: on a GPU.

    Raises:
        ItoolError: if vLLM is not installed, is built for another device, has no such arguments, or cannot run the
            model.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ItoolError(
            "model.policy is vllm, which is not installed; on a GPU: pip install 'itool[vllm]', on a CPU: see "
            "docs/policies.md; or set model.policy to transformers"
        )
    lora = device == "cuda" if lora is None else lora
    wanted = lora_rank(adapter) if adapter else LORA_RANKS[1]
    max_rank = next((rank for rank in LORA_RANKS if rank >= wanted), 0) if lora else 0
    with _quiet():
        engine = _start(base, device, max_rows, max_rank, own)
    policy = VllmPolicy(engine, base, stop_ids(base.path), max_rows, max_rank)
    if adapter is not None:
        policy.use(adapter)
    return policy


def _start(base: BaseModel, device: str, max_rows: int, max_rank: int, own: Mapping[str, JSON]) -> "LLMEngine":
    # In this process: its memory is then this process's, and weights can be handed over without a file.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.llm_engine import LLMEngine

    if current_platform.device_type != device:
        raise ItoolError(
            f"model.device is {device}, but the vLLM installed here runs on {current_platform.device_type}; "
            "see docs/policies.md, or set model.policy to transformers"
        )
    known = [field.name for field in fields(EngineArgs)]
    arguments = engine_arguments(base.path, device, max_rows, max_rank, own, known)
    try:
        return LLMEngine.from_engine_args(EngineArgs(**arguments))
    except (ValueError, RuntimeError) as error:
        raise ItoolError(f"{base.name}: vLLM cannot run it: {shorten(str(error), 300)}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep vLLM's own deprecations from the terminal while it is imported and started."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
