"""`itool study` and what it stands on: copies of a run's past, the points, the table, the picture."""

from pathlib import Path
from typing import Any

import pytest
from outcomes import Itool, one_line

from bench.toy_loop import run_until
from itool_cli.charts import Chart, Point, draw
from itool_data.errors import ItoolError
from itool_data.run import open_run, write_run
from itool_data.store.sql import query
from itool_data.variant import fork
from itool_eval.bfcl.categories import CATEGORIES, Version
from itool_eval.headline import ALL, headline
from itool_eval.predictions import Evaluated
from itool_eval.scores import Tally, wilson
from itool_eval.summary import Score
from itool_eval.verdicts import Fault, Verdict
from itool_train import losses

# --- copies of a run's past -----------------------------------------------------------------------------------------


def numbers(folder: Path, as_of: int | None = None) -> list[str]:
    rows = query(open_run(folder).store, "SELECT pair_id FROM pairs ORDER BY 1", as_of).to_pylist()
    return [row["pair_id"] for row in rows]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A run of five commits, the fourth with an adapter."""
    folder = tmp_path / "source"
    (folder / "adapters" / "x").mkdir(parents=True)
    (folder / "adapters" / "x" / "weights").write_text("1")
    with write_run(folder, None, ["mcts.width=7"]) as run:
        for number in range(3):
            run.store.commit("mine", {"pairs": [{"pair_id": str(number)}]}, round=number)
        run.store.commit("warmup", {"trees": [{"tree_id": "t"}]}, adapter="adapters/x")
        run.store.commit("mine", {"pairs": [{"pair_id": "late"}]})
    return folder


def test_a_fork_holds_what_its_run_held_at_the_commit_and_its_history(source, tmp_path):
    fork(open_run(source), 1, tmp_path / "copy")
    copy = open_run(tmp_path / "copy")
    assert numbers(tmp_path / "copy") == ["0", "1"] and numbers(tmp_path / "copy", 0) == ["0"]
    assert copy.store.log() == open_run(source).store.log()[:2]
    assert copy.config.mcts.width == 7 and not (copy.folder / "adapters").exists()
    assert query(copy.store, "SELECT * FROM trees").num_rows == 0


def test_a_fork_and_its_run_go_on_apart(source, tmp_path):
    fork(open_run(source), 3, tmp_path / "copy")
    for folder, name in ((source, "3"), (tmp_path / "copy", "x")):
        with write_run(folder, None, []) as run:
            run.store.commit("mine", {"pairs": [{"pair_id": name}], "trees": [{"tree_id": name}]})
    assert (numbers(source), numbers(tmp_path / "copy")) == (["0", "1", "2", "3", "late"], ["0", "1", "2", "x"])
    assert query(open_run(tmp_path / "copy").store, "SELECT tree_id FROM trees").num_rows == 2
    assert (tmp_path / "copy" / "adapters" / "x" / "weights").read_text() == "1"
    fork(open_run(source), 3, tmp_path / "copy")  # is there already
    assert numbers(tmp_path / "copy") == ["0", "1", "2", "x"]


def test_a_fork_that_was_cut_off_is_made_anew_and_one_of_another_past_is_refused(source, tmp_path):
    (tmp_path / "copy.new" / "tables" / "pairs" / "_delta_log").mkdir(parents=True)
    fork(open_run(source), 1, tmp_path / "copy")
    assert numbers(tmp_path / "copy") == ["0", "1"] and not (tmp_path / "copy.new").exists()
    with pytest.raises(ItoolError, match=r"copy: made from an earlier state of .*source, .* remove the folder"):
        fork(open_run(source), 2, tmp_path / "copy")


# --- points -----------------------------------------------------------------------------------------------------------


def verdicts(category: str, right: int, n: int) -> list[Verdict]:
    return [Verdict(f"{i}", category, () if i < right else (Fault("x", "wrong"),)) for i in range(n)]


def test_an_official_score_is_shown_only_where_every_category_it_reads_was_run():
    live = [c for c in CATEGORIES[Version.V3] if c.startswith("live_")]
    some = [v for c in live[:-1] for v in verdicts(c, 1, 4)] + verdicts("simple", 3, 4)
    shown = headline(Evaluated("p", "bfcl-v3", some, []))
    assert [score.name for score in shown] == [ALL]
    assert (shown[0].value, shown[0].n) == ((len(live) - 1 + 3) / len(some), len(some))
    shown = headline(Evaluated("p", "bfcl-v3", some + verdicts(live[-1], 4, 4), []))
    assert [score.name for score in shown] == [ALL, "live"]
    assert shown[1].value == (len(live) - 1 + 4) / (4 * len(live))


# --- the picture ------------------------------------------------------------------------------------------------------


def point(line: str, label: str, x: float, right: int, n: int = 40, score: str = ALL) -> Point:
    counts = Tally(right, n)
    return Point(line, label, x, {("bfcl-v3", score): Score(score, "", counts.share, n, wilson(counts))})


@pytest.mark.parametrize("labels", ["axis", "marks", "nowhere"])
def test_a_picture_says_what_it_shows(tmp_path, labels):
    points = [point("SFT", "early", 1, 13), point("SFT", "late", 2, 21), point("iTool", "late", 2, 0)]
    draw(Chart("A title", "minutes", points, labels=labels), tmp_path / "new" / "p.svg")
    text = (tmp_path / "new" / "p.svg").read_text()
    for part in (
        "A title",
        "minutes",
        "bfcl-v3 · all items",
        "right, % (95 % interval)",
        "SFT",
        "iTool",
        "32.5",
        "52.5",
    ):
        assert f">{part}<" in text
    assert ("early" in text) == (labels != "nowhere")


def test_every_score_has_a_panel(tmp_path):
    points = [point("", str(i), i, 10, score=name) for i in range(2) for name in ("a", "b", "c", "d")]
    draw(Chart("t", "x", points), tmp_path / "p.svg")
    text = (tmp_path / "p.svg").read_text()
    assert [text.count(f">bfcl-v3 · {name}<") for name in "abcd"] == [1] * 4


# --- the studies ------------------------------------------------------------------------------------------------------


def rows(out: str, first: str) -> list[list[str]]:
    """The cells of the printed table's rows from the one that begins with a name."""
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if "│" in line]
    return cells[next(i for i, row in enumerate(cells) if row[0] == first and "apibank" in row) :]


def right(folder: Path, policy: str) -> tuple[str, str]:
    """A policy's score and number of items, as a table shows them."""
    sql = "SELECT avg(valid::int) AS share, count(*) AS n FROM predictions WHERE ends_with(policy, ?)"
    (row,) = query(open_run(folder).store, sql, None, [policy]).to_pylist()
    return f"{row['share'] * 100:.1f}", str(row["n"])


def sizes(folder: Path) -> list[int]:
    """The number of commits of the run and of each variant: nothing more was done where none is added."""
    folders = [folder, *sorted((folder / "studies").glob("*/*"))]
    return [len(open_run(f).store.log()) for f in folders]


def study(itool: Itool, folder: Path, *words: str) -> str:
    """Do a study twice; the second time, nothing is left to do. Returns what the first said."""
    code, out, err = itool("study", *words, "--run", folder)
    assert code == 0, err
    picture = folder / "figures" / f"{words[0]}.png"
    assert picture.read_bytes().startswith(b"\x89PNG") and f"picture: {picture}" in out
    before = sizes(folder)
    again = itool("study", *words, "--run", folder)[1]
    assert sizes(folder) == before and again.splitlines()[-2:] == out.splitlines()[-2:]
    # Whether so small a model's loss falls in its fourth digit depends on the machine's rounding, and is true news.
    assert "warning" not in out.replace("warning: the validation loss did not fall", "")
    return out


def content(folder: Path, operation: str, n: int = -1) -> Any:
    return [c.info for c in open_run(folder).store.log() if c.operation == operation and "adapter" in c.info][n]


def test_the_warm_up_s_stages(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folder = run_until(toy_run, "evaluate-0", tmp_path / "run")
    for stage in content(toy_run, "warmup")["stages"][:-1]:
        assert not (folder / stage["adapter"]).exists()
    one_line(itool("study", "warmup", "--run", folder), "no adapter here")
    out = study(itool, toy_run, "warmup")
    table = rows(out, "base")[:4]
    assert [row[0] for row in table] == ["base", "easy", "medium", "hard"]
    hashes = [stage["adapter"][-12:] for stage in content(toy_run, "warmup")["stages"]]
    base = out.split(", model@")[1][:12]
    assert [(row[3], row[5]) for row in table] == [right(toy_run, end) for end in (base, *hashes)]


def test_the_search_against_samples(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folder = run_until(toy_run, "evaluate-1", tmp_path / "run")
    out = study(itool, folder, "search", "--set", "loop.rounds=1")
    table = rows(out, "with MCTS")[:4]
    labels = [
        ["with MCTS", "warm-up"],
        ["with MCTS", "round 1"],
        ["without MCTS", "warm-up"],
        ["without MCTS", "round 1"],
    ]
    assert [row[:2] for row in table] == labels
    other = folder / "studies" / "search" / "sample"
    kinds = query(open_run(other).store, "SELECT DISTINCT search FROM trees").to_pylist()
    assert kinds == [{"search": "sample"}]
    assert table[0][4] == table[2][4] == right(folder, content(folder, "warmup")["content"])[0]
    last = open_run(other).adapter(_base(other))
    assert last and table[3][4] == right(other, last.content)[0]


def test_the_losses_on_the_same_pairs(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folder = run_until(toy_run, "mine-1", tmp_path / "run")
    out = study(itool, folder, "losses", "--set", "preference.beta=2")
    assert (
        "used (learning rate: the run's preference.lr): simpo: lr 0.001, beta 2, gamma 0.5; dpo: lr 0.001, beta 0.1;"
        in out
    )
    assert [row[0] for row in rows(out, "warm-up")[:5]] == ["warm-up", "simpo", "dpo", "ipo", "orpo"]
    assert query(open_run(folder).store, "SELECT DISTINCT objective FROM training WHERE round > 0").to_pylist() == [
        {"objective": "simpo"}
    ]
    starts = set()
    for loss in ("dpo", "ipo", "orpo"):
        store = open_run(folder / "studies" / "losses" / loss).store
        (row,) = query(
            store, "SELECT objective, min(policy) AS p, max(policy) AS q FROM training WHERE round > 0 GROUP BY 1"
        ).to_pylist()
        assert row["objective"] == loss
        starts |= {row["p"], row["q"]}
        assert (
            content(folder / "studies" / "losses" / loss, "preference")["content"]
            != content(folder, "preference")["content"]
        )
    assert len(starts) == 1


def trained_on(folder: Path) -> list[tuple[str, int]]:
    return [(stage["stage"], stage["samples"]) for stage in content(folder, "warmup")["stages"]]


def test_data_fractions(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folder = run_until(toy_run, "evaluate-1", tmp_path / "run")
    out = study(itool, folder, "data", "--fractions", "1,0.25", "--rounds", "1")
    table = rows(out, "SFT")[:6]
    labels = [[line, f"{share} %"] for line in ("SFT", "iTool") for share in (0, 25, 100)]
    assert [row[:2] for row in table] == labels
    plain = [folder / "studies" / "data" / name for name in ("sft-0.25", "sft-1")]
    assert [trained_on(f) for f in plain] == [[("mixed", 6)], [("mixed", 24)]]  # of 24 samples
    part = folder / "studies" / "data" / "0.25"
    assert sum(n for _, n in trained_on(part)) == round(0.25 * 0.9 * 24)  # warmup.fraction is 0.9
    assert [row[4] for row in table[1:3]] == [right(f, content(f, "warmup")["content"])[0] for f in plain]
    lasts = [open_run(f).adapter(_base(f), 2) for f in (part, folder)]
    assert [row[4] for row in table[4:]] == [
        right(f, last.content)[0] for f, last in zip((part, folder), lasts, strict=True) if last
    ]


def test_sizes_of_models_side_by_side(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folders = [run_until(toy_run, "evaluate-0", tmp_path / name) for name in ("one", "other")]
    code, out, err = itool("study", "sizes", "--run", folders[0], "--beside", folders[1], "--fractions", "0.5")
    assert code == 0, err
    assert [trained_on(f / "studies" / "data" / "sft-0.5") for f in folders] == [[("mixed", 12)]] * 2
    labels = [[f"model ({name})", f"{share} %"] for name in ("one", "other") for share in (0, 50)]
    assert [row[:2] for row in rows(out, labels[0][0])[:4]] == labels
    assert (folders[0] / "figures" / "sizes.png").is_file()


def test_modules(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folder = run_until(toy_run, "evaluate-1", tmp_path / "run")
    out = study(itool, folder, "modules", "--set", "loop.rounds=1")
    table = rows(out, "base")[:5]
    assert [row[0] for row in table] == ["base", "base SFT", "base SFT + rounds", "warm-up", "warm-up + rounds"]
    plain = folder / "studies" / "modules" / "base-sft"
    assert trained_on(plain) == [("mixed", 24)]
    firsts = [right(f, content(f, "warmup")["content"])[0] for f in (plain, folder)]
    assert [table[1][3], table[3][3]] == firsts


def test_the_grid_of_a_loss(itool: Itool, toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (len(losses.TABLE_9_LR), losses.TABLE_9_GRID["ipo"]) == (3, {"tau": (0.01, 0.05, 0.1)})
    monkeypatch.setattr(losses, "TABLE_9_LR", (1e-6, 5e-7))  # each takes a training
    monkeypatch.setitem(losses.TABLE_9_GRID, "ipo", {"tau": (0.01, 0.05)})
    folder = run_until(toy_run, "mine-1", tmp_path / "run")
    out = study(itool, folder, "grid", "--loss", "ipo")
    table = rows(out, "ipo, tau=0.01")[:4]
    taus = ("tau=0.01", "tau=0.05")
    assert [row[:2] for row in table] == [[f"ipo, {tau}", lr] for tau in taus for lr in ("5e-07", "1e-06")]
    one = open_run(folder / "studies" / "grid" / "ipo-tau=0.05-lr=5e-07").config.preference
    assert (one.loss, one.tau, one.lr, one.beta) == ("ipo", 0.05, 5e-7, None)


def test_rounds_are_added_and_cost_is_shown(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folder = run_until(toy_run, "evaluate-1", tmp_path / "run")
    with write_run(folder, None, ["loop.rounds=1"]):
        pass
    assert [row[0] for row in rows(study(itool, folder, "rounds"), "warm-up")[:3]][:2] == ["warm-up", "round 1"]
    table = rows(study(itool, folder, "rounds", "--rounds", "2"), "warm-up")[:3]
    assert [row[0] for row in table] == ["warm-up", "round 1", "round 2"]
    assert open_run(folder).config.loop.rounds == 2
    assert table[2][3] == right(folder, content(folder, "preference")["content"])[0]
    out = study(itool, folder, "cost")
    assert [row[0] for row in rows(out, "base")[:4]] == ["base", "warm-up", "round 1", "round 2"]
    (tokens,) = query(open_run(folder).store, "SELECT sum(tokens_decoded) AS n FROM trees WHERE round = 2").to_pylist()
    (line,) = [line for line in out.splitlines() if "round 2" in line and "apibank" not in line]
    assert f"{tokens['n']:,}" in line


def test_items_that_not_all_were_asked_are_said(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folder = run_until(toy_run, "evaluate-1", tmp_path / "run")
    with write_run(folder, None, ["loop.rounds=1"]) as run:
        sql = "SELECT * FROM predictions WHERE ends_with(policy, ?) LIMIT 3"
        more = query(run.store, sql, None, [content(folder, "warmup")["content"]]).to_pylist()
        run.store.commit("eval", {"predictions": [row | {"position": 100 + i} for i, row in enumerate(more)]})
    out = itool("study", "rounds", "--run", folder)[1]
    assert "warning: apibank all items: not all were asked the same items (n is 12, 15)" in out


def test_a_variant_of_a_run_that_has_changed_since_is_refused(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folder = run_until(toy_run, "evaluate-1", tmp_path / "run")
    fork(open_run(folder), 0, folder / "studies" / "losses" / "dpo")
    one_line(itool("study", "losses", "--run", folder), "losses/dpo: made from an earlier state", "remove the folder")


def test_bad_input(itool: Itool, toy_run: Path, tmp_path: Path) -> None:
    folder = run_until(toy_run, "evaluate-0", tmp_path / "run")
    one_line(itool("study", "rounds", "--run", tmp_path / "none"), "none: no run here")
    one_line(
        itool("study", "rounds", "--run", folder, "-o", "x.pdf"), "x.pdf: the picture's name must end in .png or .svg"
    )
    for text in ("0,1", "1.5", "a", ""):
        one_line(itool("study", "data", "--run", folder, "--fractions", text), "expected numbers above 0, at most 1")
    one_line(itool("study", "rounds", "--run", folder, "--set", "loop.benchmarks=[]"), "loop.benchmarks is empty")
    one_line(itool("study", "warmup", "--run", folder, "--set", "loop.warmup=false"), "loop.warmup is false")
    one_line(itool("study", "search", "--run", folder, "--set", "loop.rounds=0"), "loop.rounds is 0")
    with write_run(tmp_path / "mined", None, []) as run:
        run.store.commit("mine", {"pairs": [{"pair_id": "a"}]})
    one_line(itool("study", "cost", "--run", tmp_path / "mined"), "not a run of `itool run`")


def _base(folder: Path) -> Any:
    from itool_data.policy.load import find_model

    return find_model(open_run(folder).config.model)
