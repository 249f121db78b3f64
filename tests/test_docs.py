"""The README and docs/: what they name exists, what they ask runs, and what is made from the code is not stale."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from outcomes import Itool

from itool_cli.main import app

ROOT = Path(__file__).resolve().parent.parent
MADE = {"commands.md", "configuration.md", "tables.md"}
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN = [page for page in PAGES if page.name not in MADE]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# A name in back-ticks that looks like a file or folder of the repository.
REPOSITORY_PATH = re.compile(r"`((?:itool_data|itool_train|itool_eval|cli|bench|configs|docs|tests)/[\w./-]*)`")


def blocks(page: Path, language: str) -> Iterator[str]:
    for match in FENCED.finditer(page.read_text(encoding="utf-8")):
        if match[1] == language:
            yield match[2]


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def shell_commands(program: str) -> list[Any]:
    """Every command of the pages' sh blocks that calls this program."""
    found = []
    for page in WRITTEN:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] == program:
                    found.append(pytest.param(words[1:], id=f"{page.name}: {' '.join(words)}"))
    return found


def leaf(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and the words that are left for it."""
    command: Any = typer.main.get_command(app)
    while getattr(command, "commands", None) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command {words[0]}; there are {', '.join(command.commands)}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_pages_made_from_the_code_are_not_stale() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", shell_commands("itool"))
def test_commands_of_the_pages_parse(words: list[str]) -> None:
    command, rest = leaf(words)
    assert not getattr(command, "commands", None), "a group, which does nothing by itself"
    command.make_context("itool", list(rest))  # raises where an option or a value is unknown; runs nothing


def test_commands_named_in_a_sentence_exist() -> None:
    named = [
        (page.name, text) for page in WRITTEN for text in re.findall(r"`itool ([^`]+)`", prose(page)) if text != "…"
    ]
    assert len(named) > 10
    for page, text in named:
        # `study data|search` names two commands.
        names = [w for w in re.split(r'["…]', text)[0].split() if re.fullmatch(r"[a-z|-]+|-\w", w)]
        for choice in names[1].split("|") if len(names) > 1 and "|" in names[1] else [None]:
            command, rest = leaf([names[0], choice, *names[2:]] if choice else names)
            options = {"-h", "--help"} | {option for parameter in command.params for option in parameter.opts}
            for word in rest:
                assert word in options or not word.startswith("-"), f"{page}: `itool {text}`: no option {word}"


def test_make_targets_and_benchmarks_exist() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in WRITTEN)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE))
    assert {"demo", "test"} <= made <= targets
    for module in set(re.findall(r"python -m bench\.(\w+)", text)):
        file = ROOT / "bench" / module
        assert file.with_suffix(".py").is_file() or (file / "__main__.py").is_file(), module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in {slug(h) for h in re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)}
    for path in REPOSITORY_PATH.findall(text):
        assert (ROOT / path).exists(), path


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


def test_the_tree_of_files_is_that_of_the_packages() -> None:
    """A line is names and what they are; two blanks of indent are a folder deeper; a folder may stand for its files."""
    (tree,) = (block for block in blocks(ROOT / "README.md", "") if "sample.py" in block)
    folders: list[str] = []
    named = set()
    for line in tree.splitlines():
        match = re.match(r"( *)((?:\S+, )*\S+)", line)
        assert match
        for name in match[2].split(", "):
            folders[len(match[1]) // 2 :] = [name.rstrip("/")]
            named.add(path := ROOT.joinpath(*folders))
            assert path.exists(), line
    whole = {path for path in named if not any(path in other.parents for other in named)}
    for package in ("itool_data", "itool_train", "itool_eval", "cli"):
        for path in sorted((ROOT / package).rglob("*.py")):
            listed = path.name == "__init__.py" or path in named or any(parent in whole for parent in path.parents)
            assert listed, f"{path.relative_to(ROOT)} is not in the README's tree of files"


def test_code_named_by_the_method_page_exists() -> None:
    rows = re.findall(r"\| (`[^|]+`) \|$|\| (`[^|]+`)[^|]*\|$", (ROOT / "docs" / "method.md").read_text(), re.MULTILINE)
    assert len(rows) > 10
    for row in rows:
        file = None
        for name in re.findall(r"`([^`]+)`", row[0] or row[1]):
            if "/" in name:
                file = (ROOT / name).read_text(encoding="utf-8")
            else:
                assert file and re.search(rf"^(def|class) {name}\b|^{name}\b.* =", file, re.MULTILINE), name


@pytest.mark.parametrize(
    "sql", [pytest.param(s, id=f"{p.name}: {' '.join(s.split())[:50]}") for p in WRITTEN for s in blocks(p, "sql")]
)
def test_sql_of_the_pages_gives_rows(itool: Itool, toy_run: Path, sql: str) -> None:
    code, out, err = itool("sql", sql, "--run", toy_run, "--format", "csv")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) > 1
