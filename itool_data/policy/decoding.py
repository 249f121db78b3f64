"""The draws that the transformers policy has under way: a row each, and one token of all of them at a time.

Rows are the first entries of the shared-prefix cache's branches; one that ends leaves what it computed to its group,
and its place to the last one. Left out: which draws begin, and when (`transformers.py`).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from itool_data.policy.base import Draw, ending
from itool_data.policy.draws import Job, Row
from itool_data.policy.groups import Group
from itool_data.policy.sampling import next_tokens
from itool_data.policy.shared_prefix import SharedPrefixCache


class Decoding:
    """Rows over one model and one cache.

    Args:
        model: in evaluation mode, with the shared-prefix attention.
        cache: of keys and values.
        groups: by their keys; all that have something in the cache.
        stop_ids: token ids that end a response.
        kept: tokens that finished draws may leave to all groups together.
        finish: called with a request once its last draw is there.

    Attributes:
        rows: under way.
    """

    def __init__(
        self,
        model: Any,
        cache: SharedPrefixCache,
        groups: dict[str, Group],
        stop_ids: frozenset[int],
        kept: float,
        finish: Callable[[Job], None],
    ):
        self.rows: list[Row] = []
        self._model = model
        self._cache = cache
        self._groups = groups
        self._stop = stop_ids
        self._kept = kept
        self._finish = finish

    def has_room(self, tokens: int) -> bool:
        """Whether there is memory for another row, whose branch begins with so many tokens."""
        branch = max(self._cache.branch.used[1], tokens + 1)
        return not self.rows or self._cache.fits(*self._cache.prefix.used, len(self.rows) + 1, branch)

    def begin(self, row: Row, logits: Tensor) -> bool:
        """Give a draw its first token; return whether that ended it, else it needs a row.

        Args:
            row: the draw.
            logits: [vocabulary], after its prompt.
        """
        (token,), (logprob,) = _sample(logits[None], [row])
        return self._append(row, token, logprob)

    def open(self, row: Row, path: tuple[int, ...]) -> None:
        """Give a row a branch that already holds the keys and values of `path`."""
        group = row.job.group
        assert group is not None
        self._cache.set_branch(len(self.rows), group.read(path) if path else None)
        self.rows.append(row)

    def make_way(self) -> list[Row]:
        """Take the newest rows out where there is no memory for a further token of all of them; return those."""
        branch = self._cache.branch
        taken = []
        while len(self.rows) > 1 and not self._cache.fits(
            *self._cache.prefix.used, len(self.rows), max(branch.lengths) + 1
        ):
            taken.append(self._take_out(min(range(len(self.rows)), key=lambda i: len(self.rows[i].ids))))
        return taken

    def _take_out(self, i: int) -> Row:
        """Take a row out of those under way; the last one takes its place."""
        self._cache.take_branch_out(i)
        row, last = self.rows[i], self.rows.pop()
        if row is not last:
            self.rows[i] = last
        return row

    def decode(self) -> Tensor:
        """Feed every row's token; return the logits [rows, vocabulary] in float32."""
        groups = [row.job.group for row in self.rows]
        plan = self._cache.layout([g.slot for g in groups if g is not None])
        device = self._model.device
        ids = torch.tensor([[row.feed] for row in self.rows], device=device)
        positions = [
            len(g.prefix) + n for g, n in zip(groups, self._cache.branch.lengths, strict=True) if g is not None
        ]
        out = self._model(
            input_ids=ids,
            position_ids=torch.tensor(positions, device=device)[:, None],
            attention_mask=torch.zeros(1, 1, 1, 1, device=device),  # 4-D: taken as prepared; the cache has its own
            use_cache=False,
            shared_prefix=(self._cache, plan),
        )
        for i in range(len(self.rows)):
            self._cache.branch.lengths[i] += 1
        logits: Tensor = out.logits[:, -1].float()
        return logits

    def advance(self, logits: Tensor) -> None:
        """Add its next token to every draw; take finished rows out and keep what they computed.

        Args:
            logits: [rows, vocabulary], as `decode` returns them.
        """
        drawing = [i for i, row in enumerate(self.rows) if row.draw >= 0]
        ended = {i for i, row in enumerate(self.rows) if row.draw < 0}
        for i in ended:
            job = self.rows[i].job
            assert job.group is not None
            job.group.logits[job.tail] = logits[i].clone()
            self._keep(i, job.tail)
        if drawing:
            tokens, logprobs = _sample(logits[drawing], [self.rows[i] for i in drawing])
            for i, token, logprob in zip(drawing, tokens, logprobs, strict=True):
                row = self.rows[i]
                if self._append(row, token, logprob):
                    ended.add(i)
                    self._keep(i, row.job.tail + tuple(row.ids[:-1]))
        for i in sorted(ended, reverse=True):
            self._take_out(i)

    def _append(self, row: Row, token: int, logprob: float) -> bool:
        """Add a token to a draw; return whether that ended it."""
        row.ids.append(token)
        row.logprobs.append(logprob)
        row.feed = token
        job, ids = row.job, tuple(row.ids)
        stopped = token in self._stop and not job.request.ignore_stop
        finish = ending(job.request, ids, stopped, len(row.uniforms))
        if finish is None:
            return False
        job.draws[row.draw] = Draw(ids, tuple(row.logprobs), finish)
        if len(job.draws) == len(job.request.seeds):
            self._finish(job)
        return True

    def _keep(self, i: int, path: tuple[int, ...]) -> None:
        """Store what a finished row computed for later requests of its group; of a draw only if there is room."""
        row = self.rows[i]
        group = row.job.group
        assert group is not None
        known = group.known(path)
        if known == len(path) or row.job.key.startswith("\x00"):
            return
        kept = sum(group.tokens for group in self._groups.values()) + len(path) - known
        if row.draw < 0 or kept <= self._kept:
            group.keep(path, self._cache.branch.read(i, known, len(path)))


def _sample(logits: Tensor, rows: list[Row]) -> tuple[list[int], list[float]]:
    """Choose the next token of each row."""
    temperatures = [row.job.request.temperature for row in rows]
    return next_tokens(logits, temperatures, [float(row.uniforms[len(row.ids)]) for row in rows])
