"""`itool eval`: benchmarks run on a policy, outputs from anywhere scored, scores shown, compared and exported.

Left out: how results are laid out on the terminal (`eval_tables.py`).
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from itool_cli.options import ConfigFile, Force, Overrides, RunFolder

app = typer.Typer(help="Benchmarks: run, score, show, compare, export.", no_args_is_help=True)

Quirks = Annotated[
    bool,
    typer.Option("--report-quirks", help="List verdicts not to be taken at face value, and the scores without them."),
]
PolicyEnd = Annotated[
    str,
    typer.Option("--policy", help="The end of a policy's name, such as its adapter's hash, or `base`; default: all."),
]


class Runnable(StrEnum):
    """Benchmarks that a policy can be asked."""

    BFCL_V3 = "bfcl-v3"
    BFCL_V4 = "bfcl-v4"
    API_BANK = "apibank"


class Scorable(StrEnum):
    """Benchmarks whose result files can be scored."""

    BFCL_V3 = "bfcl-v3"
    BFCL_V4 = "bfcl-v4"


@app.command("run")
def run_(
    benchmark: Annotated[Runnable, typer.Argument(help="What to run.")],
    run: RunFolder,
    categories: Annotated[
        str | None, typer.Option(help="Only these, such as simple,live_simple or level-1; default: all.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="A random sample of so many items, the same for the same seed.")
    ] = None,
    wanted: Annotated[
        str | None,
        typer.Option(
            "--policy",
            help="An adapter's folder, the end of the name of one of the run's adapters, or `base` for the base "
            "model; default: the run's newest adapter.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="apibank: the folder with level-1-api.json and level-2-api.json.")
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    force: Force = False,
) -> None:
    """Ask a policy a benchmark's questions (greedy, the benchmark's own prompt), score and store the answers."""
    from itool_cli.console import make_console
    from itool_cli.eval_tables import show_evaluated
    from itool_cli.policies import choose_adapter
    from itool_cli.progress import Meter
    from itool_data.errors import ItoolError
    from itool_data.policy.load import find_model, load_tokenizer, load_transformers_policy
    from itool_data.prompt import Prompter
    from itool_data.run import write_run
    from itool_eval.benchmarks import api_bank, bfcl, choose
    from itool_eval.bfcl.categories import Version
    from itool_eval.predict import answer, prepare
    from itool_eval.predictions import read_evaluated

    if benchmark is not Runnable.API_BANK:
        opened_benchmark = bfcl(Version(benchmark.value))
    elif data is not None:
        opened_benchmark = api_bank(data)
    else:
        raise ItoolError(
            "apibank needs --data DIR, a folder with level-1-api.json and level-2-api.json of API-Bank from "
            "https://github.com/AlibabaResearch/DAMO-ConvAI (api-bank)"
        )
    console = make_console()
    with write_run(run, config, overrides or [], force) as opened:
        settings = opened.config
        questions = choose(opened_benchmark, categories.split(",") if categories else None, limit, settings.seed)
        base = find_model(settings.model)
        chosen = choose_adapter(opened, base, wanted)
        prompter = Prompter(load_tokenizer(base), settings.model.tools)
        policy = load_transformers_policy(settings.model, base, chosen)
        work = prepare(opened, policy, prompter, opened_benchmark, questions)
        console.print(
            f"{benchmark.value}, {policy.policy_id}: {len(questions)} items, {work.done} already answered, "
            f"{len(work.too_long)} longer than the context of {policy.context} tokens set aside"
        )
        if work.asked:
            done, right, total = work.done, 0, work.done + len(work.asked)
            with Meter(console, benchmark.value, "items").live() as meter:
                meter.update(done, total)
                for verdicts in answer(opened, policy, prompter, opened_benchmark, work.asked):
                    done += len(verdicts)
                    right += sum(verdict.valid for verdict in verdicts)
                    # Conversations end late, so the tokens are what moves.
                    meter.update(done, total, f"{right} of {done - work.done} right, {policy.usage.decoded} tokens")
        if work.asked or work.done:
            for evaluated in read_evaluated(opened, str(policy.policy_id)):
                if evaluated.benchmark == benchmark.value:
                    show_evaluated(console, evaluated)


@app.command()
def score(
    benchmark: Annotated[Scorable, typer.Argument(help="Whose rules.")],
    results: Annotated[
        Path,
        typer.Argument(help='A JSONL file of {"id", "category", "result"}, or a folder of official result files.'),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the verdicts go, a JSON line each.")],
    report_quirks: Quirks = False,
) -> None:
    """Score outputs from anywhere; needs no model and no run."""
    from itool_cli.console import make_console
    from itool_cli.eval_tables import show_quirks, show_rejects, show_scores
    from itool_eval.benchmarks import bfcl_scorers, summarise
    from itool_eval.bfcl.categories import Version
    from itool_eval.bfcl.score_file import score_results, write_verdicts

    console = make_console()
    version = Version(benchmark.value)
    scored = score_results(results, bfcl_scorers(version), version)
    write_verdicts(scored.verdicts, out)
    show_rejects(console, scored.rejects)
    if scored.verdicts:
        show_scores(console, summarise(version.value, scored.verdicts), scored.verdicts)
    if report_quirks:
        show_quirks(console, version, scored.verdicts)
    console.print(f"{len(scored.verdicts)} verdicts: {out}", soft_wrap=True)


@app.command()
def show(
    run: RunFolder,
    policy: PolicyEnd = "",
    report_quirks: Quirks = False,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the error classes (paper Figure 3) too: a .png or .svg file.")
    ] = None,
) -> None:
    """Show every score of a run with its formula, n, 95 % interval and era, and what goes wrong by error class."""
    from itool_cli.console import make_console
    from itool_cli.eval_tables import show_evaluated, show_quirks
    from itool_data.run import open_run
    from itool_eval.benchmarks import API_BANK
    from itool_eval.bfcl.categories import Version
    from itool_eval.predictions import read_evaluated

    console = make_console()
    found = read_evaluated(open_run(run), policy)
    for evaluated in found:
        show_evaluated(console, evaluated)
        if report_quirks and evaluated.benchmark != API_BANK:
            show_quirks(console, Version(evaluated.benchmark), evaluated.verdicts)
    if figure:
        from itool_cli.figures import error_classes, save

        save(error_classes(found), figure)
        console.print(f"figure: {figure}", soft_wrap=True)


@app.command()
def compare(
    before: Annotated[str, typer.Argument(help="A verdict file, a run's folder, or FOLDER::END of a policy's name.")],
    after: Annotated[str, typer.Argument(help="The same, of what is compared with it.")],
) -> None:
    """Pair two policies item by item: what was fixed, what was broken, and whether that can be chance."""
    from itool_cli.console import make_console
    from itool_cli.eval_tables import show_comparison
    from itool_data.errors import ItoolError
    from itool_data.run import open_run
    from itool_eval.compare import Outcome, compare, outcomes, read_outcomes
    from itool_eval.predictions import read_evaluated

    def load(source: str) -> list[Outcome]:
        folder, _, policy = source.partition("::")
        if not Path(folder).is_dir():
            return read_outcomes(Path(source))
        found = read_evaluated(open_run(Path(folder)), policy)
        names = list(dict.fromkeys(evaluated.policy for evaluated in found))
        if len(names) > 1:
            raise ItoolError(f"{folder}: has {', '.join(names)}; say which with {folder}::{names[-1]}")
        return outcomes(verdict for evaluated in found for verdict in evaluated.verdicts)

    comparison = compare(load(before), load(after))
    if not comparison.overall.n:
        raise ItoolError(f"{before} and {after} have no item in common; compare outputs of the same benchmark")
    show_comparison(make_console(), comparison)


@app.command()
def export(
    run: RunFolder,
    to: Annotated[Path, typer.Option("--to", help="Where to; a folder a policy.", metavar="DIR")],
    policy: PolicyEnd = "",
) -> None:
    """Write a run's BFCL outputs as official result files, so that the official tool can grade them."""
    import re

    from itool_data.errors import ItoolError
    from itool_data.run import open_run
    from itool_eval.benchmarks import API_BANK
    from itool_eval.bfcl.categories import Version
    from itool_eval.bfcl.score_file import write_official_results
    from itool_eval.predictions import read_evaluated

    found = [evaluated for evaluated in read_evaluated(open_run(run), policy) if evaluated.benchmark != API_BANK]
    if not found:
        raise ItoolError(f"{run}: no BFCL predictions; only BFCL has official result files")
    for evaluated in found:
        results = [
            (verdict.category, verdict.id, result)
            for verdict, result in zip(evaluated.verdicts, evaluated.results, strict=True)
        ]
        folder = to / re.sub(r"[^\w.+@-]", "_", evaluated.policy)
        for file in write_official_results(results, folder, Version(evaluated.benchmark).prefix):
            typer.echo(str(file))
