"""`itool train`: `warmup` (easy-to-hard SFT, after which a model answers in calls), `preference` (on step pairs)."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from itool_cli.options import ConfigFile, Force, Overrides, RunFolder
from itool_data.kinds import Batching, Loss

if TYPE_CHECKING:
    from rich.console import Console

    from itool_cli.choose import Choice
    from itool_cli.loaded import Policies
    from itool_data.policy.load import BaseModel
    from itool_data.publish.borrowed import Origin
    from itool_data.run import Run
    from itool_data.store.tables import Commit
    from itool_train.preference import Progress

app = typer.Typer(help="Training.", no_args_is_help=True)


@app.command()
def warmup(
    run: RunFolder,
    config: ConfigFile = None,
    overrides: Overrides = None,
    force: Force = False,
    again: Annotated[bool, typer.Option("--again", help="Train once more although the run has an adapter.")] = False,
) -> None:
    """Train a LoRA adapter on the run's easy, then medium, then hard samples (paper 3.1)."""
    with _together(run, config, overrides or [], force) as (console, opened, policies):
        train_warmup(console, opened, policies, again)


def train_warmup(console: "Console", run: "Run", policies: "Policies", again: bool = False) -> None:
    """Do the warm-up of an open run and show it.

    Several processes only train where validation items are to be asked: the same command in one process then asks.

    Args:
        console: where progress and results go.
        run: open for writing in the first process.
        policies: to ask validation items with; nothing is loaded while training.
        again: train once more although the run has an adapter.
    """
    from rich.table import Table

    from itool_cli.choose import choose, open_validation
    from itool_cli.progress import Meter, duration
    from itool_data.policy.load import choose_device, find_model, policy_id
    from itool_data.policy.open import open_prompter
    from itool_data.rejects import record_rejects
    from itool_data.run import DEPENDS, identity
    from itool_data.warmup_samples import warmup_stages
    from itool_train.processes import is_first_process, is_one_of_several, wait_for_all
    from itool_train.warmup import Example, curve_rows, warm_up

    settings = run.config
    base = find_model(settings.model)
    if (present := run.trained("warmup")) is not None and not again:
        run.adapter(base, 1)  # says so if it is gone
        console.print(f"warm-up: already done, {_outcome(present)} (--again trains once more)")
        return
    benchmark = open_validation(run) if is_first_process() else None
    chosen, rejects = warmup_stages(run, open_prompter(settings.model, base))
    record_rejects(run, "warmup", rejects)
    stages = {name: [Example(p, r) for p, r in pairs] for name, pairs in chosen.items()}
    counts = ", ".join(f"{len(examples)} {name}" for name, examples in stages.items())
    tokens = sum(len(e.prompt) + len(e.response) for es in stages.values() for e in es) * settings.warmup.epochs
    console.print(
        f"warm-up: {counts} samples ({len(rejects)} longer than {settings.warmup.max_tokens} tokens, or refused, "
        "set aside), "
        f"{settings.warmup.epochs} epochs, {tokens:,} tokens"
    )
    # Checkpoints of other data or settings must not be gone on from, so the folder is named by them.
    samples = hashlib.sha256(repr({name: [(e.prompt, e.response) for e in es] for name, es in stages.items()}).encode())
    own = identity(settings, *DEPENDS["warmup"])
    work = run.folder / "work" / f"warmup-{own}-{samples.hexdigest()[:12]}"
    with Meter(console, "warm-up", "updates").live() as meter:
        candidates, results = warm_up(
            base,
            stages,
            settings.warmup,
            settings.seed,
            choose_device(settings.model),
            work,
            run.folder / "adapters",
            lambda p: meter.update(p.update, p.updates, f"{p.stage}, loss {p.loss:.3f}"),
            console.print,
            settings.validation.candidates,
        )
    wait_for_all(settings.model)  # the first one removes what the others read
    if not is_first_process():
        return
    table = Table("stage", "samples", "tokens", "padding", "learning rate", "loss at its end", "tokens/s", "time")
    for r in results:
        sizes = str(r.samples), f"{r.tokens:,}", f"{r.padding:.0%}"
        rate = f"{r.tokens / r.seconds:.0f}"
        table.add_row(r.stage, *sizes, f"{r.learning_rate:g}", f"{r.loss:.3f}", rate, duration(r.seconds))
    console.print(table)
    if benchmark and is_one_of_several():
        _say_asked_later(console, f"itool train warmup --run {run.folder}")
        return
    # Of equals the last: a model has to answer in calls before there is anything to mine.
    choice = choose(console, run, policies, benchmark, None, candidates, last_of_equals=True)
    run.store.commit(
        "warmup",
        {"training": curve_rows(results, str(policy_id(base, None)))},
        **choice.info,
        base=f"{base.name}@{base.revision}",
        stages=[
            {key: value for key, value in vars(r).items() if key not in ("log", "kept")}
            | {"adapter": f"adapters/{r.adapter}"}
            for r in results
        ],
    )
    shutil.rmtree(work)
    _say(console, choice)


def _outcome(commit: "Commit") -> str:
    """What a finished training came to."""
    return str(commit.info["adapter"] if "adapter" in commit.info else commit.info["verdict"])


def _figures(progress: "Progress") -> str:
    """The last update's figures, for the line that shows progress."""
    loss = f"loss {progress.loss:.3f}"
    return loss if progress.accuracy is None else f"{loss}, accuracy {progress.accuracy:.2f}"


def _say_asked_later(console: "Console", command: str) -> None:
    """Where several processes trained, what asks the validation items."""
    console.print(f"trained; one process asks the validation items: {command}")


def _say(console: "Console", choice: "Choice", note: str = "") -> None:
    """Where a training's adapter is, and that the run does not go on from it where that is so."""
    console.print(f"adapter: {choice.adapter}{note}")
    if not choice.kept:
        console.print("the run goes on from what it had before")


@app.command()
def preference(
    run: RunFolder,
    config: ConfigFile = None,
    overrides: Overrides = None,
    force: Force = False,
    round_: Annotated[
        int | None, typer.Option("--round", min=1, help="Train on this round's pairs; by default the newest.")
    ] = None,
    loss: Annotated[Loss | None, typer.Option(help="The objective: --set preference.loss=...")] = None,
    batching: Annotated[
        Batching | None, typer.Option(help="`tree` computes what pairs share once: --set preference.batching=...")
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            "--pairs",
            metavar="DIR|hf:USER/NAME",
            help="Train on the step pairs that another run of the same base model published, in round 1 unless "
            "--round says another, instead of the run's own.",
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Train once more although the round is trained.")] = False,
) -> None:
    """Train the round's adapter on step pairs with QLoRA (paper 3.2)."""
    settings = list(overrides or [])
    settings += [f"preference.loss={loss}"] if loss else []
    settings += [f"preference.batching={batching}"] if batching else []
    with _together(run, config, settings, force) as (console, opened, policies):
        train_preference(console, opened, policies, round_, again, pairs)


@contextmanager
def _together(
    run: Path, config: Path | None, overrides: list[str], force: bool
) -> Iterator[tuple["Console", "Run", "Policies"]]:
    """What a training needs, in one process or in several, of which the first alone writes and speaks."""
    from itool_cli.console import make_console
    from itool_cli.loaded import Policies
    from itool_data.run import open_run, write_run
    from itool_train.processes import is_first_process

    console = make_console()
    first = is_first_process()
    console.quiet = not first
    opened = write_run(run, config, overrides, force) if first else nullcontext(open_run(run, config, overrides))
    with opened as held, closing(Policies()) as policies:
        yield console, held, policies


def train_preference(
    console: "Console",
    run: "Run",
    policies: "Policies",
    round_: int | None,
    again: bool = False,
    pairs: str | None = None,
) -> None:
    """Train an open run's adapter on a round's pairs and show it.

    Several processes only train where validation items are to be asked: the same command in one process then asks.

    Args:
        console: where progress and results go.
        run: open for writing in the first process.
        policies: to ask validation items with; nothing is loaded while training.
        round_: of the loop; None: the newest that has pairs, and 1 for those of another run.
        again: train once more although the round is trained.
        pairs: where another run published pairs to train on; None: the run's own.
    """
    from rich.table import Table

    from itool_cli.choose import choose, open_validation
    from itool_cli.progress import Meter
    from itool_data.policy.load import find_model
    from itool_train import preference as stage
    from itool_train.processes import is_first_process, is_one_of_several

    chosen = round_ or (1 if pairs else stage.newest_round(run))
    present = run.trained(stage.STAGE, chosen)
    if present is not None and not again:
        other = f", --round {chosen + 1} goes on from it" if pairs else ""
        console.print(f"round {chosen}: already trained, {_outcome(present)} (--again trains once more{other})")
        return
    base = find_model(run.config.model)
    benchmark = open_validation(run) if is_first_process() else None
    origin = _borrow(console, run, base, pairs) if pairs else None
    prepared = stage.prepare(run, base, chosen, origin)
    wanted = run.config.preference
    alone = sum(not item.rejected for update in prepared.updates for item in update)
    what = "right steps" if alone == sum(map(len, prepared.updates)) else "pairs and right steps" if alone else "pairs"
    console.print(
        f"round {chosen}: {wanted.loss} on {prepared.n_train} {what}, {len(prepared.validation)} for validation "
        f"({prepared.n_too_long} too long and set aside, {prepared.n_other} of other policies passed over), "
        f"{len(prepared.updates)} updates, from {prepared.policy}"
    )
    with Meter(console, "preference", "updates").live() as meter:
        result = stage.train(
            run,
            base,
            prepared,
            lambda p: meter.update(p.update, p.updates, _figures(p)),
            console.print,
        )
    if result is None:
        return
    names = ("loss", "chosen logprob/token", "rejected", "margin", "accuracy", "tokens/s", "padding")
    table = Table("update", "split", *names)
    shown = [row for row in result.rows if row["split"] == "validation" or row["update"] in (1, len(prepared.updates))]
    for row in shown:
        figures = [row[key] for key in ("loss", "chosen_logprob", "rejected_logprob", "margin", "accuracy")]
        rate, padding = row["tokens"] / row["seconds"], (row["padding"] or 0) / row["tokens"]
        shown_figures = ("" if f is None else f"{f:.3f}" for f in figures)
        table.add_row(str(row["update"]), row["split"], *shown_figures, f"{rate:.0f}", f"{padding:.0%}")
    console.print(table)
    if benchmark and is_one_of_several():
        command = f"itool train preference --run {run.folder} --round {chosen}" + (f" --pairs {pairs}" if pairs else "")
        _say_asked_later(console, command)
        return
    choice = choose(console, run, policies, benchmark, prepared.start, result.candidates)
    stage.finish(run, base, prepared, result, choice.info)
    _say(console, choice, f" (update {choice.update} of {len(prepared.updates)})")
    before, after = result.validation_loss(0), result.validation_loss(choice.update)
    if before is not None and after is not None and after >= before:
        console.print(f"warning: the validation loss did not fall ({before:.4f} before, {after:.4f} after)")


def _borrow(console: "Console", run: "Run", base: "BaseModel", source: str) -> "Origin":
    """Take over another run's published pairs, in the first of several processes; the others wait for that."""
    from itool_cli.console import visible
    from itool_cli.progress import Meter
    from itool_data.policy.open import open_prompter
    from itool_data.publish.borrowed import borrow, borrowed_from, find_origin
    from itool_train.processes import is_first_process, wait_for_all

    origin = find_origin(source)
    if is_first_process():
        prompter = open_prompter(run.config.model, base)
        with Meter(console, f"pairs of {visible(origin.name)}", "pairs").live() as meter:
            commit, rejects = borrow(run, base, prompter, origin, meter.update)
        taken, aside = commit.rows["borrowed_pairs"], commit.rows.get("rejects", 0)
        console.print(f"{visible(str(origin))}: {taken:,} pairs taken over, {aside:,} set aside (table rejects)")
        if rejects:
            console.print(f"  the first: {visible(str(rejects[0]))}")
        for row in borrowed_from(run, origin.name, origin.revision):
            console.print(
                f"  {row['pairs']:,} of run {row['run']}, round {row['round']}, policy {visible(row['policy'])}"
            )
    wait_for_all(run.config.model)
    return origin
