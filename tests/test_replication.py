"""bench.replication: a plan that holds together, arms that run and resume at toy size, and what is kept and shown."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from bench.replication import first, second, third, timed
from bench.replication.arms import Replication
from bench.replication.asked import SEARCHED
from bench.replication.figure import draw
from bench.replication.plan import MAIN, Arm, Plan, Steps
from bench.replication.report import over_seeds, report
from bench.replication.results import FOLDER, Results
from bench.toy_loop import write_config
from itool_cli.console import make_console
from itool_data.config import LoopSettings
from itool_data.config_file import load_config
from itool_data.loop import stage_names
from itool_data.run import DEPENDS, differences, open_run
from itool_eval.compare import Outcome
from itool_train.losses import hyperparameters

PLANS = [first.PLAN, second.PLAN, second.AGAIN, third.PLAN]
WITH_TIMED = [*PLANS, timed.plan(300, 120)]


def outcomes(*valid: bool, error_class: str = "Parameter Value") -> list[Outcome]:
    return [Outcome("simple", f"simple_{i}", right, None if right else error_class) for i, right in enumerate(valid)]


# --- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", WITH_TIMED, ids=lambda plan: plan.name)
def test_every_arm_comes_after_what_it_needs(plan: Plan) -> None:
    done: set[tuple[str, int]] = set()
    for arm in plan.arms:
        key = (arm.name, arm.seed)
        assert key not in done, f"{key} twice"
        if arm.parent:
            assert {(name, arm.seed) for name in plan.rates.get(arm.parent, [arm.parent])} <= done
        if arm.rates:
            assert {(name, plan.seeds[0]) for name in plan.rates[arm.rates]} <= done
        if arm.tokens_of:
            assert (arm.tokens_of, arm.seed) in done
        done.add(key)
    if plan is not second.AGAIN:  # of which second rounds are left out
        for wanted in plan.comparisons:
            assert {(wanted.before, 1), (wanted.after, 1)} <= done, wanted
    assert {wanted.before for wanted in plan.comparisons[:3]} <= {a.name for a in plan.arms}


@pytest.mark.parametrize("plan", WITH_TIMED, ids=lambda plan: plan.name)
def test_every_arms_settings_and_stages_exist_and_only_tuning_sees_validation_items(plan: Plan) -> None:
    for arm in plan.arms:
        config = load_config(plan.config, [change.format(data="data") for change in arm.changes])
        stages = stage_names(config.loop)
        assert arm.until in stages and (not arm.leaves or arm.leaves in stages), arm
        assert (config.loop.benchmarks == [plan.validation]) == (arm.tier == "tuning")


@pytest.mark.parametrize("plan", WITH_TIMED, ids=lambda plan: plan.name)
def test_no_arm_changes_what_was_made_before_it_leaves(plan: Plan) -> None:
    """A run refuses other settings of what its stages have used."""
    settings: dict[tuple[str, int], tuple[str, ...]] = {(MAIN, seed): () for seed in plan.seeds}
    made_by = {"warmup": {"warmup"}, "evaluate": {"eval"}, "perplexity": {"perplexity"}, "mine": {"mine"},
               "preference": {"preference"}}  # fmt: skip
    for arm in plan.arms:
        parent = next(iter(plan.rates.get(arm.parent, [arm.parent])))
        before = settings[parent, arm.seed]
        own = (*before, *(change.format(data="data") for change in arm.changes))
        settings[arm.name if arm.leaves else parent, arm.seed] = own
        if arm.leaves:
            names = stage_names(LoopSettings(rounds=plan.rounds))
            done = names[: names.index(arm.leaves) + 1]
            used = {s for name in done for op in made_by.get(name.partition("-")[0], set()) for s in DEPENDS[op]}
            old, new = (load_config(plan.config, list(changes)) for changes in (before, own))
            assert differences(old, new, used) == [], arm


def test_the_sizes_of_the_plans_are_their_configs():
    config = load_config(first.PLAN.config, [])
    assert (config.data.pool, config.warmup.samples) == (first.POOL, first.WARMUP)
    config = load_config(second.PLAN.config, [])
    assert (config.loop.items, config.eval.fragments) == (second.ITEMS, second.FRAGMENTS)
    config = load_config(third.PLAN.config, [])
    assert (config.loop.items, config.eval.fragments) == (0, third.FRAGMENTS)


def test_the_losses_of_the_second_plan_take_their_own_parameters():
    for arm in second.PLAN.arms:
        hyperparameters(load_config(second.PLAN.config, [c for c in arm.changes if "{" not in c]).preference)


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_results_are_read_back_and_an_arm_that_is_done_again_takes_its_own_place(tmp_path):
    results = Results(tmp_path)
    results.add({"arm": "a", "seed": 1}, {"x": outcomes(True, False), "y": outcomes(False)})
    results.add({"arm": "a", "seed": 2}, {"x": outcomes(True)})
    results.add({"arm": "a", "seed": 1, "pairs": 3}, {"x": outcomes(False)})
    again = Results(tmp_path)
    assert again.facts == {("a", 1): {"arm": "a", "seed": 1, "pairs": 3}, ("a", 2): {"arm": "a", "seed": 2}}
    assert (again.outcomes("a", 1, "x"), again.outcomes("a", 1, "y")) == (outcomes(False), [])
    assert again.outcomes("a", 2, "x") == outcomes(True)


def test_the_best_arm_has_the_smaller_rate_of_equals_and_none_before_all_are_tried(tmp_path):
    results, rates = Results(tmp_path), {"low": 0.1, "middle": 0.2, "high": 0.3}
    results.add({"arm": "high", "seed": 1}, {"v": outcomes(True, True, False)})
    results.add({"arm": "middle", "seed": 1}, {"v": outcomes(False, True, True)})
    assert results.best_arm(rates, 1, "v") is None
    results.add({"arm": "low", "seed": 1}, {"v": outcomes(True, False, False)})
    assert results.best_arm(rates, 1, "v") == "middle"


# --- the tables -------------------------------------------------------------------------------------------------------


def test_over_seeds_pairs_by_item_and_its_interval_shrinks_with_items():
    # Item 0 is fixed on both seeds, item 1 on one, item 2 is broken on one, item 3 stays: (1 + 0.5 - 0.5 + 0) / 4.
    first = (outcomes(False, False, True, True), outcomes(True, True, True, True))
    second = (outcomes(False, True, True, True), outcomes(True, True, False, True))
    mean, few = over_seeds([first, second])
    assert mean == pytest.approx(0.25) and few.low < 0.25 < few.high
    many = [tuple([Outcome(o.category, f"{o.id}-{n}", o.valid, None) for n in range(50) for o in side] for side in pair)
            for pair in (first, second)]  # fmt: skip
    mean, narrow = over_seeds(many)
    assert mean == pytest.approx(0.25) and narrow.high - narrow.low < (few.high - few.low) / 3


def test_over_seeds_takes_items_that_only_one_seed_has_too():
    other = [Outcome("simple", f"other_{i}", right, None) for i, right in enumerate((False, False, True))]
    mended = [Outcome("simple", f"other_{i}", True, None) for i in range(3)]
    same = outcomes(True, False)
    mean, interval = over_seeds([(same, same), (other, mended)])
    assert mean == pytest.approx(2 / 5) and interval.low < 2 / 5 < interval.high


def test_the_report_shows_what_is_there_and_names_what_is_not(tmp_path):
    results = Results(tmp_path)
    assert "Not run yet, seed 1: tune-easy-to-hard-0.0005," in report(first.PLAN, results)
    facts = {"sft_samples": 4, "sft_tokens": 1000, "seconds": {"evaluate-0": 90.0}}
    for seed in first.SEEDS:
        results.add(
            {"arm": "sft-everything", "seed": seed, **facts}, {first.BFCL: outcomes(*[True] * 10, *[False] * 10)}
        )
        results.add({"arm": "sft-round-3", "seed": seed, **facts}, {first.BFCL: outcomes(*[True] * 15, *[False] * 5)})
    shown = report(first.PLAN, results)
    assert "| sft-everything | 1 | 10/20 | 50.0 | 29.9 to 70.1 |" in shown
    wanted = next(c for c in first.COMPARISONS if (c.before, c.after) == ("sft-everything", "sft-round-3"))
    claim = f"| {wanted.question} | bfcl-v3-own-prompt |"
    assert f"{claim} 1 | 20 | 5 | 0 | +25.0 |" in shown and f"{claim} all |" in shown
    classes = next(line for line in shown.splitlines() if line.startswith("| arm | seed | Parameter Value"))
    assert f"| sft-round-3 | 2 | 5 |{' 0 |' * (classes.count('|') - 4)}" in shown
    missing = shown.rpartition("Not run yet, seed 2")[2]
    assert "sft-round-2" in missing and "sft-everything" not in missing


def test_the_picture_has_a_line_for_every_comparison_and_a_bar_for_every_arm(tmp_path):
    results = Results(tmp_path)
    results.add({"arm": "sft-everything", "seed": 1}, {first.BFCL: outcomes(*[True] * 10, *[False] * 10)})
    results.add({"arm": "sft-round-1", "seed": 1}, {first.BFCL: outcomes(*[True] * 13, *[False] * 7)})
    compared, errors = draw(results).axes
    (line,) = (text.get_text() for text in compared.get_yticklabels())
    assert line == "1 round against none  (seed 1)"
    assert [text.get_text().strip() for text in compared.texts] == ["+15.0"]
    assert [text.get_text() for text in errors.get_yticklabels()] == ["sft-everything, seed 1", "sft-round-1, seed 1"]
    drawn = {c.get_label(): [(bar.get_x(), bar.get_width()) for bar in c] for c in errors.containers}
    assert drawn == {"right": [(0, 10), (0, 13)], "Parameter Value": [(10, 10), (13, 7)]}


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_the_pages_tables_are_those_of_the_kept_results(plan: Plan) -> None:
    assert report(plan, Results(FOLDER / plan.name)) in plan.page.read_text(encoding="utf-8")


def test_next_steps_along_one_sample_are_drawn_together():
    """Eight steps of one sample that change together say as much as one item does."""
    before = [Outcome("name", f"{s}-{n}", False, None, str(s)) for s in range(4) for n in range(8)]
    after = [replace(o, valid=o.group == "0") for o in before]
    mean, together = over_seeds([(before, after)])
    _, apart = over_seeds([([replace(o, group="") for o in before], [replace(o, group="") for o in after])])
    _, items = over_seeds([(before[::8], after[::8])])
    assert mean == 0.25 and (together.low, together.high) == (items.low, items.high)
    assert together.high - together.low > 2 * (apart.high - apart.low)


# --- running ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def replication(tmp_path: Path) -> Replication:
    """A replication at toy size: a warm-up, a variant of it, a round, and best-of-N with the search's budget."""
    config = write_config(tmp_path, rounds=1)
    loop = json.loads(config.read_text())["loop"]
    (source,), (benchmark,) = loop["sources"], loop["benchmarks"]
    arms = [
        Arm("warm-up", 1, "main", "evaluate-0", changes=("warmup.checkpoint_seconds=30",),
            also=("loop.benchmarks=[apibank-own-prompt:{data}]", "loop.items=5")),
        Arm("raw", 1, "main", "evaluate-0", policy="base"),
        Arm("mixed", 1, "main", "evaluate-0", leaves="import", changes=("warmup.order=mixed", "loop.rounds=0")),
        Arm("mined-1", 1, "main", "mine-1"),
        Arm("round-1", 1, "main", "evaluate-1"),
        Arm("best-of-n-mined", 1, "main", "mine-1", leaves="perplexity-1", changes=("loop.search=best-of-n",),
            tokens_of="mined-1"),
        Arm("best-of-n", 1, "main", "evaluate-1", parent="best-of-n-mined"),
    ]  # fmt: skip
    data = as_published(Path(benchmark.partition(":")[2]), tmp_path / "published")
    held_out = tmp_path / "held_out.jsonl"
    rows = Path(source).read_text().splitlines()[:3]
    held_out.write_text("\n".join(row.replace('"content": "', '"content": "Now ', 1) for row in rows))
    # With a pair to validate on, a training this short may keep its first update, whose learning rate is 0.
    settings = (f"loop.sources=[{source}, {held_out}:test]", "preference.validation=0")
    toy = replace(
        first.PLAN, config=config, settings=settings, arms=tuple(arms), rates={},
        steps=Steps(60, 120),
    )  # fmt: skip
    return Replication(make_console(), tmp_path / "root", toy, data, Results(tmp_path / "results"))


def as_published(toy: Path, folder: Path) -> Path:
    """The toy's items with their dialogue and functions as API-Bank writes them."""
    folder.mkdir()
    api = {"apiCode": "f", "description": "", "parameters": {"a": {"type": "int"}}}
    for level in ("level-1-api.json", "level-2-api.json"):
        rows = json.loads((toy / level).read_text())
        changed = [
            {**row, "instruction": f"API descriptions:\n{json.dumps(api)}", "input": f"User: {row['input']}\n"}
            for row in rows
        ]
        (folder / level).write_text(json.dumps(changed))
    return folder


def test_arms_run_as_run_folders_and_their_outcomes_are_kept(replication: Replication, tmp_path: Path):
    elsewhere = tmp_path / "root" / ".seed-1-studies-replication-mixed.lock"
    elsewhere.parent.mkdir(parents=True)
    with FileLock(elsewhere):  # another process works on this arm
        while replication.do_next():
            pass
    assert [arm.name for arm in replication.plan.arms if (arm.name, 1) not in replication.results.facts] == ["mixed"]
    replication.do_all()
    results = Results(tmp_path / "results")
    assert set(results.facts) == {(arm.name, 1) for arm in replication.plan.arms}
    asked = {name: len(results.outcomes(name, 1, "apibank")) for name, _ in results.facts}
    assert asked == {name: 0 if "mined" in name else 12 for name in asked}
    # The own-prompt items of the arm that is asked them, and the run's settings are as before.
    assert len(results.outcomes("warm-up", 1, "apibank-own-prompt")) == 5
    main = tmp_path / "root" / "seed-1"
    assert open_run(main).config.loop.items == 0
    facts = {name: row for (name, _), row in results.facts.items()}
    # Next steps along the samples that are searched from, and how firmly the policy ends.
    along = {o.group for o in results.outcomes("round-1", 1, SEARCHED)}
    assert along == {o.group for o in results.outcomes("warm-up", 1, SEARCHED)} and len(along) > 1
    assert facts["round-1"]["end"] < 0 and "end" not in facts["mined-1"]
    assert len({row["policy"] for row in facts.values()}) == 5, "mined arms have their parents' policies"
    assert facts["mixed"]["lr"]["mixed"] == pytest.approx(5e-5) and "mixed" not in facts["warm-up"]["lr"]
    assert facts["warm-up"]["sft_samples"] == facts["mixed"]["sft_samples"] > 0 == facts["raw"]["sft_samples"]
    assert facts["mined-1"]["trees"] == facts["best-of-n-mined"]["trees"] > 0
    # Each best-of-N tree stops at the first batch past the budget, which is the search's mean.
    budget = open_run(main / "studies" / "replication" / "best-of-n-mined").config.mcts.budget
    assert budget == round(facts["mined-1"]["tokens_decoded"] / facts["mined-1"]["trees"])
    per_tree = facts["best-of-n-mined"]["tokens_decoded"] / facts["best-of-n-mined"]["trees"]
    assert budget <= per_tree < budget + 4 * 16
    before = len(open_run(main).store.log())
    replication.do(replication.plan.arms[0])
    assert len(open_run(main).store.log()) == before, "all there: asks and trains nothing"
    assert Results(tmp_path / "results").facts == results.facts

    # The results are kept and the folders are lost, as on another machine: the next arm makes those it builds on.
    shutil.rmtree(tmp_path / "root")
    replication.do(next(arm for arm in replication.plan.arms if arm.name == "best-of-n-mined"))
    assert open_run(main).config.warmup.checkpoint_seconds == 30
    again = Results(tmp_path / "results").facts["best-of-n-mined", 1]
    assert again == {**facts["best-of-n-mined"], "seconds": again["seconds"]}


def test_an_arm_goes_on_from_the_best_of_a_group_whose_folder_is_made_again(replication: Replication) -> None:
    """Both are known from elsewhere; the one with more items right is trained again, but not asked."""
    passes = {"tune-twice": 2.0, "tune-once": 1.0}
    once = ("loop.rounds=0", "loop.items=1", "warmup.epochs=1")
    arms = (
        Arm("tune-twice", 1, "tuning", "evaluate-0", leaves="import", changes=("loop.rounds=0",)),
        Arm("tune-once", 1, "tuning", "evaluate-0", leaves="import", changes=once),
        Arm("start", 1, "main", "evaluate-0", "passes", "warmup", ("loop.items=2",)),
    )
    replication.plan = replace(replication.plan, arms=arms, rates={"passes": passes}, validation="v")
    replication.results.add({"arm": "tune-twice", "seed": 1}, {"v": outcomes(False, True)})
    replication.results.add({"arm": "tune-once", "seed": 1}, {"v": outcomes(True, True)})
    replication.do_all()
    studies = replication.root / "seed-1" / "studies" / "replication"
    start = studies / "tune-once" / "studies" / "replication" / "start"
    assert open_run(start).config.warmup.epochs == 1 and open_run(start).config.loop.items == 2
    assert len(replication.results.outcomes("start", 1, "apibank")) == 2
