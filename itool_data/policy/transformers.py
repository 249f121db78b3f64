"""The embedded default policy: any transformers causal model, on CPU or GPU, decoding many draws at once.

Continuous batching in one loop: rows that finish make room for waiting draws at once, a group's prefix is computed once
(`shared_prefix.py`), and whatever was computed after it stays for the group's later requests (`groups.py`): a search
that goes on from a node computes one token of it again and nothing else, and of a state that was never drawn only what
is new. Sampling is by inverse distribution function, one uniform number a token from the draw's own seed. Left out:
sliding-window models, beam search, stop strings.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from itool_data.errors import ItoolError
from itool_data.policy.base import (
    Completion,
    Draw,
    PolicyId,
    Request,
    Usage,
    check_prompt,
    check_sequence,
    ending,
    uniforms,
)
from itool_data.policy.groups import Group
from itool_data.policy.load import Adapter, load_model, stop_ids
from itool_data.policy.memory import keep_freed_memory
from itool_data.policy.scoring import score
from itool_data.policy.shared_prefix import NAME, SharedPrefixCache

PREFILL_TOKENS = {"cpu": 2048, "cuda": 65536}  # after so many in a step, further prompts wait for the next


@dataclass
class _Job:
    """A request under way."""

    request: Request
    key: str
    group: Group | None = None
    tail: tuple[int, ...] = ()  # the prompt after the group's prefix
    next_draw: int = 0
    draws: dict[int, Draw] = field(default_factory=dict)
    prefilled: int = 0


@dataclass
class _Row:
    """One draw being decoded; a row with `draw` -1 only computes what follows its job's prompt."""

    job: _Job
    draw: int
    ids: list[int]
    logprobs: list[float]
    uniforms: np.ndarray
    feed: int


class TransformersPolicy:
    """A transformers causal language model as a policy.

    Args:
        model: in evaluation mode, loaded with `attn_implementation="itool_shared_prefix"` (see `load_policy`).
        policy_id: who it is.
        stop_ids: token ids that end a response.
        max_rows: draws decoded at once; more are queued.
    """

    def __init__(self, model: Any, policy_id: PolicyId, stop_ids: frozenset[int], max_rows: int):
        self.usage = Usage()
        self._model = model
        self._id = policy_id
        self._stop = stop_ids
        self.max_rows = max_rows
        config = model.config.get_text_config()
        self._config = config
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._cache = SharedPrefixCache(
            config.num_hidden_layers, config.num_key_value_heads, head_dim, max_rows, model.dtype, model.device
        )
        self._groups: dict[str, Group] = {}
        self._free_slots: list[int] = []
        self._slots = 0
        self._waiting: deque[_Job] = deque()
        self._rows: list[_Row] = []
        self._done: list[Completion] = []
        self._anonymous = 0

    @property
    def policy_id(self) -> PolicyId:
        """Base model, revision and adapter in use."""
        return self._id

    @property
    def context(self) -> int:
        """Most tokens of prompt and continuation together."""
        return int(self._config.max_position_embeddings)

    def submit(self, request: Request) -> None:
        """Queue a request.

        Raises:
            ItoolError: if the prompt leaves no room in the context, or is empty.
        """
        check_prompt(request, self.context)
        key = request.group
        if not key:
            self._anonymous += 1
            key = f"\x00{self._anonymous}"
        self._waiting.append(_Job(request, key))

    def release(self, group: str) -> None:
        """Forget what was kept for a group."""
        kept = self._groups.pop(group, None)
        if kept is not None:
            self._free_slots.append(kept.slot)

    def reset(self) -> None:
        """Drop every request under way and whatever was kept for groups."""
        self._waiting.clear()
        self._rows.clear()
        self._done.clear()
        for key in list(self._groups):
            self.release(key)

    def use(self, adapter: Adapter | None) -> bool:
        """It cannot."""
        return False

    def close(self) -> None:
        """Give the model's memory back, to the device too: a training in other processes may need it next."""
        from accelerate.utils.memory import clear_device_cache

        self.reset()
        del self._model, self._cache
        clear_device_cache(garbage_collection=True)

    @torch.inference_mode()
    def step(self) -> list[Completion]:
        """Admit waiting draws, decode one token of every row, and return the requests that are finished."""
        self._admit()
        if self._rows:
            logits = self._decode()
            self._advance(logits)
        done, self._done = self._done, []
        return done

    # -- admission ---------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Fill free rows in the order of the queue; a job whose prompt is still being computed does not block it.

        Only so many prompts are computed at a time that the rows under way, and whoever waits for this step, go on.
        """
        blocked: list[_Job] = []
        most = self.usage.prefilled + PREFILL_TOKENS[self._model.device.type]
        while self._waiting and len(self._rows) < self.max_rows and self.usage.prefilled < most:
            job = self._waiting.popleft()
            if job.group is None:
                self._attach(job)
            if self._start_draws(job):
                blocked.append(job)
        self._waiting.extendleft(reversed(blocked))

    def _attach(self, job: _Job) -> None:
        """Find or compute the job's group."""
        prompt = tuple(job.request.prompt)
        group = self._groups.get(job.key)
        if group is not None and prompt[: len(group.prefix)] != group.prefix:
            job.key = f"\x00{job.key}/{job.request.request_id}"  # nothing to reuse: a prefix of its own
            group = None
        if group is None:
            group = self._groups[job.key] = self._prefill(prompt)
            job.prefilled += len(prompt)
        job.group = group
        job.tail = prompt[len(group.prefix) :]
        group.queued += 1

    def _prefill(self, prompt: tuple[int, ...]) -> Group:
        logits, keys_values = self._read(prompt, None)
        if not self._free_slots:
            self._free_slots.append(self._slots)
            self._slots += 1
        self._free_slots.sort(reverse=True)  # low slots first: the batch runs over all slots up to the highest in use
        slot = self._free_slots.pop()
        self._cache.set_prefix(slot, keys_values)
        return Group(prompt, slot, {(): logits})

    def _read(self, ids: tuple[int, ...], before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute tokens after others; returns the logits after the last, and the tokens' keys and values."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self._config)
        if before is not None:
            for layer, (keys, values) in enumerate(before):
                cache.update(keys[None], values[None], layer)
        out = self._model(
            input_ids=torch.tensor([ids], device=self._model.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        new = [torch.stack([kept[0, :, -len(ids) :] for kept in (layer.keys, layer.values)]) for layer in cache.layers]
        self.usage.prefilled += len(ids)
        return out.logits[0, -1].float(), torch.stack(new)

    def _start_draws(self, job: _Job) -> bool:
        """Start as many of the job's draws as there are free rows; return whether some are left to start."""
        logits = self._logits(job)
        if logits is None:
            return True
        n_draws = len(job.request.seeds)
        while job.next_draw < n_draws and len(self._rows) < self.max_rows:
            draw = job.next_draw
            job.next_draw += 1
            room = min(job.request.max_tokens, self.context - len(job.request.prompt))
            row = _Row(job, draw, [], [], uniforms(job.request.seeds[draw], room), 0)
            tokens, logprobs = self._sample(logits[None], [row])
            if not self._append(row, tokens[0], logprobs[0]):
                self._open_row(row, job.tail)
        return job.next_draw < n_draws

    def _logits(self, job: _Job) -> Tensor | None:
        """What follows the job's prompt; None while a row computes it."""
        group, tail = job.group, job.tail
        assert group is not None
        if tail not in group.logits:
            known = group.known(tail[:-1])
            if known < len(tail) - 1:
                self._read_tail(job, known)
            elif not any(row.draw == -1 and row.job.group is group and row.job.tail == tail for row in self._rows):
                # One token goes along with the rows that draw.
                self._open_row(_Row(job, -1, [], [], np.empty(0), tail[-1]), tail[:-1])
                job.prefilled += 1
                self.usage.prefilled += 1
        return group.logits.get(tail)

    def _read_tail(self, job: _Job, known: int) -> None:
        """Compute what the group does not know of the job's tail, in one pass."""
        group, tail = job.group, job.tail
        assert group is not None
        before = self._cache.get_prefix(group.slot)
        if known:
            before = torch.cat([before, group.read(tail[:known])], dim=3)
        group.logits[tail], keys_values = self._read(tail[known:], before)
        group.keep(tail, keys_values)
        job.prefilled += len(tail) - known
        self.usage.reused += known

    def _open_row(self, row: _Row, path: tuple[int, ...]) -> None:
        """Give the row a branch that already holds the keys and values of `path`."""
        group = row.job.group
        assert group is not None
        self._cache.set_branch(len(self._rows), group.read(path) if path else None)
        self.usage.reused += len(path)
        self._rows.append(row)

    # -- decoding ----------------------------------------------------------------------------------------------------

    def _decode(self) -> Tensor:
        """Feed every row's token; return the logits [rows, vocabulary] in float32."""
        groups = [row.job.group for row in self._rows]
        plan = self._cache.layout([g.slot for g in groups if g is not None])
        device = self._model.device
        ids = torch.tensor([[row.feed] for row in self._rows], device=device)
        positions = [
            len(g.prefix) + n for g, n in zip(groups, self._cache.branch_lengths, strict=False) if g is not None
        ]
        out = self._model(
            input_ids=ids,
            position_ids=torch.tensor(positions, device=device)[:, None],
            attention_mask=torch.zeros(1, 1, 1, 1, device=device),  # 4-D: taken as prepared; the cache has its own
            use_cache=False,
            shared_prefix=(self._cache, plan),
        )
        for i in range(len(self._rows)):
            self._cache.branch_lengths[i] += 1
        self.usage.steps += 1
        logits: Tensor = out.logits[:, -1].float()
        return logits

    def _sample(self, logits: Tensor, rows: list[_Row]) -> tuple[list[int], list[float]]:
        """Choose the next token of each row: exact sampling at its temperature, arg-max at 0."""
        tokens = logits.argmax(-1)
        if any(r.job.request.temperature for r in rows):  # An evaluation is all greedy and needs no distribution.
            temperatures = torch.tensor([r.job.request.temperature for r in rows], device=logits.device)
            u = torch.tensor([float(r.uniforms[len(r.ids)]) for r in rows], dtype=torch.float64, device=logits.device)
            greedy = temperatures == 0
            cdf = torch.softmax(logits / torch.where(greedy, 1.0, temperatures)[:, None], dim=-1).double().cumsum(-1)
            drawn = torch.searchsorted(cdf, (u * cdf[:, -1])[:, None], right=True)[:, 0]
            tokens = torch.where(greedy, tokens, drawn.clamp_(max=logits.shape[-1] - 1))
        logprobs = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
        return tokens.tolist(), logprobs.tolist()

    def _append(self, row: _Row, token: int, logprob: float) -> bool:
        """Add a token to a draw; return whether that ended it."""
        row.ids.append(token)
        row.logprobs.append(logprob)
        row.feed = token
        self.usage.decoded += 1
        job, ids = row.job, tuple(row.ids)
        stopped = token in self._stop and not job.request.ignore_stop
        finish = ending(job.request, ids, stopped, len(row.uniforms))
        if finish is None:
            return False
        job.draws[row.draw] = Draw(ids, tuple(row.logprobs), finish)
        if len(job.draws) == len(job.request.seeds):
            self._finish(job)
        return True

    def _finish(self, job: _Job) -> None:
        draws = tuple(job.draws[i] for i in range(len(job.draws)))
        self._done.append(
            Completion(job.request.request_id, draws, job.prefilled, len(job.request.prompt) - job.prefilled)
        )
        group = job.group
        assert group is not None
        group.queued -= 1
        if not group.queued and job.key.startswith("\x00"):
            self.release(job.key)

    def _advance(self, logits: Tensor) -> None:
        """Sample every drawing row's next token; take finished rows out and keep what they computed."""
        drawing = [i for i, row in enumerate(self._rows) if row.draw >= 0]
        ended = {i for i, row in enumerate(self._rows) if row.draw < 0}
        for i in ended:
            job = self._rows[i].job
            assert job.group is not None
            job.group.logits[job.tail] = logits[i].clone()
            self._keep(i, job.tail)
        if drawing:
            tokens, logprobs = self._sample(logits[drawing], [self._rows[i] for i in drawing])
            for i, token, logprob in zip(drawing, tokens, logprobs, strict=True):
                row = self._rows[i]
                if self._append(row, token, logprob):
                    ended.add(i)
                    self._keep(i, row.job.tail + tuple(row.ids[:-1]))
        for i in sorted(ended, reverse=True):
            last = len(self._rows) - 1
            if i != last:
                self._cache.move_branch(last, i)
                self._rows[i] = self._rows[last]
            self._rows.pop()

    def _keep(self, i: int, path: tuple[int, ...]) -> None:
        """Store what a finished row computed for later requests of its group."""
        job = self._rows[i].job
        assert job.group is not None
        known = job.group.known(path)
        if known < len(path) and not job.key.startswith("\x00"):
            job.group.keep(path, self._cache.get_branch(i, known, len(path)))

    # -- scoring -----------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def score(self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the log-probability of each continuation token (`scoring.py`).

        Raises:
            ItoolError: if a prompt is empty or prompt and continuation do not fit the context.
        """
        for prompt, continuation in zip(prompts, continuations, strict=True):
            check_sequence(prompt, continuation, self.context)
        scores, read = score(self._model, prompts, continuations)
        self.usage.scored += read
        return scores


def load_policy(
    path: Path, policy_id: PolicyId, adapter: Path | None, device: str, max_rows: int
) -> TransformersPolicy:
    """Load a model folder (safetensors), with an adapter merged into it, as a policy.

    Weights are float32 on the CPU (faster than bfloat16 without AMX) and bfloat16 on a GPU.

    Raises:
        ItoolError: if the model uses an attention this policy does not do.
    """
    if device == "cpu":
        keep_freed_memory()
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = load_model(path, adapter, dtype=dtype, attn_implementation=NAME)
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise ItoolError(
            f"{path}: layers of kind {', '.join(sorted(kinds))}: only full attention works here; "
            "set model.policy to vllm"
        )
    return TransformersPolicy(model.to(device), policy_id, stop_ids(path), max_rows)
