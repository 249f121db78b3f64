"""The main comparison of the replication, at the size that the time left allows: a walk's round, as much SFT, none.

    samples, items                 what SFT trains on, test items that each policy is asked
    start, walk, sft               share of right items
    walk_minus_sft, _low, _high    the question, with its 95 % interval
    proved, decoded                pairs that the walks gave, and tokens that they decoded
    ARM_STAGE_seconds              that a stage took

It is `bench.replication`'s own plan and arms, in a folder of the run, so a call whose time was over goes on with the
same sizes. Left out: all data, all items and a second seed (`python -m bench.replication --plan third`).
"""

from bench.gpu.setting import Figures, Setting
from bench.replication import timed
from bench.replication.arms import Replication
from bench.replication.first import BFCL
from bench.replication.plan import Plan
from bench.replication.report import comparisons
from bench.replication.results import Results
from itool_cli.console import make_console
from itool_data.run import open_run

FOLDER = "comparison"
LEAST = 4  # samples, and items


def comparison(setting: Setting) -> Figures:
    """Do what is missing of it."""
    root = setting.run.folder / FOLDER
    main = root / f"seed-{timed.SEED}"
    if (main / "config.yaml").is_file():
        known = open_run(main).config
        samples, items = known.data.pool, known.loop.items
    else:
        samples, items = (max(round(n * setting.seconds / 60), LEAST) for n in setting.sizes.minute)
    plan, results = timed.plan(samples, items), Results(root / "results")
    Replication(make_console(), root, plan, root, results).do_all()
    return {"samples": samples, "items": items} | _figures(plan, results)


def _figures(plan: Plan, results: Results) -> Figures:
    facts = {name: row for (name, _), row in results.facts.items()}
    figures: Figures = {}
    for arm in ("start", "walk-1", "sft-1"):
        found = results.outcomes(arm, timed.SEED, BFCL)
        figures[arm.removesuffix("-1")] = sum(o.valid for o in found) / len(found)
    question = comparisons(plan, results, BFCL)[0]
    figures |= {"walk_minus_sft": question.difference}
    figures |= {"walk_minus_sft_low": question.interval.low, "walk_minus_sft_high": question.interval.high}
    figures |= {"proved": facts["mined"]["proved"], "decoded": facts["mined"]["tokens_decoded"]}
    for name, row in facts.items():
        own = row["seconds"].keys() - (facts["mined"]["seconds"] if name.endswith("-1") else {})
        figures |= {f"{name}_{stage}_seconds": row["seconds"][stage] for stage in sorted(own)}
    return figures
