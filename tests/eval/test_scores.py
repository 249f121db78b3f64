"""Intervals, tests and formulas against numbers worked out by hand or published."""

from dataclasses import replace

import pytest

from itool_eval.bfcl.aggregate import summarise
from itool_eval.bfcl.categories import CATEGORIES, MEMORY, WEB_SEARCH, Version
from itool_eval.bfcl.formulas import FORMULAS
from itool_eval.bfcl.official_tables import official_tables
from itool_eval.compare import Outcome, compare, outcomes
from itool_eval.scores import (
    Interval,
    Tally,
    bootstrap,
    clustered_difference,
    mcnemar_p,
    paired_difference,
    wilson,
    wilson_of_mean,
)
from itool_eval.summary import tally
from itool_eval.verdicts import Fault, Verdict


def test_wilson() -> None:
    # (0.8 + 0.19207 ± 1.95996·sqrt(0.016 + 0.0096036)) / 1.384146
    assert wilson(Tally(8, 10)) == Interval(pytest.approx(0.49016, abs=1e-5), pytest.approx(0.94332, abs=1e-5))
    # 3.841459 / 13.841459
    assert wilson(Tally(0, 10)) == Interval(0.0, pytest.approx(0.27753, abs=1e-5))
    assert wilson(Tally(10, 10)).high == 1.0
    assert wilson(Tally(0, 0)) == Interval(0.0, 1.0)


def test_wilson_of_a_mean_counts_the_items_that_would_vary_as_much() -> None:
    # Variance 0.125 where items that are right or wrong have 0.25, so four items say as much as eight of those.
    assert wilson_of_mean([1.0, 0.5, 0.5, 0.0], 16) == wilson(Tally(4, 8))
    assert wilson_of_mean([1.0, 0.5, 0.5, 0.0], 6) == wilson(Tally(3, 6))
    # Of items that are all alike, as many as are allowed; of those that are all right or all wrong, each is one.
    assert wilson_of_mean([0.5] * 4, 16) == wilson(Tally(8, 16))
    assert wilson_of_mean([1.0] * 4, 16) == wilson(Tally(4, 4))
    ours, plain = wilson_of_mean([1.0] * 3 + [0.0] * 7, 10), wilson(Tally(3, 10))
    assert (ours.low, ours.high) == (pytest.approx(plain.low), pytest.approx(plain.high))
    assert wilson_of_mean([], 0) == Interval(0.0, 1.0)


def test_mcnemar() -> None:
    # 12 changed items, 2 of them one way: 2 · (1 + 12 + 66) / 4096
    assert mcnemar_p(10, 2) == pytest.approx(158 / 4096)
    assert mcnemar_p(2, 10) == mcnemar_p(10, 2)
    assert mcnemar_p(0, 0) == mcnemar_p(3, 3) == 1.0
    assert 0 < mcnemar_p(400, 40) < 1e-70


def test_paired_difference_as_published() -> None:
    # Newcombe (1998), table of paired examples: 36, 12, 2, 0 by method 10.
    interval = paired_difference(36, 12, 2, 0)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.0569, 0.3404)
    assert paired_difference(0, 0, 0, 0) == Interval(-1.0, 1.0)


def test_bootstrap_of_one_share_is_near_the_normal_interval_and_the_same_each_time() -> None:
    # 0.5 ± 1.96 · sqrt(0.25 / 400)
    interval = bootstrap(lambda shares: shares["a"], {"a": Tally(200, 400)})
    assert interval.low == pytest.approx(0.451, abs=0.003)
    assert interval.high == pytest.approx(0.549, abs=0.003)
    assert interval == bootstrap(lambda shares: shares["a"], {"a": Tally(200, 400)})


SHARES = {
    "simple": Tally(300, 400),
    "java": Tally(30, 100),
    "javascript": Tally(30, 50),
    "multiple": Tally(150, 200),
    "parallel": Tally(100, 200),
    "parallel_multiple": Tally(80, 200),
    "irrelevance": Tally(120, 240),
    "live_simple": Tally(129, 258),
    "live_multiple": Tally(351, 1053),
    "live_parallel": Tally(8, 16),
    "live_parallel_multiple": Tally(6, 24),
    "live_irrelevance": Tally(441, 882),
    "live_relevance": Tally(9, 18),
    "multi_turn_base": Tally(20, 200),
    "multi_turn_miss_func": Tally(10, 200),
    "multi_turn_miss_param": Tally(10, 200),
    "multi_turn_long_context": Tally(0, 200),
}


def test_v3_formulas_by_hand() -> None:
    scores = {score.name: score for score in summarise(SHARES, Version.V3).scores}
    simple = (0.75 + 0.3 + 0.6) / 3
    non_live = (simple + 0.75 + 0.5 + 0.4 + 0.5) / 5
    live = (129 + 351 + 8 + 6 + 441 + 9) / 2251
    multi_turn = (0.1 + 0.05 + 0.05 + 0) / 4
    assert scores["simple_ast"].value == pytest.approx(simple)
    assert scores["non_live_ast"].value == pytest.approx((simple + 0.75 + 0.5 + 0.4) / 4)
    assert scores["non_live"].value == pytest.approx(non_live)
    assert scores["live"].value == pytest.approx(live)
    assert scores["live_ast"].value == pytest.approx((129 + 351 + 8 + 6) / 1351)
    assert scores["multi_turn"].value == pytest.approx(multi_turn)
    assert scores["overall"].value == pytest.approx((non_live + live + multi_turn) / 3)
    assert scores["overall"].n == sum(t.n for t in SHARES.values())
    assert scores["overall"].interval.low < scores["overall"].value < scores["overall"].interval.high
    assert not scores["overall"].missing


def test_v4_leaves_out_what_was_not_run_and_names_it() -> None:
    names = {"simple": "simple_python", "java": "simple_java", "javascript": "simple_javascript"}
    scores = {s.name: s for s in summarise({names.get(c, c): t for c, t in SHARES.items()}, Version.V4).scores}
    live = (129 + 351 + 8 + 6) / 1351
    non_live = (0.55 + 0.75 + 0.5 + 0.4) / 4
    part = scores["overall (of what was run)"]
    assert part.value == pytest.approx((0.1 * non_live + 0.1 * live + 0.1 * 0.5 + 0.3 * 0.05) / 0.6)
    assert part.formula == "(0.1 · non_live + 0.1 · live + 0.1 · irrelevance_mean + 0.3 · multi_turn) / 0.6"
    assert part.missing == (*WEB_SEARCH, *MEMORY) and part.left_out
    assert scores["agentic"].n == 0


def test_v4_is_whole_where_everything_was_run() -> None:
    tallies = {name: Tally(category.size, category.size) for name, category in CATEGORIES[Version.V4].items()}
    tallies |= {"memory_kv": Tally(0, 155)}
    scores = {s.name: s for s in summarise(tallies, Version.V4).scores}
    assert scores["memory"].value == pytest.approx(2 / 3)
    assert scores["agentic"].value == pytest.approx((1 + 2 / 3) / 2)
    assert scores["overall"].value == pytest.approx(0.6 + 0.4 * (1 + 2 / 3) / 2)
    assert not scores["overall"].missing
    without = {s.name: s for s in summarise(tallies | dict.fromkeys(WEB_SEARCH, Tally(0, 0)), Version.V4).scores}
    assert without["agentic (of what was run)"].value == pytest.approx(2 / 3)
    assert without["agentic (of what was run)"].formula == "mean(memory)"
    printed = official_tables({"memory_kv": Tally(155, 155)}, Version.V4)
    assert (printed["data_overall"]["Memory Acc"], printed["data_agentic"]["Agentic Overall Acc"]) == ("N/A", "16.67%")


def test_missing_categories_count_as_nothing_and_show_as_such() -> None:
    tallies = {"live_simple": Tally(258, 258)}
    scores = {score.name: score for score in summarise(tallies, Version.V3).scores}
    assert scores["live"].value == pytest.approx(258 / 2251)
    assert "live_multiple" in scores["live"].missing
    tables = official_tables(tallies, Version.V3)
    assert tables["data_live"]["Live Overall Acc"] == "11.46%"
    assert tables["data_live"]["AST Summary"] == "N/A"
    assert tables["data_live"]["Python Multiple AST"] == "N/A"


def test_a_sample_is_named_as_one() -> None:
    (category,) = summarise({"simple": Tally(1, 3)}, Version.V3).categories
    assert (category.n, category.partial) == (3, ("simple",))


def test_formulas_say_how_they_are_computed() -> None:
    texts = {formula.name: formula.text for formula in FORMULAS[Version.V4]}
    assert texts["overall"] == "0.1 · non_live + 0.1 · live + 0.1 · irrelevance_mean + 0.3 · multi_turn + 0.4 · agentic"
    assert texts["simple_ast"] == "mean(simple_python, simple_java, simple_javascript)"
    assert texts["live_ast"].startswith("correct / items over live_simple")


def test_tally() -> None:
    wrong = (Fault("value_error:string", "x"),)
    assert tally([Verdict("a", "c"), Verdict("b", "c", wrong), Verdict("a", "d")]) == {
        "c": Tally(1, 2),
        "d": Tally(1, 1),
    }


def test_compare_pairs_by_item_and_occurrence() -> None:
    def rows(*rows: tuple[str, str, str | None]) -> list[Outcome]:
        return [Outcome(category, item, error is None, error) for category, item, error in rows]

    before = rows(("c", "1", "Tool Name"), ("c", "1", None), ("c", "2", None), ("d", "3", "Other"), ("d", "4", None))
    after = rows(("c", "1", None), ("c", "1", "Code Syntax"), ("d", "3", "Other"), ("c", "2", None), ("d", "5", None))
    result = compare(before, after)
    assert (result.overall.both, result.overall.fixed, result.overall.broken, result.overall.neither) == (1, 1, 1, 1)
    assert result.overall.difference == 0.0
    assert result.by_category["d"].n == 1
    classes = {name: (c.fixed + c.neither, c.fixed, c.broken) for name, c in result.by_class.items()}
    assert classes == {"Tool Name": (1, 1, 0), "Code Syntax": (0, 0, 1), "Other": (1, 0, 0)}
    assert {change.n for change in result.by_class.values()} == {4}
    assert [(flip.id, flip.fixed) for flip in result.flips] == [("1", True), ("1", False)]
    assert result.unpaired == 2


def test_items_in_groups_are_compared_by_group() -> None:
    # Groups of 2, 2 and 4 with gains 1, 0 and -1: residuals 1, 0, -1, so the margin is 1.96 · sqrt(2 · 3/2) / 8.
    margin = 1.959964 * 3**0.5 / 8
    assert clustered_difference([(2, 1), (2, 0), (4, -1)]) == Interval(pytest.approx(-margin), pytest.approx(margin))
    assert clustered_difference([(5, 2)]) == Interval(-1.0, 1.0), "of one group nothing is known of others"

    def decisions(right: str) -> list[Outcome]:
        """Ten samples of four decisions, all of a sample alike."""
        return [
            Outcome("name", f"{i}/{n}", side == "+", None, str(i)) for i, side in enumerate(right) for n in range(4)
        ]

    before, after = decisions("++++------"), decisions("+++++++++-")
    grouped = compare(before, after).overall
    alone = compare([replace(o, group="") for o in before], [replace(o, group="") for o in after]).overall
    assert grouped.difference == alone.difference == 0.5
    # Four decisions that always go together say as much as one: the interval is twice as wide, as sqrt(4).
    assert (grouped.interval.high - grouped.interval.low) / (alone.interval.high - alone.interval.low) == pytest.approx(
        2, rel=0.15
    )


def test_a_class_changes_by_all_that_is_no_longer_wrong_by_it() -> None:
    before = [Outcome("c", str(n), False, "Tool Name") for n in range(3)]
    after = [Outcome("c", "0", True, None), Outcome("c", "1", False, "Other"), Outcome("c", "2", False, "Tool Name")]
    changes = compare(before, after).by_class
    assert (changes["Tool Name"].fixed, changes["Tool Name"].neither) == (2, 1)
    assert (changes["Other"].broken, changes["Other"].difference) == (1, -1 / 3)


def test_verdicts_become_outcomes_with_their_class() -> None:
    wrong = Verdict("1", "c", (Fault("value_error:string", "x"),))
    assert outcomes([wrong, Verdict("2", "c")]) == [
        Outcome("c", "1", False, "Parameter Value"),
        Outcome("c", "2", True, None),
    ]
