"""`itool study`: the paper's figures from a run: what is missing is run, a table printed, a picture drawn.

Every study starts from a run of `itool run` and takes as many of its stages as it can use; the rest are variants of
it under RUN/studies. Left out: how variants are made (`variants.py`), tables and pictures (`charts.py`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from itool_cli.charts import Chart, Point
from itool_cli.options import Overrides, RunFolder
from itool_cli.variants import Variant, do_until, do_variant, evaluate_others
from itool_data.kinds import Contrast

if TYPE_CHECKING:
    from itool_data.config import Config
    from itool_data.run import Run

app = typer.Typer(help="The paper's figures from a run; what is missing is run.", no_args_is_help=True)

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The picture, .png or .svg; default: RUN/figures/STUDY.png.", metavar="FILE"),
]
Rounds = Annotated[
    int, typer.Option("--rounds", min=0, help="So many rounds; the run's own are enough if it has more.")
]

OWN_PARAMETERS = ("beta", "gamma", "tau", "lam")
MINUTE = 60.0


@app.command()
def data(
    run: RunFolder,
    fractions: Annotated[
        str, typer.Option(help="Shares of the run's warm-up data, between 0 and 1; 1 is the run itself.")
    ] = "0.1,0.3,0.5,0.7,1.0",
    rounds: Rounds = 0,
    overrides: Overrides = None,
    output: Output = None,
) -> None:
    """Figures 1b and 8: the score against the share of the data, after the warm-up and after rounds of the method."""
    shares = _fractions(fractions)
    study = _Study(run, "data", overrides, output, rounds)
    study.needs_warmup()
    config = study.config
    study.do_until("evaluate-0")
    evaluate_others(study.console, run, [None])
    folders = {0.0: run}
    last = f"evaluate-{rounds}"
    for share in shares:
        if share == 1:
            study.do_until(last)
            folders[share] = run
        else:
            changes = (_scaled_warmup(config, share), f"replay.fraction={share * config.replay.fraction:.6g}")
            variant = Variant(f"data/{share:g}", "import", (*changes, f"loop.rounds={rounds}"))
            folders[share] = do_variant(study.console, run, variant, last)
    points = []
    for line, round_ in (("SFT", 0), ("iTool", rounds))[: 2 if rounds else 1]:
        for share, folder in folders.items():
            label, x = f"{100 * share:g} %", 100 * share
            points.append(_round_point(folder, round_, line, label, x) if x else _base_point(folder, line, label))
    title = "Figures 1b, 8: the score against the share of the training data"
    study.finish(Chart(title, "training data, % of the run's", points, labels="nowhere"))


@app.command()
def warmup(run: RunFolder, overrides: Overrides = None, output: Output = None) -> None:
    """Figure 5: the score after each stage of the warm-up, from the base model to hard."""
    from itool_data.errors import ItoolError
    from itool_data.policy.load import find_adapter, find_model

    study = _Study(run, "warmup", overrides, output)
    study.needs_warmup()
    study.do_until("evaluate-0")
    opened = study.run()
    base = find_model(opened.config.model)
    stages = [c.info["stages"] for c in opened.store.log() if c.operation == "warmup" and "stages" in c.info][-1]
    if any("adapter" not in stage for stage in stages):
        raise ItoolError(
            f"{run}: its warm-up is of an older itool, which kept the last stage's adapter alone; "
            f"`itool run --run {run} --from warmup` trains it again"
        )
    adapters = [None, *(find_adapter(run / stage["adapter"], base) for stage in stages)]
    evaluate_others(study.console, run, adapters)
    labels = ["base", *(stage["stage"] for stage in stages)]
    points = [
        _point(opened, adapter.content if adapter else None, "", label, float(x))
        for x, (label, adapter) in enumerate(zip(labels, adapters, strict=True))
    ]
    study.finish(Chart("Figure 5: the score along the easy-to-hard warm-up", "after the stage", points))


@app.command()
def search(run: RunFolder, overrides: Overrides = None, output: Output = None) -> None:
    """Figure 6: the run's rounds with the search against rounds with sampled responses, from the same warm-up."""
    study = _Study(run, "search", overrides, output, least=1)
    rounds = study.config.loop.rounds
    last = f"evaluate-{rounds}"
    study.do_until(last)
    points = []
    for kind, label in (("mcts", "with MCTS"), ("sample", "without MCTS")):
        folder = run
        if kind != study.config.loop.search:
            variant = Variant(f"search/{kind}", "perplexity-1", (f"loop.search={kind}",))
            folder = do_variant(study.console, run, variant, last)
        points += [_round_point(folder, n, label, study.after(n), float(n)) for n in range(rounds + 1)]
    study.finish(Chart("Figure 6: the score with and without the search", "after", points))


@app.command()
def rounds(run: RunFolder, rounds: Rounds = 0, overrides: Overrides = None, output: Output = None) -> None:
    """Figure 7: the score after each round."""
    study = _Study(run, "rounds", overrides, output, rounds, least=1)
    n = study.config.loop.rounds
    study.do_until(f"evaluate-{n}")
    points = [_round_point(run, r, "", study.after(r), float(r)) for r in range(n + 1)]
    study.finish(Chart("Figure 7: the score after each round", "after", points))


@app.command()
def losses(run: RunFolder, overrides: Overrides = None, output: Output = None) -> None:
    """Figure 10: SimPO, DPO, IPO and ORPO on the first round's pairs, from the same warm-up.

    The other losses' own parameters are those of Table 9. The learning rate is Table 9's too, unless the run sets one:
    then all of them use that.
    """
    from itool_cli.run import own_rows
    from itool_data.errors import ItoolError
    from itool_data.run import open_run
    from itool_train.losses import hyperparameters

    study = _Study(run, "losses", overrides, output, least=1)
    study.do_until("mine-1")
    if not own_rows(study.run(), "pairs", 1):
        raise ItoolError(f"{run}: the first round found no pair, so no loss has anything to train on")
    study.do_until("evaluate-1")
    points = [_round_point(run, 0, "", study.after(0), 0.0)]
    used = []
    for x, loss in enumerate(get_args(Contrast), 1):
        folder = run
        if loss != study.config.preference.loss:
            changes = (f"preference.loss={loss}", *(f"preference.{name}=null" for name in OWN_PARAMETERS))
            if loss == "orpo":
                changes += ("preference.anchor=0",)  # it has an SFT term of its own
            variant = Variant(f"losses/{loss}", "mine-1", (*changes, "loop.rounds=1"))
            folder = do_variant(study.console, run, variant, "evaluate-1")
        points.append(_round_point(folder, 1, "", loss, float(x)))
        own = hyperparameters(open_run(folder).config.preference)
        used.append(f"{loss}: " + ", ".join(f"{name} {value:g}" for name, value in own.items()))
    origin = "Table 9's" if study.config.preference.lr is None else "the run's preference.lr"
    study.console.print(f"used (learning rate: {origin}): {'; '.join(used)}")
    study.finish(Chart("Figure 10: one round with each loss on the same pairs", "loss", points, joined=False))


@app.command()
def cost(run: RunFolder, overrides: Overrides = None, output: Output = None) -> None:
    """Table 8: what the warm-up and each round cost, in time and tokens, against the score that they reach."""
    from itool_cli.cost_table import show_cost

    study = _Study(run, "cost", overrides, output)
    n = study.config.loop.rounds
    study.do_until(f"evaluate-{n}")
    evaluate_others(study.console, run, [None])
    opened = study.run()
    times = show_cost(study.console, opened)
    points = [_base_point(run, "", "base")]
    points += [_round_point(run, r, "", study.after(r), times[r] / MINUTE) for r in range(n + 1) if r or times[0]]
    title = "Table 8: the score against the time spent on it"
    study.finish(Chart(title, "minutes of training and search", points, labels="marks"))


class _Study:
    """One study: the run it starts from and the picture it ends in."""

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
        self._folder = folder
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
            raise ItoolError(f"{self._folder}: loop.warmup is false, so there is no warm-up to study")

    def after(self, round_: int) -> str:
        """What a round's policy is called; round 0 is what the first round starts from."""
        if round_:
            return f"round {round_}"
        return "warm-up" if self.config.loop.warmup else "base"

    def run(self) -> "Run":
        """The run as it is now."""
        from itool_data.run import open_run

        return open_run(self._folder)

    def do_until(self, stage: str) -> None:
        """Do what is missing of the run's own stages."""
        do_until(self.console, self._folder, stage)

    def finish(self, chart: Chart) -> None:
        """Print the points and draw them."""
        from itool_cli.charts import draw, show

        show(self.console, chart)
        draw(chart, self._output)
        self.console.print(f"picture: {self._output}")


def _fractions(text: str) -> list[float]:
    from itool_data.errors import ItoolError

    try:
        shares = sorted({float(part) for part in text.split(",")})
    except ValueError:
        shares = []
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ItoolError(f"--fractions {text}: expected numbers above 0, at most 1, such as 0.1,0.5,1")
    return shares


def _scaled_warmup(config: "Config", share: float) -> str:
    """The setting by which the warm-up takes a share of what the run's takes; smaller shares are within larger ones."""
    if config.warmup.samples:
        return f"warmup.samples={max(1, round(share * config.warmup.samples))}"
    return f"warmup.fraction={share * config.warmup.fraction:.6g}"


def _round_point(folder: Path, round_: int, line: str, label: str, x: float) -> Point:
    """The scores after a round (0: the warm-up) of a run or a variant."""
    from itool_data.policy.load import find_model
    from itool_data.run import open_run

    run = open_run(folder)
    adapter = run.adapter(find_model(run.config.model), round_ + 1)
    return _point(run, adapter.content if adapter else None, line, label, x)


def _base_point(folder: Path, line: str, label: str) -> Point:
    from itool_data.run import open_run

    return _point(open_run(folder), None, line, label, 0.0)


def _point(run: "Run", content: str | None, line: str, label: str, x: float) -> Point:
    """The scores of the policy whose adapter has a content (None: the base model)."""
    from itool_eval.headline import headline
    from itool_eval.predictions import read_evaluated

    found = read_evaluated(run, content or "base")
    return Point(line, label, x, {(e.benchmark, score.name): score for e in found for score in headline(e)})
