"""The benchmarks that a policy can be asked, in one form: items as conversations, scorers, scores.

Left out: holding the conversations (`predict.py`), and filling the memories that some begin with (`memories.py`).
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType

from itool_data.assets import TAU2
from itool_data.errors import ItoolError
from itool_data.policy.base import derive_seed
from itool_data.prompt import Asked, ToolStyle, prompt_messages
from itool_data.run import Run
from itool_data.sample import Sample, Split
from itool_data.sources import apibank as apibank_source
from itool_data.sources import bfcl as bfcl_source
from itool_data.store.samples import read_samples
from itool_data.store.sql import query
from itool_eval import own_samples
from itool_eval.apibank import items as apibank_items
from itool_eval.apibank.aggregate import summarise as summarise_api_bank
from itool_eval.apibank.scorer import ApiBankScorer
from itool_eval.bfcl import native
from itool_eval.bfcl.agentic import AgenticScorer
from itool_eval.bfcl.aggregate import summarise as summarise_bfcl
from itool_eval.bfcl.categories import (
    CATEGORIES,
    FORMAT_SENSITIVITY,
    SET_UP,
    WEB_SEARCH,
    Checker,
    Language,
    Version,
    single_turn,
)
from itool_eval.bfcl.format_sensitivity import FormScorer, by_form, form_scores, load_form_items
from itool_eval.bfcl.formulas import two_sides
from itool_eval.bfcl.items import Item, data_folder, data_version, load_items
from itool_eval.bfcl.memory import BACK_ENDS, MemoryDriver, load_memory_items
from itool_eval.bfcl.memory_stores import Memory
from itool_eval.bfcl.multi_turn_checker import MultiTurnScorer
from itool_eval.bfcl.multi_turn_driver import MAX_STEPS, MultiTurnDriver
from itool_eval.bfcl.multi_turn_items import load_multi_turn_items
from itool_eval.bfcl.prompt import PromptContract
from itool_eval.bfcl.prompt_form import DEFAULT, PromptForm
from itool_eval.bfcl.score_file import Scorer
from itool_eval.bfcl.single_turn import SingleTurnScorer
from itool_eval.conversation import Conversation, Prompt, one_reply
from itool_eval.summary import Summary, tally
from itool_eval.tau2 import tasks as tau2_tasks
from itool_eval.tau2.aggregate import summarise as summarise_tau2
from itool_eval.tau2.domain import load_domain
from itool_eval.tau2.driver import conversation as tau2_conversation
from itool_eval.tau2.scorer import SoloScorer
from itool_eval.verdicts import Verdict

API_BANK = "apibank"
API_BANK_OWN_PROMPT = "apibank-own-prompt"
OWN_PROMPT = "bfcl-v3-own-prompt"
VALIDATION = ":validation"  # how the name of a benchmark ends whose items are those that the run set aside to tune on
ITEMS_SEED = 42  # of the random sample of items: the same in every run, so that runs of several seeds can be paired
# BFCL's "FC": functions offered as tools and called natively, scored apart from calls as text.
NATIVE = {f"{version}-fc": version for version in Version}
# What of v4 is scored, but not asked.
REFUSED = {
    "memory_vector": "is not asked here: its store needs sentence-transformers, faiss and a model that it downloads "
    "(all-MiniLM-L6-v2); results of it are scored: itool eval score",
    **dict.fromkeys(
        WEB_SEARCH,
        "is not asked here: it searches and reads the web through a paid service; results of it are scored: "
        "itool eval score",
    ),
}


ONE_REPLY = "one reply an item"
TURNS = f"{ONE_REPLY}; of several turns every reply and result is kept, at most {MAX_STEPS} replies a turn"


class Contract(StrEnum):
    """Who writes a benchmark's prompts."""

    TEXT = "the benchmark's own text"
    TOOLS = "functions offered as tools"
    RUN = "the run's own prompt"


@dataclass(frozen=True)
class Question:
    """An item as a policy is asked it.

    Attributes:
        category: the item's category.
        id: its id.
        position: its place in its category, as an id can stand for two items.
        begin: opens a conversation about it.
    """

    category: str
    id: str
    position: int
    begin: Callable[[], Conversation] = field(compare=False)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that can be run.

    Attributes:
        name: as the tables record it.
        source: as `open_benchmark` takes it.
        scorers: who decides; no category is scored by two of them.
        questions: a category's items, in the data's order.
        data: where the items come from, with its version or hash.
        contract: who writes the prompts.
        functions: how those of the run's own show the functions, unless its form does that by itself.
        history: what a conversation keeps.
        split: which of the run's samples its items may be; items that are no samples of the run are `test`.
        halved: the categories whose items are never samples, but fall in halves as the samples do.
        on_request: the categories that are asked only where they are named, because the scores do without them.
        refused: the categories that are scored but cannot be asked, and why.
        memory: what holds the conversations of items that ask about a memory; None: no items do.
        memories: of these items, by back end and scenario, as far as they are filled.
        samples: of the run, where they are its items; `open_benchmark` takes them.
    """

    name: str
    source: str
    scorers: Sequence[Scorer]
    questions: Callable[[str], list[Question]]
    data: str
    contract: Contract
    functions: str = ""
    history: str = ONE_REPLY
    split: Split = "test"
    halved: Sequence[str] = ()
    on_request: Sequence[str] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    memory: MemoryDriver | None = None
    memories: Mapping[str, Memory] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()

    @property
    def categories(self) -> list[str]:
        """All categories that can be asked, in the order in which they are."""
        return [c for scorer in self.scorers for c in scorer.categories if c not in self.refused]

    def scorer(self, category: str) -> Scorer:
        """Who decides on a category's results."""
        name = category.removesuffix(SET_UP)
        return next(scorer for scorer in self.scorers if name in scorer.categories)


def bfcl_scorers(version: Version, native_calls: bool = False) -> list[Scorer]:
    """The scorers of one BFCL version; fetches its official wheel on the first call."""
    data = data_folder(version)
    single_turn = SingleTurnScorer(data, version, native_calls)
    scorers: list[Scorer] = [single_turn, MultiTurnScorer(data, version, native_calls)]
    if version is Version.V3:
        return scorers
    # Native calls have no form, so officially FC models are not asked in several.
    return [*scorers, AgenticScorer(data, native_calls), *([] if native_calls else [FormScorer(data)])]


def bfcl(
    version: Version, native_calls: bool = False, memories: Mapping[str, Memory] = MappingProxyType({})
) -> Benchmark:
    """One BFCL version; fetches its official wheel on the first call.

    Args:
        version: the benchmark version.
        native_calls: the functions are offered as tools, and their native calls are the answers.
        memories: that v4's questions about a memory and the conversations that fill it begin with; none are empty.
    """
    data = data_folder(version)
    contract = PromptContract(data, version)
    driver = cache(lambda: MultiTurnDriver(data, version, native_calls))
    memory = MemoryDriver(data, native_calls) if version is Version.V4 else None

    def ask(item: Item, language: Language, form: PromptForm = DEFAULT) -> Conversation:
        if native_calls:
            return one_reply(Prompt(item.turns[0], native.tools(item.functions, language)))
        return one_reply(Prompt(contract.first_messages(item.turns[0], item.functions, language, form)))

    def questions(category: str) -> list[Question]:
        if memory and category.removesuffix(SET_UP) in BACK_ENDS:
            return [
                Question(category, item.id, i, partial(memory.conversation, item, memories.get(item.chain, {})))
                for i, item in enumerate(load_memory_items(data, category))
            ]
        rules = CATEGORIES[version][category]
        if rules.checker is Checker.MULTI_TURN:
            conversations = enumerate(load_multi_turn_items(data, version, category))
            return [Question(category, item.id, i, partial(driver().conversation, item)) for i, item in conversations]
        if rules.checker is Checker.FORMS:
            return [
                Question(category, f.item.id, i, partial(ask, f.item, Language.PYTHON, f.form))
                for i, f in enumerate(load_form_items(data))
            ]
        language = rules.language if rules.has_answers else Language.PYTHON
        items = enumerate(load_items(data, version, category))
        return [Question(category, item.id, i, partial(ask, item, language)) for i, item in items]

    name = f"{version}-fc" if native_calls else version.value
    kind = Contract.TOOLS if native_calls else Contract.TEXT
    scorers, items = bfcl_scorers(version, native_calls), data_version(version)
    return Benchmark(
        name, name, scorers, questions, items, kind, history=TURNS, on_request=(FORMAT_SENSITIVITY,), refused=REFUSED,
        memory=memory, memories=memories,
    )  # fmt: skip


def api_bank(folder: Path) -> Benchmark:
    """API-Bank (AST) over the folder of its two files."""

    def questions(category: str) -> list[Question]:
        items = enumerate(apibank_items.load_items(folder, category))
        return [Question(category, item.id, i, partial(one_reply, Prompt(item.messages))) for i, item in items]

    source, read = f"{API_BANK}:{folder.absolute()}", _api_bank_data(folder)
    return Benchmark(API_BANK, source, [ApiBankScorer(folder)], questions, read, Contract.TEXT)


def api_bank_own_prompt(folder: Path, tools: ToolStyle) -> Benchmark:
    """API-Bank (AST) in the prompt that the run trains and searches with, for the same reason as BFCL."""

    def questions(category: str) -> list[Question]:
        path = folder / apibank_items.LEVELS[category].file
        samples = [sample for sample in apibank_source.read(str(path)) if isinstance(sample, Sample)]
        return [
            Question(category, s.source_id, i, partial(one_reply, _own_prompt(s, tools))) for i, s in enumerate(samples)
        ]

    source = f"{API_BANK_OWN_PROMPT}:{folder.absolute()}"
    data, shown = _api_bank_data(folder), _shown_as(tools)
    return Benchmark(API_BANK_OWN_PROMPT, source, [ApiBankScorer(folder)], questions, data, Contract.RUN, shown)


def _api_bank_data(folder: Path) -> str:
    """API-Bank's files by their content."""
    content = hashlib.sha256(b"".join((folder / level.file).read_bytes() for level in apibank_items.LEVELS.values()))
    return f"API-Bank {content.hexdigest()[:12]}"


def _shown_as(tools: ToolStyle) -> str:
    return f"functions as {tools}"


def bfcl_own_prompt(tools: ToolStyle) -> Benchmark:
    """BFCL v3's single-turn Python items in the prompt that the run trains and searches with, by the official rules.

    The official prompt is four times as long, and a small model that was trained on another one does not follow it. So
    this says what training changed, and is not comparable with anybody else's BFCL scores.
    """
    data = data_folder(Version.V3)
    without_gold = [category.name for category in single_turn(Version.V3) if not category.has_answers]

    def ask(item: Item) -> Conversation:
        return one_reply(_own_prompt(bfcl_source.asked(item.turns, item.functions), tools))

    def questions(category: str) -> list[Question]:
        items = list(enumerate(load_items(data, Version.V3, category)))
        if category not in without_gold:
            # Neither other languages nor items that no call can satisfy.
            python = category in bfcl_source.CATEGORIES
            read = bfcl_source.read_category(data, category) if python else ()
            samples = {sample.source_id for sample in read if isinstance(sample, Sample)}
            items = [(i, item) for i, item in items if item.id in samples]
        return [Question(category, item.id, i, partial(ask, item)) for i, item in items]

    scorers = [SingleTurnScorer(data, Version.V3)]
    items, shown = data_version(Version.V3), _shown_as(tools)
    return Benchmark(OWN_PROMPT, OWN_PROMPT, scorers, questions, items, Contract.RUN, shown, halved=without_gold)


def tau2(name: str) -> Benchmark:
    """A split of tau2's telecom tasks in solo mode; fetches the official wheel on the first call."""
    domain, split = load_domain(), tau2_tasks.SPLITS[name]

    def begin(task_id: str) -> Conversation:
        return tau2_conversation(domain, domain.task(task_id))

    def questions(category: str) -> list[Question]:
        ids = [task_id for task_id in domain.splits[split] if tau2_tasks.category_of(task_id) == category]
        return [Question(category, task_id, i, partial(begin, task_id)) for i, task_id in enumerate(ids)]

    data, history = f"{TAU2.name} {TAU2.version}", "every reply and result is kept, to the end of the conversation"
    return Benchmark(name, name, [SoloScorer(domain, split)], questions, data, Contract.TOOLS, history=history)


def of_samples(name: str, samples: Sequence[Sample], tools: ToolStyle) -> Benchmark:
    """Samples of a run in its own prompt; an item is a sample by its id, so none has a place."""

    def questions(category: str) -> list[Question]:
        own = [sample for sample in samples if sample.source == category]
        return [Question(category, s.sample_id, 0, partial(one_reply, _own_prompt(s, tools))) for s in own]

    split: Split = "validation" if name == own_samples.NAME else "test"
    content = hashlib.sha256("".join(sorted(sample.sample_id for sample in samples)).encode()).hexdigest()[:12]
    return Benchmark(
        name, name, [own_samples.SampleScorer(samples)], questions, f"samples {content}", Contract.RUN,
        _shown_as(tools), split=split, samples=tuple(samples),
    )  # fmt: skip


def _own_prompt(asked: Asked, tools: ToolStyle) -> Prompt:
    """A prompt in the form that the run trains and searches with."""
    return Prompt(prompt_messages(asked.messages, asked.tools, tools), asked=asked)


def version_of(benchmark: str) -> Version | None:
    """The BFCL version whose rules a benchmark is scored by; None for another benchmark."""
    name = benchmark.removesuffix(VALIDATION)
    if name == OWN_PROMPT:
        return Version.V3
    if name in NATIVE:
        return NATIVE[name]
    return Version(name) if name in set(Version) else None


def open_benchmark(
    name: str,
    tools: ToolStyle,
    samples: Sequence[Sample] = (),
    memories: Mapping[str, Memory] = MappingProxyType({}),
) -> Benchmark:
    """A benchmark by its name.

    Args:
        name: `bfcl-v3`, `bfcl-v4`, both with `-fc`, `bfcl-v3-own-prompt`, all of them also with `:validation` for the
            items that the run set aside to tune on, `apibank:FOLDER` or `apibank-own-prompt:FOLDER`;
            `tau2-telecom-solo`, also with `-small`, `-full`, `-train`, `-test`; `validation` and `test:SOURCE`, whose
            items are samples of a run.
        tools: how the run's own prompt writes functions.
        samples: the items of these last two.
        memories: that v4's items about a memory begin with.

    Raises:
        ItoolError: there is no such benchmark.
    """
    if own_samples.are(name) and samples:
        return of_samples(name, samples, tools)
    kind, _, folder = name.partition(":")
    if kind == API_BANK and folder:
        return api_bank(Path(folder))
    if kind == API_BANK_OWN_PROMPT and folder:
        return api_bank_own_prompt(Path(folder), tools)
    if name in tau2_tasks.SPLITS:
        return tau2(name)
    version = version_of(name)
    if version is None:
        names, tau2_names = ", ".join([*Version, *NATIVE, OWN_PROMPT]), ", ".join(tau2_tasks.SPLITS)
        raise ItoolError(
            f"{name!r} is no benchmark; there are {names} (and these with {VALIDATION}), {tau2_names}, "
            f"{API_BANK}:FOLDER, {API_BANK_OWN_PROMPT}:FOLDER and {own_samples.TEST}SOURCE"
        )
    benchmark = bfcl_own_prompt(tools) if kind == OWN_PROMPT else bfcl(version, kind in NATIVE, memories)
    return replace(benchmark, name=name, source=name, split="validation") if name.endswith(VALIDATION) else benchmark


def open_of_run(run: Run, name: str) -> Benchmark:
    """A benchmark by its name, for a policy of a run, whose own test samples `test:SOURCE` means.

    Raises:
        ItoolError: there is no such benchmark, or the run has no such samples.
    """
    samples: list[Sample] = []
    if name.startswith(own_samples.TEST):
        test = "split = 'test'"
        samples = read_samples(run.store, f"{test} AND source = ?", [name.removeprefix(own_samples.TEST)])
        if not samples:
            rows = query(run.store, f"SELECT DISTINCT source FROM samples WHERE {test} ORDER BY source").to_pylist()
            there = ", ".join(row["source"] for row in rows) or "none of any"
            raise ItoolError(f"{run.folder}: no test samples for {name}; the sources that it has some of: {there}")
    return open_benchmark(name, run.config.model.tools, samples)


def choose(
    benchmark: Benchmark,
    categories: Sequence[str] | None,
    limit: int | None,
    seed: int,
    leave_out: Collection[tuple[str, str]] = (),
) -> list[Question]:
    """The questions of some categories, or a random sample of them.

    Args:
        benchmark: whose questions.
        categories: their names, by default all but those that are asked on request.
        limit: take so many; which ones depends on the seed alone, and a larger limit takes them too.
        seed: of the random sample.
        leave_out: category and id of items that are not asked.

    Raises:
        ItoolError: a category is not one of the benchmark's.
    """
    known = benchmark.categories
    for name in categories or ():
        if name in benchmark.refused:
            raise ItoolError(f"{name}: {benchmark.refused[name]}")
        if name not in known:
            raise ItoolError(f"{name!r} is no category of {benchmark.name}; it has {', '.join(known)}")
    questions = [
        question
        for name in categories or [name for name in known if name not in benchmark.on_request]
        for question in benchmark.questions(name)
        if (question.category, question.id) not in leave_out
    ]
    if limit is None:
        return questions
    return sorted(questions, key=lambda q: derive_seed(seed, "eval", q.category, q.position))[:limit]


def summarise(benchmark: str, verdicts: Sequence[Verdict]) -> Summary:
    """All scores of one policy's verdicts on one benchmark."""
    if own_samples.are(benchmark):
        return own_samples.summarise(benchmark, verdicts)
    if benchmark in tau2_tasks.SPLITS:
        return summarise_tau2(benchmark, verdicts)
    version, name = version_of(benchmark), benchmark.removesuffix(VALIDATION)
    if version is None:
        summary = summarise_api_bank(verdicts)
    else:
        counts = tally(verdicts)
        summary = summarise_bfcl(counts, version, two_sides(counts) if name == OWN_PROMPT else None)
        summary = replace(summary, scores=(*summary.scores, *form_scores(by_form(verdicts))))
    if name in NATIVE:
        return replace(summary, era=f"{summary.era}, native function calling (FC): compare with FC only")
    if name in (OWN_PROMPT, API_BANK_OWN_PROMPT):
        return replace(summary, era=f"{summary.era}, in the run's own prompt: compare with nothing but the same")
    return summary
