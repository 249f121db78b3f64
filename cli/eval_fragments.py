"""`itool eval fragments`: is the policy's next step right, at every right prefix of held-out samples.

Left out: how it looks (`eval_tables.py`), and comparing two policies (`itool eval compare`).
"""

from contextlib import closing
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from itool_cli.options import (
    BaseUrl,
    ConfigFile,
    Force,
    Overrides,
    PolicyKind,
    RayAddress,
    RunFolder,
    Wanted,
    Workers,
    settings,
)

if TYPE_CHECKING:
    from rich.console import Console

    from itool_data.prompt import Prompter
    from itool_data.run import Run
    from itool_data.sample import Split
    from itool_data.workers.pool import Pool


class HeldOut(StrEnum):
    """The splits that nothing is trained on."""

    TEST = "test"
    VALIDATION = "validation"


def fragments(
    run: RunFolder,
    split: Annotated[HeldOut, typer.Option(help="Whose samples.")] = HeldOut.TEST,
    limit: Annotated[
        int | None, typer.Option(min=1, help="A random sample of so many of them, the same for every policy.")
    ] = None,
    wanted: Wanted = None,
    config: ConfigFile = None,
    engine: PolicyKind = None,
    base_url: BaseUrl = None,
    workers: Workers = None,
    ray_address: RayAddress = None,
    overrides: Overrides = None,
    force: Force = False,
) -> None:
    """Ask a policy for its next step (greedy) at every right prefix of held-out samples' gold responses."""
    from itool_cli.console import make_console
    from itool_cli.policies import choose_adapter
    from itool_data.policy.load import find_model
    from itool_data.policy.open import open_prompter
    from itool_data.run import write_run
    from itool_data.workers.open import open_pool

    with write_run(run, config, settings(overrides, engine, base_url, workers, ray_address), force) as opened:
        model = opened.config.model
        base = find_model(model)
        adapter = choose_adapter(opened, base, wanted)
        with closing(open_pool(model, opened.config.workers, base, adapter)) as pool:
            decide_held_out(make_console(), opened, pool, open_prompter(model, base), split.value, limit)


def decide_held_out(
    console: "Console", run: "Run", pool: "Pool", prompter: "Prompter", split: "Split", limit: int | None
) -> None:
    """Ask for the decisions that a policy has not made yet, and show all that it made along a split's samples.

    Args:
        console: where progress and results go.
        run: open for writing.
        pool: of the policy.
        prompter: with its tokenizer.
        split: whose samples.
        limit: a random sample of so many; None: all.
    """
    from itool_cli.eval_tables import show_decisions
    from itool_cli.progress import Meter
    from itool_eval.decisions import read_decisions
    from itool_eval.fragments import decide, held_out

    policy = str(pool.policy_id)
    tasks = held_out(run, pool, prompter, split, limit)
    if tasks:
        console.print(f"fragments, {policy}: {len(tasks)} {split} samples to decide along")
        done = decisions = right = 0
        with Meter(console, "fragments", "samples").live() as meter:
            meter.update(0, len(tasks))
            for finished in decide(run, pool, tasks):
                done += len(finished)
                decisions += sum(len(decided.rows) for decided in finished)
                right += sum(row["right"] for decided in finished for row in decided.rows)
                meter.update(done, len(tasks), f"{right} of {decisions} right")
    made = [d for d in read_decisions(run, policy) if (d.policy, d.split) == (policy, split)]
    for decided in made:
        show_decisions(console, decided)
    if not made:
        console.print(
            f"fragments: no {split} samples to decide along: import some (the table rejects has those refused)"
        )
