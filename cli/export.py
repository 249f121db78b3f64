"""`itool export`: a run's samples and pairs in the layout of another trainer, with its settings beside them.

Left out: the layouts (`itool_data/export`).
"""

from pathlib import Path
from typing import Annotated

import typer

from itool_cli.options import RunFolder
from itool_data.kinds import Trainer


def export(
    run: RunFolder,
    trainer: Annotated[Trainer, typer.Option("--format", help="For which trainer.")],
    out: Annotated[Path, typer.Option(help="Where to; must not exist, or be empty.", metavar="DIR")],
) -> None:
    """Write a run's training samples and pairs for another trainer, each with the settings to begin with.

    Pairs of whole responses go out as conversations, and steps as token ids where the trainer can take them. What the
    trainer's layout cannot hold is counted, on the terminal and in DIR/README.md.
    """
    from itool_cli.console import make_console
    from itool_data.errors import ItoolError
    from itool_data.export import axolotl, llama_factory, ms_swift, trl
    from itool_data.export.files import writing
    from itool_data.export.material import collect
    from itool_data.export.readme import readme
    from itool_data.run import open_run

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ItoolError(f"--out {out}: there is something already; give a new folder")
    write = {
        "trl": trl.write,
        "llama-factory": llama_factory.write,
        "axolotl": axolotl.write,
        "ms-swift": ms_swift.write,
    }[trainer]
    material = collect(open_run(run))
    write(material, out)
    files = sorted(path.name for path in out.iterdir())
    with writing(out / "README.md") as stream:
        stream.write(readme(material, trainer, files))
    console = make_console()
    for reason, count in sorted(material.notes.items()):
        console.print(f"{count:,} {reason}", soft_wrap=True)
    console.print(
        f"{len(material.samples):,} samples, {len(material.pairs):,} whole pairs, {len(material.steps):,} pairs of "
        f"steps: {', '.join(files)} in {out}",
        soft_wrap=True,
        markup=False,
    )
