"""Pairs with what can be proved of them: is the state right, the chosen step right, the rejected one wrong.

A pair of a tree search is an estimate, from Q alone: the response may have been broken before, or the chosen step be
wrong itself. The gold calls tell, without a model. Left out: the proof of a single step (`itool_data.proof`).
"""

from dataclasses import dataclass

from itool_data.form import Form
from itool_data.fragments import before_calls
from itool_data.match import ErrorClass
from itool_data.proof import Fault, fault, state_error, step_error
from itool_data.sample import Sample
from itool_data.search.pairs import Pair
from itool_data.search.tree import Node


@dataclass(frozen=True)
class Proved:
    """A pair, what its state and its steps have broken (None: nothing), and the rejected step's tokens at fault.

    Attributes:
        pair: the two steps.
        prefix: token ids of the response before them.
        state: what the response so far has broken.
        chosen: what it has broken with the chosen step.
        rejected: with the rejected one.
        fault: which tokens of the rejected step; None where the pair is not proved.
    """

    pair: Pair
    prefix: tuple[int, ...]
    state: ErrorClass | None
    chosen: ErrorClass | None
    rejected: ErrorClass | None
    fault: Fault | None

    @property
    def proved(self) -> bool:
        """State and chosen step right, rejected step wrong."""
        return self.state is None and self.chosen is None and self.rejected is not None


def comparable(pair: Pair, root: Node, sample: Sample, form: Form) -> bool:
    """Whether both steps of a pair are calls, or end the response: a text before calls is not compared."""
    before = _before(pair, root)
    return all(
        node.ended or not before_calls(form.decode((*before, *node.step)), sample, form.dialect)
        for node in (pair.chosen, pair.rejected)
    )


def prove(pair: Pair, root: Node, sample: Sample, form: Form) -> Proved:
    """Look a pair of a finished tree up in the gold calls.

    Args:
        pair: of the tree.
        root: of the tree.
        sample: with the gold calls.
        form: of the responses.
    """
    prefix = _before(pair, root)
    before = form.decode(prefix)
    chosen, rejected = (
        step_error(before, form.decode(node.step), node.ended, sample, form.dialect)
        for node in (pair.chosen, pair.rejected)
    )
    found = Proved(pair, prefix, state_error(before, sample, form.dialect), chosen, rejected, None)
    if not found.proved:
        return found
    at_fault = fault(prefix, pair.chosen.step, pair.rejected.step, sample, form)
    return Proved(pair, prefix, None, None, rejected, at_fault)


def _before(pair: Pair, root: Node) -> tuple[int, ...]:
    """Token ids of the response before a pair's steps."""
    prefix: tuple[int, ...] = ()
    node = root
    for index in pair.parent.path:
        node = node.children[index]
        prefix += node.step
    return prefix
