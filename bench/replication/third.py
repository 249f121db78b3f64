"""The third part of docs/replication_plan.md: the second part's question with all data and all test items, on a GPU."""

from dataclasses import replace

from bench.replication import second
from bench.replication.plan import MAIN, ROOT, Arm, Comparison, Steps
from bench.replication.second import ASKED, BENCHMARKS, CALLS, CHANGES, SEEDS, SOURCES, tried, with_rate

FRAGMENTS = 400
ASKED_AGAIN = (
    BENCHMARKS, f"loop.categories=[{CALLS}, irrelevance, live_irrelevance]", "loop.items=0",
    f"eval.fragments={FRAGMENTS}",
)  # fmt: skip
PASSES = {"tune-passes-1": 1.0, "tune-passes-2": 2.0}  # each seed chooses its own
TUNED = ("walk", "sft", "doubted")


def arms() -> list[Arm]:
    """All arms, what matters most first."""
    starts = [arm for seed in SEEDS for arm in (*_starts(seed), _mined(seed))]
    question = [*_tune("walk"), *_tune("sft"), *(_round(name, seed) for seed in SEEDS for name in ("walk", "sft"))]
    before = [Arm("start", seed, "main", "evaluate-0", "passes", "warmup", ASKED_AGAIN) for seed in SEEDS]
    return [*starts, *question, *before, *_tune("doubted"), *(_round("doubted", seed) for seed in SEEDS)]


def _starts(seed: int) -> list[Arm]:
    return [
        Arm(arm, seed, "tuning", "evaluate-0", MAIN, "import", ("loop.rounds=0", *ASKED, *with_rate("passes", n)))
        for arm, n in PASSES.items()
    ]


def _mined(seed: int) -> Arm:
    return Arm("mined", seed, "main", "mine-1", "passes", "evaluate-0", ("loop.rounds=1",))


def _tune(name: str) -> list[Arm]:
    return [
        Arm(arm, SEEDS[0], "tuning", "evaluate-1", "mined", "mine-1", (*CHANGES[name], *ASKED, *with_rate(name, rate)))
        for arm, rate in tried(name).items()
    ]


def _round(name: str, seed: int) -> Arm:
    if seed == SEEDS[0]:  # the one that the tuning chose
        return Arm(f"{name}-1", seed, "main", "evaluate-1", name, "preference-1", ASKED_AGAIN)
    return Arm(f"{name}-1", seed, "main", "evaluate-1", "mined", "mine-1", (*CHANGES[name], *ASKED_AGAIN), name)


PLAN = replace(
    second.PLAN,
    name="third",
    page=ROOT / "docs" / "third_replication.md",
    config=ROOT / "configs" / "replication" / "third.yaml",
    settings=(f"loop.sources=[{', '.join(SOURCES)}]", BENCHMARKS),
    rounds=1,
    arms=tuple(arms()),
    comparisons=(
        *(c for c in second.COMPARISONS if {c.before, c.after} <= {"walk-1", "sft-1", "doubted-1", "start"}),
        Comparison("SFT on what is doubted against none", "start", "doubted-1"),
    ),
    rates={"passes": PASSES} | {name: tried(name) for name in TUNED},
    steps=Steps(searched=200, ends=400),
)
