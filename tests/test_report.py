"""`itool report`: what the page holds against the tables, and the page in a browser."""

import base64
import gzip
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import scripted_mine
from chromium import chromium, opened
from outcomes import Itool, one_line

from itool_cli.report import write_report
from itool_cli.trained import labels, trainings
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.run import open_run, write_run
from itool_data.store.sql import query
from itool_data.store.tables import Commit
from itool_data.workers.pool import Desk, LocalPool
from itool_eval.predictions import read_evaluated
from itool_eval.scores import Tally, wilson

HOSTILE = "[f(a='</script><script>window.hacked = 1</script><img src=x onerror=window.hacked=2>')]"

COMMANDS = {
    "scores": "itool eval run", "errors": "itool eval run", "fragments": "itool mine --search walk",
    "training": "itool train warmup", "trees": "itool mine", "pairs": "itool mine", "cost": "itool run",
}  # fmt: skip


def parts(page: Path) -> dict[str, Any]:
    """The page's data, by the ids of their elements."""
    found = {}
    for kind, name, text in re.findall(
        r'<script type="application/(\w+)" id="([\w-]+)">(.*?)</script>', page.read_text()
    ):
        found[name] = json.loads(gzip.decompress(base64.b64decode(text)) if kind == "gzip" else text)
    return found


def ask(run: Path, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = query(open_run(run).store, sql).to_pylist()
    return rows


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of twenty trees by the scripted policy, which also writes what a page must not obey."""
    folder = tmp_path_factory.mktemp("mined") / "run"
    usual = scripted_mine.policy()
    table = {prompt: {**answers, scripted_mine.ids_of(HOSTILE): 1.0} for prompt, answers in usual._table.items()}
    settings = [*scripted_mine.SETTINGS["mcts"], "mcts.max_tokens=120", "mcts.width=5"]
    with write_run(folder, None, settings) as run:
        scripted_mine.mine(run, LocalPool(Desk(ScriptedPolicy(table), scripted_mine.PROMPTER)))
    return folder


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a walked run, with the decisions of its policies before and after the round along ten samples."""
    folder = tmp_path_factory.mktemp("walked") / "run"
    usual = scripted_mine.policy()
    table = {prompt: {**answers, scripted_mine.ids_of(HOSTILE): 4.0} for prompt, answers in usual._table.items()}
    with write_run(folder, None, [*scripted_mine.SETTINGS["walk"], "walk.max_step_tokens=120"]) as run:
        scripted_mine.mine(run, LocalPool(Desk(ScriptedPolicy(table), scripted_mine.PROMPTER)), search="walk")
        decisions = [_decision("scripted@0", number, number < 5) for number in range(40)]
        decisions += [_decision("scripted@0+first", number, number < 25) for number in range(40)]
        run.store.commit("eval", {"decisions": decisions})
        trained = {"base": "scripted@0", "adapter": "adapters/first", "content": "first", "round": 1}
        run.store.commit("preference", {}, **trained)
    write_report(open_run(folder), folder / "report.html")
    return folder


def _decision(policy: str, number: int, right: bool) -> dict[str, Any]:
    return {
        "policy": policy, "split": "test", "sample_id": str(number // 4), "number": number % 4,
        "kind": ("name", "argument", "argument", "end")[number % 4], "right": right,
        "error_class": None if right else ("Tool Name", "Parameter Value")[number % 4 > 0],
    }  # fmt: skip


@pytest.fixture(scope="module")
def page(mined: Path) -> Path:
    return write_report(open_run(mined), mined / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


# -- what it holds ---------------------------------------------------------------------------------------------------


def test_the_command_says_where_the_page_is_and_bad_targets_in_one_line(
    itool: Itool, mined: Path, tmp_path: Path
) -> None:
    code, out, _ = itool("report", "--run", mined, "-o", tmp_path / "deep" / "page.html")
    assert code == 0 and str(tmp_path / "deep" / "page.html") in out
    assert (tmp_path / "deep" / "page.html").read_text().startswith("<!doctype html>")
    one_line(itool("report", "--run", tmp_path / "nothing"), "no run here")
    (tmp_path / "file").write_text("")
    one_line(itool("report", "--run", mined, "-o", tmp_path / "file" / "page.html"), "cannot write the report")


def test_the_page_holds_every_tree_node_and_pair_of_the_tables(mined: Path, page: Path) -> None:
    data = parts(page)
    stored = {row["tree_id"]: row for row in ask(mined, "SELECT * FROM trees")}
    assert {entry["id"] for entry in data["data-index"]["trees"]} == set(stored)
    trees = [tree for name in data if name.startswith("trees-") for tree in data[name]]
    # In the order of the index, which is how the page finds them.
    assert [tree["id"] for tree in trees] == [entry["id"] for entry in data["data-index"]["trees"]]
    nodes = ask(mined, "SELECT tree_id, path, step_text, visits FROM nodes")
    assert sorted((n["tree_id"], n["path"], n["step_text"], n["visits"]) for n in nodes) == sorted(
        (tree["id"], node[0], node[1], node[4]) for tree in trees for node in tree["nodes"]
    )
    pairs = ask(mined, "SELECT tree_id, path, chosen_text, rejected_text, error_class FROM pairs")
    assert pairs and sorted(tuple(p.values()) for p in pairs) == sorted(
        (trees[p["tree"]]["id"], p["path"], _text(p["chosen"]), _text(p["rejected"]), p["class"])
        for p in data["data-pairs"]
    )


def _text(pieces: list[tuple[str, bool]]) -> str:
    return "".join(text for text, _ in pieces)


def test_the_page_holds_the_map_of_doubts_the_proofs_and_fragment_accuracy(walked: Path) -> None:
    data = parts(walked / "report.html")["data-fragments"]
    (doubts,) = data["maps"]
    count = "SELECT count(*) AS n, count(*) FILTER (probability < 0.9) AS doubted FROM fragments"
    (stored,) = ask(walked, count)
    assert sum(kind["fragments"] for kind in doubts["kinds"]) == stored["n"]
    assert sum(place["doubted"] for place in doubts["places"]) == stored["doubted"] > 0
    argument = next(place for place in doubts["places"] if place["place"] == "f.a")
    (worst,) = ask(
        walked,
        "SELECT step_text, wrong_text, wrong_probability FROM fragments WHERE parameter = 'a' "
        "AND probability < 0.9 ORDER BY wrong_probability DESC LIMIT 1",
    )
    assert argument["example"]["wrongProbability"] == pytest.approx(worst["wrong_probability"])
    assert _text(argument["example"]["wrong"]).startswith("a=")
    (proof,) = data["proofs"]
    assert proof["pairs"] == proof["proved"] == len(ask(walked, "SELECT 1 FROM pairs"))
    (accuracy,) = data["accuracy"]
    assert [policy["label"] for policy in accuracy["policies"]] == ["base", "round 1"]
    whole = accuracy["rows"][0]
    for score, right in zip(whole["scores"], (5, 25), strict=True):
        interval = wilson(Tally(right, 40))
        assert (score["value"], score["low"], score["high"]) == (right / 40, interval.low, interval.high)
    assert (whole["changes"][1]["fixed"], whole["changes"][1]["broken"]) == (20, 0), "against the base model"
    assert accuracy["errors"]["policies"][1]["counts"] == [12, 0, 0, 0, 3, 0, 0]


def test_a_pairs_ends_in_its_tree_are_the_steps_that_it_names(mined: Path, page: Path) -> None:
    data = parts(page)
    texts = {(p["tree_id"], p["path"]): p for p in ask(mined, "SELECT * FROM pairs")}
    for tree in data["trees-0"]:
        by_path = {node[0]: node[1] for node in tree["nodes"]}
        for ends in tree["pairs"]:
            pair = texts[tree["id"], ends["chosen"].rpartition(".")[0]]
            assert (by_path[ends["chosen"]], by_path[ends["rejected"]]) == (pair["chosen_text"], pair["rejected_text"])


def test_trees_with_the_largest_difference_of_q_come_first_in_their_round(page: Path) -> None:
    deltas = [entry["deltaQ"] for entry in parts(page)["data-index"]["trees"]]
    assert deltas == sorted(deltas, key=lambda delta: -1 if delta is None else delta, reverse=True)


def test_a_whole_run_has_scores_curves_and_plan_against_fact(toy_run: Path, tmp_path: Path) -> None:
    data = parts(write_report(open_run(toy_run), tmp_path / "page.html"))
    (benchmark,) = data["data-benchmarks"]
    labels = [policy["label"] for policy in benchmark["policies"]]
    assert labels == ["warm-up", "round 1", "round 2"] and benchmark["reference"] == "warm-up"
    for column, evaluated in enumerate(read_evaluated(open_run(toy_run))):
        place = [policy["id"] for policy in benchmark["policies"]].index(evaluated.policy)
        right = sum(verdict.valid for verdict in evaluated.verdicts)
        interval = wilson(Tally(right, len(evaluated.verdicts)))
        score = benchmark["rows"][0]["scores"][place]
        assert (score["value"], score["low"], score["high"]) == (right / 12, interval.low, interval.high), column
        wrong = sum(benchmark["errors"]["policies"][place]["counts"])
        assert wrong == 12 - right
    assert [change and change["n"] for change in benchmark["rows"][0]["changes"]] == [None, 12, 12]
    warmup, *rounds = data["data-training"]
    assert [row["stage"] for row in warmup["rows"]] == sorted(
        (row["stage"] for row in warmup["rows"]), key=("easy", "medium", "hard").index
    )
    assert [row["update"] for row in warmup["rows"]] == list(range(1, len(warmup["rows"]) + 1))
    assert [group["round"] for group in rounds] == [1, 2] and all(group["kept"] for group in rounds)
    for entry in data["data-cost"]["plans"]:
        (fact,) = ask(
            toy_run,
            "SELECT count(*) AS trees, sum(requests) AS requests, sum(pairs) AS pairs, sum(tokens_decoded) AS "
            f"decode_tokens FROM trees WHERE round = {entry['round']}",
        )
        assert {key: entry["fact"][key] for key in fact} == pytest.approx({key: float(n) for key, n in fact.items()})
        assert entry["utilisation"] > 0
    assert len(data["data-cost"]["plans"]) == 2


def test_of_a_round_trained_twice_the_newest_curve_alone_is_shown(tmp_path: Path) -> None:
    def update(number: int, loss: float) -> dict[str, Any]:
        return {"round": 1, "objective": "simpo", "split": "train", "update": number, "loss": loss}

    with write_run(tmp_path / "run", None, []) as run:
        run.store.commit("preference", {"training": [update(1, float("nan"))]}, round=1, stopped="no number")
        run.store.commit("preference", {"training": [update(1, 0.5), update(2, 0.25)]}, round=1, update=2)
        (curve,) = parts(write_report(run, tmp_path / "page.html"))["data-training"]
        assert [row["loss"] for row in curve["rows"]] == [0.5, 0.25]
        assert (curve["kept"], curve["stopped"]) == (2, "")
        run.store.commit("preference", {"training": [update(1, float("nan"))]}, round=1, stopped="no number")
        (curve,) = parts(write_report(run, tmp_path / "page.html"))["data-training"]
        assert [row["loss"] for row in curve["rows"]] == [None] and curve["stopped"] == "no number"


def test_policies_are_called_by_what_trained_them() -> None:
    def trained(version: int, **info: object) -> Commit:
        return Commit(version, datetime.now(UTC), "training", {}, {}, {"base": "m@1", "adapter": "a", **info})

    log = [trained(0, content="old"), trained(1, content="warm"), trained(2, content="one", round=1)]
    log += [trained(3, content="three", round=3)]  # the second round found no pair
    policies = ["m@1", "m@1+old", "m@1+one", "m@1+three", "m@1+warm", "other@1"]
    assert list(labels(trainings(log, policies), policies).items()) == [
        ("m@1", "base"), ("m@1+warm", "warm-up"), ("m@1+one", "round 1"), ("m@1+three", "round 3"),
        ("m@1+old", "adapter old"), ("other@1", "other@1"),
    ]  # fmt: skip
    assert labels(trainings([], ["m@1"]), ["m@1"]) == {"m@1": "base"}


def test_the_loop_writes_the_page(toy_run: Path) -> None:
    assert "data-overview" in parts(toy_run / "report.html")


# -- in a browser ----------------------------------------------------------------------------------------------------


def test_a_tree_opens_by_click_by_key_and_by_address_with_its_steps_and_sample(
    browser: Any, mined: Path, page: Path
) -> None:
    with opened(browser, page) as tab:
        first = tab.locator("#explorer").get_attribute("data-tree")
        tab.locator("#tree-list button").nth(1).click()
        second = _other_tree(tab, first)
        steps = [
            row["step_text"] for row in ask(mined, f"SELECT * FROM nodes WHERE tree_id = '{second}' AND path <> ''")
        ]
        shown = tab.locator(".steps tbody tr .code").all_text_contents()
        assert sorted(shown[1:]) == sorted(steps) and shown[0] == "start"
        assert tab.locator("#sample-view").inner_text().count("[f(a=") >= 1
        tab.locator("#tree-list button").nth(1).press("k")
        assert _other_tree(tab, second) == first
    with opened(browser, page.with_name("report.html")) as tab:
        tab.evaluate(f"location.hash = 'tree-{second}'")
        assert _other_tree(tab, first) == second


def _other_tree(tab: Any, than: str) -> str:
    tab.wait_for_function("than => document.getElementById('explorer').dataset.tree !== than", arg=than)
    return str(tab.locator("#explorer").get_attribute("data-tree"))


def test_steps_are_walked_opened_and_closed_by_keys(browser: Any, page: Path) -> None:
    with opened(browser, page) as tab:
        rows = tab.locator(".steps tbody tr")
        selected = tab.locator(".steps tr[aria-selected=true]")
        selected.press("Home")
        assert rows.nth(0).get_attribute("aria-selected") == "true"
        selected.press("ArrowDown")
        assert rows.nth(1).get_attribute("aria-selected") == "true"
        selected.press("Home")
        selected.press("ArrowLeft")
        assert [row.is_visible() for row in rows.all()].count(True) == 1
        selected.press("ArrowRight")
        assert [row.is_visible() for row in rows.all()].count(True) == rows.count()


def test_trees_are_filtered_by_words_in_their_steps_by_class_and_by_delta_q(
    browser: Any, mined: Path, page: Path
) -> None:
    best = ask(mined, "SELECT tree_id, max(q_chosen - q_rejected) AS d FROM pairs GROUP BY 1")
    least = sorted(row["d"] for row in best)[-3]
    classes = ask(mined, "SELECT error_class AS c, count(DISTINCT tree_id) AS n FROM pairs GROUP BY 1 ORDER BY n, c")
    with opened(browser, page) as tab:
        count = tab.locator("#tree-count")
        tab.fill("#tree-search", "window.HACKED")
        tab.wait_for_function("!document.getElementById('tree-count').textContent.startsWith('20 ')")
        holding = ask(
            mined, "SELECT count(DISTINCT tree_id) AS n FROM nodes WHERE contains(step_text, 'window.hacked')"
        )
        assert count.inner_text().startswith(f"{holding[0]['n']} tree")
        tab.fill("#tree-search", "")
        tab.fill("#tree-delta", f"{least - 0.001:.4f}")
        wanted = sum(row["d"] >= least - 0.001 for row in best)
        assert count.inner_text().startswith(f"{wanted} tree")
        tab.fill("#tree-delta", "0")
        tab.select_option("#tree-class", classes[0]["c"])
        assert count.inner_text().startswith(f"{classes[0]['n']} tree")
        assert tab.locator("#tree-list li:visible").count() == classes[0]["n"]


def test_pairs_are_filtered_and_lead_to_their_tree(browser: Any, mined: Path, page: Path) -> None:
    ordered = ask(mined, "SELECT error_class, count(*) AS n FROM pairs GROUP BY 1 ORDER BY n, 1")
    with opened(browser, page) as tab:
        everything = tab.locator("#pairs .count").inner_text()
        assert everything.startswith(f"{sum(row['n'] for row in ordered)} pairs")
        tab.locator("#pairs .facets button", has_text=ordered[0]["error_class"]).click()
        cards = tab.locator("#pairs .pair")
        assert cards.count() == ordered[0]["n"]
        assert {text for text in cards.locator(".chip").all_inner_texts()} == {ordered[0]["error_class"]}
        assert cards.first.locator("mark").count() > 0
        wanted = cards.last.locator("a").get_attribute("href").removeprefix("#tree-")
        cards.last.locator("a").click()
        tab.wait_for_function("id => document.getElementById('explorer').dataset.tree === id", arg=wanted)


def test_doubts_and_accuracy_are_drawn_and_what_a_model_wrote_in_them_is_text(browser: Any, walked: Path) -> None:
    with opened(browser, walked / "report.html") as tab:
        rows = tab.locator("#fragments .places tbody tr")
        assert rows.first.inner_text().startswith("f.a")
        assert rows.locator(".chosen mark").count() > 0 and rows.locator(".rejected mark").count() > 0
        assert tab.locator("#fragments .chart svg[role=img]").count() == 1
        assert "12.5 %" in tab.locator("#fragments").inner_text()
        assert tab.locator("#fragments img").count() == 0 and tab.evaluate("window.hacked") is None
        assert "100.0 %" in tab.locator("#pairs .table").inner_text()
        assert tab.locator("#pairs .pair header").first.inner_text().count("proved") == 1
        probabilities = [
            float(text.split()[-1])
            for text in tab.locator("#pairs .pair header span", has_text="rejected p").all_inner_texts()
        ]
        assert len(probabilities) > 10 and probabilities == sorted(probabilities, reverse=True)


def test_what_a_model_wrote_is_shown_and_never_obeyed(browser: Any, page: Path) -> None:
    with opened(browser, page) as tab:
        tab.fill("#tree-search", "window.hacked")
        tab.wait_for_timeout(100)
        tab.locator("#tree-list li:visible button").first.click()
        tab.locator(".steps .code", has_text="</script>").first.wait_for()
        assert tab.locator(".steps img, .pair img").count() == 0
        assert tab.evaluate("window.hacked") is None


def test_a_phones_width_holds_every_section_and_dark_is_dark(browser: Any, page: Path, toy_run: Path) -> None:
    for shown in (page, toy_run / "report.html"):
        with opened(browser, shown, viewport={"width": 390, "height": 844}, color_scheme="dark") as tab:
            assert tab.evaluate("document.documentElement.scrollWidth") == 390
            red, green, blue = map(
                int, re.findall(r"\d+", tab.evaluate("getComputedStyle(document.body).backgroundColor"))
            )
            assert max(red, green, blue) < 60


def test_what_is_missing_names_the_command_that_makes_it(browser: Any, tmp_path: Path) -> None:
    with write_run(tmp_path / "empty", None, []) as run:
        run.store.commit("import", {})
    page = write_report(open_run(tmp_path / "empty"), tmp_path / "page.html")
    with opened(browser, page) as tab:
        said = {name: tab.locator(f"#{name} .empty").first.inner_text() for name in COMMANDS}
    for name, command in COMMANDS.items():
        assert command in said[name]
