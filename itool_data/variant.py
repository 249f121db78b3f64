"""A run that differs from another in some settings, and shares everything with it up to the end of a stage.

What a comparison needs: two runs with one past. A variant is a run folder like any other, under RUN/studies: the tables
as they were at a commit, the adapters named until then, the run's settings of now with its own on top. All comparisons
are made of these: studies, the replications' arms, the benches'. Left out: doing its stages (the caller's), and configs
that extend another one (`config_file.py`), which make runs that share nothing.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from itool_data.errors import ItoolError
from itool_data.loop import ends_of
from itool_data.run import Run, write_run
from itool_data.store.tables import Store


@dataclass(frozen=True)
class Variant:
    """What differs.

    Attributes:
        name: of its folder, `STUDY/LABEL`.
        stage: at whose end it leaves the run.
        changes: its settings, as `--set` takes them.
    """

    name: str
    stage: str
    changes: tuple[str, ...]

    def folder(self, run: Path) -> Path:
        """Where it is, as a variant of the run in a folder."""
        return run / "studies" / self.name


def make(run: Run, variant: Variant) -> Path:
    """Bring a variant's folder about, or take one that is there over to the run's settings of now.

    Args:
        run: that it is a variant of; its stage is finished.
        variant: what differs.

    Returns:
        The variant's folder.

    Raises:
        ItoolError: as `fork` does, or if the variant has done something that these settings would change.
    """
    own = variant.folder(run.folder)
    fork(run, ends_of(run.store.log(), variant.stage)[-1], own)
    with write_run(own, run.folder / "config.yaml", [*variant.changes, "tables=''"]):
        pass
    return own


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
