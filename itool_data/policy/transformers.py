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
from itool_data.policy.reading import Passage, read
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

    def sleep(self) -> bool:
        """It cannot."""
        return False

    def wake(self) -> None:
        """It always is."""

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
        most = self.usage.prefilled + PREFILL_TOKENS[self._model.device.type]
        while True:
            blocked: list[_Job] = []
            wanted: dict[str, _Job] = {}  # one of each group: what a second one needs may be part of it
            tokens = draws = 0
            while self._waiting and len(self._rows) + draws < self.max_rows and self.usage.prefilled + tokens < most:
                job = self._waiting.popleft()
                self._attach(job)
                if job.key not in wanted and (unread := self._unread(job)):
                    wanted[job.key] = job
                    tokens += unread
                    draws += len(job.request.seeds)
                if job.key in wanted or self._start_draws(job):
                    blocked.append(job)
            self._waiting.extendleft(reversed(blocked))
            if not wanted:
                return
            self._read(list(wanted.values()))

    def _attach(self, job: _Job) -> None:
        """Find the job's group, if it is there already."""
        if job.group is not None:
            return
        prompt = tuple(job.request.prompt)
        group = self._groups.get(job.key)
        if group is not None and prompt[: len(group.prefix)] != group.prefix:
            job.key = f"\x00{job.key}/{job.request.request_id}"  # nothing to reuse: a prefix of its own
        elif group is not None:
            self._join(job, group)

    def _join(self, job: _Job, group: Group) -> None:
        job.group = group
        job.tail = tuple(job.request.prompt)[len(group.prefix) :]
        group.queued += 1

    def _unread(self, job: _Job) -> int:
        """How many tokens have to be computed before the job's draws can start, or a row can compute the last one."""
        if job.group is None:
            return len(job.request.prompt)
        if job.tail in job.group.logits:
            return 0
        known = job.group.known(job.tail[:-1])
        return len(job.tail) - known if known < len(job.tail) - 1 else 0

    def _read(self, jobs: list[_Job]) -> None:
        """Compute what is unread of jobs of different groups."""
        passages = []
        for job in jobs:
            group, tail = job.group, job.tail
            if group is None:
                passages.append(Passage(tuple(job.request.prompt)))
                continue
            known, before = group.known(tail[:-1]), self._cache.get_prefix(group.slot)
            if known:
                before = torch.cat([before, group.read(tail[:known])], dim=3)
                self.usage.reused += known
            passages.append(Passage(tail[known:], before))
        for job, passage, (logits, keys_values) in zip(jobs, passages, read(self._model, passages), strict=True):
            self.usage.prefilled += len(passage.ids)
            job.prefilled += len(passage.ids)
            if job.group is None:
                self._join(job, self._new_group(job.key, passage.ids, logits, keys_values))
            else:
                job.group.logits[job.tail] = logits
                job.group.keep(job.tail, keys_values)

    def _new_group(self, key: str, prefix: tuple[int, ...], logits: Tensor, keys_values: Tensor) -> Group:
        if not self._free_slots:
            self._free_slots.append(self._slots)
            self._slots += 1
        self._free_slots.sort(reverse=True)  # low slots first: the batch runs over all slots up to the highest in use
        slot = self._free_slots.pop()
        self._cache.set_prefix(slot, keys_values)
        group = self._groups[key] = Group(prefix, slot, {(): logits})
        return group

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
        if tail not in group.logits and not any(
            row.draw == -1 and row.job.group is group and row.job.tail == tail for row in self._rows
        ):
            # One token goes along with the rows that draw.
            self._open_row(_Row(job, -1, [], [], np.empty(0), tail[-1]), tail[:-1])
            job.prefilled += 1
            self.usage.prefilled += 1
        return group.logits.get(tail)

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
