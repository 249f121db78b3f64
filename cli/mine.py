"""`itool mine`: perplexity, the hardest samples, a search on each, step-level preference pairs.

Left out: how plan and results look (`mine_tables.py`).
"""

import time
from collections.abc import Sequence
from contextlib import closing
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
    Workers,
    settings,
)
from itool_data.kinds import SearchKind

if TYPE_CHECKING:
    from rich.console import Console

    from itool_data.hardness import Buffer
    from itool_data.prompt import Prompter
    from itool_data.run import Run
    from itool_data.sample import Reject
    from itool_data.search.plan import Behaviour, Plan
    from itool_data.search.task import Task
    from itool_data.workers.pool import Pool


BELIEVED = 0.9  # share of the plan's tokens up to which it is believed


def mine(
    run: RunFolder,
    samples: Annotated[int | None, typer.Option(min=1, help="Search so many of the hardest samples.")] = None,
    search: Annotated[
        SearchKind | None,
        typer.Option(
            help="`walk`: along right responses, where the policy doubts; `sample`: the paper's ablation without "
            "search; `best-of-n`: whole responses, best against worst. By default as loop.search says."
        ),
    ] = None,
    round_: Annotated[int, typer.Option("--round", min=1, help="The round of the loop.")] = 1,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it will cost, and stop.")] = False,
    config: ConfigFile = None,
    engine: PolicyKind = None,
    base_url: BaseUrl = None,
    workers: Workers = None,
    ray_address: RayAddress = None,
    overrides: Overrides = None,
    force: Force = False,
) -> None:
    """Find the steps that the policy gets wrong and write preference pairs."""
    from itool_cli.console import make_console
    from itool_data.policy.load import find_model
    from itool_data.policy.open import open_prompter
    from itool_data.run import write_run
    from itool_data.workers.open import open_pool

    console = make_console()
    with write_run(run, config, settings(overrides, engine, base_url, workers, ray_address), force) as opened:
        model = opened.config.model
        base = find_model(model)
        adapter = opened.adapter(base, round_)
        if adapter is None:
            console.print("note: the run has no adapter, so the base model itself is searched (see itool train warmup)")
        with closing(open_pool(model, opened.config.workers, base, adapter)) as pool:
            kind = search or opened.config.loop.search
            mine_round(console, opened, pool, open_prompter(model, base), round_, kind, samples, plan)


def measure_round(console: "Console", run: "Run", pool: "Pool", buffer: "Buffer", round_: int) -> None:
    """Measure what of the round's replay buffer is not measured under this policy yet."""
    from itool_cli.progress import Meter
    from itool_data import hardness

    aside: list[Reject] = []
    if buffer.missing or buffer.rejects:
        with Meter(console, "perplexity", "samples").live() as meter:
            aside += hardness.measure(run, pool, buffer, round_, meter.update)
    if buffer.undrawn:
        with Meter(console, "pass rates", "samples").live() as meter:
            aside += hardness.draw_pass_rates(run, pool, buffer, round_, meter.update)
    _say_aside(console, [reject.reason for reject in aside])


def mine_round(
    console: "Console",
    run: "Run",
    pool: "Pool",
    prompter: "Prompter",
    round_: int,
    search: "SearchKind",
    samples: int | None = None,
    plan: bool = False,
) -> None:
    """Search the round's hardest samples that have no tree yet, and show what was found.

    Args:
        console: where plan, progress and results go.
        run: open for writing.
        pool: of the policy that the round starts from.
        prompter: with the policy's tokenizer.
        round_: of the loop.
        search: which one.
        samples: search so many instead of `replay.hardest` of the buffer.
        plan: say what it will cost, and stop.
    """
    from dataclasses import asdict

    from itool_cli.memory_table import show_memory
    from itool_cli.mine_tables import show_fact, show_plan, show_summary
    from itool_cli.progress import duration
    from itool_data import choosing, hardness, mining
    from itool_data.search.plan import Measuring, make_plan, measure_rates, measuring
    from itool_data.sizing.stages import check_judge

    started = time.monotonic()
    buffer = hardness.replay(run, pool, prompter, round_)
    if not buffer.samples:
        console.print("no training samples: import some whose split is train")
        return
    planned = run.config.model_copy(update={"loop": run.config.loop.model_copy(update={"search": search})})
    if not plan:
        pool.ask(lambda desk: check_judge(planned))
    if plan and (unmeasured := buffer.missing or buffer.undrawn):
        # Who will be searched is not known yet; the buffer's own samples stand in for them.
        count = min(samples or _share(len(buffer.samples), run.config.replay.hardest), len(unmeasured))
        stand_ins = unmeasured[:: max(1, len(unmeasured) // count)][:count]
        fitting, _ = choosing.searchable(run, pool, prompter, stand_ins, search)
        wanted = choosing.as_tasks(run, pool, fitting, round_, search)
    else:
        measure_round(console, run, pool, buffer, round_)
        wanted = mining.unfinished(run, choosing.tasks(run, pool, prompter, buffer, round_, search, samples, plan))
    if not wanted:
        console.print("every tree of this round is finished; nothing to do")
        show_summary(console, run, round_)
        return
    rates = pool.ask(lambda desk: measure_rates(desk.policy, [t.prompt for t in wanted]))
    behaviour = _behaviour(console, run, pool, wanted, search)
    before = measuring(buffer.missing, buffer.undrawn, run.config.replay.draws) if plan else Measuring()
    estimate = make_plan(rates, behaviour, before, [len(t.prompt) for t in wanted], pool.size)
    show_plan(console, estimate, rates, behaviour.trees, pool.size)
    if plan:
        show_memory(console, planned, max(len(t.prompt) for t in wanted))
        return
    used, searching = pool.usage, time.monotonic()
    fact = _search(console, run, pool, wanted, search, estimate)
    usage = pool.usage - used
    fact |= {"prefill_tokens": usage.prefilled, "decode_tokens": usage.decoded, "seconds": time.monotonic() - searching}
    show_fact(console, estimate, fact)
    made_by = {"round": round_, "policy": str(pool.policy_id), "search": search}
    run.store.commit("mine", {}, **made_by, plan=asdict(estimate), rates=asdict(rates), workers=pool.size, fact=fact)
    console.print(f"mining took {duration(time.monotonic() - started)}")
    show_summary(console, run, round_)


def _share(n: int, fraction: float) -> int:
    import math

    return max(1, math.ceil(fraction * n))


def _behaviour(
    console: "Console", run: "Run", pool: "Pool", wanted: "Sequence[Task]", search: "SearchKind"
) -> "Behaviour":
    """How a tree behaves: from the run's own trees of the same settings and policy, else from a short trial."""
    from itool_data.search.miner import tree_sections
    from itool_data.search.plan import TRIAL_TREES, Behaviour, try_trees
    from itool_data.store.sql import query

    known = query(
        run.store,
        "SELECT count(*) AS n, avg(requests) AS r, avg(tokens_decoded) AS d, coalesce(avg(tokens_judged), 0) AS j, "
        "sum(pairs) AS p FROM trees WHERE config_hash = ? AND policy = ? AND search = ?",
        None,
        [run.config.hash(*tree_sections(search)), str(pool.policy_id), search],
    ).to_pylist()[0]
    if known["n"] >= TRIAL_TREES:
        return Behaviour(known["n"], int(known["p"]), known["r"], known["d"], known["j"])
    with console.status("calibrating on a few trees"):
        config = run.config
        return pool.ask(lambda desk: try_trees(desk, config, wanted, search))


def _search(
    console: "Console", run: "Run", pool: "Pool", wanted: "Sequence[Task]", search: "SearchKind", plan: "Plan"
) -> dict[str, float]:
    from itool_cli.progress import Meter
    from itool_data import mining
    from itool_data.jobs import Found

    aside: list[str] = []
    fact = dict.fromkeys(("trees", "requests", "pairs", "judge_tokens"), 0.0)
    before = pool.usage.decoded
    with Meter(console, "search", "trees").live() as meter:
        meter.update(0, len(wanted))
        for finished in mining.mine(run, pool, wanted, search):
            for tree in finished:
                if not isinstance(tree, Found):
                    aside.append(tree.reject.reason)
                    continue
                fact["trees"] += 1
                fact["requests"] += tree.requests
                fact["pairs"] += tree.pairs
                fact["judge_tokens"] += tree.judged
            # Trees finish late and plans are never right: whichever of the two shares is larger is nearer the truth.
            decoded = pool.usage.decoded - before
            behind = decoded / max(plan.decode_tokens, 1)
            share = max(min(behind, BELIEVED), fact["trees"] / len(wanted))
            note = f"{fact['pairs']:.0f} pairs, {decoded:,} tokens"
            meter.update(int(fact["trees"]) + len(aside), len(wanted), note, share)
    _say_aside(console, aside)
    return fact


def _say_aside(console: "Console", reasons: Sequence[str]) -> None:
    from itool_cli.console import visible

    if reasons:
        console.print(f"{len(reasons)} samples set aside (table rejects), the first: {visible(reasons[0])}")
