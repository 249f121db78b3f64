"""API-Bank (AST): is the call that a reply makes the expected one (docs/apibank.md §2).

The official check runs each call on simulators and compares what they return; here the calls themselves are compared:
the name, the set of parameters, then each value as text, where free texts need only share most words, and dates and
letter case are normalised as the simulators do. So nothing is executed, and the number is not the official one. What
it is stricter in: a ToolSearcher call must give the very keywords. Left out: argument types, as official values are
all texts.
"""

import re
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path

from itool_data.errors import ItoolError
from itool_data.sample import JSON, ToolCall
from itool_data.sources.apibank import read_call
from itool_data.sources.rows import BadRowError
from itool_eval.apibank.items import LEVELS, Item, load_items
from itool_eval.errors import attempts_call
from itool_eval.verdicts import Fault, Note, Verdict

_OPENING = re.compile(r"\[\w+\(")
_DATES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d", "%H:%M:%S")
# Parameters that the simulators compare without regard to case: names and ids.
_CASELESS = frozenset(("patient_name", "doctor_name", "new_appointment_doctor", "appointment_id", "user_id"))
# What the simulators compare as free text: the API's ending, the parameter, and whether case counts.
_FREE_TEXTS = (("Agenda", "content", True), ("Reminder", "content", False), ("Meeting", "meeting_topic", True))
_ALIKE = 0.5


class ApiBankScorer:
    """Scores replies to the samples of levels 1 and 2.

    Attributes:
        categories: the names of the levels.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare the scorer; a level's samples are read when first asked for.

        Args:
            folder: the folder that holds API-Bank's `level-1-api.json` and `level-2-api.json`.
        """
        self.categories = list(LEVELS)
        self.items: Callable[[str], dict[str, Item]] = cache(
            lambda category: {item.id: item for item in load_items(folder, category)}
        )

    def copies(self, category: str, item_id: str) -> int:
        """How many samples of a level have an id; 0: it is not known."""
        return int(item_id in self.items(category))

    def score(self, category: str, item_id: str, result: object) -> Verdict:
        """Decide on one reply to a known sample.

        Raises:
            ItoolError: the result is not a reply's text.
        """
        item = self.items(category)[item_id]
        if not isinstance(result, str):
            raise ItoolError(f"a {type(result).__name__} for {item_id}; the result of an API-Bank sample is a text")
        note: Note = "repeats the item before" if item.repeated else ""
        return Verdict(item.id, category, _faults(result, item.gold), note=note)

    def calls(self, category: str, result: object) -> list[ToolCall] | None:
        """The one call that a reply makes, none if it makes none, None if it cannot be read."""
        if not isinstance(result, str):
            return None
        try:
            call = read_reply(result)
        except (BadRowError, RecursionError):
            return None
        return [call] if call else []


def extract(text: str) -> str | None:
    """The first `[Name(…)]` on a line of a reply, up to the line's last `)]`; None if there is none."""
    for line in text.splitlines():
        end = line.rfind(")]")
        opening = _OPENING.search(line, 0, max(end, 0) + 1)
        if opening and opening.end() <= end:
            return line[opening.start() : end + 2]
    return None


def read_reply(text: str) -> ToolCall | None:
    """The call that a reply makes, None if it makes none.

    Raises:
        BadRowError: what stands between the brackets cannot be read as arguments.
    """
    found = extract(text)
    if found is None:
        return None
    call = read_call(found, "reply")
    if not call.arguments and found.partition("(")[2].removesuffix(")]").strip():
        raise BadRowError("reply", f"expected key='value', found {found[:60]!r}")
    return call


def _faults(text: str, gold: ToolCall) -> tuple[Fault, ...]:
    """Everything wrong with a reply, in the official order of checking."""
    try:
        call = read_reply(text)
    except (BadRowError, RecursionError) as error:
        return (Fault("api_bank:failed_parse_api_call", f"the arguments cannot be read: {error}"),)
    if call is None:
        note: Note = "" if attempts_call(text) else "no call attempted"
        return (Fault("api_bank:no_api_call", "no [ApiName(key1='value1', …)] on one line", note),)
    if call.name != gold.name:
        return (Fault("api_bank:api_name_mismatch", f"{call.name!r} is called, expected {gold.name!r}"),)
    given, expected = call.arguments, gold.arguments
    return (
        *(Fault("api_bank:invalid_input_parameter", f"{n!r} is not expected") for n in given if n not in expected),
        *(Fault("api_bank:miss_input_argument", f"{n!r} is missing") for n in expected if n not in given),
        *(
            Fault("api_bank:input_mismatch", f"{name!r} is {given[name]!r}, expected {value!r}")
            for name, value in expected.items()
            if name in given and not _same(gold.name, name, given[name], value)
        ),
    )


def _same(api: str, parameter: str, given: JSON, expected: JSON) -> bool:
    if isinstance(given, list) and isinstance(expected, list):
        return len(given) == len(expected) and all(
            _same(api, parameter, a, b) for a, b in zip(given, expected, strict=True)
        )
    if isinstance(given, dict) and isinstance(expected, dict):
        return given.keys() == expected.keys() and all(_same(api, parameter, given[k], expected[k]) for k in given)
    a, b = str(given).strip(), str(expected).strip()
    if a == b or (parameter in _CASELESS and a.lower() == b.lower()):
        return True
    for ending, name, case_counts in _FREE_TEXTS:
        if parameter == name and api.endswith(ending) and api != f"Delete{ending}":
            return _alike(a, b) if case_counts else _alike(a.lower(), b.lower())
    return any(_date(a, form) == _date(b, form) is not None for form in _DATES)


def _alike(a: str, b: str) -> bool:
    """Whether the Jaccard similarity of two texts' words is over one half."""
    first, second = set(a.split()), set(b.split())
    return len(first & second) > _ALIKE * len(first | second)


def _date(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)
    except ValueError:
        return None
