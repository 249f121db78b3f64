"""What a BFCL score hides: items that no answer can pass, matches that depend on order, abstentions by accident.

docs/bfcl.md §10. The official verdicts stay as they are; what is found here is reported with them, with the
score over the other outputs beside the official one. Impossible items are found in the data, not listed by hand; the
Java items are listed, because their answers can be matched, only by nothing that anyone would write.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from itool_eval.bfcl.categories import Checker, Version, single_turn
from itool_eval.bfcl.items import Answer, Item, load_items
from itool_eval.verdicts import Verdict


class Quirk(StrEnum):
    """A reason not to take a verdict at face value."""

    IMPOSSIBLE = "no answer can pass"
    UNNATURAL = "no natural Java rendering passes"
    ORDER = "fails in this order of calls, passes in another"
    MALFORMED = "counts as abstention, but is a malformed call"


@dataclass(frozen=True)
class Quirky:
    """A verdict with a quirk, and why it has it."""

    verdict: Verdict
    quirk: Quirk
    reason: str


# The object's body is lost, the list mixes types, or a String[] keeps its quotes (docs/bfcl.md §4.2).
_UNNATURAL_JAVA = frozenset((1, 35, 36, 65, 67, 68, 78, 83, 85, 86, 89, 90, 91))


def impossible(item: Item, checker: Checker) -> str | None:
    """Why no reply can pass an item, None if one can.

    Args:
        item: the test case.
        checker: how its category is checked.
    """
    documents = {document["name"]: document for document in item.functions}
    for name, answer in item.answers:
        document = item.functions[0] if checker is Checker.SIMPLE else documents.get(name)
        if document is None:
            return f"the answer names {name!r}, which is not offered"
        for parameter in document["parameters"]["required"]:
            if not answer.get(parameter):
                return f"{parameter!r} is required, but no value is accepted"
        reason = _unreachable(answer, document["parameters"]["properties"])
        if reason:
            return reason
    return None


def _unreachable(answer: Answer, schemas: dict[str, object]) -> str | None:
    for parameter, options in answer.items():
        if parameter not in schemas and "" not in options:
            return f"the answer asks for {parameter!r}, which is no parameter"
    return None


class QuirkFinder:
    """Finds quirky verdicts of one version."""

    def __init__(self, data: Path, version: Version) -> None:
        """Look through the items for those that cannot be passed.

        Args:
            data: the folder `bfcl_eval/data` of the official wheel of that version.
            version: the benchmark version.
        """
        self.impossible: dict[str, str] = {}
        self._unnatural: set[str] = set()
        for category in single_turn(version):
            items = load_items(data, version, category.name) if category.has_answers else []
            for item in items:
                if reason := impossible(item, category.checker):
                    self.impossible[item.id] = reason
            if category.name.endswith("java"):
                self._unnatural = {f"{category.name}_{number}" for number in _UNNATURAL_JAVA}

    def find(self, verdicts: Iterable[Verdict]) -> list[Quirky]:
        """The quirky ones among some verdicts, in their order."""
        return [quirky for verdict in verdicts if (quirky := self._quirk(verdict))]

    def _quirk(self, verdict: Verdict) -> Quirky | None:
        if verdict.id in self.impossible:
            return Quirky(verdict, Quirk.IMPOSSIBLE, self.impossible[verdict.id])
        if verdict.id in self._unnatural:
            return Quirky(verdict, Quirk.UNNATURAL, "the accepted value is nothing that Java code would hold")
        if verdict.note == "another matching passes":
            return Quirky(verdict, Quirk.ORDER, "the official matching never takes a call back")
        if verdict.note == "malformed call taken for abstention":
            return Quirky(verdict, Quirk.MALFORMED, "only a call that decodes counts as one")
        return None


def without(verdicts: Iterable[Verdict], quirky: Iterable[Quirky]) -> list[Verdict]:
    """The verdicts that have no quirk."""
    odd = {id(found.verdict) for found in quirky}
    return [verdict for verdict in verdicts if id(verdict) not in odd]
