"""Scoring files: order kept, bad lines named and set aside, official result files read and written."""

import json
from pathlib import Path

import pytest

from bench.bfcl_fuzz import known_outputs
from itool_data.errors import ItoolError
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.quirks import Quirk, QuirkFinder, without
from itool_eval.bfcl.score_file import score_results, write_official_results, write_verdicts
from itool_eval.bfcl.single_turn import SingleTurnScorer

GOOD = "[calculate_triangle_area(base=10, height=5)]"


def line(item: object = "simple_0", category: object = "simple", result: object = GOOD) -> str:
    return json.dumps({"id": item, "category": category, "result": result})


def test_bad_lines_are_named_and_the_rest_goes_on(v3: SingleTurnScorer, tmp_path: Path) -> None:
    lines = [
        line(),
        "{not json",
        "[]",
        json.dumps({"id": "simple_0", "result": GOOD}),
        line(item=5),
        line(category="multi_turn_base", item="multi_turn_base_0"),
        line(item="simple_9999"),
        line(result=[[GOOD]]),
        json.dumps({"id": "simple_0", "category": "simple"}),
        "",
        line(result="nothing"),
        "\xff",
    ]
    results = tmp_path / "results.jsonl"
    results.write_bytes("\n".join(lines).encode("latin-1"))
    scored = score_results(results, [v3], Version.V3)
    assert [verdict.error_type for verdict in scored.verdicts] == [None, "ast_decoder:decoder_failed"]
    assert [(reject.line, reject.field) for reject in scored.rejects] == [
        *((2, "line"), (3, "line"), (4, "category"), (5, "id"), (6, "category")),
        *((7, "id"), (8, "result"), (9, "result"), (12, "line")),
    ]
    assert "simple_9999" in str(scored.rejects[5])

    write_verdicts(scored.verdicts, tmp_path / "verdicts.jsonl")
    written = [json.loads(text) for text in (tmp_path / "verdicts.jsonl").read_text("utf-8").splitlines()]
    assert written[1] == {
        "id": "simple_0",
        "category": "simple",
        "valid": False,
        "error_type": "ast_decoder:decoder_failed",
        "error_class": "Code Syntax",
        "message": "not a call and not a list of calls",
    }


def test_official_result_files_are_written_and_read(v3: SingleTurnScorer, tmp_path: Path) -> None:
    results = [("simple", "simple_10", "no"), ("java", "java_0", "[f();]"), ("simple", "simple_0", GOOD)]
    files = write_official_results(results, tmp_path / "model", "BFCL_v3")
    assert [file.name for file in files] == ["BFCL_v3_simple_result.json", "BFCL_v3_java_result.json"]
    write_official_results([("simple", "simple_1", "another version's")], tmp_path / "model", "BFCL_v4")
    scored = score_results(tmp_path, [v3], Version.V3)
    assert not scored.rejects
    assert [(v.id, v.valid) for v in scored.verdicts] == [("java_0", False), ("simple_0", True), ("simple_10", False)]


def test_a_folder_of_two_models_or_of_none_is_refused(v3: SingleTurnScorer, tmp_path: Path) -> None:
    with pytest.raises(ItoolError, match="no official result file"):
        score_results(tmp_path, [v3], Version.V3)
    for model in ("a", "b"):
        write_official_results([("simple", "simple_0", GOOD)], tmp_path / model, "BFCL_v3")
    with pytest.raises(ItoolError, match="both of simple"):
        score_results(tmp_path, [v3], Version.V3)
    with pytest.raises(ItoolError, match="cannot be read"):
        score_results(tmp_path / "absent.jsonl", [v3], Version.V3)


def test_quirks_are_listed_and_can_be_left_out(v3: SingleTurnScorer, bfcl_folder: Path) -> None:
    verdicts = [
        v3.score("simple", "simple_0", GOOD),
        v3.score("live_simple", "live_simple_106-63-0", "no"),
        v3.score("irrelevance", "irrelevance_0", "[f(a=1"),
        v3.score("irrelevance", "irrelevance_0", "I cannot do that."),
    ]
    found = QuirkFinder(bfcl_folder, Version.V3).find(verdicts)
    assert [quirky.quirk for quirky in found] == [Quirk.IMPOSSIBLE, Quirk.MALFORMED]
    assert without(verdicts, found) == [verdicts[0], verdicts[3]]


def test_25_000_lines_give_25_000_verdicts(bfcl_folder: Path, shared_data: Path, tmp_path: Path) -> None:
    outputs = known_outputs(shared_data)
    results = tmp_path / "results.jsonl"
    results.write_text("".join(json.dumps(outputs[n % len(outputs)]) + "\n" for n in range(25_000)), encoding="utf-8")
    scored = score_results(results, [SingleTurnScorer(bfcl_folder, Version.V3)], Version.V3)
    write_verdicts(scored.verdicts, tmp_path / "verdicts.jsonl")
    assert len(scored.verdicts) == 25_000
