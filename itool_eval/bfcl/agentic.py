"""The scorer of v4's agentic categories: a conversation's last text holds an accepted answer, or it does not.

docs/bfcl.md §8.1. What was called on the way counts for nothing, so neither simulators nor a network are needed. Left
out: asking memory's questions (`memory.py`), and web search, which needs a network.
"""

import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from itool_data.errors import ItoolError
from itool_eval.bfcl import native
from itool_eval.bfcl.categories import CATEGORIES, MEMORY, SET_UP, Checker, Version
from itool_eval.bfcl.decode_python import decode
from itool_eval.bfcl.decoded import Call, DecodeError
from itool_eval.bfcl.items import read_sorted
from itool_eval.bfcl.multi_turn_calls import call_texts
from itool_eval.verdicts import Fault, Verdict

_IGNORED = str.maketrans("", "", ",./-_*^()")


class AgenticScorer:
    """Scores conversations of v4's agentic items.

    Attributes:
        categories: the names of the categories that it scores.
    """

    def __init__(self, data: Path, native_calls: bool = False) -> None:
        """Prepare the scorer; answers are read when first needed.

        Args:
            data: the folder `bfcl_eval/data` of v4's official wheel.
            native_calls: replies are native calls, and a text is no call however it reads.
        """
        self.categories = [c.name for c in CATEGORIES[Version.V4].values() if c.checker is Checker.AGENTIC]
        self._native = native_calls
        self._answers = cache(lambda category: load_answers(data, category))

    def copies(self, category: str, item_id: str) -> int:
        """How many items of a category have an id; 0: it is not known."""
        return int(item_id in self._answers(category))

    def score(self, category: str, item_id: str, result: object) -> Verdict:
        """Decide on one conversation: a list of one turn, which is a list of replies. One that sets up is not judged.

        Raises:
            ItoolError: the turn is nothing that holds replies; the official checker ends with an exception there.
        """
        if category.endswith(SET_UP):
            return Verdict(item_id, category)
        fault = self._fault(self._answers(category)[item_id], result)
        return Verdict(item_id, category, (fault,) if fault else ())

    def calls(self, category: str, result: object) -> list[Call] | None:
        """The calls of all replies in their order, replies that are no calls left out; None if there are no replies."""
        if not isinstance(result, list):
            return None
        found: list[Call] = []
        for reply in (reply for turn in result if isinstance(turn, list) for reply in turn):
            with suppress(DecodeError):
                found += native.decode(reply) if self._native else _decode(reply)
        return found

    def _fault(self, accepted: list[str], result: object) -> Fault | None:
        if not isinstance(result, list) or len(result) != 1:
            return Fault("agentic:inference_error", "not a list of one turn")
        (turn,) = result
        # Officially whatever can be looped over is a turn: a text by its characters, an object by its keys.
        if not isinstance(turn, list | str | dict):
            raise ItoolError(f"the turn is a {type(turn).__name__}; a turn is a list of replies")
        said = [reply for reply in turn if not self._is_step(reply)]
        if not said or not said[-1]:
            return Fault("agentic:no_last_message", "no reply is a text, or the last one is empty")
        last = said[-1][0] if isinstance(said[-1], list) else said[-1]
        text = _plain(str(last))
        if any(re.search(rf"\b{re.escape(_plain(answer))}\b", text) for answer in accepted):
            return None
        return Fault("agentic:answer_not_found", f"the last text holds none of {', '.join(accepted)}")

    def _is_step(self, reply: object) -> bool:
        try:
            return bool(native.call_texts(reply) if self._native else call_texts(reply, Version.V4))
        except DecodeError:
            return False


def load_answers(data: Path, category: str) -> dict[str, list[str]]:
    """The accepted answers of an agentic category by the ids of its items.

    Raises:
        ItoolError: the file is absent or not what the wheel holds.
    """
    name = "memory" if category in MEMORY else "web_search"
    rows = read_sorted(data / "possible_answer" / f"{Version.V4.prefix}_{name}.json")
    return {row["id"].replace(name, category): row["ground_truth"] for row in rows}


def _plain(text: str) -> str:
    """A text as answers are compared: without some punctuation, in lower case, with one kind of quote."""
    return text.translate(_IGNORED).lower().replace("'", '"')


def _decode(reply: Any) -> list[Call]:
    if not isinstance(reply, str):
        raise DecodeError("not a text")
    return decode(reply, Version.V4)
