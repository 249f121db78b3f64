"""The benchmarks that a policy can be asked, in one form: questions, a scorer, scores.

Left out: generating the answers (`predict.py`), and BFCL's multi-turn items, which are more than one question each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from itool_data.errors import ItoolError
from itool_data.policy.base import derive_seed
from itool_eval.apibank import items as apibank_items
from itool_eval.apibank.aggregate import summarise as summarise_api_bank
from itool_eval.apibank.scorer import ApiBankScorer
from itool_eval.bfcl.aggregate import summarise as summarise_bfcl
from itool_eval.bfcl.categories import CATEGORIES, Language, Version
from itool_eval.bfcl.items import data_folder, load_items
from itool_eval.bfcl.prompt import PromptContract
from itool_eval.bfcl.score_file import Scorer
from itool_eval.bfcl.single_turn import SingleTurnScorer
from itool_eval.summary import Summary, tally
from itool_eval.verdicts import Verdict

API_BANK = "apibank"


@dataclass(frozen=True)
class Question:
    """An item as a policy is asked it; `position` is its place in its category, as an id can stand for two items."""

    category: str
    id: str
    position: int
    messages: list[dict[str, str]]


class ReplyScorer(Scorer, Protocol):
    """A scorer of single replies, which can also show what it reads in them."""

    def calls(self, category: str, result: str) -> Sequence[Any] | None:
        """The calls (name and arguments each) that a reply makes, None if it cannot be read."""
        ...


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that can be run.

    Attributes:
        name: as the tables record it.
        scorer: decides on the replies.
        questions: a category's questions, in the data's order.
    """

    name: str
    scorer: ReplyScorer
    questions: Callable[[str], list[Question]]


def bfcl_v3() -> Benchmark:
    """BFCL v3's single-turn categories; fetches the official wheel on the first call."""
    version = Version.V3
    data = data_folder(version)
    contract = PromptContract(data)

    def questions(category: str) -> list[Question]:
        rules = CATEGORIES[version][category]
        language = rules.language if rules.has_answers else Language.PYTHON
        items = enumerate(load_items(data, version, category))
        return [
            Question(category, item.id, i, contract.first_messages(item.turns[0], item.functions, language))
            for i, item in items
        ]

    return Benchmark(version.value, SingleTurnScorer(data, version), questions)


def api_bank(folder: Path) -> Benchmark:
    """API-Bank (AST) over the folder of its two files."""

    def questions(category: str) -> list[Question]:
        items = enumerate(apibank_items.load_items(folder, category))
        return [Question(category, item.id, i, item.messages) for i, item in items]

    return Benchmark(API_BANK, ApiBankScorer(folder), questions)


def choose(benchmark: Benchmark, categories: Sequence[str] | None, limit: int | None, seed: int) -> list[Question]:
    """The questions of some categories, or a random sample of them.

    Args:
        benchmark: whose questions.
        categories: their names, all by default.
        limit: take so many; which ones depends on the seed alone, and a larger limit takes them too.
        seed: of the run.

    Raises:
        ItoolError: a category is not one of the benchmark's.
    """
    known = benchmark.scorer.categories
    for name in categories or ():
        if name not in known:
            raise ItoolError(f"{name!r} is no category of {benchmark.name}; it has {', '.join(known)}")
    questions = [question for name in categories or known for question in benchmark.questions(name)]
    if limit is None:
        return questions
    return sorted(questions, key=lambda q: derive_seed(seed, "eval", q.category, q.position))[:limit]


def summarise(benchmark: str, verdicts: Sequence[Verdict]) -> Summary:
    """All scores of one policy's verdicts on one benchmark."""
    if benchmark == API_BANK:
        return summarise_api_bank(verdicts)
    return summarise_bfcl(tally(verdicts), Version(benchmark))
