"""`itool report`: a run as one HTML file that needs nothing else, offline included.

Left out: what the page shows and how (`itool_cli.page`).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from itool_cli.options import RunFolder

if TYPE_CHECKING:
    from itool_data.run import Run

NAME = "report.html"


def report(
    run: RunFolder,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=f"The page; default: RUN/{NAME}.", metavar="FILE")
    ] = None,
) -> None:
    """Write a run as one HTML file: scores, errors, fragments, curves, trees, pairs, cost; it needs no network."""
    from itool_cli.console import make_console
    from itool_data.run import open_run

    opened = open_run(run)
    path = write_report(opened, output or run / NAME)
    make_console().print(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)


def write_report(run: "Run", path: Path) -> Path:
    """Write a run's report.

    Args:
        run: the run.
        path: of the page.

    Returns:
        The path.

    Raises:
        ItoolError: if the file cannot be written.
    """
    from itool_cli.page import build, cost, fragments, overview, scores, training, trees
    from itool_cli.trained import labels, made_by, trainings
    from itool_data.errors import ItoolError
    from itool_eval.predictions import any_evaluated, read_evaluated

    log = run.store.log()
    known = made_by(run)
    trained = trainings(log, known)
    names = labels(trained, known)
    woods = trees.forest(run, names)
    general = overview.overview(run, log, trained.base)
    data = {
        "data-overview": general,
        "data-benchmarks": scores.benchmarks(read_evaluated(run), names) if any_evaluated(run) else [],
        "data-fragments": fragments.fragments(run, names, trained),
        "data-training": training.curves(run, log),
        "data-cost": cost.cost(run, log, names),
        "data-index": {"total": woods.total, "chunk": trees.CHUNK, "trees": woods.index},
    }
    packed = {f"trees-{number}": chunk for number, chunk in enumerate(woods.chunks)} | {"data-pairs": woods.pairs}
    page = build.page(f"{general['name']} · itool report", data, packed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ItoolError(f"{path}: cannot write the report: {error.strerror}") from None
    return path
