"""API-Bank as a benchmark that a policy can be asked, in its own prompt or the run's."""

import hashlib
from functools import partial
from pathlib import Path

from itool_data.prompt import ToolStyle
from itool_data.sample import Sample
from itool_data.sources import apibank as apibank_source
from itool_eval.apibank import items as apibank_items
from itool_eval.apibank.scorer import ApiBankScorer
from itool_eval.benchmark import Benchmark, Contract, Question, own_prompt, shown_as
from itool_eval.conversation import Prompt, one_reply

API_BANK = "apibank"
API_BANK_OWN_PROMPT = "apibank-own-prompt"


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
            Question(category, s.source_id, i, partial(one_reply, own_prompt(s, tools))) for i, s in enumerate(samples)
        ]

    source = f"{API_BANK_OWN_PROMPT}:{folder.absolute()}"
    data, shown = _api_bank_data(folder), shown_as(tools)
    return Benchmark(API_BANK_OWN_PROMPT, source, [ApiBankScorer(folder)], questions, data, Contract.RUN, shown)


def _api_bank_data(folder: Path) -> str:
    """API-Bank's files by their content."""
    content = hashlib.sha256(b"".join((folder / level.file).read_bytes() for level in apibank_items.LEVELS.values()))
    return f"API-Bank {content.hexdigest()[:12]}"
