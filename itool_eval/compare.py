"""Two policies over the same items: what was fixed, what was broken, and whether that can be chance.

Paired by item, so the items' differing difficulty cancels out: McNemar's exact test, and Newcombe's interval of the
difference (`scores.py`). Items that come in groups, as the decisions along one sample or the tries at one task do, are
not independent of one another: their interval counts groups, not items; McNemar's test takes them as independent all
the same. Items that only one of the two was run on are counted and left out.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from itool_data.errors import ItoolError
from itool_eval.errors import first_class
from itool_eval.scores import (
    Interval,
    Tally,
    clustered_difference,
    mcnemar_p,
    paired_difference,
    wilson,
    wilson_of_mean,
)
from itool_eval.verdicts import Verdict

Key = tuple[str, str, int]


@dataclass(frozen=True)
class Outcome:
    """What a comparison needs to know of one evaluated item; the group names those that it is not independent of."""

    category: str
    id: str
    valid: bool
    error_class: str | None
    group: str = ""


def outcomes(verdicts: Iterable[Verdict]) -> list[Outcome]:
    """What a comparison needs of some verdicts; tries at one item are a group."""
    found = list(verdicts)
    tried = any(verdict.trial for verdict in found)
    return [Outcome(v.category, v.id, v.valid, first_class(v), v.id if tried else "") for v in found]


def share_interval(found: Sequence[Outcome]) -> Interval:
    """The interval of the share of right ones, in which several tries at an item say no more than they differ."""
    if not any(outcome.group == outcome.id for outcome in found):
        return wilson(Tally(sum(outcome.valid for outcome in found), len(found)))
    tries: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for outcome in found:
        tries[outcome.category, outcome.id].append(outcome.valid)
    return wilson_of_mean([sum(right) / len(right) for right in tries.values()], len(found))


def read_outcomes(path: Path) -> list[Outcome]:
    """What a comparison needs of a file of verdicts, as `itool eval score` writes it.

    Raises:
        ItoolError: the file cannot be read, or a line of it is no verdict.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ItoolError(f"{path}: cannot be read ({error}); give a verdict file or a run's folder") from None
    found, tried = [], False
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            tried |= bool(row.get("trial"))
            found.append(Outcome(row["category"], row["id"], row["valid"], row["error_class"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ItoolError(f"{path}, line {number}: no verdict ({error}); `itool eval score` writes them") from None
    return [replace(outcome, group=outcome.id) for outcome in found] if tried else found


def repeated(found: Iterable[Outcome]) -> dict[tuple[str, str], int]:
    """How often an id comes that comes more than once, by category and id; the data that is scored has each once.

    Several tries at an item, which are a group, are meant to be.
    """
    times = Counter((outcome.category, outcome.id) for outcome in found if not outcome.group)
    return {key: n for key, n in times.items() if n > 1}


@dataclass(frozen=True)
class Change:
    """The paired counts of some items, before and after.

    Attributes:
        both: right before and after.
        fixed: right only after.
        broken: right only before.
        neither: wrong before and after.
        groups: where the items come in groups, each one's items and its fixed minus its broken ones.
    """

    both: int
    fixed: int
    broken: int
    neither: int
    groups: tuple[tuple[int, int], ...] = ()

    @property
    def n(self) -> int:
        """How many items both were run on."""
        return self.both + self.fixed + self.broken + self.neither

    @property
    def difference(self) -> float:
        """Share of right items after minus before."""
        return (self.fixed - self.broken) / self.n if self.n else 0.0

    @property
    def p(self) -> float:
        """McNemar's exact two-sided p."""
        return mcnemar_p(self.fixed, self.broken)

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the difference."""
        if self.groups:
            return clustered_difference(self.groups)
        return paired_difference(self.both, self.fixed, self.broken, self.neither)


@dataclass(frozen=True)
class Flip:
    """An item whose verdict changed; the class is that of the output that was wrong."""

    category: str
    id: str
    fixed: bool
    error_class: str | None


@dataclass(frozen=True)
class Comparison:
    """How one set of verdicts differs from another.

    Attributes:
        overall: over all items that both were run on.
        by_category: the same for each category.
        by_class: the same for each error class, of all items: those wrong by it are the wrong ones, all others right.
        flips: the items that changed, in the order of the first set.
        unpaired: how many items only one of the two has.
    """

    overall: Change
    by_category: Mapping[str, Change]
    by_class: Mapping[str, Change]
    flips: Sequence[Flip] = field(default_factory=list)
    unpaired: int = 0


def compare(before: Iterable[Outcome], after: Iterable[Outcome]) -> Comparison:
    """Compare two sets of verdicts item by item.

    An id that comes several times is paired by its occurrence: the first with the first.

    Args:
        before: the outcomes of the policy to compare with.
        after: the outcomes of the policy that is compared.
    """
    old, new = _keyed(before), _keyed(after)
    pairs = [(old[key], new[key]) for key in old if key in new]
    categories = dict.fromkeys(a.category for a, _ in pairs)
    classes = dict.fromkeys(one.error_class or "" for pair in pairs for one in pair if not one.valid)
    flips = [
        Flip(a.category, a.id, b.valid, a.error_class if b.valid else b.error_class)
        for a, b in pairs
        if a.valid != b.valid
    ]
    return Comparison(
        _change(pairs),
        {category: _change([pair for pair in pairs if pair[0].category == category]) for category in categories},
        {name: _change([(_only(a, name), _only(b, name)) for a, b in pairs]) for name in classes},
        flips,
        len(old) + len(new) - 2 * len(pairs),
    )


def _keyed(outcomes: Iterable[Outcome]) -> dict[Key, Outcome]:
    seen: Counter[tuple[str, str]] = Counter()
    keyed = {}
    for outcome in outcomes:
        name = (outcome.category, outcome.id)
        keyed[(*name, seen[name])] = outcome
        seen[name] += 1
    return keyed


def _only(outcome: Outcome, error_class: str) -> Outcome:
    """An outcome that is wrong by this class or not at all."""
    return replace(outcome, valid=outcome.valid or (outcome.error_class or "") != error_class)


def _change(pairs: Sequence[tuple[Outcome, Outcome]]) -> Change:
    counts = Counter((a.valid, b.valid) for a, b in pairs)
    sizes = Counter(a.group for a, _ in pairs if a.group)
    gains: Counter[str] = Counter()
    for a, b in pairs:
        gains[a.group] += b.valid - a.valid
    groups = tuple((size, gains[group]) for group, size in sizes.items())
    return Change(counts[True, True], counts[False, True], counts[True, False], counts[False, False], groups)
