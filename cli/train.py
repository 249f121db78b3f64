"""`itool train warmup`: easy-to-hard SFT, after which a model answers in calls that can be searched."""

from typing import Annotated

import typer

from itool_cli.options import ConfigFile, Force, Overrides, RunFolder

app = typer.Typer(help="Training.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `warmup` a subcommand while it is the only one."""


@app.command()
def warmup(
    run: RunFolder,
    config: ConfigFile = None,
    overrides: Overrides = None,
    force: Force = False,
    again: Annotated[bool, typer.Option("--again", help="Train once more although the run has an adapter.")] = False,
) -> None:
    """Train a LoRA adapter on the run's easy, then medium, then hard samples (paper 3.1)."""
    from rich.table import Table

    from itool_cli.console import make_console
    from itool_cli.progress import Meter, duration
    from itool_data.policy.load import adapter_hash, choose_device, find_model, load_tokenizer
    from itool_data.prompt import Prompter
    from itool_data.run import write_run
    from itool_data.stages import set_aside, warmup_stages
    from itool_train.warmup import Example, warm_up

    console = make_console()
    with write_run(run, config, overrides or [], force) as opened:
        settings = opened.config
        base = find_model(settings.model)
        present = opened.adapter(base, 1)
        if present is not None and not again:
            console.print(f"warm-up: already done, {present.path.relative_to(run)} (--again trains once more)")
            return
        chosen, too_long = warmup_stages(opened, Prompter(load_tokenizer(base), settings.model.tools))
        set_aside(opened, "warmup", too_long, settings.warmup.max_tokens)
        stages = {name: [Example(p, r) for p, r in pairs] for name, pairs in chosen.items()}
        counts = ", ".join(f"{len(examples)} {name}" for name, examples in stages.items())
        tokens = sum(len(e.prompt) + len(e.response) for es in stages.values() for e in es) * settings.warmup.epochs
        console.print(
            f"warm-up: {counts} samples ({len(too_long)} longer than {settings.warmup.max_tokens} tokens set aside), "
            f"{settings.warmup.epochs} epochs, {tokens:,} tokens"
        )
        # Checkpoints of other data or settings must not be gone on from, so the folder is named by them.
        work = run / "work" / f"warmup-{settings.hash('model', 'warmup')}-{tokens}"
        with Meter(console, "warm-up", "updates").live() as meter:
            adapter, results = warm_up(
                base,
                stages,
                settings.warmup,
                settings.seed,
                choose_device(settings.model),
                work,
                run / "adapters",
                lambda p: meter.update(p.update, p.updates, f"{p.stage}, loss {p.loss:.3f}"),
            )
        opened.store.commit(
            "warmup",
            {},
            adapter=str(adapter.relative_to(run)),
            content=adapter_hash(adapter),
            base=f"{base.name}@{base.revision}",
            stages=[r.__dict__ for r in results],
        )
    table = Table("stage", "samples", "tokens", "learning rate", "loss at its end", "tokens/s", "time")
    for r in results:
        rate = f"{r.tokens / r.seconds:.0f}"
        table.add_row(
            r.stage, str(r.samples), f"{r.tokens:,}", f"{r.learning_rate:g}", f"{r.loss:.3f}", rate, duration(r.seconds)
        )
    console.print(table)
    console.print(f"adapter: {adapter}")
