"""Format sensitivity of v4: 200 single-turn items, each in 26 forms of the system prompt (docs/bfcl.md §3.4 and §7).

An item in a form is an item of its own, with the form and the item in its id. It is decoded as its form says and then
checked by the rules of the category that it comes from. Left out: asking FC models, who have no system prompt.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from itool_data.errors import ItoolError
from itool_eval.bfcl.categories import CATEGORIES, FORMAT_SENSITIVITY, Checker, Language, Version
from itool_eval.bfcl.checker import check
from itool_eval.bfcl.decode_forms import decode
from itool_eval.bfcl.decoded import Call, DecodeError, NoCallError
from itool_eval.bfcl.items import Item, load_items
from itool_eval.bfcl.prompt import document
from itool_eval.bfcl.prompt_form import FORMS, PromptForm
from itool_eval.errors import attempts_call
from itool_eval.scores import Tally, bootstrap, wilson
from itool_eval.summary import Score
from itool_eval.verdicts import Fault, Note, Verdict

_OFFICIAL = {form.official: form for form in FORMS}


@dataclass(frozen=True)
class FormItem:
    """A single-turn item in one form.

    Attributes:
        item: with the id of the item in this form.
        form: how it is asked and answered.
        checker: of the category that it comes from.
    """

    item: Item
    form: PromptForm
    checker: Checker


def load_form_items(data: Path) -> list[FormItem]:
    """Read the items in the official order: by category, item and form.

    Args:
        data: the folder `bfcl_eval/data` of v4's official wheel.

    Raises:
        ItoolError: a file is absent or not what the wheel holds.
    """
    path = data / f"{Version.V4.prefix}_{FORMAT_SENSITIVITY}.json"
    try:
        chosen: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ItoolError(f"{path}: cannot be read as BFCL data ({error}); fetch the wheel's data again") from error
    found: list[FormItem] = []
    for category, ids in chosen.items():
        for item in load_items(data, Version.V4, category):
            if item.id not in ids:
                continue
            # The official loader names the language twice: in the item's category, and here.
            functions = [document(function, Language.PYTHON) for function in item.functions]
            for form in FORMS:
                name = f"{FORMAT_SENSITIVITY}_{len(found)}:{form.official}:{item.id}"
                in_form = Item(name, FORMAT_SENSITIVITY, item.turns, functions, item.answers)
                found.append(FormItem(in_form, form, CATEGORIES[Version.V4][category].checker))
    return found


def source_of(item_id: str) -> tuple[str, str]:
    """Category and id of the item that is asked in a form."""
    source = item_id.rpartition(":")[2]
    return source.rpartition("_")[0], source


class FormScorer:
    """Scores replies to the items in their forms.

    Attributes:
        categories: the name of the one category that it scores.
    """

    categories = [FORMAT_SENSITIVITY]  # noqa: RUF012 - what `Scorer` asks for

    def __init__(self, data: Path) -> None:
        """Prepare the scorer; the items are read when first needed.

        Args:
            data: the folder `bfcl_eval/data` of v4's official wheel.
        """
        self._data = data

    @cached_property
    def _items(self) -> dict[str, FormItem]:
        return {found.item.id: found for found in load_form_items(self._data)}

    def copies(self, category: str, item_id: str) -> int:
        """How many items have an id; 0: it is not known."""
        return int(item_id in self._items)

    def score(self, category: str, item_id: str, result: object) -> Verdict:
        """Decide on one reply to a known item; what is no text does not decode."""
        found = self._items[item_id]
        try:
            calls = _decode(result, found.form)
        except DecodeError as error:
            kind = "decoder_wrong_output_format" if isinstance(error, NoCallError) else "decoder_failed"
            note: Note = "" if attempts_call(str(result or "")) else "no call attempted"
            return Verdict(item_id, category, (Fault(f"ast_decoder:{kind}", str(error), note),))
        return check(found.item, calls, found.checker, Language.PYTHON)

    def calls(self, category: str, result: object) -> Sequence[Call] | None:
        """The calls of a reply in whatever form, the first that reads any; None if none does.

        The form is the item's, and the item is not known here.
        """
        read: Sequence[Call] | None = None
        for form in FORMS:
            try:
                read = _decode(result, form)
            except DecodeError:
                continue
            if read:
                break
        return read


def _decode(result: object, form: PromptForm) -> list[Call]:
    if not isinstance(result, str):
        raise DecodeError("not a text")
    return decode(result, form)


def by_form(verdicts: Iterable[Verdict]) -> dict[PromptForm, Tally]:
    """Right outputs of each form that has any, in the official order."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for verdict in verdicts:
        if verdict.category == FORMAT_SENSITIVITY:
            count = counts[verdict.id.split(":")[1]]
            count[0] += verdict.valid
            count[1] += 1
    return {form: Tally(*counts[name]) for name, form in _OFFICIAL.items() if name in counts}


def form_scores(tallies: Mapping[PromptForm, Tally]) -> list[Score]:
    """Each form's share, then how far the forms are apart; nothing where none was run."""
    if not tallies:
        return []
    size = CATEGORIES[Version.V4][FORMAT_SENSITIVITY].size
    n = sum(tally.n for tally in tallies.values())
    partial = (FORMAT_SENSITIVITY,) if n < size else ()
    scores = [
        Score(form.short, "correct / items in this form", t.share, t.n, wilson(t), partial=partial)
        for form, t in tallies.items()
    ]
    by_name = {form.official: tally for form, tally in tallies.items()}
    spreads = {
        "format_max_delta": ("largest - smallest share of a form", _max_delta),
        "format_std": ("standard deviation of the forms' shares", _std),
    }
    shares = {name: tally.share for name, tally in by_name.items()}
    return scores + [
        Score(name, text, float(spread(shares)), n, bootstrap(spread, by_name), partial=partial)
        for name, (text, spread) in spreads.items()
    ]


def official_spread(tallies: Mapping[PromptForm, Tally]) -> dict[str, float]:
    """What the official score file says of the forms, in per cent."""
    shares = {form.official: tally.share for form, tally in tallies.items()}
    std = float(_std(shares))
    return {
        "accuracy_max_delta": round(float(_max_delta(shares)) * 100, 2),
        "accuracy_variance": round(std * std * 100**2, 2),
        "accuracy_std": round(std * 100, 2),
    }


def _max_delta(shares: Mapping[str, Any]) -> Any:
    values = np.stack(list(shares.values()))
    return values.max(axis=0) - values.min(axis=0)


def _std(shares: Mapping[str, Any]) -> Any:
    values = np.stack(list(shares.values()))
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros_like(values[0])
