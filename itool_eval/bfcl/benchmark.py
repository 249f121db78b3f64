"""BFCL as a benchmark that a policy can be asked: in the official prompt, by native calls, or in the run's own prompt.

Left out: filling the memories that some of v4's items begin with (`itool_eval.memories`).
"""

from collections.abc import Mapping
from functools import cache, partial
from types import MappingProxyType

from itool_data.prompt import ToolStyle
from itool_data.sample import Sample
from itool_data.sources import bfcl as bfcl_source
from itool_eval.benchmark import ONE_REPLY, Benchmark, Contract, Question, own_prompt, shown_as
from itool_eval.bfcl import native
from itool_eval.bfcl.agentic import AgenticScorer
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
from itool_eval.bfcl.format_sensitivity import FormScorer, load_form_items
from itool_eval.bfcl.items import Item, data_folder, data_version, load_items
from itool_eval.bfcl.memory import MemoryDriver, load_memory_items
from itool_eval.bfcl.memory_stores import VECTOR, Memory
from itool_eval.bfcl.multi_turn_checker import MultiTurnScorer
from itool_eval.bfcl.multi_turn_driver import MAX_STEPS, MultiTurnDriver
from itool_eval.bfcl.multi_turn_items import load_multi_turn_items
from itool_eval.bfcl.prompt import PromptContract
from itool_eval.bfcl.prompt_form import DEFAULT, PromptForm
from itool_eval.bfcl.score_file import Scorer
from itool_eval.bfcl.single_turn import SingleTurnScorer
from itool_eval.bfcl.vector_search import ENCODER
from itool_eval.conversation import Conversation, Prompt, one_reply

OWN_PROMPT = "bfcl-v3-own-prompt"
# BFCL's "FC": functions offered as tools and called natively, scored apart from calls as text.
NATIVE = {f"{version}-fc": version for version in Version}
# What of v4 is scored, but not asked.
REFUSED = dict.fromkeys(
    WEB_SEARCH,
    "is not asked here: it searches and reads the web through a paid service; results of it are scored: "
    "itool eval score",
)
WITHOUT_ENCODER = {
    VECTOR: f"is not asked without its encoder, which is not in the Hub's cache: hf download {ENCODER}; "
    "results of it are scored: itool eval score"
}
TURNS = f"{ONE_REPLY}; of several turns every reply and result is kept, at most {MAX_STEPS} replies a turn"


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
        if memory and category.removesuffix(SET_UP) in memory.back_ends:
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
    refused = REFUSED if memory and VECTOR in memory.back_ends else REFUSED | WITHOUT_ENCODER
    return Benchmark(
        name, name, scorers, questions, items, kind, history=TURNS, on_request=(FORMAT_SENSITIVITY,), refused=refused,
        memory=memory, memories=memories,
    )  # fmt: skip


def bfcl_own_prompt(tools: ToolStyle) -> Benchmark:
    """BFCL v3's single-turn Python items in the prompt that the run trains and searches with, by the official rules.

    The official prompt is four times as long, and a small model that was trained on another one does not follow it. So
    this says what training changed, and is not comparable with anybody else's BFCL scores.
    """
    data = data_folder(Version.V3)
    without_gold = [category.name for category in single_turn(Version.V3) if not category.has_answers]

    def ask(item: Item) -> Conversation:
        return one_reply(own_prompt(bfcl_source.asked(item.turns, item.functions), tools))

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
    items, shown = data_version(Version.V3), shown_as(tools)
    return Benchmark(OWN_PROMPT, OWN_PROMPT, scorers, questions, items, Contract.RUN, shown, halved=without_gold)
