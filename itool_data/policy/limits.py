"""How much the transformers policy does at once: on a CPU what is fast there, on a GPU also what its memory allows.

Left out: how much memory that takes (`itool_data.sizing`).
"""

import math
from dataclasses import dataclass

ROWS = {"cpu": 48, "cuda": 256}  # draws at once
READ_TOKENS = {"cpu": 1, "cuda": 16384}  # of a pass over prompts, padding included; a prompt alone may have more
STEP_TOKENS = {"cpu": 2048, "cuda": 65536}  # of prompts in a step; after so many the others wait for the next one
SCORE_TOKENS = {"cpu": 512, "cuda": 32768}  # of a pass that scores, padding included; small ones are as fast on a CPU

KEPT = 0.25  # share of the memory for keys and values that may hold what finished draws of open groups have computed


@dataclass(frozen=True)
class Limits:
    """What a policy does at once.

    Attributes:
        rows: draws.
        read: tokens of a pass over prompts, padding included; one prompt may have more.
        score: the same, of a pass that scores.
        step: tokens of prompts that are computed before the rows under way go on.
        room: tokens of keys and values that there is memory for.
    """

    rows: int
    read: int
    score: int
    step: int
    room: float = math.inf

    def halved(self) -> "Limits":
        """Half of all that memory depends on."""
        return Limits(max(1, self.rows // 2), max(1, self.read // 2), max(1, self.score // 2), self.step, self.room / 2)


def usual(device: str, rows: int = 0) -> Limits:
    """What is done at once on a device whose memory is not short.

    Args:
        device: `cpu` or `cuda`.
        rows: `model.rows`; 0: as many as are worth it.
    """
    return Limits(rows or ROWS[device], READ_TOKENS[device], SCORE_TOKENS[device], STEP_TOKENS[device])
