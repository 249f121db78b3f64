"""The next token of many draws from their logits: exact sampling by inverse distribution function.

Left out: top-p, top-k and penalties, under which a draw's log-probability would not be the policy's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def next_tokens(
    logits: Tensor, temperatures: Sequence[float], uniforms: Sequence[float]
) -> tuple[list[int], list[float]]:
    """Choose the next token of each draw.

    Args:
        logits: [n, vocabulary], float32.
        temperatures: of each; 0 takes the most probable token.
        uniforms: a number in [0, 1) for each.

    Returns:
        The tokens, and their log-probabilities at temperature 1.
    """
    tokens = logits.argmax(-1)
    if any(temperatures):  # An evaluation is all greedy and needs no distribution.
        warmth = torch.tensor(temperatures, device=logits.device)
        u = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)
        greedy = warmth == 0
        cdf = torch.softmax(logits / torch.where(greedy, 1.0, warmth)[:, None], dim=-1).double().cumsum(-1)
        drawn = torch.searchsorted(cdf, (u * cdf[:, -1])[:, None], right=True)[:, 0]
        tokens = torch.where(greedy, tokens, drawn.clamp_(max=logits.shape[-1] - 1))
    logprobs = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
    return tokens.tolist(), logprobs.tolist()
