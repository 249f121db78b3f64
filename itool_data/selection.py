"""Which samples a round searches: a random buffer of the training samples (paper 3.2), and of it what comes first.

    perplexity  the hardest: the highest perplexity of the gold response (Eq. 4; the paper's)
    doubt       the most wrong steps expected: the sum over the gold response's steps of 1 - probability
    pass-rate   those answered right now and then, nearest to every other time; the others have nothing to contrast

Left out: how perplexities, probabilities and pass rates come about (`perplexity.py`, `pass_rate.py`).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from itool_data.kinds import Select
from itool_data.policy.base import derive_seed
from itool_data.sample import Sample
from itool_data.store.sql import query
from itool_data.store.tables import Store

# By `replay.select`: what is searched has the highest score; a sample without one is not searched.
_SCORES: dict[Select, str] = {
    "perplexity": "SELECT sample_id, perplexity AS score FROM perplexity WHERE round = ? AND policy = ?",
    "doubt": "SELECT sample_id, sum(1 - probability) AS score FROM all_fragments "
    "WHERE round = ? AND policy = ? AND tree_id IS NULL GROUP BY sample_id",
    "pass-rate": "SELECT sample_id, -abs(right_draws / draws - 0.5) AS score FROM pass_rates "
    "WHERE round = ? AND policy = ? AND right_draws BETWEEN 1 AND draws - 1",
}


def replay_buffer(samples: Sequence[Sample], fraction: float, seed: int) -> list[Sample]:
    """A random share of the samples (paper: 50 %, seed 42), in their order; the same for the same set in any order."""
    ordered = sorted(samples, key=lambda s: s.sample_id)
    generator = np.random.default_rng(derive_seed(seed, "replay"))
    chosen = generator.permutation(len(ordered))[: math.ceil(fraction * len(ordered))]
    ids = {ordered[i].sample_id for i in chosen}
    return [s for s in samples if s.sample_id in ids]


def scores(store: Store, select: Select, round_: int, policy: str) -> dict[str, float]:
    """What a round's samples are chosen by, by sample id: the highest scores come first."""
    rows = query(store, _SCORES[select], None, [round_, policy]).to_pylist()
    return {row["sample_id"]: row["score"] for row in rows}


def highest(by_id: Mapping[str, float], most: int) -> list[str]:
    """The ids of the highest scores, at most so many, highest first; equals by their ids."""
    return sorted(by_id, key=lambda sample_id: (-by_id[sample_id], sample_id))[:most]
