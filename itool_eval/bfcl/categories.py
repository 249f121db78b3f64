"""BFCL's categories: name, checker, language, number of items and files, per version (docs/bfcl.md §2).

The official checker dispatches on words inside the name; here every category says its checker itself.
"""

from dataclasses import dataclass
from enum import StrEnum


class Version(StrEnum):
    """A benchmark version; each has its own data, decoder and formulas."""

    V3 = "bfcl-v3"
    V4 = "bfcl-v4"

    @property
    def prefix(self) -> str:
        """How the version's official files begin, e.g. `BFCL_v3`."""
        return f"BFCL_{self.value.removeprefix('bfcl-')}"


class Checker(StrEnum):
    """How an item is decided."""

    SIMPLE = "simple"
    MULTIPLE = "multiple"
    ANY_ORDER = "any-order"
    IRRELEVANCE = "irrelevance"
    RELEVANCE = "relevance"
    MULTI_TURN = "multi-turn"
    FORMS = "forms"
    AGENTIC = "agentic"


class Language(StrEnum):
    """The language that a category's calls are written in."""

    PYTHON = "Python"
    JAVA = "Java"
    JAVASCRIPT = "JavaScript"


@dataclass(frozen=True)
class Category:
    """One category of one version; `size` is its number of items, duplicates included."""

    name: str
    checker: Checker
    size: int
    language: Language = Language.PYTHON

    @property
    def has_answers(self) -> bool:
        """Whether the data holds accepted answers: the (ir)relevance categories have none."""
        return self.checker not in (Checker.IRRELEVANCE, Checker.RELEVANCE)


# Items whose conversation ends in a text with the answer. Those of memory are the same for each back end.
MEMORY = ("memory_kv", "memory_vector", "memory_rec_sum")
WEB_SEARCH = ("web_search_base", "web_search_no_snippet")
# How the categories of the conversations are called that fill a memory; nothing scores them.
SET_UP = "_prereq"
# 200 of the single-turn items, each in 26 forms of the system prompt.
FORMAT_SENSITIVITY = "format_sensitivity"

_SHARED = (
    Category("multiple", Checker.MULTIPLE, 200),
    Category("parallel", Checker.ANY_ORDER, 200),
    Category("parallel_multiple", Checker.ANY_ORDER, 200),
    Category("irrelevance", Checker.IRRELEVANCE, 240),
    Category("live_simple", Checker.SIMPLE, 258),
    Category("live_multiple", Checker.MULTIPLE, 1053),
    Category("live_parallel", Checker.ANY_ORDER, 16),
    Category("live_parallel_multiple", Checker.ANY_ORDER, 24),
    Category("multi_turn_base", Checker.MULTI_TURN, 200),
    Category("multi_turn_miss_func", Checker.MULTI_TURN, 200),
    Category("multi_turn_miss_param", Checker.MULTI_TURN, 200),
    Category("multi_turn_long_context", Checker.MULTI_TURN, 200),
)

_OWN = {
    Version.V3: (
        Category("simple", Checker.SIMPLE, 400),
        Category("java", Checker.SIMPLE, 100, Language.JAVA),
        Category("javascript", Checker.SIMPLE, 50, Language.JAVASCRIPT),
        Category("live_irrelevance", Checker.IRRELEVANCE, 882),
        Category("live_relevance", Checker.RELEVANCE, 18),
    ),
    Version.V4: (
        Category("simple_python", Checker.SIMPLE, 400),
        Category("simple_java", Checker.SIMPLE, 100, Language.JAVA),
        Category("simple_javascript", Checker.SIMPLE, 50, Language.JAVASCRIPT),
        Category("live_irrelevance", Checker.IRRELEVANCE, 884),
        Category("live_relevance", Checker.RELEVANCE, 16),
        Category(FORMAT_SENSITIVITY, Checker.FORMS, 5200),
        *(Category(name, Checker.AGENTIC, 155) for name in MEMORY),
        *(Category(name, Checker.AGENTIC, 100) for name in WEB_SEARCH),
    ),
}

CATEGORIES: dict[Version, dict[str, Category]] = {
    version: {category.name: category for category in (*own, *_SHARED)} for version, own in _OWN.items()
}


_NOT_SINGLE = (Checker.MULTI_TURN, Checker.FORMS, Checker.AGENTIC)


def single_turn(version: Version) -> list[Category]:
    """The categories of items that one reply decides, in the order in which they are shown."""
    return [c for c in CATEGORIES[version].values() if c.checker not in _NOT_SINGLE]
