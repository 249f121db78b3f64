"""`itool config show`: the resolved settings of a run or a config file."""

from pathlib import Path
from typing import Annotated

import typer

from itool_cli.options import ConfigFile, Overrides

app = typer.Typer(help="Settings.", no_args_is_help=True)


@app.command()
def show(
    run: Annotated[Path | None, typer.Option("--run", help="The run's folder.", metavar="DIR")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    explain: Annotated[bool, typer.Option("--explain", help="A table with what each setting means.")] = False,
) -> None:
    """Print the settings, every default filled in."""
    from itool_data.config_file import load_config
    from itool_data.policy.open import describe_engine, describe_form

    path = config or (run / "config.yaml" if run else None)
    settings = load_config(path, overrides or [])
    if not explain:
        typer.echo(settings.to_yaml(), nl=False)
        typer.echo(f"# prompts and calls: {describe_form(settings.model)}")
        typer.echo(f"# runs on: {describe_engine(settings.model)}")
        return
    from rich.table import Table

    from itool_cli.console import make_console

    table = Table("setting", "value", "meaning")
    for name, field in type(settings).model_fields.items():
        section = getattr(settings, name)
        if not hasattr(section, "model_dump"):
            table.add_row(name, str(section), field.description)
            continue
        for key, inner in type(section).model_fields.items():
            table.add_row(f"{name}.{key}", str(getattr(section, key)), inner.description)
    make_console().print(table)
