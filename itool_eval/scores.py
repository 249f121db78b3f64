"""Intervals for shares and for formulas over shares (docs/bfcl.md §7).

Wilson's interval for one share, and for a mean over items that were tried several times; a bootstrap over items for
anything computed from several shares; Newcombe's for the difference of two shares over the same items, and one that
counts groups where the items come in them. All are 95 % intervals.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The normal distribution's 97.5 % point.
Z = 1.959963984540054
_DRAWS = 10_000
_SEED = 42

Shares = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Tally:
    """How many of n outputs are right."""

    correct: int
    n: int

    @property
    def share(self) -> float:
        """The share of right ones, 0 for no output at all."""
        return self.correct / self.n if self.n else 0.0


def wilson(tally: Tally) -> Interval:
    """Wilson's score interval of one share; of no output it is all of [0, 1]."""
    if not tally.n:
        return Interval(0.0, 1.0)
    return _wilson(tally.share, tally.n)


def wilson_of_mean(values: Sequence[float], most: float) -> Interval:
    """Wilson's interval of the mean of items' values in [0, 1], for as many right-or-wrong items as vary as much.

    That is the items' number times their variance if each were 0 or 1, by the variance that they have: the effective
    sample size of Korn and Graubard (1998). Where each is 0 or 1 it is `wilson`.

    Args:
        values: one an item.
        most: the effective sample size at most, however alike the values are.
    """
    if not values:
        return Interval(0.0, 1.0)
    n, mean = len(values), sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / n
    if mean in (0.0, 1.0):
        return _wilson(mean, n)
    return _wilson(mean, min(n * mean * (1 - mean) / variance, most) if variance else most)


def _wilson(p: float, n: float) -> Interval:
    centre = p + Z * Z / (2 * n)
    spread = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    # Exact at the ends, where rounding would leave 1e-17 instead of 0.
    low = 0.0 if p == 0 else (centre - spread) / scale
    high = 1.0 if p == 1 else (centre + spread) / scale
    return Interval(low, high)


def bootstrap(formula: Callable[[Shares], Any], tallies: Mapping[str, Tally]) -> Interval:
    """The percentile interval of a formula over shares, by a bootstrap over the items within each category.

    Drawing n right-or-wrong items with replacement is drawing a binomial count, which is what is done. Where every
    category is all right or all wrong nothing varies, and the interval has no width.

    Args:
        formula: computes the score from each category's share; must work on arrays.
        tallies: each category's counts.
    """
    random = np.random.default_rng(_SEED)
    shares = {
        name: random.binomial(tally.n, tally.share, _DRAWS) / max(tally.n, 1) for name, tally in sorted(tallies.items())
    }
    low, high = np.percentile(formula(shares), (2.5, 97.5))
    return Interval(float(low), float(high))


def mcnemar_p(fixed: int, broken: int) -> float:
    """McNemar's exact two-sided p: how likely so uneven a split of the changed items is if both are equally good."""
    changed = fixed + broken
    tail = sum(math.comb(changed, k) for k in range(min(fixed, broken) + 1))
    return min(1.0, tail / 2 ** (changed - 1)) if changed else 1.0


def paired_difference(both: int, fixed: int, broken: int, neither: int) -> Interval:
    """Newcombe's score interval of the share after minus the share before, over the same items (1998, method 10).

    Args:
        both: items right before and after.
        fixed: items right only after.
        broken: items right only before.
        neither: items wrong before and after.
    """
    n = both + fixed + broken + neither
    if not n:
        return Interval(-1.0, 1.0)
    after, before = Tally(both + fixed, n), Tally(both + broken, n)
    at, bt = wilson(after), wilson(before)
    margins = (both + fixed) * (broken + neither) * (both + broken) * (fixed + neither)
    product = both * neither - fixed * broken
    # The continuity correction weakens a positive correlation only.
    corrected = max(product - n / 2, 0.0) if product > 0 else product
    phi = corrected / math.sqrt(margins) if margins else 0.0
    difference = after.share - before.share
    return Interval(
        difference - _combined(after.share - at.low, bt.high - before.share, phi),
        difference + _combined(at.high - after.share, before.share - bt.low, phi),
    )


def clustered_difference(groups: Sequence[tuple[int, int]]) -> Interval:
    """The interval of the share after minus the share before, over the same items, which come in groups.

    Items of a group are not independent of one another, so what varies is the group: the difference is a ratio of two
    sums over the groups, and its variance that of the groups' residuals (Cochran 1977, 6.4). Where nothing changed
    nothing varies, and the interval has no width.

    Args:
        groups: each one's number of items, and its items fixed minus its items broken.
    """
    n, k = sum(size for size, _ in groups), len(groups)
    if k < 2:
        return Interval(-1.0, 1.0)
    difference = sum(gain for _, gain in groups) / n
    squares = sum((gain - difference * size) ** 2 for size, gain in groups)
    margin = Z * math.sqrt(squares * k / (k - 1)) / n
    return Interval(max(-1.0, difference - margin), min(1.0, difference + margin))


def _combined(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(first * first - 2 * phi * first * second + second * second, 0.0))
