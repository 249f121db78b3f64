"""The scorer of tau2's telecom tasks in solo mode: replies and a task's id -> a verdict (docs/tau2.md §4)."""

from contextlib import suppress

from itool_data.errors import ItoolError
from itool_data.sample import ToolCall
from itool_eval.tau2.domain import Domain
from itool_eval.tau2.reward import faults
from itool_eval.tau2.simulation import Simulation, read_calls
from itool_eval.tau2.tasks import CATEGORIES, category_of
from itool_eval.verdicts import Fault, Verdict


class SoloScorer:
    """Scores conversations of one split.

    Attributes:
        categories: the kinds of problem.
    """

    def __init__(self, domain: Domain, split: str) -> None:
        self.categories = list(CATEGORIES)
        self._domain = domain
        self._ids = frozenset(domain.splits[split])

    def copies(self, category: str, item_id: str) -> int:
        """How many tasks of a category have an id; 0: it is not known."""
        return int(item_id in self._ids and category_of(item_id) == category)

    def score(self, category: str, item_id: str, result: object) -> Verdict:
        """Decide on one conversation of a known task: one turn, the list of the replies.

        Raises:
            ItoolError: the result is a list of something else.
        """
        if not isinstance(result, list):
            message = f"a {type(result).__name__} instead of replies"
            return Verdict(item_id, category, (Fault("tau2:inference_error", message),))
        if len(result) != 1 or not isinstance(result[0], list):
            raise ItoolError("not one turn, a list of replies")
        task = self._domain.task(item_id)
        simulation = Simulation(self._domain, task)
        for reply in result[0]:
            simulation.take(reply)
            if simulation.end:
                break
        return Verdict(item_id, category, tuple(faults(self._domain, task, simulation)))

    def calls(self, category: str, result: object) -> list[ToolCall] | None:
        """The calls of all replies in their order, replies that make none left out; None if there are no replies."""
        if not isinstance(result, list):
            return None
        found: list[ToolCall] = []
        for turn in result:
            for reply in turn:
                with suppress(ValueError, RecursionError):
                    found += read_calls(reply)
        return found
