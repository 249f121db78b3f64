"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[Path, typer.Option("--run", help="The run's folder.", metavar="DIR")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Settings (YAML); by default the run's own config.yaml.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting, such as mcts.width=4; may be repeated.")
]
Force = Annotated[bool, typer.Option("--force", help="Go on in a run that was made with other settings.")]
