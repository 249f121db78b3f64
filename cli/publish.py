"""`itool publish`: a run's data, or its newest adapter, to the Hugging Face Hub or to a folder in the same layout.

Left out: what the files hold (`itool_data/publish`) and how scores are computed (`itool_eval`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from itool_cli.options import RunFolder

if TYPE_CHECKING:
    from rich.console import Console

    from itool_data.publish.difference import Difference, LocalFile
    from itool_data.publish.hub import Hub
    from itool_data.run import Run

SHOWN_FILES = 40


@dataclass(frozen=True)
class State:
    """All files of a repository as they should be after a round."""

    round: int
    files: "Mapping[str, LocalFile]"

    @property
    def tag(self) -> str:
        """Under which the state can be had later."""
        return f"round-{self.round}"


def publish(
    run: RunFolder,
    repo: Annotated[str | None, typer.Option(help="The repository on the Hub.", metavar="USER/NAME")] = None,
    to: Annotated[Path | None, typer.Option(help="Write the same files to a folder instead.", metavar="DIR")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Publish the run's newest adapter as a model, not the data.")
    ] = False,
    licence: Annotated[
        str | None,
        typer.Option(
            "--license",
            help="The Hub's identifier, such as cc-by-4.0; default: what the sources and the base model have.",
            metavar="ID",
        ),
    ] = None,
) -> None:
    """Publish a run: pairs, trees, scores and samples as a data set with a card, one commit and one tag a round.

    Only what the repository lacks is sent, and what was sent is read back and compared. The token comes from HF_TOKEN
    or `hf auth login`.
    """
    import tempfile

    from itool_cli.console import make_console
    from itool_data.errors import ItoolError
    from itool_data.publish.hub import Hub
    from itool_data.run import open_run

    if (repo is None) == (to is None):
        raise ItoolError("give --repo USER/NAME, or --to DIR for a folder")
    opened, console = open_run(run), make_console()
    hub = Hub(repo, "model" if adapter else "dataset") if repo else None
    if hub and not dry_run:
        hub.create(private)
    name = repo or f"USER/{to.resolve().name if to else ''}"
    make = _model if adapter else _data_set
    with tempfile.TemporaryDirectory(prefix="itool-publish-") as scratch:
        states = make(console, opened, name, licence, Path(scratch))
        if to:
            _to_folder(console, states[-1], to, dry_run)
        elif hub:
            _to_hub(console, states, hub, Path(scratch) / "read-back", dry_run)


def _data_set(console: "Console", run: "Run", name: str, licence: str | None, scratch: Path) -> list[State]:
    """The data set as it is after each round, oldest first."""
    from itool_cli.console import visible
    from itool_cli.progress import Meter
    from itool_data.publish.dataset_card import dataset_card
    from itool_data.publish.difference import LocalFile
    from itool_data.publish.serving import TEMPLATE
    from itool_data.publish.shards import named, rounds, write_shards
    from itool_data.publish.texts import open_texts
    from itool_eval.score_rows import score_rows

    log = run.store.log()
    as_of = log[-1].version if log else None  # whoever mines meanwhile adds to the next publication
    found, scores, texts = rounds(run, as_of), score_rows(run), open_texts(run.config.model)
    with Meter(console, "writing shards", "rows").live() as meter:
        shards = write_shards(
            run, as_of, found, scores, texts, scratch, lambda rows, config: meter.update(rows, 0, config)
        )
    if texts.refused:
        sample, reason = texts.refused[0]
        first = visible(f"{sample.source} {sample.source_id}: {reason}")
        console.print(
            f"{len(texts.refused)} samples are in no sft config, as the chat template cannot say them: {first}",
            soft_wrap=True,
            markup=False,
        )
    files = {shard.file: LocalFile(shard.file) for shard in shards}
    common = {}
    if texts.template:
        (scratch / TEMPLATE).write_text(texts.template, encoding="utf-8")
        common = {TEMPLATE: LocalFile(scratch / TEMPLATE)}
    states = []
    for round_ in found:
        paths = named(shards, round_)
        card = scratch / f"README-{round_}.md"
        card.write_text(dataset_card(run, as_of, round_, name, paths, scores, licence, texts), encoding="utf-8")
        data = {path: files[shard.file] for path, shard in paths.items()}
        states.append(State(round_, {"README.md": LocalFile(card), **common, **data}))
    return states


def _model(console: "Console", run: "Run", name: str, licence: str | None, scratch: Path) -> list[State]:
    """The newest adapter with its card."""
    from itool_data.publish.difference import LocalFile
    from itool_data.publish.licences import base_model
    from itool_data.publish.model_card import newest_adapter, rank_of, write_model
    from itool_data.publish.serving import serve_command, trained_dialect
    from itool_eval.score_rows import score_rows

    made = newest_adapter(run)
    paths = write_model(run, made, name, score_rows(run), licence, scratch)
    settings = run.config.model
    if dialect := trained_dialect(settings):
        base = base_model(settings)
        command = serve_command(settings, dialect, base.hub_id or base.name, name, rank_of(made))
        console.print(f"to serve it: {command}", soft_wrap=True)
    return [State(made.round, {path: LocalFile(file) for path, file in paths.items()})]


def _to_folder(console: "Console", state: State, folder: Path, dry_run: bool) -> None:
    from itool_data.errors import ItoolError
    from itool_data.publish.difference import compare, list_folder, write_folder
    from itool_data.publish.shards import is_shard

    difference = compare(state.files, list_folder(folder), is_shard)
    _show(console, difference)
    if dry_run:
        return
    write_folder(difference, folder)
    if wrong := compare(state.files, list_folder(folder), is_shard):
        raise ItoolError(f"{folder}: {', '.join(wrong.sent)} is not what was written; somebody else writes there")
    console.print(f"{state.tag}: {len(state.files)} files in {folder}, read back", soft_wrap=True)


def _to_hub(console: "Console", states: Sequence[State], hub: "Hub", scratch: Path, dry_run: bool) -> None:
    """One commit and one tag for each round that has none yet; the newest round's tag follows what changed in it."""
    from rich.filesize import decimal

    from itool_data.publish.difference import compare
    from itool_data.publish.shards import is_shard

    tags = hub.tags()
    newest = max((state.round for state in states if state.tag in tags), default=-1)
    waiting = [state for state in states if state.round > newest] or [states[-1]]
    if dry_run:
        difference = compare(waiting[-1].files, hub.listing(), is_shard)
        _show(console, difference)
        if difference:
            console.print(f"would be tagged {', '.join(state.tag for state in waiting)} in {hub.url}", soft_wrap=True)
        return
    for state in waiting:
        difference = compare(state.files, hub.listing(), is_shard)
        _show(console, difference)
        if difference:
            with _progress(console, "sending") as report:
                commit = hub.commit(difference, f"Round {state.round}", report)
            with _progress(console, "reading back") as report:
                hub.read_back(state.files, difference.sent, commit, scratch, report)
        else:
            commit = hub.head()
        if state.tag not in tags or compare(state.files, hub.listing(state.tag), is_shard):
            hub.tag(state.tag, commit)
        size = decimal(sum(file.size for file in difference.sent.values()))
        done = f"{size} sent and read back" if difference else "nothing to send"
        console.print(f"{state.tag}: commit {commit[:12]}, {done}, {hub.url}", soft_wrap=True)


def _show(console: "Console", difference: "Difference") -> None:
    """The files to send, to rename and to remove, and how much stays as it is."""
    from rich.filesize import decimal
    from rich.table import Table

    table = Table("file", "size", "")
    rows = [
        *((path, decimal(file.size), "new") for path, file in difference.sent.items()),
        *((path, decimal(file.size), "there under another name") for path, file in difference.renamed.items()),
        *((path, "", "removed") for path in difference.gone),
    ]
    for row in rows[:SHOWN_FILES]:
        table.add_row(*row)
    if len(rows) > SHOWN_FILES:
        table.add_row(f"… {len(rows) - SHOWN_FILES} more", "", "")
    if rows:
        console.print(table)
    parts = ("new", difference.sent), ("under another name", difference.renamed), ("unchanged", difference.same)
    console.print(
        ", ".join(f"{name}: {len(f)} files, {decimal(sum(x.size for x in f.values()))}" for name, f in parts)
        + f"; removed: {len(difference.gone)}"
    )


@contextmanager
def _progress(console: "Console", title: str) -> Iterator[Callable[[int, int], None]]:
    """A meter that counts kilobytes."""
    from itool_cli.progress import Meter

    with Meter(console, title, "kB").live() as meter:
        yield lambda done, total: meter.update(done // 1000, total // 1000)
