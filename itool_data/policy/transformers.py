"""The embedded default policy: any transformers causal model, on CPU or GPU, decoding many draws at once.

Continuous batching in one loop: rows that finish make room for waiting draws at once (`decoding.py`), a group's prefix
is computed once (`shared_prefix.py`), and whatever was computed after it stays for the group's later requests
(`groups.py`): a search that goes on from a node computes one token of it again and nothing else, and of a state that
was never drawn only what is new. Sampling is by inverse distribution function, one uniform number a token from the
draw's own seed. Left out: sliding-window models, beam search, stop strings.
"""

import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from itool_data.errors import ItoolError
from itool_data.policy.base import Completion, PolicyId, Request, Usage, check_prompt, check_sequence, uniforms
from itool_data.policy.decoding import Decoding
from itool_data.policy.draws import Job, Row
from itool_data.policy.groups import Group
from itool_data.policy.limits import KEPT, Limits, usual
from itool_data.policy.load import Adapter, load_model, stop_ids
from itool_data.policy.memory import keep_freed_memory
from itool_data.policy.out_of_memory import within_memory
from itool_data.policy.reading import Passage, read
from itool_data.policy.scoring import score
from itool_data.policy.shared_prefix import NAME, SharedPrefixCache
from itool_data.sizing.device import free_memory
from itool_data.sizing.policy import leaving, within
from itool_data.sizing.shape import shape_of

log = logging.getLogger(__name__)

# Tokens of a draw that has just begun that are reckoned with when another prompt is taken in; most calls are shorter.
# Where draws become longer and memory short, the newest wait.
USUAL_BRANCH = 256


class TransformersPolicy:
    """A transformers causal language model as a policy.

    Args:
        model: in evaluation mode, loaded with `attn_implementation="itool_shared_prefix"` (see `load_policy`).
        policy_id: who it is.
        stop_ids: token ids that end a response.
        limits: what it does at once; what is more, or has no room in the memory, waits.
    """

    def __init__(self, model: Any, policy_id: PolicyId, stop_ids: frozenset[int], limits: Limits):
        self.usage = Usage()
        self._model = model
        self._id = policy_id
        self._stop = stop_ids
        self._limits = limits
        self.max_rows = limits.rows
        self._config = model.config.get_text_config()
        self._groups: dict[str, Group] = {}
        self._unfinished: list[Job] = []
        self._waiting: deque[Job] = deque()
        self._done: list[Completion] = []
        self._anonymous = 0
        self._begin_empty()

    def _begin_empty(self) -> None:
        """Have no keys and values, and no row."""
        config, model, room = self._config, self._model, self._limits.room
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        sizes = config.num_hidden_layers, config.num_key_value_heads, head_dim
        self._groups.clear()
        self._cache = SharedPrefixCache(*sizes, model.dtype, model.device, (1 - KEPT) * room)
        self._decoding = Decoding(model, self._cache, self._groups, self._stop, KEPT * room, self._finish)

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
        job = Job(request, key)
        job.begin_again()
        self._unfinished.append(job)
        self._waiting.append(job)

    def release(self, group: str) -> None:
        """Forget what was kept for a group."""
        kept = self._groups.pop(group, None)
        if kept is not None:
            self._cache.prefix.free(kept.slot)

    def reset(self) -> None:
        """Drop every request under way and whatever was kept for groups."""
        self._unfinished.clear()
        self._done.clear()
        self._forget()

    def _forget(self) -> None:
        """Drop all that is under way and all that is kept, memory included."""
        self._waiting.clear()
        self._begin_empty()

    def use(self, adapter: Adapter | None) -> bool:
        """It cannot."""
        return False

    def leave(self, memory: float) -> None:
        """Have so much less room for keys and values."""
        self._limits = leaving(self._limits, shape_of(self._model.config), memory, self._model.dtype.itemsize)
        self._forget()

    def sleep(self) -> bool:
        """It cannot."""
        return False

    def wake(self) -> None:
        """It always is."""

    def close(self) -> None:
        """Give the model's memory back, to the device too: a training in other processes may need it next."""
        from accelerate.utils.memory import clear_device_cache

        self.reset()
        del self._model, self._cache, self._decoding
        clear_device_cache(garbage_collection=True)

    @torch.inference_mode()
    def step(self) -> list[Completion]:
        """Admit waiting draws, decode one token of every row, and return the requests that are finished.

        Raises:
            ItoolError: if memory runs out although there is nothing left to halve.
        """
        within_memory(self._move_on, self._halve)
        done, self._done = self._done, []
        return done

    def _move_on(self) -> None:
        self._admit()
        if not self._decoding.rows:
            return
        for row in self._decoding.make_way():
            if row.draw >= 0:  # else its job waits already
                row.job.to_draw.appendleft(row.draw)
                if row.job not in self._waiting:
                    self._waiting.appendleft(row.job)
        logits = self._decoding.decode()
        self.usage.steps += 1
        self.usage.decoded += sum(row.draw >= 0 for row in self._decoding.rows)
        self._decoding.advance(logits)

    def _halve(self) -> None:
        """Begin again what is under way, half as much at once: a draw is the same whatever runs beside it.

        Raises:
            ItoolError: if there is nothing left to halve.
        """
        if max(self._limits.rows, self._limits.read, self._limits.score) == 1:
            raise ItoolError(
                "out of memory with one draw and one prompt at a time; set mcts.max_tokens or eval.max_tokens lower, "
                "leave out the longest samples, or take a smaller model or a larger GPU"
            )
        self._limits = self._limits.halved()
        self.max_rows = self._limits.rows
        self._forget()
        for job in self._unfinished:
            job.begin_again()
        self._waiting.extend(self._unfinished)
        log.warning("out of memory; going on with %d draws at once at most", self.max_rows)

    # -- admission ---------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Fill free rows in the order of the queue; a job whose prompt is still being computed does not block it.

        Only so many prompts are computed at a time that the rows under way, and whoever waits for this step, go on.
        """
        rows, most = self._decoding.rows, self.usage.prefilled + self._limits.step
        while True:
            blocked: list[Job] = []
            wanted: dict[str, Job] = {}  # one of each group: what a second one needs may be part of it
            tokens = draws = 0
            while self._waiting and len(rows) + draws < self.max_rows and self.usage.prefilled + tokens < most:
                job = self._waiting.popleft()
                self._attach(job)
                unread = self._unread(job)
                if unread and job.key not in wanted and (job.group is not None or self._has_room(job, wanted)):
                    wanted[job.key] = job
                    tokens += unread
                    draws += len(job.request.seeds)
                if unread or job.key in wanted or self._start_draws(job):
                    blocked.append(job)
            if blocked and not wanted and not rows:  # for none is there room; one has to go on
                wanted[blocked[0].key] = blocked[0]
            self._waiting.extendleft(reversed(blocked))
            if not wanted:
                return
            self._read(list(wanted.values()))

    def _attach(self, job: Job) -> None:
        """Find the job's group, if it is there already."""
        group = self._groups.get(job.key)
        if job.group is not None or group is None:
            return
        if tuple(job.request.prompt[: len(group.prefix)]) == group.prefix:
            self._join(job, group)
        else:
            job.key = f"\x00{job.key}/{job.request.request_id}"  # nothing to reuse: a prefix of its own

    def _join(self, job: Job, group: Group) -> None:
        job.group = group
        job.tail = tuple(job.request.prompt)[len(group.prefix) :]
        group.queued += 1

    def _has_room(self, job: Job, wanted: dict[str, Job]) -> bool:
        """Whether there is memory for the job's prompt beside those that are wanted, and for draws after all."""
        prompts = [len(other.request.prompt) for other in (job, *wanted.values()) if other.group is None]
        slots, longest = self._cache.prefix.used
        slots += len(prompts)
        rows = max(len(self._decoding.rows), min(self.max_rows, slots * len(job.request.seeds)))
        branch = max(self._cache.branch.used[1], min(job.request.max_tokens, USUAL_BRANCH))
        return self._cache.fits(slots, max(longest, *prompts), rows, branch)

    def _unread(self, job: Job) -> int:
        """How many tokens have to be computed before the job's draws can start, or a row can compute the last one."""
        if job.group is None:
            return len(job.request.prompt)
        if job.tail in job.group.logits:
            return 0
        known = job.group.known(job.tail[:-1])
        return len(job.tail) - known if known < len(job.tail) - 1 else 0

    def _read(self, jobs: list[Job]) -> None:
        """Compute what is unread of jobs of different groups."""
        passages = []
        for job in jobs:
            group, tail = job.group, job.tail
            if group is None:
                passages.append(Passage(tuple(job.request.prompt)))
                continue
            known = group.known(tail[:-1])
            self.usage.reused += known
            before = partial(self._known, group, tail[:known])
            passages.append(Passage(tail[known:], len(group.prefix) + known, before))
        results = read(self._model, passages, self._limits.read)
        for job, passage, (logits, keys_values) in zip(jobs, passages, results, strict=True):
            self.usage.prefilled += len(passage.ids)
            job.prefilled += len(passage.ids)
            if job.group is None:
                self._join(job, self._new_group(job.key, passage.ids, logits, keys_values))
            else:
                job.group.logits[job.tail] = logits
                job.group.keep(job.tail, keys_values)

    def _known(self, group: Group, path: tuple[int, ...]) -> Tensor:
        """Keys and values of a group's prefix and of tokens after it."""
        prefix = self._cache.get_prefix(group.slot)
        return torch.cat([prefix, group.read(path)], dim=3) if path else prefix

    def _new_group(self, key: str, prefix: tuple[int, ...], logits: Tensor, keys_values: Tensor) -> Group:
        slot = self._cache.prefix.idle()
        self._cache.set_prefix(slot, keys_values)
        group = self._groups[key] = Group(prefix, slot, {(): logits})
        return group

    def _start_draws(self, job: Job) -> bool:
        """Start as many of the job's draws as there are free rows; return whether some are left to start."""
        logits = self._logits(job) if self._decoding.has_room(len(job.tail)) else None
        if logits is None:
            return True
        while job.to_draw and len(self._decoding.rows) < self.max_rows and self._decoding.has_room(len(job.tail)):
            draw = job.to_draw.popleft()
            room = min(job.request.max_tokens, self.context - len(job.request.prompt))
            row = Row(job, draw, [], [], uniforms(job.request.seeds[draw], room), 0)
            self.usage.decoded += 1
            if not self._decoding.begin(row, logits):
                self._decoding.open(row, job.tail)
                self.usage.reused += len(job.tail)
        return bool(job.to_draw)

    def _logits(self, job: Job) -> Tensor | None:
        """What follows the job's prompt; None while a row computes it."""
        group, tail = job.group, job.tail
        assert group is not None
        if tail not in group.logits and not any(
            row.draw == -1 and row.job.group is group and row.job.tail == tail for row in self._decoding.rows
        ):
            # One token goes along with the rows that draw.
            self._decoding.open(Row(job, -1, [], [], np.empty(0), tail[-1]), tail[:-1])
            self.usage.reused += len(tail) - 1
            job.prefilled += 1
            self.usage.prefilled += 1
        return group.logits.get(tail)

    def _finish(self, job: Job) -> None:
        draws = tuple(job.draws[i] for i in range(len(job.draws)))
        self._done.append(
            Completion(job.request.request_id, draws, job.prefilled, len(job.request.prompt) - job.prefilled)
        )
        self._unfinished.remove(job)
        group = job.group
        assert group is not None
        group.queued -= 1
        if not group.queued and job.key.startswith("\x00"):
            self.release(job.key)

    # -- scoring -----------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def score(self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the log-probability of each continuation token (`scoring.py`).

        Raises:
            ItoolError: if a prompt is empty or prompt and continuation do not fit the context.
        """
        for prompt, continuation in zip(prompts, continuations, strict=True):
            check_sequence(prompt, continuation, self.context)
        scores, read = within_memory(
            lambda: score(self._model, prompts, continuations, self._limits.score), self._halve
        )
        self.usage.scored += read
        return scores


def load_policy(
    path: Path, policy_id: PolicyId, adapter: Path | None, device: str, rows: int = 0
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
    model, limits = model.to(device), usual(device, rows)
    if device == "cuda":
        limits = within(limits, shape_of(model.config), free_memory())
    return TransformersPolicy(model, policy_id, stop_ids(path), limits)
