"""Our verdicts against the official checker's, on real data and on outputs made to break things."""

import json
from pathlib import Path

import pytest

from bench.bfcl_agreement import corpus_differences, run_differences
from bench.bfcl_fuzz import known_outputs, mutants
from itool_eval.bfcl.categories import CATEGORIES, Version
from itool_eval.bfcl.items import load_items
from itool_eval.bfcl.multi_turn_checker import MultiTurnScorer
from itool_eval.bfcl.quirks import QuirkFinder
from itool_eval.bfcl.single_turn import SingleTurnScorer


def test_every_row_of_the_corpus_gets_the_official_verdict_and_error_type(
    v3: SingleTurnScorer, shared_data: Path
) -> None:
    assert corpus_differences(v3, shared_data / "bfcl_v3_corpus.jsonl.gz") == (7414, [])


def test_the_synthetic_run_gives_the_official_tables_to_the_printed_digit(
    v3: SingleTurnScorer, bfcl_folder: Path, shared_data: Path
) -> None:
    compared, differences = run_differences(
        [v3, MultiTurnScorer(bfcl_folder, Version.V3)], shared_data / "bfcl_v3_synthetic_run"
    )
    assert compared > 60
    assert differences == []


def test_mutants_raise_nothing(v3: SingleTurnScorer, shared_data: Path) -> None:
    for row in mutants(known_outputs(shared_data), 5_000, seed=11):
        verdict = v3.score(row["category"], row["id"], row["result"])
        assert verdict.valid == (verdict.error_type is None)


def test_every_category_has_as_many_items_as_said(bfcl_folder: Path, v3: SingleTurnScorer) -> None:
    for name in v3.categories:
        assert len(load_items(bfcl_folder, Version.V3, name)) == CATEGORIES[Version.V3][name].size


def test_a_repeated_id_stays_two_items_paired_by_position(tmp_path: Path) -> None:
    def write(path: Path, rows: list[dict[str, object]]) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    ids = ["simple_10", "simple_3", "simple_3"]
    write(
        tmp_path / "BFCL_v3_simple.json",
        [{"id": i, "question": [], "function": [{"name": n}]} for n, i in enumerate(ids)],
    )
    answers = [{"id": i, "ground_truth": [{str(n): {}}]} for n, i in enumerate(ids)]
    write(tmp_path / "possible_answer" / "BFCL_v3_simple.json", answers)
    items = load_items(tmp_path, Version.V3, "simple")
    assert [(item.id, item.functions[0]["name"], item.answers[0][0]) for item in items] == [
        ("simple_3", 1, "1"),
        ("simple_3", 2, "2"),
        ("simple_10", 0, "0"),
    ]


def test_impossible_items_are_found(bfcl_folder: Path) -> None:
    assert set(QuirkFinder(bfcl_folder, Version.V3).impossible) == {
        "live_simple_106-63-0",
        "live_simple_112-68-0",
        "live_multiple_862-181-3",
        "live_multiple_964-207-0",
    }


# Each of these runs code in the official evaluator; the file is what would show it.
@pytest.mark.parametrize(
    "expression",
    [
        "'' + open('{canary}', 'w').name",
        "'' + __import__('pathlib').Path('{canary}').touch()",
        "1 + [open('{canary}', 'w') for _ in '1']",
        "'' + f'{{open(\"{canary}\", \"w\")}}'",
        "(lambda: open('{canary}', 'w'))() + 1",
        "1 + (1 if open('{canary}', 'w') else 2)",
        "1 * {{'a': open('{canary}', 'w')}}['a']",
    ],
)
@pytest.mark.parametrize("category", ["simple", "live_irrelevance"])
def test_nothing_in_an_output_is_executed(v3: SingleTurnScorer, tmp_path: Path, expression: str, category: str) -> None:
    canary = tmp_path / "canary"
    item = {"simple": "simple_0", "live_irrelevance": "live_irrelevance_0-0-0"}[category]
    verdict = v3.score(category, item, f"[calculate_triangle_area(base={expression.format(canary=canary)}, height=5)]")
    assert not canary.exists()
    assert verdict.error_type == ("ast_decoder:decoder_failed" if category == "simple" else None)
