"""What a study runs: a run's own stages up to one, variants of the run, and policies that no stage evaluates.

All of it resumes as `itool run` does. Left out: what a variant is (`itool_data.variant`), and which there are
(`study.py`).
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from itool_cli.run import Loop, go_on

if TYPE_CHECKING:
    from rich.console import Console

    from itool_data.policy.load import Adapter
    from itool_data.run import Run
    from itool_data.variant import Variant


def do_until(console: "Console", folder: Path, stage: str) -> None:
    """Do what is missing of a run's stages up to one of them."""
    from itool_data.loop import stage_names
    from itool_data.run import open_run

    names = stage_names(open_run(folder).config.loop)
    go_on(console, folder, names[: names.index(stage) + 1])


def do_variant(console: "Console", folder: Path, variant: "Variant", stage: str) -> Path:
    """Do what is missing of a variant's stages up to one of them.

    Args:
        console: where everything is shown.
        folder: of the run that it is a variant of.
        variant: what it is.
        stage: the last to do.

    Returns:
        The variant's folder.
    """
    from itool_data.run import open_run
    from itool_data.variant import make

    console.rule(f"{variant.folder(folder)}: {', '.join(variant.changes)}")
    own = make(open_run(folder), variant)
    do_until(console, own, stage)
    return own


def evaluate_others(console: "Console", folder: Path, adapters: Sequence["Adapter | None"]) -> None:
    """Ask policies that are no round's end (None: the base model) what the warm-up's policy was asked."""
    from itool_data.policy.load import find_model, policy_id
    from itool_data.run import write_run

    with write_run(folder, None, []) as run:
        base = find_model(run.config.model)
        asked = str(policy_id(base, run.adapter(base, 1)))
        with closing(Loop(console, folder)) as loop:
            for adapter in adapters:
                if _unanswered(run, asked, str(policy_id(base, adapter))):
                    loop.evaluate(run, adapter)


def _unanswered(run: "Run", asked: str, policy: str) -> int:
    """How many of the items that one policy answered another has not; validation samples are no stage's."""
    from itool_data.store.sql import query
    from itool_eval.own_samples import NAME

    sql = (
        "WITH tries AS (SELECT policy, benchmark, category, item, position, coalesce(trial, 0) FROM predictions) "
        "SELECT count(*) AS n FROM (SELECT * EXCLUDE policy FROM tries WHERE policy = ? AND benchmark <> ? "
        "EXCEPT SELECT * EXCLUDE policy FROM tries WHERE policy = ?)"
    )
    return int(query(run.store, sql, None, [asked, NAME, policy]).to_pylist()[0]["n"])
