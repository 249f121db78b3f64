"""The `itool` command: its parts, one a file, and how errors reach the user.

One line and exit code 1; `--debug` shows the traceback. Left out: whatever a command does, which its own module imports
when it runs, so that `--help` stays quick.
"""

import sys
from typing import Annotated

import typer

from itool_cli import config, data, doctor, export, mine, publish, report, run, show, sql, study, train
from itool_cli import eval as evaluation
from itool_data.errors import ItoolError
from itool_data.process import prepare

app = typer.Typer(
    name="itool",
    help="Find the fragment your tool-use model gets wrong, and train it away.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.add_typer(evaluation.app, name="eval")
app.command("mine")(mine.mine)
app.command("run")(run.run)
app.add_typer(study.app, name="study")
app.add_typer(show.app, name="show")
app.command("report")(report.report)
app.command("sql")(sql.sql)
app.command("log")(sql.log)
app.command("publish")(publish.publish)
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)
app.add_typer(config.app, name="config")

INTERRUPTED = 130  # what shells give a process that Ctrl-C ended


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"itool {version('itool')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Common options; `--debug` is looked for by `main`."""


def main() -> None:
    """Run the command line; problems the user can mend end in one line and exit code 1."""
    prepare()
    try:
        app()
    except ItoolError as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"itool: {error}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer turns Ctrl-C into an exit of its own, without a word.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        typer.echo("itool: stopped; what was committed is kept, the same command goes on from there", err=True)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
