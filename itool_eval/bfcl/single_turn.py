"""The scorer of BFCL's single-turn categories: a reply and an item's id -> a verdict (docs/bfcl.md §4 to §6).

Decoding, then the checker; for (ir)relevance only whether the reply decodes into a call at all, as Python always.
Left out: multi-turn items and function-calling models, whose calls need no decoding.
"""

from functools import cache
from pathlib import Path

from itool_data.errors import ItoolError
from itool_eval.bfcl import decode_java, decode_javascript, decode_python
from itool_eval.bfcl.categories import CATEGORIES, Category, Checker, Language, Version, single_turn
from itool_eval.bfcl.checker import check
from itool_eval.bfcl.decoded import Call, DecodeError, NoCallError
from itool_eval.bfcl.items import Item, load_items
from itool_eval.errors import attempts_call
from itool_eval.verdicts import Fault, Note, Verdict


class SingleTurnScorer:
    """Scores replies to the single-turn items of one version.

    Attributes:
        version: the benchmark version.
        categories: the names of the categories that it scores.
    """

    def __init__(self, data: Path, version: Version) -> None:
        """Prepare the scorer; a category's items are read when first asked for.

        Args:
            data: the folder `bfcl_eval/data` of the official wheel of that version.
            version: the benchmark version.
        """
        self.version = version
        self.categories = [category.name for category in single_turn(version)]
        self._data = data
        # An id that stands for two items is an (ir)relevance one, where no verdict depends on the item.
        self._items = cache(lambda name: {item.id: item for item in load_items(data, version, name)})

    def knows(self, category: str, item_id: str) -> bool:
        """Whether a category has an item."""
        return item_id in self._items(category)

    def score(self, category: str, item_id: str, result: object) -> Verdict:
        """Decide on one reply to a known item.

        Raises:
            ItoolError: the result is not a reply's text.
        """
        item: Item = self._items(category)[item_id]
        if not isinstance(result, str):
            raise ItoolError(f"a {type(result).__name__} for {item_id}; the result of a single-turn item is a text")
        rules = CATEGORIES[self.version][category]
        if not rules.has_answers:
            return self._score_relevance(item, result, rules)
        try:
            calls = self._decode(result, rules.language)
        except DecodeError as error:
            kind = "decoder_wrong_output_format" if isinstance(error, NoCallError) else "decoder_failed"
            return Verdict(item.id, category, (Fault(f"ast_decoder:{kind}", str(error), _attempt_note(result)),))
        return check(item, calls, rules.checker, rules.language)

    def calls(self, category: str, result: object) -> list[Call] | None:
        """The calls that a reply decodes into, None if it does not."""
        if not isinstance(result, str):
            return None
        rules = CATEGORIES[self.version][category]
        try:
            return self._decode(result, rules.language if rules.has_answers else Language.PYTHON)
        except DecodeError:
            return None

    def _score_relevance(self, item: Item, result: str, rules: Category) -> Verdict:
        try:
            calls, reason = self._decode(result, Language.PYTHON), "an empty list of calls"
        except DecodeError as error:
            calls, reason = [], str(error)
        if rules.checker is Checker.RELEVANCE:
            fault = Fault("relevance_error:decoder_failed", f"no call: {reason}", _attempt_note(result))
            return Verdict(item.id, item.category, () if calls else (fault,))
        if calls:
            fault = Fault("irrelevance_error:decoder_success", f"{calls[0].name!r} is called", "hallucinated call")
            return Verdict(item.id, item.category, (fault,))
        note: Note = "malformed call taken for abstention" if attempts_call(result) else ""
        return Verdict(item.id, item.category, note=note)

    def _decode(self, text: str, language: Language) -> list[Call]:
        if language is Language.PYTHON:
            return decode_python.decode(text, self.version)
        return decode_java.decode(text) if language is Language.JAVA else decode_javascript.decode(text)


def _attempt_note(text: str) -> Note:
    return "" if attempts_call(text) else "no call attempted"
