"""`itool study`: the paper's figures from a run: what is missing is run, a table printed, a picture drawn.

Every study starts from a run of `itool run` and takes as many of its stages as it can use; the rest are variants of
it (`itool_data.variant`). Left out: what studies share (`study_run.py`).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from itool_cli.charts import Chart
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
    study = Study(run, "data", overrides, output, rounds)
    study.needs_warmup()
    config = study.config
    study.do_until("evaluate-0")
    study.evaluate_others([None])
    folders = {0.0: run}
    last = f"evaluate-{rounds}"
    for share in shares:
        if share == 1:
            study.do_until(last)
            folders[share] = run
        else:
            changes = (_scaled_warmup(config, share), f"replay.fraction={share * config.replay.fraction:.6g}")
            folders[share] = study.variant(f"{share:g}", "import", (*changes, f"loop.rounds={rounds}"), last)
    points = []
    for line, round_ in (("SFT", 0), ("iTool", rounds))[: 2 if rounds else 1]:
        for share, folder in folders.items():
            label, x = f"{100 * share:g} %", 100 * share
            points.append(study.round_point(folder, round_, line, label, x) if x else study.base_point(line, label))
    title = "Figures 1b, 8: the score against the share of the training data"
    study.finish(Chart(title, "training data, % of the run's", points, labels="nowhere"))


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
    from itool_cli.run import own_rows
    from itool_data.errors import ItoolError
    from itool_data.run import open_run
    from itool_train.losses import hyperparameters

    study = Study(run, "losses", overrides, output, least=1)
    study.do_until("mine-1")
    if not own_rows(study.run(), "pairs", 1):
        raise ItoolError(f"{run}: the first round found no pair, so no loss has anything to train on")
    study.do_until("evaluate-1")
    points = [study.round_point(run, 0, "", study.after(0), 0.0)]
    used = []
    for x, loss in enumerate(get_args(Contrast), 1):
        folder = run
        if loss != study.config.preference.loss:
            changes = [f"preference.loss={loss}", *(f"preference.{name}=null" for name in OWN_PARAMETERS)]
            if loss == "orpo":
                changes.append("preference.anchor=0")  # it has an SFT term of its own
            folder = study.variant(loss, "mine-1", [*changes, "loop.rounds=1"], "evaluate-1")
        points.append(study.round_point(folder, 1, "", loss, float(x)))
        own = hyperparameters(open_run(folder).config.preference)
        used.append(f"{loss}: " + ", ".join(f"{name} {value:g}" for name, value in own.items()))
    origin = "Table 9's" if study.config.preference.lr is None else "the run's preference.lr"
    study.console.print(f"used (learning rate: {origin}): {'; '.join(used)}")
    study.finish(Chart("Figure 10: one round with each loss on the same pairs", "loss", points, joined=False))


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


def _scaled_warmup(config: "Config", share: float) -> str:
    """The setting by which the warm-up takes a share of what the run's takes; smaller shares are within larger ones."""
    if config.warmup.samples:
        return f"warmup.samples={max(1, round(share * config.warmup.samples))}"
    return f"warmup.fraction={share * config.warmup.fraction:.6g}"
