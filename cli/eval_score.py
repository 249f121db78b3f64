"""`itool eval score`: outputs from anywhere, graded by a benchmark's rules with no model and no run.

Left out: who decides (`itool_eval`), and how it is laid out on the terminal (`eval_tables.py`).
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from itool_cli.options import Quirks

if TYPE_CHECKING:
    from rich.console import Console

    from itool_eval.bfcl.categories import Version


class Scorable(StrEnum):
    """Benchmarks whose result files can be scored."""

    BFCL_V3 = "bfcl-v3"
    BFCL_V4 = "bfcl-v4"
    BFCL_V3_FC = "bfcl-v3-fc"
    BFCL_V4_FC = "bfcl-v4-fc"
    TAU2 = "tau2-telecom-solo"
    TAU2_SMALL = "tau2-telecom-solo-small"
    TAU2_FULL = "tau2-telecom-solo-full"
    TAU2_TRAIN = "tau2-telecom-solo-train"
    TAU2_TEST = "tau2-telecom-solo-test"


def score(
    benchmark: Annotated[Scorable, typer.Argument(help="Whose rules.")],
    results: Annotated[
        Path,
        typer.Argument(
            help='BFCL: a JSONL file of {"id", "category", "result"}, an official result file or a folder of them. '
            "tau2: the result file of a solo run of the official tool."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the verdicts go, a JSON line each.")],
    report_quirks: Quirks = False,
) -> None:
    """Score outputs from anywhere; needs no model and no run."""
    from itool_cli.console import make_console
    from itool_data.errors import ItoolError
    from itool_eval.benchmarks import version_of

    console = make_console()
    if version := version_of(benchmark.value):
        _score_bfcl(console, benchmark.value, version, results, out, report_quirks)
    elif report_quirks:
        raise ItoolError(f"{benchmark.value} has no quirks to report; --report-quirks goes with BFCL")
    else:
        _score_tau2(console, benchmark.value, results, out)


def _score_bfcl(
    console: "Console", benchmark: str, version: "Version", results: Path, out: Path, report_quirks: bool
) -> None:
    from itool_cli.eval_tables import show_forms, show_quirks, show_rejects, show_repeated, show_scores
    from itool_eval.benchmarks import summarise
    from itool_eval.bfcl.benchmark import NATIVE, bfcl_scorers
    from itool_eval.bfcl.score_file import score_results, write_verdicts

    native_calls = benchmark in NATIVE
    scored = score_results(results, bfcl_scorers(version, native_calls), version, native_calls)
    write_verdicts(scored.verdicts, out)
    show_rejects(console, scored.rejects)
    show_forms(console, benchmark, scored)
    show_repeated(console, str(results), scored.repeated)
    if scored.verdicts and scored.comparable:
        show_scores(console, summarise(benchmark, scored.verdicts), scored.verdicts)
        if report_quirks:
            show_quirks(console, version, scored.verdicts)
    console.print(f"{len(scored.verdicts)} verdicts: {out}", soft_wrap=True)


def _score_tau2(console: "Console", benchmark: str, results: Path, out: Path) -> None:
    from itool_cli.eval_tables import show_rejects, show_rewards, show_scores
    from itool_eval.benchmarks import summarise
    from itool_eval.tau2.domain import load_domain
    from itool_eval.tau2.result_file import score_simulations, write_simulations
    from itool_eval.tau2.scorer import SoloScorer
    from itool_eval.tau2.tasks import SPLITS

    domain = load_domain()
    found = score_simulations(results, domain, SoloScorer(domain, SPLITS[benchmark]))
    write_simulations(found.scored, out)
    show_rejects(console, found.rejects, "simulations")
    show_rewards(console, found)
    if found.scored:
        show_scores(console, summarise(benchmark, found.verdicts), found.verdicts)
    console.print(f"{len(found.scored)} verdicts: {out}", soft_wrap=True)
