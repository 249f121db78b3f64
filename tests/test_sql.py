"""`itool sql` reads the run's tables and no more: every way out, every way in, and the questions that the pages ask."""

import re
from pathlib import Path

import pytest
from outcomes import Itool, one_line

DOCS = Path(__file__).parent.parent
QUESTIONS = [
    sql
    for page in (DOCS / "README.md", *sorted((DOCS / "docs").glob("*.md")))
    for sql in re.findall(r"```sql\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
]


@pytest.mark.parametrize(
    ("statement", "part"),
    [
        ("COPY pairs TO '{0}/out.csv'", "COPY is refused"),
        ("/* \u00e9\u00e9 PIVOT */ COPY (PIVOT pairs ON round USING count(*)) TO '{0}/out.csv'", "COPY is refused"),
        ("EXPLAIN ANALYZE COPY pairs TO '{0}/out.csv'", "EXPLAIN is refused"),
        ("EXPORT DATABASE '{0}/out.db'", "EXPORT is refused"),
        ("ATTACH '{0}/out.db' AS other", "ATTACH is refused"),
        ("CREATE TABLE mine AS SELECT 1", "CREATE is refused"),
        ("INSERT INTO pairs SELECT * FROM pairs", "INSERT is refused"),
        ("COPY pairs FROM '{0}/secret.csv'", "COPY is refused"),
        ("IMPORT DATABASE '{0}'", "IMPORT is refused"),
        ("INSTALL httpfs", "INSTALL is refused"),
        ("LOAD httpfs", "LOAD is refused"),
        ("UPDATE EXTENSIONS", "UPDATE is refused"),
        ("SET enable_external_access = true", "SET is refused"),
        ("RESET lock_configuration", "RESET is refused"),
        ("PRAGMA enable_profiling", "PRAGMA is refused"),
        ("CALL pragma_version()", "CALL is refused"),
        ("PREPARE q AS SELECT 1", "PREPARE is refused"),
        ("SELECT 1; COPY pairs TO '{0}/out.csv'", "2 statements"),
        ("SELECT * FROM read_text('{0}/secret.csv')", "only the run's own tables"),
        ("SELECT * FROM read_csv('{0}/*.csv')", "only the run's own tables"),
        ("SELECT * FROM read_blob('{0}/secret.csv')", "only the run's own tables"),
        ("SELECT * FROM sniff_csv('{0}/secret.csv')", "only the run's own tables"),
        ("SELECT * FROM glob('{0}/*')", "only the run's own tables"),
        ("FROM '{0}/secret.parquet'", "only the run's own tables"),
        ("SELECT * FROM '{0}/run/tables/../../secret.csv'", "only the run's own tables"),
        ("SELECT * FROM read_json('http://localhost:1/x.json')", "only the run's own tables"),
        ("SELECT * FROM enable_logging('QueryLog', storage = 'file')", "locked"),
        ("SELECT * FROM query('COPY pairs TO ''{0}/out.csv''')", "SELECT"),
        ("SELECT * FROM sqlite_scan('{0}/x', 't')", "SQL: "),
        ("SELECT * FROM commits", "commits does not exist"),
    ],
)
def test_sql_neither_writes_nor_reads_anything_else(
    itool: Itool, run: Path, tmp_path: Path, statement: str, part: str
) -> None:
    (tmp_path / "secret.csv").write_text("told\n1\n", "utf-8")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    one_line(itool("sql", statement.format(tmp_path), "--run", run), "SQL: ", part)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    "statement",
    [
        "COPY pairs TO '{0}' (FORMAT parquet, USE_TMP_FILE false)",
        "COPY (PIVOT pairs ON round USING count(*)) TO '{0}' (FORMAT parquet, USE_TMP_FILE false)",
        "EXPLAIN ANALYZE COPY (PIVOT pairs ON round USING count(*)) TO '{0}' (FORMAT parquet, USE_TMP_FILE false)",
        "WITH p AS (PIVOT pairs ON round USING count(*)) INSERT INTO pairs FROM p",
    ],
)
def test_sql_leaves_the_files_of_the_tables_alone(itool: Itool, run: Path, statement: str) -> None:
    (file, *_) = (run / "tables" / "pairs").glob("*.parquet")
    kept = file.read_bytes()
    assert itool("sql", statement.format(file), "--run", run)[0] == 1
    assert file.read_bytes() == kept


@pytest.mark.parametrize(
    "statement",
    [
        "SHOW TABLES",
        "DESCRIBE pairs",
        "SUMMARIZE pairs",
        "FROM pairs",
        "WITH p AS (FROM pairs) SELECT * FROM p",
        "PIVOT pairs ON pair_id USING count(*)",
        "SELECT * FROM (PIVOT pairs ON pair_id USING count(*))",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT strftime(time, '%Y'), time::date, date_trunc('hour', time), info->>'round' FROM log",
    ],
)
def test_sql_that_asks_for_rows(itool: Itool, run: Path, statement: str) -> None:
    code, out, err = itool("sql", statement, "--run", run)
    assert (code, err) == (0, "") and "row" in out


@pytest.mark.parametrize("statement", QUESTIONS)
def test_the_questions_in_the_pages_are_answered(itool: Itool, run: Path, statement: str) -> None:
    code, _, err = itool("sql", statement, "--run", run)
    assert (code, err) == (0, "")
