"""`itool show`: one sample, tree or pair on the terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from outcomes import Itool, one_line
from toys import toy_sample

from itool_data.run import open_run, write_run
from itool_data.store.samples import sample_row
from itool_data.store.sql import query

HOSTILE = "\x1b]0;title\x07\x1b[2J[bold]loud[/bold][/nothing]\r\x08:smile:\u202e"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def rows(run: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query(open_run(run).store, sql).to_pylist()
    return found


def small_run(folder: Path, text: str = "") -> Path:
    """A run with one tree of a root, two children and a pair; `text` goes into the steps and the question."""
    sample = toy_sample("[f(a=1)]", f"call f with 1{text}")
    ids = {"tree_id": "abc1", "sample_id": sample.sample_id, "round": 1, "policy": "p"}
    good, bad = f"[f(city='Santa Clara'{text}", f"[f(city='California'{text}{text}"
    node = {"tree_id": "abc1", "logprob": -1.0, "prior": 0.5, "visits": 3, "v": 0.0, "reward": 0.0, "outcome": 0.0}
    with write_run(folder, None, []) as run:
        run.store.commit("import", {"samples": [sample_row(sample)]})
        dropped = {"dropped_delta_q": 0, "dropped_similarity": 0, "dropped_q_chosen": 0}
        numbers = {"nodes": 3, "pairs": 1, "tokens_decoded": 9, "search": "mcts"} | dropped
        nodes = [
            node | {"path": "", "depth": 0, "step_text": "", "step_ids": [], "q": 0.0, "terminal": False},
            node | {"path": "0", "depth": 1, "step_text": good, "step_ids": [5], "q": 0.75, "terminal": False},
            node | {"path": "1", "depth": 1, "step_text": bad, "step_ids": [6], "q": -1.0, "terminal": True}
            | {"self_eval": 0.25},
        ]  # fmt: skip
        pair = ids | {"pair_id": "abc1/", "path": "", "prefix_text": text, "chosen_text": good, "rejected_text": bad}
        pair |= {"chosen_ids": [5], "rejected_ids": [6], "q_chosen": 0.75, "q_rejected": -1.0, "similarity": 0.5}
        pair |= {"state_right": True, "chosen_right": False, "rejected_right": False, "proved": False}
        fragment = ids | {"number": 0, "kind": "argument", "function": "f", "parameter": "city", "step_text": good}
        fragment |= {"probability": 0.625, "wrong_text": bad, "wrong_probability": 0.25, "error_class": "Other"}
        tables = {"trees": [ids | numbers], "nodes": nodes, "pairs": [pair | {"error_class": "Parameter Value"}]}
        run.store.commit("mine", tables | {"fragments": [fragment]})
    return folder


def in_terminal(columns: int, *arguments: object) -> str:
    """What the command writes to a terminal of this width."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    for name in ("COLUMNS", "NO_COLOR"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "itool_cli.main", *map(str, arguments)]
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=environment)
    os.close(end)
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        written += part
    os.close(terminal)
    assert process.wait() == 0, written
    return written.decode()


def test_a_tree_is_drawn_whole_and_its_pairs_are_marked(itool: Itool, toy_run: Path) -> None:
    (tree,) = rows(toy_run, "SELECT tree_id, sample_id FROM trees ORDER BY pairs DESC, tree_id LIMIT 1")
    code, out, _ = itool("show", "tree", tree["tree_id"], "--run", toy_run)
    assert code == 0
    drawn = {}
    for line in out.splitlines():
        if step := re.match(
            r"[│├└─\s]*([0-9.]+)  Q ([-+0-9.]+)  N +(\d+)  p ([0-9.]+)  r .*  C -  (best|worst|)", line
        ):
            drawn[step[1]] = step.groups()[1:]
    mine = f"tree_id = '{tree['tree_id']}'"
    nodes = rows(toy_run, f"SELECT path, q, visits, prior FROM nodes WHERE {mine} AND path != ''")
    assert {p: figures[:3] for p, figures in drawn.items()} == {
        n["path"]: (f"{n['q']:+.2f}", str(n["visits"]), f"{n['prior']:.2f}") for n in nodes
    }
    marked = "SELECT n.path FROM nodes n JOIN pairs p ON n.tree_id = p.tree_id AND n.step_ids = p.{}_ids AND "
    marked += "n.path = trim(p.path || '.' || split_part(n.path, '.', -1), '.') WHERE n." + mine
    for mark, side in (("best", "chosen"), ("worst", "rejected")):
        expected = {row["path"] for row in rows(toy_run, marked.format(side))}
        assert expected
        assert {path for path, figures in drawn.items() if figures[3] == mark} == expected
    (sample,) = rows(toy_run, f"SELECT target FROM samples WHERE sample_id = '{tree['sample_id']}'")
    assert re.search(rf"gold +{re.escape(sample['target'])}", out)


def test_a_pair_shows_the_fragment_and_its_figures(itool: Itool, tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    code, out, err = itool("show", "pair", "abc", "--run", run)
    assert (code, err) == (0, "")
    assert "[f(city='{+Santa Clara+}'" in out
    assert "[f(city='[-California-]'" in out
    for part in ("pair abc1/", "ΔQ 1.75 (+0.75 / -1.00)", "breaks Parameter Value", "similarity 0.50", "call f with 1"):
        assert part in out
    assert "proved no, the chosen step is wrong itself" in out


def test_a_sample_shows_its_fragments_with_their_probabilities(itool: Itool, tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    (found,) = rows(run, "SELECT sample_id FROM samples")
    out = itool("show", "sample", found["sample_id"], "--run", run)[1]
    step = r"│ argument +│ city +│ \[f\(city='Santa Clara' +│ 0\.625 +│ \[f\(city='California' +│ 0\.25 +│ Other"
    assert re.search(step, out)


def test_a_pair_whose_sample_is_lost_is_one_line(itool: Itool, tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    for file in (run / "tables" / "samples").glob("*.parquet"):
        file.write_bytes(b"damaged")
    with write_run(run, None, []) as opened:
        opened.store.commit("import", {"samples": [sample_row(toy_sample("[f(a=2)]"))]})
    code, _, err = itool("show", "pair", "abc1", "--run", run)
    assert code == 1
    assert re.fullmatch(r"(warning: .* is damaged .*\n)+itool: .*the sample \w{16} is not there; .*\n", err)


def test_a_sample_shows_what_the_run_did_with_it(itool: Itool, toy_run: Path) -> None:
    (searched,) = rows(toy_run, "SELECT * FROM samples JOIN trees USING (sample_id) ORDER BY tree_id LIMIT 1")
    _, out, _ = itool("show", "sample", searched["sample_id"][:12], "--run", toy_run)
    of_it = f"WHERE sample_id = '{searched['sample_id']}'"
    for row in rows(toy_run, f"SELECT perplexity FROM perplexity {of_it}"):
        assert f"{row['perplexity']:.3g}" in out
    for row in rows(toy_run, f"SELECT pair_id AS id FROM pairs {of_it} UNION ALL SELECT tree_id FROM trees {of_it}"):
        assert row["id"] in out
    for part in (searched["target"], searched["difficulty"], f"tools (a) {searched['a']}", "f(a: integer)"):
        assert part in out
    (unseen,) = rows(
        toy_run, "SELECT sample_id FROM samples WHERE sample_id NOT IN (SELECT sample_id FROM perplexity) LIMIT 1"
    )
    _, out, _ = itool("show", "sample", unseen["sample_id"], "--run", toy_run)
    assert "not measured" in out
    assert "trees: not searched" in out


def test_the_answers_to_a_benchmark_item_stand_with_its_sample(itool: Itool, tmp_path: Path) -> None:
    sample = sample_row(toy_sample()) | {"source": "bfcl:simple", "source_id": "simple_7"}
    answer = {"benchmark": "bfcl-v3", "policy": "p", "category": "simple", "item": "simple_7", "output": "[f(a=2)]"}
    with write_run(tmp_path, None, []) as run:
        answers = [answer | {"valid": False, "error_class": "Parameter Value"}, answer | {"item": "simple_8"}]
        run.store.commit("import", {"samples": [sample], "predictions": answers})
    _, out, _ = itool("show", "sample", sample["sample_id"], "--run", tmp_path)
    assert re.search(r"bfcl-v3 +│ p +│ Parameter Value +│ \[f\(a=2\)\]", out)
    assert out.count("[f(a=2)]") == 1


@pytest.mark.parametrize("kind", ["sample", "tree", "pair"])
def test_without_an_id_some_are_listed(itool: Itool, toy_run: Path, kind: str) -> None:
    order = {"sample": "perplexity", "tree": "max(q_chosen - q_rejected)", "pair": "max(q_chosen - q_rejected)"}[kind]
    table = {"sample": "perplexity WHERE round = 2", "tree": "pairs", "pair": "pairs"}[kind]
    group = "" if kind == "sample" else f"GROUP BY {kind}_id"
    (top,) = rows(toy_run, f"SELECT {kind}_id AS id FROM {table} {group} ORDER BY {order} DESC, 1 LIMIT 1")
    code, out, _ = itool("show", kind, "--run", toy_run)
    assert code == 0
    listed = re.findall(r"^│ (\S+)", out, re.MULTILINE)
    assert listed[0] == top["id"]
    assert len(set(listed)) == len(listed) <= 10
    assert f"itool show {kind} ID --run" in out


def test_an_id_may_be_cut_short_but_not_ambiguous(itool: Itool, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with write_run(run, None, []) as opened:
        opened.store.commit("mine", {"pairs": [{"pair_id": name} for name in ("abc/", "abc/0", "abc/1", "bcd/")]})
    ask = ("show", "pair")
    one_line(itool(*ask, "ab", "--run", run), "pair 'ab': several ids begin so (abc/, abc/0, abc/1); give more of it")
    one_line(itool(*ask, "", "--run", run), "several ids begin so")
    one_line(itool(*ask, "bce", "--run", run), "pair 'bce': no id begins so; the nearest are bcd/")
    one_line(itool(*ask, "%", "--run", run), "no id begins so")
    one_line(itool("show", "tree", "a", "--run", run), "no trees yet; `itool mine --run")
    assert itool("show", "tree", "--run", run)[1] == f"trees: none yet in {run}\n"


def test_a_whole_id_is_found_though_others_begin_with_it(itool: Itool, toy_run: Path) -> None:
    sql = "SELECT a.pair_id FROM pairs a JOIN pairs b ON starts_with(b.pair_id, a.pair_id) AND a.pair_id != b.pair_id"
    pair_id = rows(toy_run, f"{sql} ORDER BY 1 LIMIT 1")[0]["pair_id"]
    code, out, _ = itool("show", "pair", pair_id, "--run", toy_run)
    assert code == 0
    assert f"pair {pair_id} " in out


@pytest.mark.parametrize("columns", [40, 100])
@pytest.mark.parametrize("kind", ["sample", "tree", "pair"])
def test_on_a_terminal_hostile_text_is_escaped_and_lines_fit(tmp_path: Path, kind: str, columns: int) -> None:
    run = small_run(tmp_path / "run", HOSTILE)
    (found,) = rows(run, f"SELECT {kind}_id AS id FROM {kind}s")
    for out in (
        in_terminal(columns, "show", kind, "--run", run),
        in_terminal(columns, "show", kind, found["id"], "--run", run),
    ):
        plain = COLOUR.sub("", out).replace("\r\n", "\n")
        assert not set(plain) & set("\x1b\x07\r\x08\u202e")
        assert max(map(len, plain.splitlines())) <= columns
    joined = re.sub(r"[\s│]", "", plain)
    assert r"\x1b]0;title\x07\x1b[2J[bold]loud[/bold][/nothing]\r\x08:smile:\u202e" in joined


def test_on_a_terminal_the_fragment_is_coloured(tmp_path: Path) -> None:
    out = in_terminal(100, "show", "pair", "abc1/", "--run", small_run(tmp_path / "run"))
    assert re.search(r"city='\x1b\[1;32mSanta Clara\x1b\[0m'", out)
    assert re.search(r"city='\x1b\[1;31mCalifornia\x1b\[0m'", out)
    out = in_terminal(100, "show", "tree", "abc1", "--run", tmp_path / "run")
    assert re.search(r"\x1b\[1;32mbest \x1b\[0m\x1b\[32m\[f\(city='Santa Clara'", out)
    assert re.search(r"\x1b\[1;31mworst \x1b\[0m\x1b\[31m\[f\(city='California'", out)
