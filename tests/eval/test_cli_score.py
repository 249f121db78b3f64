"""`itool eval score`: files and folders of results from anywhere, and what their scores would hide."""

import json
from pathlib import Path
from typing import Any

import pytest
from outcomes import Itool, one_line

from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.multi_turn_items import load_multi_turn_items

pytestmark = pytest.mark.usefixtures("bfcl_folder", "bfcl_v4_folder")
BASE = "multi_turn_base"
GOOD = "[calculate_triangle_area(base=10, height=5)]"
JSON_CALL = '{"name": "calculate_triangle_area", "arguments": {"base": 10, "height": 5}}'


def score(itool: Itool, benchmark: str, results: Path, *options: str) -> tuple[str, list[dict[str, Any]]]:
    """What was said, its lines joined, and the verdicts."""
    out = results.with_name("verdicts.jsonl")
    code, said, err = itool("eval", "score", benchmark, results, "--out", out, *options)
    assert code == 0, err
    return " ".join(said.split()), [json.loads(line) for line in out.read_text("utf-8").splitlines()]


def official_file(folder: Path, category: str, results: dict[str, object], version: str = "v3") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"BFCL_{version}_{category}_result.json"
    path.write_text("".join(json.dumps({"id": i, "result": r}) + "\n" for i, r in results.items()), "utf-8")
    return path


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def test_a_file_names_bad_lines_and_writes_verdicts(itool: Itool, tmp_path: Path) -> None:
    rows = [
        {"id": "simple_0", "category": "simple", "result": GOOD},
        {"id": "simple_1", "category": "simple", "result": "[f(a=1)]"},
        {"id": "live_simple_106-63-0", "category": "live_simple", "result": "no"},
        *({"id": "simple_x", "category": "simple", "result": GOOD} for _ in range(7)),
    ]
    said, verdicts = score(itool, "bfcl-v3", lines(tmp_path / "results.jsonl", rows), "--report-quirks")
    assert "7 lines cannot be scored" in said and "results.jsonl" in said and "simple_x" in said
    assert "2 more, by what is wrong: id 2" in said
    assert "era C" in said and "50.00" in said and "only some items run" in said
    assert "Tool Name" in said and "no call attempted 1" in said
    assert "no answer can pass" in said and "live_simple_106-63-0" in said
    assert [verdict["valid"] for verdict in verdicts] == [True, False, False]


def test_a_folder_of_official_files(itool: Itool, tmp_path: Path) -> None:
    official_file(tmp_path / "model", "simple", {"simple_0": GOOD})
    said, _ = score(itool, "bfcl-v3", tmp_path / "model")
    assert "1 verdicts" in said and "100.00" in said and "not comparable" not in said.lower()


def test_one_official_file_has_its_category_in_its_name(itool: Itool, tmp_path: Path) -> None:
    file = official_file(tmp_path, "simple", {"simple_0": GOOD, "simple_1": "no"})
    said, _ = score(itool, "bfcl-v3", file)
    assert "2 verdicts" in said and "50.00" in said
    refused = itool("eval", "score", "bfcl-v4", file, "--out", tmp_path / "v.jsonl")
    one_line(refused, "a result file of BFCL_v3, not of BFCL_v4")


@pytest.mark.parametrize(
    ("benchmark", "result", "form"),
    [
        ("bfcl-v3-fc", f"<tool_call>\n{JSON_CALL}\n</tool_call>", "<tool_call> 2"),
        ("bfcl-v3", f"<tool_call>\n{JSON_CALL}\n</tool_call>", "<tool_call> 2"),
        ("bfcl-v3", f"[TOOL_CALLS][{JSON_CALL}]", "[TOOL_CALLS] 2"),
        ("bfcl-v3", f"[{JSON_CALL}]", "calls as JSON text 2"),
        ("bfcl-v3", 'calculate_triangle_area\n{"base": 10, "height": 5}', "calls as JSON text 2"),
        ("bfcl-v3", f"<think>An area.</think>\n\n{GOOD}", "calls after <think> 2"),
        ("bfcl-v3", f"```python\n{GOOD}\n```", "calls between ``` 2"),
        ("bfcl-v3-fc", GOOD, "bfcl-v3 reads calls as Python text"),
        ("bfcl-v3-fc", [{"calculate_triangle_area": {"base": 10, "height": 5}}], "arguments as JSON text} 2"),
    ],
)
def test_calls_in_another_form_are_not_scored_as_wrong_ones(
    itool: Itool, tmp_path: Path, benchmark: str, result: object, form: str
) -> None:
    folder = tmp_path / "model"
    official_file(folder, "simple", {"simple_0": result, "simple_1": result, "simple_2": "I cannot."})
    official_file(folder, "irrelevance", {f"irrelevance_{i}": "I cannot." for i in range(4)})
    said, verdicts = score(itool, benchmark, folder, "--report-quirks")
    assert "2 of 7 results" in said and form in said
    assert f"no score is shown (4 of 7 are right by the rules of {benchmark})" in said
    assert "interval" not in said and "quirks" not in said
    assert [v["valid"] for v in verdicts if v["category"] == "simple"] == [False] * 3


def test_native_calls_of_a_conversation_are_no_texts(itool: Itool, tmp_path: Path, bfcl_folder: Path) -> None:
    item = load_multi_turn_items(bfcl_folder, Version.V3, BASE)[0]
    file = official_file(tmp_path, BASE, {item.id: [[[{"ls": "{}"}], "Done."]] * len(item.turns)})
    said, _ = score(itool, "bfcl-v3", file)
    assert "native calls 1" in said and "bfcl-v3-fc reads native calls" in said
    said, _ = score(itool, "bfcl-v3-fc", file)
    assert "does not read" not in said and "interval" in said


def test_a_few_calls_in_another_form_leave_a_score(itool: Itool, tmp_path: Path) -> None:
    results = {"simple_0": GOOD, "simple_1": "[f(a=1)]", "simple_2": f"<tool_call>{JSON_CALL}</tool_call>"}
    said, _ = score(itool, "bfcl-v3", official_file(tmp_path, "simple", results))
    assert "1 of 3 results" in said and "33.33" in said


def test_an_id_that_comes_too_often_is_named(itool: Itool, tmp_path: Path) -> None:
    rows = [{"id": "simple_0", "category": "simple", "result": r} for r in ("no", GOOD, GOOD)]
    rows += [{"id": "irrelevance_0", "category": "irrelevance", "result": "no"}]
    named = "1 id comes more often than the data has it (simple_0 3 times)"
    file, verdicts = tmp_path / "results.jsonl", tmp_path / "verdicts.jsonl"
    said, found = score(itool, "bfcl-v3", lines(file, rows))
    assert named in said and len(found) == 4
    assert named in itool("eval", "compare", verdicts, verdicts)[1]
    said, _ = score(itool, "bfcl-v3", lines(file, rows[2:]))
    assert "more often" not in said
    assert "more often" not in itool("eval", "compare", verdicts, verdicts)[1]


@pytest.mark.parametrize("benchmark", ["bfcl-v3-fc", "bfcl-v4-fc"])
@pytest.mark.parametrize("empty", [[], "", None])
def test_an_empty_native_answer_is_no_calls(itool: Itool, tmp_path: Path, benchmark: str, empty: object) -> None:
    version = benchmark.removeprefix("bfcl-").removesuffix("-fc")
    folder = tmp_path / "model"
    for category, item in (("multiple", "0"), ("irrelevance", "0"), ("live_relevance", "0-0-0")):
        official_file(folder, category, {f"{category}_{item}": empty}, version)
    _, verdicts = score(itool, benchmark, folder)
    found = {verdict["category"]: verdict for verdict in verdicts}
    assert [found[c]["valid"] for c in ("multiple", "irrelevance", "live_relevance")] == [False, True, False]
    # Officially a list is looped over, and so is an empty text, but not null.
    kind = "ast_decoder:decoder_failed" if empty is None else "multiple_function_checker:wrong_count"
    assert found["multiple"]["error_type"] == kind
