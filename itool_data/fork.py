"""A run that goes on from another run's past: the tables as they were at a commit, and the adapters named until then.

What a comparison needs: two runs that share everything up to a stage and differ in a setting after it. The copy is a
run folder like any other. Left out: what differs, and doing it (the caller opens the copy with other settings).
"""

import shutil
from pathlib import Path

from itool_data.errors import ItoolError
from itool_data.run import Run
from itool_data.store.tables import Store


def fork(run: Run, version: int, folder: Path) -> None:
    """Copy a run as it was after a commit, whole or not at all; a copy that is there already is kept.

    Args:
        run: the run to copy.
        version: the commit's number in its log.
        folder: the new run's.

    Raises:
        ItoolError: if the folder holds a copy of another state of the run, or cannot be written.
    """
    commit = run.store.log(version)[-1]
    if folder.is_dir():
        if commit not in Store(folder / "tables").log():
            raise ItoolError(
                f"{folder}: made from an earlier state of {run.folder}, which has done this part again since; "
                "remove the folder and run the same command"
            )
        return
    unfinished = folder.with_name(f"{folder.name}.new")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        run.store.copy(unfinished / "tables", version)
        for adapter in {c.info["adapter"] for c in run.store.log(version) if "adapter" in c.info}:
            shutil.copytree(run.folder / adapter, unfinished / adapter)
        own = run.config.model_copy(update={"tables": ""})  # the copy's tables are in its folder
        (unfinished / "config.yaml").write_text(own.to_yaml(), encoding="utf-8")
        unfinished.rename(folder)
    except OSError as error:
        raise ItoolError(f"{folder}: cannot copy {run.folder}: {error.strerror or error}") from None
