"""`itool eval`: benchmarks run on a policy, scores shown and exported.

Left out: how results are laid out on the terminal (`eval_tables.py`), outputs from anywhere (`eval_score.py`),
comparing two policies (`eval_compare.py`), and fragment accuracy (`eval_fragments.py`).
"""

from collections.abc import Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from itool_cli.eval_compare import compare
from itool_cli.eval_fragments import fragments
from itool_cli.eval_score import score
from itool_cli.options import (
    BaseUrl,
    ConfigFile,
    Force,
    Overrides,
    PolicyKind,
    Quirks,
    RayAddress,
    RunFolder,
    Wanted,
    Workers,
    settings,
)

if TYPE_CHECKING:
    from rich.console import Console

    from itool_data.run import Run
    from itool_eval.benchmark import Benchmark
    from itool_eval.predict import Answerer, Asked

app = typer.Typer(help="Benchmarks and fragments: run, score, show, compare, export.", no_args_is_help=True)

PolicyEnd = Annotated[
    str,
    typer.Option("--policy", help="The end of a policy's name, such as its adapter's hash, or `base`; default: all."),
]


class Runnable(StrEnum):
    """Benchmarks that a policy can be asked."""

    BFCL_V3 = "bfcl-v3"
    BFCL_V4 = "bfcl-v4"
    BFCL_V3_FC = "bfcl-v3-fc"
    BFCL_V4_FC = "bfcl-v4-fc"
    BFCL_V3_OWN_PROMPT = "bfcl-v3-own-prompt"
    API_BANK = "apibank"
    API_BANK_OWN_PROMPT = "apibank-own-prompt"
    TAU2 = "tau2-telecom-solo"
    TAU2_SMALL = "tau2-telecom-solo-small"
    TAU2_FULL = "tau2-telecom-solo-full"
    TAU2_TRAIN = "tau2-telecom-solo-train"
    TAU2_TEST = "tau2-telecom-solo-test"
    TEST = "test"


app.command()(fragments)
app.command()(compare)
app.command()(score)


@app.command("run")
def run_(
    benchmark: Annotated[Runnable, typer.Argument(help="What to run.")],
    run: RunFolder,
    categories: Annotated[
        str | None,
        typer.Option(help="Only these, such as simple,live_simple or level-1; default: all but format_sensitivity."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="A random sample of so many items, the same in every run.")
    ] = None,
    wanted: Wanted = None,
    data: Annotated[
        Path | None, typer.Option(help="apibank: the folder with level-1-api.json and level-2-api.json.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="test: the data set whose test samples in this run are asked.", metavar="SOURCE"),
    ] = None,
    validation: Annotated[
        bool, typer.Option("--validation", help="Ask the items that the run set aside to tune on (bfcl:SHARE) instead.")
    ] = False,
    trained_on: Annotated[
        bool, typer.Option("--trained-on", help="Ask also the items that this run trains on (BFCL-half).")
    ] = False,
    config: ConfigFile = None,
    engine: PolicyKind = None,
    base_url: BaseUrl = None,
    workers: Workers = None,
    ray_address: RayAddress = None,
    overrides: Overrides = None,
    force: Force = False,
) -> None:
    """Ask a policy a benchmark's questions (greedy, the benchmark's own prompt), score and store the answers."""
    from itool_cli.console import make_console
    from itool_data.errors import ItoolError
    from itool_data.run import write_run
    from itool_eval.benchmarks import VALIDATION, open_of_run, version_of

    api_bank = benchmark in (Runnable.API_BANK, Runnable.API_BANK_OWN_PROMPT)
    if api_bank and data is None:
        raise ItoolError(
            f"{benchmark.value} needs --data DIR, a folder with level-1-api.json and level-2-api.json of API-Bank from "
            "https://github.com/AlibabaResearch/DAMO-ConvAI (api-bank)"
        )
    if (benchmark is Runnable.TEST) != (source is not None):
        raise ItoolError(
            f"{benchmark.value}: --source SOURCE says whose test samples `test` asks, and goes with it alone"
        )
    if validation and version_of(benchmark.value) is None:
        raise ItoolError(f"{benchmark.value} has no items to tune on; --validation goes with BFCL")
    name = benchmark.value + (f":{data or source}" if data or source else VALIDATION if validation else "")
    with write_run(run, config, settings(overrides, engine, base_url, workers, ray_address), force) as opened:
        names = categories.split(",") if categories else None
        opened_benchmark = open_of_run(opened, name)
        with closing(_open_answerer(opened, wanted)) as answerer:
            evaluate(make_console(), opened, answerer, opened_benchmark, names, limit, trained_on)


def _open_answerer(run: "Run", wanted: str | None) -> "Answerer":
    """Who answers; a server needs no model here unless an adapter is meant, which must belong to one."""
    from itool_cli.policies import BASE, choose_adapter
    from itool_data.policy.load import find_model
    from itool_data.workers.open import open_pool
    from itool_eval.predict import OneChat
    from itool_eval.server_chat import open_server_chat

    model = run.config.model
    on_server = model.policy == "openai"
    if on_server and (wanted == BASE or (wanted is None and not run.has_adapter)):
        return OneChat(open_server_chat(model, None))
    base = find_model(model)
    adapter = choose_adapter(run, base, wanted)
    if on_server:
        return OneChat(open_server_chat(model, adapter))
    return open_pool(model, run.config.workers, base, adapter)


def evaluate(
    console: "Console",
    run: "Run",
    answerer: "Answerer",
    benchmark: "Benchmark",
    categories: Sequence[str] | None,
    limit: int | None,
    trained_on: bool = False,
) -> None:
    """Ask what is not answered yet of a benchmark's items, and show the scores.

    Args:
        console: where progress and scores go.
        run: open for writing.
        answerer: who answers.
        benchmark: whose items.
        categories: only these; None: all.
        limit: a random sample of so many items; None: all.
        trained_on: ask also the items that are among the run's training samples.
    """
    from itool_cli.eval_tables import show_evaluated
    from itool_eval.benchmarks import ITEMS_SEED, choose
    from itool_eval.memories import fill
    from itool_eval.predict import not_asked, prepare
    from itool_eval.predictions import read_evaluated
    from itool_eval.protocol import protocol_of

    left_out = set() if trained_on else not_asked(run, benchmark)
    questions = choose(benchmark, categories, limit, ITEMS_SEED, left_out)
    protocol = protocol_of(benchmark, answerer.wording, run.config.eval.max_tokens)
    asked = prepare(run, str(answerer.policy_id), benchmark, questions, protocol.fingerprint)
    total = len(questions) * benchmark.trials
    done, tries = total - len(asked), f", {benchmark.trials} tries each" if benchmark.trials > 1 else ""
    console.print(
        f"{benchmark.name}, {answerer.policy_id}: {len(questions)} items{tries}, {done} already answered"
        + (f"; {len(left_out)} are left out, because this run has them for something else" if left_out else "")
    )

    def fill_memories(filling: "Benchmark", conversations: "Sequence[Asked]") -> None:
        ask(console, run, answerer, filling, conversations, len(conversations), "conversations that fill memories")

    benchmark, ready = fill(run, str(answerer.policy_id), benchmark, asked, fill_memories)
    if len(ready) < len(asked):
        console.print(f"{len(asked) - len(ready)} items are not asked: a conversation that fills their memory failed")
    if done + ask(console, run, answerer, benchmark, ready, total - (len(asked) - len(ready))):
        for evaluated in read_evaluated(run, str(answerer.policy_id)):
            if evaluated.benchmark == benchmark.name and evaluated.protocol in (protocol, None):
                show_evaluated(console, evaluated)


def ask(
    console: "Console",
    run: "Run",
    answerer: "Answerer",
    benchmark: "Benchmark",
    asked: "Sequence[Asked]",
    total: int,
    noun: str = "items",
) -> int:
    """Ask what is left of some items, and show how it goes.

    Args:
        console: where progress goes.
        run: open for writing.
        answerer: who answers.
        benchmark: whose items.
        asked: those that are left.
        total: how many there are with those that are answered already.
        noun: what they are called; only items are right or wrong.

    Returns:
        How many of them were answered; the others could not be asked.
    """
    from itool_cli.console import visible
    from itool_cli.progress import Meter
    from itool_eval.predict import answer

    done = total - len(asked)
    answered, right, aside = 0, 0, []
    if asked:
        before = answerer.usage
        with Meter(console, benchmark.name, noun).live() as meter:
            meter.update(done, total)
            for step in answer(run, answerer, benchmark, asked):
                answered += len(step.verdicts)
                right += sum(verdict.valid for verdict in step.verdicts)
                aside += step.set_aside
                used = answerer.usage - before
                tokens = f"{used.prefilled + used.decoded:,} tokens"
                note = f"{right} of {answered} right, {tokens}" if noun == "items" else tokens
                meter.update(done + answered + len(aside), total, note)
    if aside:
        console.print(f"{len(aside)} items set aside (table rejects), the first: {visible(aside[0].reason)}")
    return answered


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
    from itool_eval.benchmarks import version_of
    from itool_eval.predictions import read_evaluated

    console = make_console()
    found = read_evaluated(open_run(run), policy, own=bool(policy))
    for evaluated in found:
        show_evaluated(console, evaluated)
        if report_quirks and (version := version_of(evaluated.benchmark)):
            show_quirks(console, version, evaluated.verdicts)
    if figure:
        from itool_cli.figures import error_classes, save

        save(error_classes(found), figure)
        console.print(f"figure: {figure}", soft_wrap=True)


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
    from itool_eval.bfcl.benchmark import NATIVE
    from itool_eval.bfcl.categories import Version
    from itool_eval.bfcl.score_file import write_official_results
    from itool_eval.predictions import read_evaluated

    versions = NATIVE | {version.value: version for version in Version}
    found = [evaluated for evaluated in read_evaluated(open_run(run), policy) if evaluated.benchmark in versions]
    if not found:
        raise ItoolError(f"{run}: no BFCL predictions in the official prompt; only they have official result files")
    for evaluated in found:
        results = [
            (verdict.category, verdict.id, result)
            for verdict, result in zip(evaluated.verdicts, evaluated.results, strict=True)
        ]
        # The official tool tells native calling from calls as text by this in a model's name.
        name = evaluated.policy + ("-FC" if evaluated.benchmark in NATIVE else "")
        folder = to / re.sub(r"[^\w.+@-]", "_", name)
        for file in write_official_results(results, folder, versions[evaluated.benchmark].prefix):
            typer.echo(str(file))
