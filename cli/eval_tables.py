"""How evaluations look on the terminal: scores, error classes, quirks, decisions, comparisons, lines set aside.

Left out: every number, which `itool_eval` computes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from itool_cli.console import visible
from itool_data.sample import Reject
from itool_eval.benchmarks import summarise
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.forms import NATIVE, PYTHON
from itool_eval.bfcl.items import data_folder
from itool_eval.bfcl.quirks import QuirkFinder, without
from itool_eval.bfcl.score_file import Scored
from itool_eval.compare import Change, Comparison
from itool_eval.decisions import ALL, Decisions
from itool_eval.errors import ErrorClass, error_table
from itool_eval.predictions import Evaluated
from itool_eval.scores import Interval, wilson
from itool_eval.summary import Score, Summary
from itool_eval.tau2.result_file import Simulations
from itool_eval.verdicts import Verdict

SHOWN_REJECTS = 5
SHOWN_REPEATED = 5
SHOWN_REWARDS = 20
BAR = 30  # characters of a bar that stands for all outputs
PAPER = (
    "Table 1 of the paper is an earlier scoring era (A, September to October 2024: executed categories, another "
    "multi-turn rule), so none of its numbers can be compared with these."
)


def show_evaluated(console: Console, evaluated: Evaluated) -> None:
    """What one policy made of one benchmark."""
    console.rule(f"{evaluated.policy} · {evaluated.benchmark}")
    if evaluated.protocol:
        console.print(f"protocol {evaluated.protocol.fingerprint}: {evaluated.protocol.text}", style="dim")
    show_scores(console, summarise(evaluated.benchmark, evaluated.verdicts), evaluated.verdicts)
    if evaluated.benchmark in set(Version):
        console.print(PAPER)


def show_scores(console: Console, summary: Summary, verdicts: Sequence[Verdict]) -> None:
    """All scores that something was run for, then the error classes."""
    table = Table("score", "%", "95 % interval", "n", "formula", "note", title=summary.era)
    for group in (summary.categories, summary.scores):
        for score in group:
            if score.n:
                note = _note(score)
                table.add_row(
                    score.name, f"{score.value * 100:.2f}", _interval(score.interval), str(score.n), score.formula, note
                )
        table.add_section()
    console.print(table)
    _show_errors(console, verdicts)


def show_quirks(console: Console, version: Version, verdicts: Sequence[Verdict]) -> None:
    """List the quirky verdicts, and the scores without them beside the official ones."""
    quirky = QuirkFinder(data_folder(version), version).find(verdicts)
    if not quirky:
        console.print("quirks: none among these outputs")
        return
    listed = Table("quirk", "outputs", "right", "items", title="verdicts not to be taken at face value")
    for kind in dict.fromkeys(found.quirk for found in quirky):
        of_kind = [found.verdict for found in quirky if found.quirk is kind]
        items = ", ".join(dict.fromkeys(verdict.id for verdict in of_kind))
        listed.add_row(kind.value, str(len(of_kind)), str(sum(verdict.valid for verdict in of_kind)), items)
    console.print(listed)
    rest = summarise(version.value, without(verdicts, quirky))
    official = summarise(version.value, verdicts)
    table = Table("score", "official %", "n", "without them %", "n", title="the scores without them")
    for before, after in zip(official.scores, rest.scores, strict=True):
        if after.n:
            table.add_row(
                before.name, f"{before.value * 100:.2f}", str(before.n), f"{after.value * 100:.2f}", str(after.n)
            )
    console.print(table)


def show_decisions(console: Console, decided: Decisions) -> None:
    """How many of a policy's decisions are right by kind, and what the wrong ones break."""
    title = f"{decided.policy}: fragments of {decided.samples} {decided.split} samples"
    table = Table("kind", "decisions", "right", "%", "95 % interval", title=title)
    for kind, tally in decided.tallies().items():
        share = f"{tally.share * 100:.2f}"
        table.add_row(kind, str(tally.n), str(tally.correct), share, _interval(wilson(tally)))
        if kind == ALL:
            table.add_section()
    console.print(table)
    wrong = Counter(outcome.error_class for outcome in decided.outcomes if not outcome.valid)
    if wrong:
        total = wrong.total()
        parts = (f"{name} {n} ({n / total * 100:.0f} %)" for name, n in wrong.most_common())
        console.print(f"what the {total} wrong ones break: {', '.join(parts)}")


def show_unlike(console: Console, differences: Sequence[str]) -> None:
    """Say that two scores are of two protocols, and in what these differ."""
    if differences:
        console.print("warning: not asked under one protocol, so this compares more than two policies:")
        for difference in differences:
            console.print(f"  {difference}", soft_wrap=True)


def show_comparison(console: Console, comparison: Comparison) -> None:
    """The paired counts, the error classes, and every item that flipped."""
    show_changes(console, comparison)
    for flip in comparison.flips:
        word, colour = ("fixed ", "green") if flip.fixed else ("broken", "red")
        console.print(Text.assemble((word, colour), f" {flip.category} {flip.id} ({flip.error_class})"))
    if comparison.overall.groups:
        console.print("Tries at one task are not independent: the intervals count tasks; McNemar's p does not.")
    if comparison.unpaired:
        console.print(f"{comparison.unpaired} items are in one of the two only and left out")


def show_decision_changes(console: Console, comparison: Comparison) -> None:
    """The paired counts of two policies' decisions; there are too many of them to name each that flipped."""
    show_changes(console, comparison)
    console.print(
        "The intervals count samples, because the decisions along one are not independent; McNemar's p does not."
    )
    if comparison.unpaired:
        console.print(f"{comparison.unpaired} decisions are in one of the two only and left out")


def show_changes(console: Console, comparison: Comparison) -> None:
    """The paired counts over all items, by category and by error class."""
    table = Table("", "n", "before %", "after %", "difference", "95 % interval", "fixed", "broken", "McNemar p")
    _add_change(table, "all", comparison.overall)
    table.add_section()
    for category, change in comparison.by_category.items():
        _add_change(table, category, change)
    console.print(table)
    classes = Table("wrong by", "before", "after", "difference", "95 % interval", "no more", "new", "McNemar p")
    for name in ErrorClass:
        if name in comparison.by_class:
            change = comparison.by_class[name]
            classes.add_row(
                name,
                str(change.fixed + change.neither),
                str(change.broken + change.neither),
                f"{change.difference * 100:+.2f}",
                _interval(change.interval, "+"),
                str(change.fixed),
                str(change.broken),
                f"{change.p:.3g}",
            )
    if classes.row_count:
        console.print(classes)


def show_rejects(console: Console, rejects: Sequence[Reject], noun: str = "lines") -> None:
    """Name the first lines that were set aside, and how many there were."""
    if not rejects:
        return
    console.print(f"{len(rejects)} {noun} cannot be scored and are set aside:")
    for reject in rejects[:SHOWN_REJECTS]:
        console.print(f"  {reject}", markup=False, soft_wrap=True)
    if len(rejects) > SHOWN_REJECTS:
        fields = Counter(reject.field for reject in rejects[SHOWN_REJECTS:])
        counts = ", ".join(f"{field} {n}" for field, n in fields.most_common())
        console.print(f"  … {sum(fields.values())} more, by what is wrong: {counts}")


def show_forms(console: Console, benchmark: str, scored: Scored) -> None:
    """Say how many results call in a form that is not read, and where these are most, that there is no score."""
    if not scored.forms:
        return
    total, right = len(scored.verdicts), sum(verdict.valid for verdict in scored.verdicts)
    forms, unread = ", ".join(f"{form} {n}" for form, n in scored.forms.most_common()), scored.forms.total()
    console.print(
        f"{unread} of {total} results make their calls in a form that {benchmark} does not read ({forms})."
        " By its rules they make no call, but the official handler of their model may read them.",
        markup=False,
    )
    if scored.comparable:
        return
    base = benchmark.removesuffix("-fc")
    way_out = {PYTHON: f"; {base} reads calls as Python text", NATIVE: f"; {base}-fc reads native calls"}
    known = way_out.get(scored.forms.most_common(1)[0][0], "; docs/bfcl.md §4 says which forms are read")
    console.print(
        f"Not comparable, so no score is shown ({right} of {total} are right by the rules of {benchmark}){known}.",
        markup=False,
    )


def show_rewards(console: Console, found: Simulations) -> None:
    """Say how many rewards of a result file are ours, and name those that are not."""
    if found.limits:
        console.print(f"its runs had other limits than those here: {'; '.join(found.limits)}")
    given = [one for one in found.scored if one.reward is not None]
    other = [one for one in given if one.disagrees]
    without = len(found.scored) - len(given)
    console.print(
        f"{len(given) - len(other)} of {len(given)} simulations have the reward here that the file gives them"
        + (f"; {without} have none there" if without else "")
    )
    for one in other[:SHOWN_REWARDS]:
        verdict, returned = one.verdict, one.returned and f"; first to return something else here: {one.returned}"
        why = f" ({verdict.error_type}: {verdict.message})" if not verdict.valid else ""
        named = f"  {verdict.id}, trial {verdict.trial}: {float(verdict.valid)} here{why}, {one.reward} there{returned}"
        console.print(visible(named), soft_wrap=True)
    if len(other) > SHOWN_REWARDS:
        console.print(f"  … {len(other) - SHOWN_REWARDS} more")


def show_repeated(console: Console, source: str, repeated: Mapping[tuple[str, str], int]) -> None:
    """Name the ids that come more often than the data has them."""
    if not repeated:
        return
    named = ", ".join(f"{item_id} {n} times" for (_, item_id), n in list(repeated.items())[:SHOWN_REPEATED])
    more = f" and {len(repeated) - SHOWN_REPEATED} more" if len(repeated) > SHOWN_REPEATED else ""
    ids = f"{len(repeated)} ids come" if len(repeated) > 1 else "1 id comes"
    console.print(
        f"{source}: {ids} more often than the data has it ({named}{more}). Every line counts in what follows, so it is "
        "a share of lines, not of items; keep one line an id for a score.",
        markup=False,
        soft_wrap=True,
    )


def _show_errors(console: Console, verdicts: Sequence[Verdict]) -> None:
    counted = error_table(verdicts)
    wrong = sum(counted.first.values())
    title = f"what goes wrong: {wrong} of {counted.outputs} outputs, by the paper's seven classes"
    table = Table("class", "outputs", "% of the wrong", "", "anywhere in it", title=title)
    for name in ErrorClass:
        n = counted.first[name]
        share = n / wrong if wrong else 0.0
        bar = Text("█" * round(share * BAR), style="red")
        table.add_row(name, str(n), f"{share * 100:.1f}", bar, str(counted.anywhere[name]))
    console.print(table)
    if counted.apart:
        apart = ", ".join(f"{note} {n}" for note, n in counted.apart.most_common())
        console.print(f"of these, shown apart: {apart}")


def _note(score: Score) -> str:
    notes = []
    if score.missing:
        counts = "left out" if score.left_out else "counts as 0"
        notes.append(f"not run, {counts}: {', '.join(score.missing)}")
    if score.partial:
        names = "" if score.partial == (score.name,) else f": {', '.join(score.partial)}"
        notes.append(f"only some items run{names}")
    return "; ".join(notes)


def _add_change(table: Table, name: str, change: Change) -> None:
    before, after = change.both + change.broken, change.both + change.fixed
    table.add_row(
        name,
        str(change.n),
        f"{before / change.n * 100:.2f}",
        f"{after / change.n * 100:.2f}",
        f"{change.difference * 100:+.2f}",
        _interval(change.interval, "+"),
        str(change.fixed),
        str(change.broken),
        f"{change.p:.3g}",
    )


def _interval(interval: Interval, sign: str = "") -> str:
    return f"{interval.low * 100:{sign}.2f} to {interval.high * 100:{sign}.2f}"
