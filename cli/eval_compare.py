"""`itool eval compare`: two policies paired item by item and decision by decision.

Left out: the pairing (`itool_eval.compare`), and how it is laid out on the terminal (`eval_tables.py`).
"""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from itool_eval.compare import Outcome
    from itool_eval.protocol import Protocol

    Outcomes = dict[Protocol | None, list[Outcome]]  # by how they were asked; None: not known


def compare(
    before: Annotated[str, typer.Argument(help="A verdict file, a run's folder, or FOLDER::END of a policy's name.")],
    after: Annotated[str, typer.Argument(help="The same, of what is compared with it.")],
) -> None:
    """Pair two policies item by item and decision by decision: what was fixed, what was broken, can that be chance."""
    from itool_cli.console import make_console
    from itool_cli.eval_tables import show_comparison, show_decision_changes, show_repeated, show_unlike
    from itool_data.errors import ItoolError
    from itool_data.run import open_run
    from itool_eval.compare import compare, outcomes, read_outcomes, repeated
    from itool_eval.decisions import read_decisions
    from itool_eval.predictions import any_evaluated, read_evaluated
    from itool_eval.protocol import closest

    def load(source: str) -> tuple[dict[str, "Outcomes"], dict[str, list["Outcome"]]]:
        """Outcomes by benchmark (those of a file, which does not name its benchmark, under ""); decisions by split."""
        folder, _, policy = source.partition("::")
        if not Path(folder).is_dir():
            found_in_file = read_outcomes(Path(source))
            show_repeated(console, source, repeated(found_in_file))
            return {"": {None: found_in_file}}, {}
        run = open_run(Path(folder))
        decided = read_decisions(run, policy)
        own = bool(policy)  # a run's validation samples are asked of too many policies to guess whose answers are meant
        found = read_evaluated(run, policy, own) if any_evaluated(run, policy, own) or not decided else []
        names = list(dict.fromkeys([*(one.policy for one in found), *(one.policy for one in decided)]))
        if len(names) > 1:
            raise ItoolError(f"{folder}: has {', '.join(names)}; say which with {folder}::{names[-1]}")
        by_benchmark: dict[str, Outcomes] = {}
        for evaluated in found:
            by_benchmark.setdefault(evaluated.benchmark, {})[evaluated.protocol] = outcomes(evaluated.verdicts)
        return by_benchmark, {decisions.split: decisions.outcomes for decisions in decided}

    console = make_console()
    (left, decided), (right, decided_after) = load(before), load(after)
    items, unlike = {}, {}
    for one, other in product(left, right):
        if one == other or "" in (one, other):
            asked, asked_after = closest(list(left[one]), list(right[other]))
            comparison = compare(left[one][asked], right[other][asked_after])
            if comparison.overall.n:
                items[one or other] = comparison
                unlike[one or other] = asked.differences(asked_after) if asked and asked_after else []
    decisions = {
        split: comparison
        for split in decided
        if split in decided_after and (comparison := compare(decided[split], decided_after[split])).overall.n
    }
    if not items and not decisions:
        raise ItoolError(f"{before} and {after} have no item in common; compare outputs of the same benchmark")
    for name, comparison in items.items():
        if name:
            console.rule(name)
        show_unlike(console, unlike[name])
        show_comparison(console, comparison)
    for split, comparison in decisions.items():
        console.rule(f"fragments of {split} samples")
        show_decision_changes(console, comparison)
