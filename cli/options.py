"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from itool_data.kinds import Engine

RunFolder = Annotated[Path, typer.Option("--run", help="The run's folder.", metavar="DIR")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Settings (YAML); by default the run's own config.yaml.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting, such as mcts.width=4; may be repeated.")
]
Force = Annotated[bool, typer.Option("--force", help="Go on in a run that was made with other settings.")]
Wanted = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        help="An adapter's folder, the end of the name of one of the run's adapters, or `base` for the base model; "
        "default: the run's newest adapter.",
    ),
]
PolicyKind = Annotated[
    Engine | None, typer.Option("--policy", help="What runs the model; the same as --set model.policy=…")
]

BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url", help="The server under --policy openai; the same as --set model.base_url=…", metavar="URL"
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="So many policies side by side, on Ray, one a GPU; the same as --set workers.count=…"),
]
RayAddress = Annotated[
    str | None, typer.Option(help="Join this Ray cluster; the same as --set workers.address=…", metavar="HOST:PORT")
]

Quirks = Annotated[
    bool,
    typer.Option("--report-quirks", help="List verdicts not to be taken at face value, and the scores without them."),
]


def settings(
    overrides: list[str] | None,
    engine: Engine | None,
    base_url: str | None,
    workers: int | None,
    address: str | None,
) -> list[str]:
    """`--set`s with those that have an option of their own."""
    own = {
        "model.policy": engine,
        "model.base_url": base_url,
        "workers.count": workers,
        "workers.address": address,
    }
    return [*(overrides or []), *(f"{key}={value}" for key, value in own.items() if value is not None)]
