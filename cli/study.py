"""`itool study`: the paper's figures from a run: what is missing is run, a table printed, a picture drawn.

Every study starts from a run of `itool run` and takes as many of its stages as it can use; the rest are variants of
it (`itool_data.variant`). Left out: what studies share (`study_run.py`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from itool_cli.charts import Chart, Point
from itool_cli.options import Overrides, RunFolder
from itool_cli.study_run import Study, policy_point
from itool_data.kinds import Contrast

if TYPE_CHECKING:
    from itool_data.config import Config

app = typer.Typer(help="The paper's figures from a run; what is missing is run.", no_args_is_help=True)

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The picture, .png or .svg; default: RUN/figures/STUDY.png.", metavar="FILE"),
]
Rounds = Annotated[
    int, typer.Option("--rounds", min=0, help="So many rounds; the run's own are enough if it has more.")
]

Fractions = Annotated[str, typer.Option(help="Shares of the run's training data, above 0 and at most 1.")]
DATA_AXIS = "training data, % of the run's"
OWN_PARAMETERS = ("beta", "gamma", "tau", "lam")
MINUTE = 60.0


@app.command()
def data(
    run: RunFolder,
    fractions: Fractions = "0.1,0.3,0.5,0.7,1.0",
    rounds: Rounds = 0,
    overrides: Overrides = None,
    output: Output = None,
) -> None:
    """Figures 1b and 8: the score against the share of the data, of plain SFT and with --rounds of the whole method.

    Plain SFT is one stage of all difficulties on the whole share; the method's warm-up and replay buffer take their own
    shares of it.
    """
    shares = _fractions(fractions)
    study = Study(run, "data", overrides, output, rounds)
    points = _sft_points(study, shares, "SFT")
    if rounds:
        points.append(study.base_point("iTool", "0 %"))
        last, replayed = f"evaluate-{rounds}", study.config.replay.fraction
        for share in shares:
            folder = run
            if share == 1:
                study.do_until(last)
            else:
                changes = (_scaled_warmup(study.config, share), f"replay.fraction={share * replayed:.6g}")
                folder = study.variant(f"{share:g}", "import", [*changes, f"loop.rounds={rounds}"], last)
            points.append(study.round_point(folder, rounds, "iTool", _percent(share), 100 * share))
    title = "Figures 1b, 8: the score against the share of the training data"
    study.finish(Chart(title, DATA_AXIS, points, labels="nowhere"))


@app.command()
def sizes(
    run: RunFolder,
    beside: Annotated[list[Path], typer.Option(help="A run of another model; may be repeated.", metavar="DIR")],
    fractions: Fractions = "0.1,0.3,0.5,0.7,1.0",
    overrides: Overrides = None,
    output: Output = None,
) -> None:
    """Figure 9: the score of plain SFT against the share of the data, a line for each run's model."""
    from itool_data.policy.load import find_model

    shares = _fractions(fractions)
    studies = [Study(folder, "data", overrides, output or run / "figures" / "sizes.png") for folder in (run, *beside)]
    points = []
    for study in studies:
        points += _sft_points(study, shares, f"{find_model(study.config.model).name} ({study.folder.name})")
    title = "Figure 9: the score of plain SFT against the share of the training data"
    studies[0].finish(Chart(title, DATA_AXIS, points, labels="nowhere"))


@app.command()
def modules(run: RunFolder, overrides: Overrides = None, output: Output = None) -> None:
    """Table 3: rounds on top of plain SFT and on top of the easy-to-hard warm-up, and both without rounds."""
    study = Study(run, "modules", overrides, output, least=1)
    study.needs_warmup()
    last = f"evaluate-{study.config.loop.rounds}"
    study.do_until(last)
    study.evaluate_others([None])
    plain = study.variant("base-sft", "import", _plain_sft(study.config), last)
    points = [study.base_point("", "base")]
    for x, (folder, name) in enumerate(((plain, "base SFT"), (run, "warm-up")), 1):
        points.append(study.round_point(folder, 0, "", name, 2.0 * x - 1))
        points.append(study.round_point(folder, study.config.loop.rounds, "", f"{name} + rounds", 2.0 * x))
    study.finish(Chart("Table 3: the modules", "trained by", points, joined=False))


@app.command()
def warmup(run: RunFolder, overrides: Overrides = None, output: Output = None) -> None:
    """Figure 5: the score after each stage of the warm-up, from the base model to hard."""
    from itool_data.errors import ItoolError
    from itool_data.policy.load import find_adapter, find_model

    study = Study(run, "warmup", overrides, output)
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
    study.evaluate_others(adapters)
    labels = ["base", *(stage["stage"] for stage in stages)]
    points = [
        policy_point(opened, adapter.content if adapter else None, "", label, float(x))
        for x, (label, adapter) in enumerate(zip(labels, adapters, strict=True))
    ]
    study.finish(Chart("Figure 5: the score along the easy-to-hard warm-up", "after the stage", points))


@app.command()
def search(run: RunFolder, overrides: Overrides = None, output: Output = None) -> None:
    """Figure 6: the run's rounds with the search against rounds with sampled responses, from the same warm-up."""
    study = Study(run, "search", overrides, output, least=1)
    rounds = study.config.loop.rounds
    last = f"evaluate-{rounds}"
    study.do_until(last)
    points = []
    for kind, label in (("mcts", "with MCTS"), ("sample", "without MCTS")):
        folder = run
        if kind != study.config.loop.search:
            folder = study.variant(kind, "perplexity-1", [f"loop.search={kind}"], last)
        points += [study.round_point(folder, n, label, study.after(n), float(n)) for n in range(rounds + 1)]
    study.finish(Chart("Figure 6: the score with and without the search", "after", points))


@app.command()
def rounds(run: RunFolder, rounds: Rounds = 0, overrides: Overrides = None, output: Output = None) -> None:
    """Figure 7: the score after each round."""
    study = Study(run, "rounds", overrides, output, rounds, least=1)
    n = study.config.loop.rounds
    study.do_until(f"evaluate-{n}")
    points = [study.round_point(run, r, "", study.after(r), float(r)) for r in range(n + 1)]
    study.finish(Chart("Figure 7: the score after each round", "after", points))


@app.command()
def losses(run: RunFolder, overrides: Overrides = None, output: Output = None) -> None:
    """Figure 10: SimPO, DPO, IPO and ORPO on the first round's pairs, from the same warm-up.

    The other losses' own parameters are those of Table 9. The learning rate is Table 9's too, unless the run sets one:
    then all of them use that.
    """
    from itool_data.run import open_run
    from itool_train.losses import hyperparameters

    study = Study(run, "losses", overrides, output, least=1)
    study.do_until("mine-1")
    _needs_pairs(study)
    study.do_until("evaluate-1")
    points = [study.round_point(run, 0, "", study.after(0), 0.0)]
    used = []
    for x, loss in enumerate(get_args(Contrast), 1):
        folder = run
        if loss != study.config.preference.loss:
            folder = study.variant(loss, "mine-1", [*_of_loss(loss), "loop.rounds=1"], "evaluate-1")
        points.append(study.round_point(folder, 1, "", loss, float(x)))
        own = hyperparameters(open_run(folder).config.preference)
        used.append(f"{loss}: " + ", ".join(f"{name} {value:g}" for name, value in own.items()))
    origin = "Table 9's" if study.config.preference.lr is None else "the run's preference.lr"
    study.console.print(f"used (learning rate: {origin}): {'; '.join(used)}")
    study.finish(Chart("Figure 10: one round with each loss on the same pairs", "loss", points, joined=False))


@app.command()
def grid(
    run: RunFolder,
    loss: Annotated[Contrast, typer.Option(help="The objective whose parameters are searched.")] = "simpo",
    overrides: Overrides = None,
    output: Output = None,
) -> None:
    """Table 9: one round with each of a loss's parameters and learning rates, on the same pairs.

    What is chosen by it should be asked validation items: `--set loop.benchmarks=[bfcl-v3-own-prompt:validation]`.
    """
    from itertools import product

    from itool_train.losses import TABLE_9_GRID, TABLE_9_LR

    study = Study(run, "grid", overrides, output, least=1)
    study.do_until("mine-1")
    _needs_pairs(study)
    names = TABLE_9_GRID[loss]
    points = []
    for values in product(*names.values()):
        own = [f"{name}={value:g}" for name, value in zip(names, values, strict=True)]
        for x, lr in enumerate(sorted(TABLE_9_LR)):
            changes = [*_of_loss(loss), *(f"preference.{setting}" for setting in own), f"preference.lr={lr:g}"]
            label = "-".join([loss, *own, f"lr={lr:g}"])
            folder = study.variant(label, "mine-1", [*changes, "loop.rounds=1"], "evaluate-1")
            points.append(study.round_point(folder, 1, f"{loss}, {', '.join(own)}", f"{lr:g}", float(x)))
    study.finish(Chart(f"Table 9: one round of {loss} on the same pairs", "learning rate", points))


@app.command()
def cost(run: RunFolder, overrides: Overrides = None, output: Output = None) -> None:
    """Table 8: what the warm-up and each round cost, in time and tokens, against the score that they reach."""
    from itool_cli.cost_table import show_cost

    study = Study(run, "cost", overrides, output)
    n = study.config.loop.rounds
    study.do_until(f"evaluate-{n}")
    study.evaluate_others([None])
    opened = study.run()
    times = show_cost(study.console, opened)
    points = [study.base_point("", "base")]
    points += [study.round_point(run, r, "", study.after(r), times[r] / MINUTE) for r in range(n + 1) if r or times[0]]
    title = "Table 8: the score against the time spent on it"
    study.finish(Chart(title, "minutes of training and search", points, labels="marks"))


def _fractions(text: str) -> list[float]:
    from itool_data.errors import ItoolError

    try:
        shares = sorted({float(part) for part in text.split(",")})
    except ValueError:
        shares = []
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ItoolError(f"--fractions {text}: expected numbers above 0, at most 1, such as 0.1,0.5,1")
    return shares


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _sft_points(study: Study, shares: Sequence[float], line: str) -> list[Point]:
    """The scores of the base model and of plain SFT on shares of the data."""
    study.needs_warmup()
    study.do_until("evaluate-0")
    study.evaluate_others([None])
    warmup, points = study.config.warmup, [study.base_point(line, _percent(0))]
    itself = warmup.order == "mixed" and (warmup.samples > 0 or warmup.fraction == 1)
    for share in shares:
        folder = study.folder
        if share < 1 or not itself:
            changes = [*_plain_sft(study.config, share), "loop.rounds=0"]
            folder = study.variant(f"sft-{share:g}", "import", changes, "evaluate-0")
        points.append(study.round_point(folder, 0, line, _percent(share), 100 * share))
    return points


def _plain_sft(config: "Config", share: float = 1.0) -> list[str]:
    """The settings of SFT in one stage of all difficulties, on all data (4.3.1's *base SFT*) or a share."""
    samples = config.warmup.samples
    size = f"warmup.samples={max(1, round(share * samples))}" if samples else f"warmup.fraction={share:g}"
    return ["warmup.order=mixed", size]


def _needs_pairs(study: Study) -> None:
    """Refuse a run whose first round found no pair."""
    from itool_cli.run import own_rows
    from itool_data.errors import ItoolError

    if not own_rows(study.run(), "pairs", 1):
        raise ItoolError(f"{study.folder}: the first round found no pair, so no loss has anything to train on")


def _of_loss(loss: Contrast) -> list[str]:
    """The settings of a loss, with its own parameters as in Table 9."""
    changes = [f"preference.loss={loss}", *(f"preference.{name}=null" for name in OWN_PARAMETERS)]
    return [*changes, *(["preference.anchor=0"] if loss == "orpo" else [])]  # it has an SFT term of its own


def _scaled_warmup(config: "Config", share: float) -> str:
    """The setting by which the warm-up takes a share of what the run's takes; smaller shares are within larger ones."""
    if config.warmup.samples:
        return f"warmup.samples={max(1, round(share * config.warmup.samples))}"
    return f"warmup.fraction={share * config.warmup.fraction:.6g}"
