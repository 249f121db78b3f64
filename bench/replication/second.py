"""The second part of docs/replication_plan.md: walks, proved pairs and held ends on top of SFT, against more of SFT."""

from dataclasses import replace

from bench.replication.asked import DISTANCES
from bench.replication.first import API_BANK, BFCL, DATA, VALIDATION
from bench.replication.plan import MAIN, ROOT, Arm, Comparison, Plan, Steps, Tier

SEEDS = (1, 2)
SEAL_TOOLS = "test:seal_tools"
SOURCES = (*DATA, "seal_tools:{data}/seal_tools/test_in_domain.json")
PASSES = (1.0, 2.0)
RATES = (1e-4, 4e-4)
ROUNDS = 2

# Of the samples that the walk goes along, so many are searched with as many decoded tokens (bench.search: 186 tokens a
# walk, 625 a tree).
TREES = "replay.hardest=0.27"
# Plain SFT makes two passes over the walked samples where the walk's training makes one over these and their pairs.
MORE_SFT = ("preference.loss=nll", "preference.anchor_on=response", "preference.epochs=2", "preference.batch=8")
DOUBTED = ("preference.loss=nll", "preference.anchor_on=doubted", "preference.epochs=2", "preference.batch=24")
LIKELIHOOD = ("preference.anchor=0", "preference.span=step", "preference.beta=null", "preference.gamma=null")
PAPER = (*LIKELIHOOD, "preference.anchor_on=chosen", "preference.batch=8", "pairs.proved=false")
CHANGES = {"walk": (), "sft": (*LIKELIHOOD, *MORE_SFT), "doubted": (*LIKELIHOOD, *DOUBTED), "paper": PAPER}

ITEMS, FRAGMENTS = 120, 120
BENCHMARKS = f"loop.benchmarks=[{BFCL}, {API_BANK}:{{data}}/apibank, {SEAL_TOOLS}]"
CALLS = "simple, multiple, parallel, parallel_multiple, live_simple, live_multiple"
ASKED = (  # of a tuning arm
    f"loop.benchmarks=[{VALIDATION}]", f"loop.categories=[{CALLS}]", "loop.items=0", "eval.fragments=0",
)  # fmt: skip
ASKED_AGAIN = (  # of what leaves one
    BENCHMARKS, f"loop.categories=[{CALLS}, irrelevance, live_irrelevance]", f"loop.items={ITEMS}",
    f"eval.fragments={FRAGMENTS}",
)  # fmt: skip


def with_rate(group: str, rate: float) -> tuple[str, ...]:
    """The settings that give a group its learning rate; of the start, its passes over the samples."""
    return (f"warmup.epochs={rate:g}",) if group == "passes" else (f"preference.lr={rate:g}",)


def tried(group: str) -> dict[str, float]:
    """The learning rates (or passes) that are tried for a group, by the name of the arm that does."""
    return {f"tune-{group}-{rate:g}": rate for rate in (PASSES if group == "passes" else RATES)}


def arms() -> list[Arm]:
    """All arms, what matters most first."""
    first, *others = SEEDS
    plan = [*_tune_passes(), _mined(first), *_tune("walk"), *_tune("sft"), *_main(first)]
    for seed in others:
        warm = Arm("warm", seed, "tuning", "evaluate-0", MAIN, "import", ("loop.rounds=0", *ASKED), "passes")
        plan += [warm, _mined(seed), *_main(seed)]
    plan += [*_tune("doubted"), _round("doubted", first), *_searched("mcts", first), *_searched("best-of-n", first)]
    plan += [*_paper(first)]
    return [*plan, *(arm for seed in SEEDS for arm in _second(seed))]


def _warm(seed: int) -> str:
    """The arm that a seed starts from: the first seed's is the one that the tuning of passes chose."""
    return "passes" if seed == SEEDS[0] else "warm"


def _main(seed: int) -> list[Arm]:
    start = Arm("start", seed, "main", "evaluate-0", _warm(seed), "warmup", ASKED_AGAIN)
    return [_round("walk", seed), _round("sft", seed), start]


def _mined(seed: int) -> Arm:
    return Arm("mined", seed, "main", "mine-1", _warm(seed), "evaluate-0", ("loop.rounds=1",))


def _tune_passes() -> list[Arm]:
    return [
        Arm(arm, SEEDS[0], "tuning", "evaluate-0", MAIN, "import", ("loop.rounds=0", *ASKED, *with_rate("passes", n)))
        for arm, n in tried("passes").items()
    ]


def _tune(name: str, parent: str = "mined") -> list[Arm]:
    return [
        Arm(arm, SEEDS[0], "tuning", "evaluate-1", parent, "mine-1", (*CHANGES[name], *ASKED, *with_rate(name, rate)))
        for arm, rate in tried(name).items()
    ]


def _round(name: str, seed: int, tier: Tier = "main", parent: str = "mined", rates: str = "") -> Arm:
    if seed == SEEDS[0] and not rates:  # the one that the tuning chose
        return Arm(f"{name}-1", seed, tier, "evaluate-1", name, "preference-1", ASKED_AGAIN)
    changes = (*CHANGES.get(name, ()), *ASKED_AGAIN)
    return Arm(f"{name}-1", seed, tier, "evaluate-1", parent, "mine-1", changes, rates or name)


def _searched(search: str, seed: int) -> list[Arm]:
    """A round on the proved pairs of another search at as many decoded tokens; a tree's are spent on fewer samples."""
    changes = ("loop.rounds=1", f"loop.search={search}", *([TREES] if search == "mcts" else []))
    mined = Arm(f"{search}-mined", seed, "ablation", "mine-1", _warm(seed), "evaluate-0", changes, tokens_of="mined")
    return [mined, _round(search, seed, "ablation", mined.name, "walk")]


def _paper(seed: int) -> list[Arm]:
    """SimPO on the whole steps of a tree search's pairs, proved or not."""
    changes = ("loop.rounds=1", "loop.search=mcts", TREES, "pairs.proved=false")
    mined = Arm("paper-mined", seed, "ablation", "mine-1", _warm(seed), "evaluate-0", changes)
    return [mined, *_tune("paper", mined.name), _round("paper", seed, "ablation")]


def _second(seed: int) -> list[Arm]:
    """One round more, with a walk of its own; of SFT twice as many passes, from where the first round started."""
    twice = (*CHANGES["sft"], *ASKED_AGAIN, "preference.epochs=4")
    return [
        Arm("walk-2", seed, "main", "evaluate-2", "walk-1", "evaluate-1", ("loop.rounds=2",), "walk"),
        Arm("sft-2", seed, "main", "evaluate-1", "mined", "mine-1", twice, "sft"),
    ]


COMPARISONS = (
    Comparison("a walk's round against more SFT at the same compute (the question)", "sft-1", "walk-1"),
    Comparison("a walk's round against none", "start", "walk-1"),
    Comparison("more SFT against none", "start", "sft-1"),
    Comparison("two rounds of walks against more SFT at the same compute", "sft-2", "walk-2"),
    Comparison("two rounds of walks against one", "walk-1", "walk-2"),
    Comparison("SFT on what is doubted against on whole responses", "sft-1", "doubted-1"),
    Comparison("a walk's pairs against SFT on what is doubted", "doubted-1", "walk-1"),
    Comparison("a walk's pairs against a tree search's, at the same decoded tokens", "mcts-1", "walk-1"),
    Comparison("a walk's pairs against best-of-N's, at the same decoded tokens", "best-of-n-1", "walk-1"),
    Comparison("the paper's round against none", "start", "paper-1"),
    Comparison("a walk's round against the paper's", "paper-1", "walk-1"),
)

PLAN = Plan(
    name="second",
    page=ROOT / "docs" / "second_replication.md",
    config=ROOT / "configs" / "replication" / "second.yaml",
    settings=(f"loop.sources=[{', '.join(SOURCES)}]", BENCHMARKS),
    rounds=ROUNDS,
    seeds=SEEDS,
    arms=tuple(arms()),
    comparisons=COMPARISONS,
    rates={name: tried(name) for name in ("passes", *CHANGES)},
    with_rate=with_rate,
    validation=VALIDATION,
    benchmarks=(BFCL, API_BANK, SEAL_TOOLS, *DISTANCES),
    steps=Steps(searched=60, ends=120),
)


BATCHES = {"mcts": 1, "best-of-n": 5}  # pairs an update: of 12 and 63 pairs some 12 updates, as of the walk's 789


def arms_again() -> list[Arm]:
    """The first seed's arms but for second rounds: what is tuned anew comes first, and `doubted` before the start."""
    kept = [arm for arm in arms() if arm.seed == SEEDS[0] and arm.name not in ("walk-2", "sft-2")]
    names = [arm.name for arm in kept]
    main, last = slice(names.index("walk-1"), names.index("doubted-1") + 1), names.index("doubted-1") + 1
    order = sorted(kept[main], key=lambda arm: (arm.tier == "main", arm.name == "start"))
    return [*kept[: main.start], *order, *kept[last:], *(_in_updates(*arm) for arm in BATCHES.items())]


def _in_updates(search: str, batch: int) -> Arm:
    """A round on another search's pairs in about as many updates as the walk's makes (see the plan's *One update*)."""
    changes = (*ASKED_AGAIN, f"preference.batch={batch}")
    return Arm(f"{search}-updates-1", SEEDS[0], "ablation", "evaluate-1", f"{search}-mined", "mine-1", changes, "walk")


# The first seed once more, from a start that was trained again; rates are the first one's (`results/again` has them).
AGAIN = replace(
    PLAN,
    name="again",
    page=ROOT / "docs" / "second_replication_again.md",
    seeds=SEEDS[:1],
    arms=tuple(arms_again()),
    beside=PLAN,
    comparisons=(
        *COMPARISONS,
        *(
            Comparison(f"a walk's pairs against {whose}, in as many updates", f"{search}-updates-1", "walk-1")
            for search, whose in (("mcts", "a tree search's"), ("best-of-n", "best-of-N's"))
        ),
        Comparison("a tree search's pairs, in as many updates, against none", "start", "mcts-updates-1"),
        Comparison("best-of-N's pairs, in as many updates, against none", "start", "best-of-n-updates-1"),
    ),
)
