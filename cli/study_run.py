"""What all studies share: the run that one starts from, its variants, their points, the picture.

Left out: which studies there are (`study.py`), doing stages (`variants.py`), tables and pictures (`charts.py`).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from itool_cli.charts import Chart, Point

if TYPE_CHECKING:
    from itool_data.config import Config
    from itool_data.policy.load import Adapter
    from itool_data.run import Run


class Study:
    """One study: the run it starts from and the picture it ends in.

    Args:
        folder: the run's.
        name: of the study.
        overrides: settings that the run takes over first.
        output: of the picture; None: in the run's folder.
        rounds: so many are needed; the run's own are enough if it has more.
        least: so many the run must have.

    Raises:
        ItoolError: if this is no run that such a study can start from.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        overrides: Sequence[str] | None,
        output: Path | None,
        rounds: int = 0,
        least: int = 0,
    ):
        from itool_cli.charts import check_output
        from itool_cli.console import make_console
        from itool_data.errors import ItoolError
        from itool_data.loop import STAGE
        from itool_data.run import open_run, write_run

        self.console = make_console()
        self.folder = folder
        self._name = name
        self._output = output or folder / "figures" / f"{name}.png"
        check_output(self._output)
        settings = list(overrides or [])
        wanted = open_run(folder, None, settings).config.loop
        if not any(commit.operation == STAGE for commit in self.run().store.log()):
            raise ItoolError(f"{folder}: not a run of `itool run`, whose stages a study goes on from")
        if not wanted.benchmarks:
            raise ItoolError(f"{folder}: loop.benchmarks is empty, so there is no score to show")
        if max(wanted.rounds, rounds) < least:
            raise ItoolError(f"{folder}: loop.rounds is {wanted.rounds}; --set loop.rounds=1 adds a round")
        if rounds > wanted.rounds:
            settings.append(f"loop.rounds={rounds}")
        with write_run(folder, None, settings) as opened:
            self.config: Config = opened.config

    def needs_warmup(self) -> None:
        """Refuse a run without warm-up."""
        from itool_data.errors import ItoolError

        if not self.config.loop.warmup:
            raise ItoolError(f"{self.folder}: loop.warmup is false, so there is no warm-up to study")

    def run(self) -> "Run":
        """The run as it is now."""
        from itool_data.run import open_run

        return open_run(self.folder)

    def do_until(self, stage: str) -> None:
        """Do what is missing of the run's own stages."""
        from itool_cli.variants import do_until

        do_until(self.console, self.folder, stage)

    def variant(self, label: str, leaves: str, changes: Iterable[str], last: str) -> Path:
        """Do what is missing of a variant of the run.

        Args:
            label: of its folder.
            leaves: the stage at whose end it leaves the run.
            changes: its settings, as `--set` takes them.
            last: its last stage.

        Returns:
            The variant's folder.
        """
        from itool_cli.variants import do_variant
        from itool_data.variant import Variant

        variant = Variant(f"{self._name}/{label}", leaves, tuple(changes))
        folder: Path = do_variant(self.console, self.folder, variant, last)
        return folder

    def evaluate_others(self, adapters: Sequence["Adapter | None"]) -> None:
        """Ask policies that are no round's end (None: the base model) what the warm-up's policy was asked."""
        from itool_cli.variants import evaluate_others

        evaluate_others(self.console, self.folder, adapters)

    def after(self, round_: int) -> str:
        """What a round's policy is called; round 0 is what the first round starts from."""
        if round_:
            return f"round {round_}"
        return "warm-up" if self.config.loop.warmup else "base"

    def round_point(self, folder: Path, round_: int, line: str, label: str, x: float) -> Point:
        """The scores after a round (0: what the first one starts from) of the run or a variant of it."""
        from itool_data.policy.load import find_model
        from itool_data.run import open_run

        run = open_run(folder)
        adapter = run.adapter(find_model(run.config.model), round_ + 1)
        return policy_point(run, adapter.content if adapter else None, line, label, x)

    def base_point(self, line: str, label: str) -> Point:
        """The base model's scores."""
        return policy_point(self.run(), None, line, label, 0.0)

    def finish(self, chart: Chart) -> None:
        """Print the points and draw them."""
        from itool_cli.charts import draw, show

        show(self.console, chart)
        draw(chart, self._output)
        self.console.print(f"picture: {self._output}")


def policy_point(run: "Run", content: str | None, line: str, label: str, x: float) -> Point:
    """The scores of the policy whose adapter has a content (None: the base model)."""
    from itool_eval.headline import headline
    from itool_eval.predictions import read_evaluated

    found = read_evaluated(run, content or "base")
    return Point(line, label, x, {(e.benchmark, score.name): score for e in found for score in headline(e)})
