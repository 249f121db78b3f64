"""The question of docs/replication_plan.md in whatever time a GPU is lent for: BFCL alone, one seed, nothing tuned.

The learning rates are those that the second part's validation items chose. So small a comparison decides nothing; it
shows on a new machine that all stages go through, what they take there, and which way the answer points. Left out: how
much fits the time (`bench.gpu.comparison`), and a page of its own.
"""

from bench.replication.first import BFCL, VALIDATION
from bench.replication.plan import MAIN, ROOT, Arm, Plan
from bench.replication.second import CHANGES, COMPARISONS, with_rate

SEED = 1
PASSES, RATES = 2, {"walk": 4e-4, "sft": 1e-4}


def plan(samples: int, items: int) -> Plan:
    """Its arms: the start, the searches, the question's two answers.

    Args:
        samples: that SFT trains on at most; a quarter of these and their variants is walked along.
        items: test items that each policy is asked.
    """
    after = [Arm(f"{name}-1", SEED, "main", "evaluate-1", MAIN, "mine-1", _changes(name)) for name in RATES]
    arms = (Arm("start", SEED, "main", "evaluate-0"), Arm("mined", SEED, "main", "mine-1"), *after)
    settings = (
        "loop.sources=[bfcl:0.1]", f"loop.benchmarks=[{BFCL}]", f"loop.items={items}", f"data.pool={samples}",
        f"warmup.epochs={PASSES}", "eval.fragments=0",
    )  # fmt: skip
    return Plan(
        name="timed",
        page=ROOT / "docs" / "gpu.md",
        config=ROOT / "configs" / "replication" / "third.yaml",
        settings=settings,
        rounds=1,
        seeds=(SEED,),
        arms=arms,
        comparisons=COMPARISONS[:3],
        rates={},
        with_rate=with_rate,
        validation=VALIDATION,
        benchmarks=(BFCL,),
    )


def _changes(name: str) -> tuple[str, ...]:
    return (*CHANGES[name], *with_rate(name, RATES[name]))
