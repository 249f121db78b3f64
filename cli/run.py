"""`itool run`: the whole method as a list of stages over one run folder (paper 3, Figure 4).

Each stage is what its own command does, and finds by itself what of its work is done already; a finished one is passed
over afterwards. Left out: which stages there are and which are finished (`itool_data.loop`), what they do (the other
commands), and their settings (`itool_data.config`).
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from itool_cli.options import ConfigFile, Force, Overrides

if TYPE_CHECKING:
    from rich.console import Console

    from itool_data.policy.load import Adapter
    from itool_data.run import Run


def run(
    config: Annotated[
        Path | None, typer.Argument(help="Settings: a YAML file, or one of ours by its name, such as laptop.")
    ] = None,
    config_option: ConfigFile = None,
    folder: Annotated[
        Path | None,
        typer.Option("--run", help="The run's folder; default: runs/ and the config's name.", metavar="DIR"),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Stop after this stage, such as mine-1.", metavar="STAGE")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Do this stage and all after it again.", metavar="STAGE")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what memory each stage needs, and stop.")] = False,
    overrides: Overrides = None,
    force: Force = False,
) -> None:
    """Do the whole method: import, warm up, search and train in rounds, evaluate after each, report what changed."""
    from itool_cli.console import make_console
    from itool_data.errors import ItoolError
    from itool_data.loop import finished, record_again, stage_names
    from itool_data.run import write_run

    config = config or config_option
    if config and not folder:
        folder = Path("runs") / (config.stem if config.suffix in (".yaml", ".yml") else config.name)
    if folder is None or (config is None and not (folder / "config.yaml").is_file()):
        raise ItoolError(
            "itool run needs settings (such as laptop, or a file of your own), or --run DIR of an earlier run"
        )
    console = make_console()
    if plan:
        from itool_cli.memory_table import show_memory
        from itool_data.config_file import load_config

        raise typer.Exit(not show_memory(console, load_config(config or folder / "config.yaml", overrides or [])))
    with write_run(folder, config, overrides or [], force) as opened:
        names = stage_names(opened.config.loop)
        for option, name in (("--until", until), ("--from", from_)):
            if name is not None and name not in names:
                raise ItoolError(f"{option} {name}: no such stage; there are {', '.join(names)}")
        if from_ is not None:
            done = finished(opened.store.log(), names)
            open_ones = [n for n in names[: names.index(from_)] if n not in done]
            if open_ones:
                raise ItoolError(f"--from {from_}: {open_ones[0]} before it is not finished; leave --from out")
            record_again(opened, from_)
    go_on(console, folder, names[: names.index(until) + 1] if until else names)


def go_on(console: "Console", folder: Path, wanted: Sequence[str]) -> None:
    """Do the stages of a run that are not finished, in order.

    Args:
        console: where everything is shown.
        folder: the run's, which exists.
        wanted: the first of the run's stages.
    """
    from itool_cli.progress import duration
    from itool_data.errors import ItoolError
    from itool_data.loop import finished, invalidated, record, stage_names
    from itool_data.run import open_run

    run = open_run(folder)
    names, log = stage_names(run.config.loop), run.store.log()
    done, again = finished(log, names), invalidated(log, names)
    with closing(Loop(console, folder)) as loop:
        for number, name in enumerate(wanted, 1):
            if name in done:
                console.print(f"[{number}/{len(wanted)}] {name}: done in {duration(done[name])}")
                continue
            console.rule(f"[{number}/{len(wanted)}] {name}", align="left")
            started = time.monotonic()
            try:
                loop.do(name, name in again)
            except BaseException:
                with suppress(ItoolError):  # a full disk, say, must not hide why the stage itself stopped
                    record(folder, name, started, False)
                raise
            record(folder, name, started, True)


class Loop:
    """Does a run's stages.

    Each takes the run's lock for itself, because where several processes train, another one than this must hold it.

    Args:
        console: where everything is shown.
        folder: the run's.
    """

    def __init__(self, console: "Console", folder: Path):
        from itool_cli.loaded import Policies

        self._console = console
        self._folder = folder
        self._policies = Policies()

    def do(self, name: str, again: bool) -> None:
        """Do one stage.

        Args:
            name: of `stage_names`.
            again: although its result is there.
        """
        from itool_data.run import write_run

        kind, _, number = name.partition("-")
        if kind in ("warmup", "preference") and self._trained_elsewhere(kind, int(number or 0), again):
            return
        stages: dict[str, Callable[[Run, int, bool], None]] = {
            "import": self._import,
            "warmup": self._warmup,
            "perplexity": self._perplexity,
            "mine": self._mine,
            "preference": self._preference,
            "evaluate": self._evaluate,
            "report": self._report,
        }
        with write_run(self._folder, None, []) as run:
            stages[kind](run, int(number or 0), again)

    def _trained_elsewhere(self, kind: str, round_: int, again: bool) -> bool:
        """Whether there is nothing (left) to train for this process: no material, or several others did it all.

        Where validation items are to be asked, several only train, and this process goes on.
        """
        from itool_cli.launch import launch, processes_of
        from itool_data.run import open_run
        from itool_train.lessons import material

        run = open_run(self._folder)
        processes = processes_of(run, kind)
        # A sleeping engine still holds a little of its GPU, which is to be one of several: it has to go.
        if processes > 1 and run.config.workers.count == 1:
            self.close()
        else:
            self._policies.rest()
        words: list[object] = ["train", kind, "--run", self._folder]
        if kind == "preference":
            table, what = material(run.config.preference)
            if not own_rows(run, table, round_):
                self._console.print(f"round {round_} found no {what} to train on; the policy stays as it is")
                return True
            words += ["--round", round_]
        if processes == 1:
            return False
        before = run.trained(kind, round_)
        launch([*words, *(["--again"] if again else [])], processes)
        return run.trained(kind, round_) != before

    def _import(self, run: "Run", round_: int, again: bool) -> None:
        from itool_cli.data import import_source

        for source in run.config.loop.sources:
            import_source(self._console, run, source, run.config.loop.samples or None)

    def _warmup(self, run: "Run", round_: int, again: bool) -> None:
        from itool_cli.train import train_warmup

        train_warmup(self._console, run, self._policies, again)

    def _perplexity(self, run: "Run", round_: int, again: bool) -> None:
        from itool_cli.mine import measure_round
        from itool_data.hardness import replay

        loaded = self._policies.load(run, _adapter(run, round_))
        buffer = replay(run, loaded.pool, loaded.prompter, round_)
        measure_round(self._console, run, loaded.pool, buffer, round_)

    def _mine(self, run: "Run", round_: int, again: bool) -> None:
        from itool_cli.mine import mine_round

        loaded = self._policies.load(run, _adapter(run, round_))
        mine_round(self._console, run, loaded.pool, loaded.prompter, round_, run.config.loop.search)

    def _preference(self, run: "Run", round_: int, again: bool) -> None:
        from itool_cli.train import train_preference

        train_preference(self._console, run, self._policies, round_, again)

    def _evaluate(self, run: "Run", round_: int, again: bool) -> None:
        self.evaluate(run, _adapter(run, round_ + 1))

    def evaluate(self, run: "Run", adapter: "Adapter | None") -> None:
        """Ask a policy what it has not answered yet of the run's benchmarks, and what it has not decided yet.

        Args:
            run: open for writing.
            adapter: the policy's; None: the base model.
        """
        from itool_cli.eval import evaluate
        from itool_cli.eval_fragments import decide_held_out
        from itool_eval.benchmarks import open_of_run, version_of

        loop, fragments = run.config.loop, run.config.eval.fragments
        loaded = self._policies.load(run, adapter)
        for name in loop.benchmarks:
            benchmark = open_of_run(run, name)
            categories = loop.categories if version_of(benchmark.name) else []
            limit = loop.items or None
            evaluate(self._console, run, loaded.pool, benchmark, categories or None, limit)
        if fragments:
            decide_held_out(self._console, run, loaded.pool, loaded.prompter, "test", fragments)

    def _report(self, run: "Run", round_: int, again: bool) -> None:
        from itool_cli.report import NAME, write_report
        from itool_cli.run_tables import show_rounds
        from itool_data.loop import finished, stage_names

        show_rounds(self._console, run, finished(run.store.log(), stage_names(run.config.loop)))
        self._console.print(f"report: {write_report(run, run.folder / NAME)}", soft_wrap=True)

    def close(self) -> None:
        """Give back the memory of the policy that is loaded; a stage that needs it loads it again."""
        self._policies.close()


def _adapter(run: "Run", round_: int) -> "Adapter | None":
    """The adapter that a round starts from."""
    from itool_data.policy.load import find_model

    return run.adapter(find_model(run.config.model), round_)


def own_rows(run: "Run", table: str, round_: int) -> int:
    """How many rows of a table are of the round's own policy; another one's are left from before a `--from`."""
    from itool_cli.trained import starts_from
    from itool_data.store.sql import query

    sql = f"SELECT count(*) AS n FROM {table} WHERE round = ? AND policy = ?"
    return int(query(run.store, sql, None, [round_, starts_from(run, round_)]).to_pylist()[0]["n"])
