"""The official scores as formulas over categories (docs/bfcl.md §7), one set per scoring era.

Only era C (the last of v3) and v4 can be computed from what exists today. Table 1 of the paper is era A, with
executed categories and another multi-turn rule, so none of these numbers can be compared with it. In the run's own
prompt the official formulas would count as 0 what is never asked there; it has two scores of its own.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from itool_eval.bfcl.categories import MEMORY, WEB_SEARCH, Checker, Version, single_turn


@dataclass(frozen=True)
class Formula:
    """A weighted mean of categories and of other formulas.

    Attributes:
        name: the score's name.
        parts: category names and formulas.
        weights: each part's weight; none given means equal ones.
        pooled: weigh each category by its number of items instead: the share of right ones among all items.
        shows_gaps: whether the official table prints "N/A" when a category is missing, instead of counting it as 0.
    """

    name: str
    parts: tuple["str | Formula", ...]
    weights: tuple[float, ...] = ()
    pooled: bool = False
    shows_gaps: bool = True

    @property
    def categories(self) -> tuple[str, ...]:
        """Every category that the formula reads."""
        return tuple(c for part in self.parts for c in (part.categories if isinstance(part, Formula) else (part,)))

    @property
    def text(self) -> str:
        """The formula in words."""
        names = [part.name if isinstance(part, Formula) else part for part in self.parts]
        if self.pooled:
            return f"correct / items over {', '.join(names)}"
        if self.weights:
            text = " + ".join(f"{weight:g} · {name}" for weight, name in zip(self.weights, names, strict=True))
            return text if math.isclose(total := sum(self.weights), 1) else f"({text}) / {total:g}"
        return f"mean({', '.join(names)})"

    def over(self, run: Collection[str]) -> "Formula | None":
        """The formula over the categories that were run, the others left out with their weights; None if none was."""
        parts = [p.over(run) if isinstance(p, Formula) else p if p in run else None for p in self.parts]
        weights = tuple(weight for part, weight in zip(parts, self.weights, strict=False) if part)
        kept = tuple(part for part in parts if part)
        return replace(self, parts=kept, weights=weights) if kept else None

    def value(self, shares: Mapping[str, Any], sizes: Mapping[str, int]) -> Any:
        """Compute the score.

        Args:
            shares: each category's share of right outputs, as numbers or arrays.
            sizes: each category's number of items.
        """
        values = [p.value(shares, sizes) if isinstance(p, Formula) else shares[p] for p in self.parts]
        weights = self.weights or [1] * len(values)
        if self.pooled:
            weights = [sizes[category] for category in self.categories]
        return sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)


_MULTI_TURN = Formula(
    "multi_turn",
    ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context"),
    shows_gaps=False,
)
_LIVE_AST_PARTS = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
_LIVE_AST = Formula("live_ast", _LIVE_AST_PARTS, pooled=True)
_RELEVANCE = Formula("relevance", ("live_relevance",))
_IRRELEVANCE = Formula("irrelevance_mean", ("irrelevance", "live_irrelevance"))
_WEB_SEARCH = Formula("web_search", WEB_SEARCH)
_MEMORY = Formula("memory", MEMORY)
_AGENTIC = Formula("agentic", (_WEB_SEARCH, _MEMORY), shows_gaps=False)


# Not official: what the paper's Table 5 shows (4.5).
PAPER_TABLE_5 = "live_and_multi_turn"


def _formulas(version: Version) -> tuple[Formula, ...]:
    v3 = version is Version.V3
    ours: tuple[Formula, ...] = ()
    simple_names = ("simple", "java", "javascript") if v3 else ("simple_python", "simple_java", "simple_javascript")
    simple = Formula("simple_ast", simple_names)
    ast_parts: tuple[str | Formula, ...] = (simple, "multiple", "parallel", "parallel_multiple")
    non_live_ast = Formula("non_live_ast", ast_parts)
    if v3:
        non_live = Formula("non_live", (*ast_parts, "irrelevance"), shows_gaps=False)
        live_parts = (*_LIVE_AST_PARTS, "live_irrelevance", "live_relevance")
        live = Formula("live", live_parts, pooled=True, shows_gaps=False)
        overall = Formula("overall", (live, non_live, _MULTI_TURN), shows_gaps=False)
        ours = (Formula(PAPER_TABLE_5, (live, _MULTI_TURN), shows_gaps=False),)
    else:
        non_live = Formula("non_live", ast_parts, shows_gaps=False)
        live = Formula("live", _LIVE_AST_PARTS, pooled=True, shows_gaps=False)
        parts = (non_live, live, _IRRELEVANCE, _MULTI_TURN, _AGENTIC)
        overall = Formula("overall", parts, weights=(0.1, 0.1, 0.1, 0.3, 0.4), shows_gaps=False)
    agentic = () if v3 else (_AGENTIC, _WEB_SEARCH, _MEMORY)
    return (
        overall,
        non_live,
        live,
        _MULTI_TURN,
        *agentic,
        non_live_ast,
        simple,
        _LIVE_AST,
        _RELEVANCE,
        _IRRELEVANCE,
        *ours,
    )


FORMULAS: dict[Version, tuple[Formula, ...]] = {version: _formulas(version) for version in Version}
ERAS = {
    Version.V3: "BFCL v3, era C (April to August 2025), data of bfcl-eval 2025.8.6.2",
    Version.V4: "BFCL v4, data of bfcl-eval 2026.3.23",
}


def two_sides(run: Collection[str]) -> tuple[Formula, ...]:
    """What v3's items come to in the run's own prompt: right calls, and right abstention from any.

    Both are over the categories that were run, which the formula names. A policy that always calls has a low share of
    the second, one that never does none of the first. live_relevance is in neither: there any call is right.

    Args:
        run: the categories.
    """
    asked = [category for category in single_turn(Version.V3) if category.name in run]
    sides = {
        "calls": tuple(c.name for c in asked if c.has_answers),
        "abstention": tuple(c.name for c in asked if c.checker is Checker.IRRELEVANCE),
    }
    return tuple(Formula(name, parts, pooled=True) for name, parts in sides.items() if parts)
