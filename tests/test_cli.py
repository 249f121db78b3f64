"""The command line: what each command prints, and that everything a user can mend is one line and exit code 1."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import scripted_mine
from outcomes import Itool, one_line
from toys import PROMPTER, toy_sample

from itool_data import choosing, hardness
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.run import open_run, write_run
from itool_data.store.samples import sample_row
from itool_data.store.sql import query
from itool_data.store.tables import Store
from itool_data.workers.pool import Desk, LocalPool

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def row(number: int, **changes: object) -> str:
    call = {"type": "function", "function": {"name": "f", "arguments": {"a": number}}}
    messages = [{"role": "user", "content": f"call f with {number}"}, {"role": "assistant", "tool_calls": [call]}]
    tools = [{"type": "function", "function": {"name": "f", "description": "does f", "parameters": SCHEMA}}]
    return json.dumps({"messages": messages, "tools": tools} | changes)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "good.jsonl"
    file.write_text("\n".join(map(row, range(5))))
    return file


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Rows 2, 4 and 5 are bad."""
    other = [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [{"name": "g", "arguments": {}}]}]
    file = tmp_path / "mixed.jsonl"
    file.write_text("\n".join([row(0), "{not JSON", row(1), row(2, tools=7), row(3, messages=other), row(4)]))
    return file


BAD_ROWS = [(2, "row", "invalid JSON"), (4, "tools", "expected a list"), (5, "messages[1].tool_calls", "'g'")]


# --- data ---------------------------------------------------------------------------------------------------------


def test_import_sets_bad_rows_aside_and_counts_them(itool: Itool, mixed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, out, err = itool("data", "import", mixed, "--run", run)
    assert (code, err) == (0, "")
    assert "3 new samples, 0 already there, 3 bad rows set aside" in out
    rejects = query(Store(run / "tables"), "SELECT file, line, field, reason FROM rejects ORDER BY line").to_pylist()
    for reject, (line, field, reason) in zip(rejects, BAD_ROWS, strict=True):
        assert (reject["file"], reject["line"], reject["field"]) == (str(mixed), line, field)
        assert reason in reject["reason"]
        assert f"{mixed}:{line}: {field}: " in out


def test_an_import_of_which_nothing_can_be_used_fails_and_says_why(itool: Itool, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"messages": 3}\n{"prompt": "x"}\n')
    code, out, err = itool("data", "import", rows, "--run", tmp_path / "run")
    assert code == 1 and "2 bad rows set aside" in out and "column 'prompt' is not used (1)" in out
    assert err.strip() == (
        f"itool: {rows}: no row could be used; the first: {rows}:1: messages: expected a list, found a number"
    )


def test_importing_again_brings_nothing_new(itool: Itool, mixed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    itool("data", "import", mixed, "--run", run)
    before = open_run(run).store.log()
    code, out, _ = itool("data", "import", mixed, "--run", run)
    assert code == 0
    assert "0 new samples, 3 already there, 3 bad rows" in out
    assert open_run(run).store.log() == before


def test_strict_stops_at_the_first_bad_row_and_keeps_nothing(itool: Itool, mixed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    one_line(itool("data", "import", mixed, "--run", run, "--strict"), f"{mixed}:2: row: invalid JSON", "--strict")
    assert open_run(run).store.log() == []
    assert itool("data", "import", mixed, "--run", run, "--limit", 1, "--strict")[0] == 0


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("nowhere.jsonl", ["nowhere.jsonl", "No such file"]),
        ("toolacee", ["unknown data source 'toolacee'", "toolace"]),
        ("xlam:nowhere.json", ["nowhere.json", "No such file"]),
        ("rows.parquet", ["unknown data source", ".jsonl"]),
    ],
)
def test_a_source_that_is_not_there(itool: Itool, tmp_path: Path, source: str, parts: list[str]) -> None:
    one_line(itool("data", "import", source, "--run", tmp_path / "run"), *parts)


def test_import_on_a_full_disk_goes_on_when_there_is_room(itool: Itool, good: Path, small_disk: Path) -> None:
    run, filler = small_disk / "run", small_disk / "filler"
    assert itool("data", "import", good, "--run", run, "--limit", 2)[0] == 0
    disk = os.statvfs(small_disk)
    filler.write_bytes(bytes(disk.f_bavail * disk.f_bsize - 3 * 4096))
    one_line(itool("data", "import", good, "--run", run), str(run), "the disk is full")
    assert query(Store(run / "tables"), "SELECT count(*) AS n FROM samples").to_pylist() == [{"n": 2}]
    filler.unlink()
    assert "3 new samples, 2 already there" in itool("data", "import", good, "--run", run)[1]


def test_show_counts_samples_and_rejects(itool: Itool, mixed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    itool("data", "import", mixed, "--run", run)
    _, out, _ = itool("data", "show", "--run", run)
    assert "3 rows or samples set aside" in out
    assert "mixed" in out


HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]loud[/bold] [/nothing] \r\x08 :smile: a\u202eb"


def test_hostile_text_is_shown_and_not_obeyed(itool: Itool, tmp_path: Path) -> None:
    file, run = tmp_path / "[red]rows[nothing].jsonl", tmp_path / "run"
    messages = [{"role": "user", "content": HOSTILE}, {"role": "assistant", "content": HOSTILE}]
    file.write_text(row(0, messages=messages, id=HOSTILE) + "\n" + row(1, messages=[{"role": HOSTILE}]))
    results = [itool("data", "import", file, "--run", run)]
    ask = f"SELECT messages->0->>'content' AS \"[red]{HOSTILE}\" FROM samples"
    sample_id = query(Store(run / "tables"), "SELECT sample_id FROM samples").to_pylist()[0]["sample_id"]
    results += [
        itool("data", "show", "--run", run),
        itool("show", "sample", sample_id, "--run", run),
        itool("show", "sample", "--run", run),
        itool("sql", ask, "--run", run),
        itool("sql", "SELECT * FROM rejects", "--run", run),
        itool("log", "--run", run),
    ]
    for code, out, err in results:
        assert (code, err) == (0, "")
        assert not set(out) & set("\x1b\x07\r\x08\u202e")
    assert "[red]rows[nothing]" in results[0][1]
    for _, out, _ in results[2:4]:
        assert r"\x1b[31mred" in out
        assert "[bold]loud[/bold] [/nothing]" in out


# --- sql and log --------------------------------------------------------------------------------------------------


ASK = "SELECT pair_id, q_chosen, prompt_ids FROM pairs ORDER BY 1"


def test_sql_formats(itool: Itool, run: Path, tmp_path: Path) -> None:
    _, out, _ = itool("sql", ASK, "--run", run)
    assert [part in out for part in ("pair_id", "0.5", "[1, 2]", "2 rows", r'b,"\n')] == [True] * 5
    _, out, _ = itool("sql", ASK, "--run", run, "--format", "csv")
    assert list(csv.reader(io.StringIO(out))) == [
        ["pair_id", "q_chosen", "prompt_ids"], ["a", "0.5", "[1, 2]"], ['b,"\n', "", "[]"],
    ]  # fmt: skip
    expected = [
        {"pair_id": "a", "q_chosen": 0.5, "prompt_ids": [1, 2]},
        {"pair_id": 'b,"\n', "q_chosen": None, "prompt_ids": []},
    ]
    assert json.loads(itool("sql", ASK, "--run", run, "--format", "json")[1]) == expected
    file = tmp_path / "rows.parquet"
    assert itool("sql", ASK, "--run", run, "--format", "parquet", "--out", file) == (0, "", "")
    assert pq.read_table(file).to_pylist() == expected


def test_sql_at_a_version(itool: Itool, run: Path) -> None:
    ask = ("sql", "SELECT pair_id FROM pairs", "--run", run, "--format", "json", "--as-of")
    assert json.loads(itool(*ask, 0)[1]) == [{"pair_id": "a"}]
    assert len(json.loads(itool(*ask, 1)[1])) == 2
    one_line(itool(*ask, 2), "no version 2; it has 0 to 1")


def test_values_without_a_json_form(itool: Itool, run: Path) -> None:
    for form in ("table", "csv", "json"):
        ask = "SELECT list(time) AS times, DATE '2026-01-02' AS day, 'a'::BLOB AS raw FROM log"
        code, out, err = itool("sql", ask, "--run", run, "--format", form)
        assert (code, err) == (0, "")
        assert "2026-01-02" in out


@pytest.mark.parametrize(
    ("statement", "parts"),
    [
        ("SELEC 1", ["Parser Error", "SELEC"]),
        ("SELECT * FROM paris", ["paris does not exist"]),
        ("SELECT no_such FROM pairs", ["no_such"]),
        ("SELECT pair_id::int FROM pairs", ["Conversion Error"]),
        ("", ["gives no rows"]),
    ],
)
def test_wrong_sql_is_one_line(itool: Itool, run: Path, statement: str, parts: list[str]) -> None:
    one_line(itool("sql", statement, "--run", run), "SQL: ", *parts)


@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet"])
def test_an_output_file_that_cannot_be_written(itool: Itool, run: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / "no" / "such" / "folder"
    one_line(itool("sql", ASK, "--run", run, "--format", form, "--out", out), f"{out}: cannot write")


def test_a_damaged_file_is_a_warning(itool: Itool, run: Path) -> None:
    file = Path(Store(run / "tables").files(open_run(run).store.log()[0])["pairs"][0])
    file.write_bytes(file.read_bytes()[:100])
    code, out, err = itool("sql", "SELECT pair_id FROM pairs", "--run", run, "--format", "csv")
    assert (code, len(err.splitlines())) == (0, 1)
    assert str(file) in err
    assert "b," in out and "a\n" not in out.splitlines()


def test_log_lists_the_versions(itool: Itool, run: Path) -> None:
    lines = itool("log", "--run", run)[1].splitlines()
    for version in (0, 1):
        line = next(line for line in lines if line[1:].strip().startswith(f"{version} "))
        for part in ("mine", "pairs +1", f"round {version + 1}"):
            assert part in line


# --- what is not there --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["data", "show"], ["sql", "SELECT 1"], ["log"]])
def test_no_such_run(itool: Itool, tmp_path: Path, command: list[str]) -> None:
    nowhere = tmp_path / "nowhere"
    one_line(itool(*command, "--run", nowhere), f"{nowhere}: no run here", "itool data import")
    assert not nowhere.exists()


def test_config_show(itool: Itool, run: Path, tmp_path: Path) -> None:
    settings, said = itool("config", "show", "--run", run)[1].split("# prompts and calls: ")  # a comment, in YAML
    assert settings == (run / "config.yaml").read_text()
    assert said.splitlines()[0] == "own: SmolLM2-135M-Instruct: its chat template shows no functions"
    assert said.splitlines()[1].startswith("# runs on: transformers: ")
    assert "width: 9" in itool("config", "show", "--run", run, "--set", "mcts.width=9")[1]
    assert "mcts.width" in itool("config", "show", "--explain")[1]
    one_line(itool("config", "show", "--config", tmp_path / "no.yaml"), "no.yaml: no such config file")
    one_line(itool("config", "show", "--run", tmp_path / "no"), "no such config file")
    one_line(itool("config", "show", "--set", "mcts.width=1"), "mcts.width")
    one_line(itool("mine", "--run", run, "--config", tmp_path / "no.yaml"), "no.yaml: no such config file")


def test_other_settings_are_refused(itool: Itool, good: Path, run: Path) -> None:
    one_line(itool("mine", "--run", run, "--set", "mcts.width=9"), "mcts.width: 3 -> 9", "--force")


# --- samples that do not fit --------------------------------------------------------------------------------------


def test_samples_longer_than_the_context_are_set_aside_once(itool: Itool, tmp_path: Path) -> None:
    """Three samples: one fits; one leaves no room for `mcts.max_tokens`; one has no room for its own gold response."""
    short, long, longest = (toy_sample(question="x" * n) for n in (0, 20, 60))
    room = len(PROMPTER.prompt_ids(short)) + 25
    table = {
        tuple(PROMPTER.prompt_ids(s)): {tuple(PROMPTER.response_ids(s.target)): 1.0} for s in (short, long, longest)
    }
    policy = ScriptedPolicy(table, context=room + 10)
    settings = [*scripted_mine.SETTINGS["mcts"], "mcts.max_tokens=20"]
    for _ in range(2):
        with write_run(tmp_path, None, settings) as run:
            if not run.store.log():
                run.store.commit("import", {"samples": [sample_row(s) for s in (short, long, longest)]})
            buffer = hardness.replay(run, policy, PROMPTER, 1)
            hardness.measure(run, LocalPool(Desk(policy, PROMPTER)), buffer, 1, lambda done, total: None)
            tasks = choosing.tasks(run, policy, PROMPTER, buffer, 1, "mcts", None)
        assert [t.sample for t in tasks] == [short]
    rejects = query(Store(tmp_path / "tables"), "SELECT stage, field, reason FROM rejects ORDER BY ALL").to_pylist()
    assert [(r["stage"], r["field"]) for r in rejects] == [
        ("mine", f"sample {long.sample_id}"),
        ("perplexity", f"sample {longest.sample_id}"),
    ]
    assert f"do not fit {room - 10}" in rejects[0]["reason"]
    assert f"do not fit {room + 10}" in rejects[1]["reason"]
    assert "2 rows or samples set aside" in itool("data", "show", "--run", tmp_path)[1]


# --- help ---------------------------------------------------------------------------------------------------------

COMMANDS = [
    "",
    "data",
    "data import",
    "data check",
    "data show",
    "train",
    "train warmup",
    "train preference",
    "mine",
    "show",
    "show sample",
    "show tree",
    "show pair",
    "sql",
    "log",
    "config",
    "config show",
    "eval",
    "eval run",
    "eval score",
    "eval show",
    "eval compare",
    "eval export",
    "run",
    "study",
    "study data",
    "study warmup",
    "study search",
    "study rounds",
    "study losses",
    "study cost",
]


def test_help_of_every_command_imports_nothing_heavy() -> None:
    script = """
import sys
from itool_cli.main import main
for command in {commands!r}:
    sys.argv = ["itool", *command.split(), "--help"]
    try:
        main()
    except SystemExit as end:
        assert not end.code, command
heavy = {{"torch", "transformers", "datasets", "numpy", "pyarrow", "duckdb", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", script.format(commands=COMMANDS)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Usage: ") == len(COMMANDS)
    for word in ("--as-of", "--samples", "--strict", "--explain", "--again"):
        assert word in done.stdout


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["mine"], ["mine", "--run", "x", "--samples", "0"], ["sql", "--run", "x"]]
)
def test_wrong_usage_is_exit_code_2(itool: Itool, arguments: list[str]) -> None:
    code, out, err = itool(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: " in err


def test_debug_shows_the_traceback(itool: Itool, tmp_path: Path) -> None:
    from itool_data.errors import ItoolError

    with pytest.raises(ItoolError):
        itool("--debug", "log", "--run", tmp_path)
