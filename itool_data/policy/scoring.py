"""Log-probabilities of given continuations under a transformers model, several sequences a batch.

Batches are left-padded, so that the continuations end together and logits are computed for the last tokens only.
Continuations of one token after the same prompt (the options of a self-evaluation) are read off one pass. Left out:
reuse of keys and values; what is scored is mostly scored once.
"""

from collections.abc import Sequence
from typing import Any

import torch

Ids = tuple[int, ...]


def score(
    model: Any, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], limit: int
) -> tuple[list[list[float]], int]:
    """Return the log-probability of each continuation token at temperature 1, and how many tokens the model read.

    Args:
        model: a transformers causal language model.
        prompts: token ids.
        continuations: one of each prompt.
        limit: tokens of a batch, padding included; a sequence alone may have more.
    """
    device = model.device
    passes: dict[Ids, list[int]] = {}
    for i, (prompt, continuation) in enumerate(zip(prompts, continuations, strict=True)):
        tokens = (*prompt, *continuation[:-1])  # the last token is predicted, never read
        passes.setdefault(tokens, []).append(i)
    results: list[list[float]] = [[] for _ in prompts]
    for batch in _batches(sorted(passes, key=len), limit):
        longest = max(map(len, batch))
        ids = torch.tensor([[0] * (longest - len(t)) + list(t) for t in batch], device=device)
        pad = torch.tensor([longest - len(t) for t in batch], device=device)
        columns = torch.arange(longest, device=device)[None]
        keep = max(len(continuations[i]) for t in batch for i in passes[t])
        out = model(
            input_ids=ids,
            attention_mask=(columns >= pad[:, None]).long(),
            position_ids=(columns - pad[:, None]).clamp(min=0),
            use_cache=False,
            logits_to_keep=max(keep, 1),
        )
        for row, tokens in enumerate(batch):
            # A row at a time: over a large vocabulary those of all rows would be most of the memory.
            logprobs = torch.log_softmax(out.logits[row].float(), dim=-1)
            for i in passes[tokens]:
                wanted = torch.tensor(list(continuations[i]), device=device, dtype=torch.long)
                own = logprobs[len(logprobs) - len(wanted) :]
                results[i] = own.gather(1, wanted[:, None])[:, 0].tolist()
    return results, sum(map(len, passes))


def _batches(sequences: list[Ids], limit: int) -> list[list[Ids]]:
    """Cut sequences, shortest first, into batches of at most so many padded tokens."""
    batches: list[list[Ids]] = []
    for tokens in sequences:
        if batches and (len(batches[-1]) + 1) * len(tokens) <= limit:
            batches[-1].append(tokens)
        else:
            batches.append([tokens])
    return batches
