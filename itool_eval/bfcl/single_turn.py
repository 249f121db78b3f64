"""The scorer of BFCL's single-turn categories: a reply and an item's id -> a verdict (docs/bfcl.md §4 to §6).

Decoding, then the checker; for (ir)relevance only whether the reply decodes into a call at all, as Python always.
Left out: multi-turn items.
"""

from collections import Counter
from functools import cache
from pathlib import Path

from itool_data.errors import ItoolError
from itool_eval.bfcl import decode_java, decode_javascript, decode_python, native
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

    def __init__(self, data: Path, version: Version, native_calls: bool = False) -> None:
        """Prepare the scorer; a category's items are read when first asked for.

        Args:
            data: the folder `bfcl_eval/data` of the official wheel of that version.
            version: the benchmark version.
            native_calls: results are native calls, and a text is no call however it reads.
        """
        self.version = version
        self.categories = [category.name for category in single_turn(version)]
        self._data = data
        # An id that stands for two items is an (ir)relevance one, where no verdict depends on the item.
        self._native = native_calls
        prepared = native.renamed if native_calls else (lambda item: item)
        loaded = cache(lambda name: load_items(data, version, name))
        self._items = cache(lambda name: {item.id: prepared(item) for item in loaded(name)})
        self._copies = cache(lambda name: Counter(item.id for item in loaded(name)))

    def copies(self, category: str, item_id: str) -> int:
        """How many items of a category have an id; 0: it is not known."""
        return self._copies(category)[item_id]

    def score(self, category: str, item_id: str, result: object) -> Verdict:
        """Decide on one reply to a known item.

        Raises:
            ItoolError: the result is neither a reply's text nor, where they are native, its calls; null is no reply,
                which is wrong or abstains like any that does not decode.
        """
        item: Item = self._items(category)[item_id]
        if not isinstance(result, str | list | None if self._native else str | None):
            kind = "a text or a list of calls" if self._native else f"a text; {self.version}-fc scores native calls"
            raise ItoolError(f"a {type(result).__name__} for {item_id}; the result of a single-turn item is {kind}")
        rules = CATEGORIES[self.version][category]
        if not rules.has_answers:
            return self._score_relevance(item, result, rules)
        try:
            calls = self._decode(result, rules.language)
        except DecodeError as error:
            kind = "decoder_wrong_output_format" if isinstance(error, NoCallError) else "decoder_failed"
            return Verdict(item.id, category, (Fault(f"ast_decoder:{kind}", str(error), self._attempt_note(result)),))
        return check(item, calls, rules.checker, rules.language)

    def calls(self, category: str, result: object) -> list[Call] | None:
        """The calls that a reply decodes into, None if it does not."""
        rules = CATEGORIES[self.version][category]
        try:
            return self._decode(result, rules.language if rules.has_answers else Language.PYTHON)
        except DecodeError:
            return None

    def _score_relevance(self, item: Item, result: object, rules: Category) -> Verdict:
        try:
            calls, reason = self._decode(result, Language.PYTHON), "an empty list of calls"
        except DecodeError as error:
            calls, reason = [], str(error)
        if rules.checker is Checker.RELEVANCE:
            fault = Fault("relevance_error:decoder_failed", f"no call: {reason}", self._attempt_note(result))
            return Verdict(item.id, item.category, () if calls else (fault,))
        if calls:
            fault = Fault("irrelevance_error:decoder_success", f"{calls[0].name!r} is called", "hallucinated call")
            return Verdict(item.id, item.category, (fault,))
        note: Note = "malformed call taken for abstention" if self._attempts(result) else ""
        return Verdict(item.id, item.category, note=note)

    def _decode(self, result: object, language: Language) -> list[Call]:
        if self._native:
            return native.decode(result)
        if not isinstance(result, str):
            raise DecodeError("not a text")
        if language is Language.PYTHON:
            return decode_python.decode(result, self.version)
        return decode_java.decode(result) if language is Language.JAVA else decode_javascript.decode(result)

    def _attempts(self, result: object) -> bool:
        """Whether a result is a call in some form, well-formed or not."""
        return bool(result) if isinstance(result, list) else not self._native and attempts_call(str(result or ""))

    def _attempt_note(self, result: object) -> Note:
        return "" if self._attempts(result) else "no call attempted"
