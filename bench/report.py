"""A report of 1,000 trees: how large its page is, how soon it stands in Chromium, how long a switch of trees takes.

Run `python -m bench.report`; it needs Chromium. The trees are searches over BFCL's training samples, by the settings
of configs/laptop.yaml, on a policy without a model that writes the gold calls and damaged ones; of evaluations and
training the run has none, as they are small beside. The last line is JSON: `megabytes` of the page; `write_s`;
`open_s` from the address to a page that stands, its first tree and its pairs included, the median of new browsers;
`switch_ms` from a click to the next frame with another tree in it, over trees at random, each for the first time;
`search_ms` the first search of all texts, unpacking them included.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from itool_cli.report import write_report
from itool_data.choosing import as_tasks
from itool_data.dialects import render
from itool_data.policy.load import find_model
from itool_data.policy.open import open_prompter
from itool_data.policy.scripted import Ids, ScriptedPolicy
from itool_data.prompt import Prompter, tokenise
from itool_data.run import Run, open_run, write_run
from itool_data.run_samples import import_samples
from itool_data.sample import Sample, ToolCall
from itool_data.search.miner import Miner, tree_rows
from itool_data.store.samples import read_samples

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "laptop.yaml"
CONTEXT = 100_000  # tokens; no sample is left out
RESPONSES = 80  # that the policy chooses from
COMMIT_TREES = 100
OPENED = 5
SWITCHES = 100
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# From a click on a tree of the list to the frame after it is there.
SWITCH = """async (places) => {
  const [list, explorer] = [document.querySelectorAll("#tree-list button"), document.getElementById("explorer")];
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const taken = [];
  for (const place of places) {
    const before = explorer.dataset.tree;
    const started = performance.now();
    list[place].click();
    while (explorer.dataset.tree === before) await new Promise((done) => setTimeout(done));
    await frame();
    taken.push(performance.now() - started);
  }
  return taken;
}"""
FIRST_SEARCH = """async () => {
  const [input, shown] = [document.getElementById("tree-search"), document.getElementById("tree-count")];
  const before = shown.textContent;
  const started = performance.now();
  input.value = "no step says this";
  input.dispatchEvent(new Event("input"));
  while (shown.textContent === before) await new Promise((done) => setTimeout(done));
  return performance.now() - started;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trees", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="keep the run and its page here; a run that is there is used again")
    options = parser.parse_args()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("no Chromium here; apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="itool-bench-") as scratch:
        folder = options.folder or Path(scratch) / "run"
        if not (folder / "config.yaml").is_file():
            _mine(folder, options.trees)
        started = time.perf_counter()
        page = write_report(open_run(folder), folder / "report.html")
        figures = {"megabytes": page.stat().st_size / 1e6, "write_s": time.perf_counter() - started}
        print("; ".join(f"{name} {value:.2f}" for name, value in figures.items()), flush=True)
        figures |= _look(page, browser)
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def _mine(folder: Path, trees: int) -> None:
    """Search so many samples without a model."""
    started = time.perf_counter()
    random = Random(42)
    with write_run(folder, CONFIG, []) as run:
        import_samples(run, "bfcl", None, False, lambda done, total: None)
        prompter = open_prompter(run.config.model, find_model(run.config.model))
        samples = [s for s in read_samples(run.store, "split = 'train'") if s.calls][:trees]
        for start in range(0, len(samples), COMMIT_TREES):
            rows: dict[str, list[dict[str, Any]]] = {"trees": [], "nodes": [], "pairs": []}
            for sample in samples[start : start + COMMIT_TREES]:
                for table, more in _search(run, prompter, sample, random).items():
                    rows[table] += more
            run.store.commit("mine", rows, round=1)
            print(
                f"{start + len(rows['trees'])}/{len(samples)} trees, {time.perf_counter() - started:.0f} s", flush=True
            )


def _search(run: Run, prompter: Prompter, sample: Sample, random: Random) -> dict[str, list[dict[str, Any]]]:
    ((chosen,), _) = tokenise(prompter, [sample])
    policy = ScriptedPolicy({tuple(chosen.prompt): _responses(prompter, sample, random)}, 64, CONTEXT)
    tasks = as_tasks(run, policy, [chosen], 1, "mcts")
    found = [tree for trees in Miner(policy, prompter, run.config, None).run(deque(tasks)) for tree in trees]
    return tree_rows(found, policy.policy_id, prompter, run.config, "mcts")


def _responses(prompter: Prompter, sample: Sample, random: Random) -> dict[Ids, float]:
    """The gold response, and others that are wrong as models are."""
    texts = {sample.target: 6.0}
    for damaged in _damaged(sample, random):
        texts.setdefault(damaged, 1.0)
        if len(texts) == RESPONSES:
            break
    return {tuple(prompter.response_ids(text)): weight for text, weight in texts.items()}


def _damaged(sample: Sample, random: Random) -> Iterator[str]:
    names = [tool.name for tool in sample.tools]
    for number in range(4 * RESPONSES):
        calls = [ToolCall(call.name, dict(call.arguments)) for call in sample.calls]
        for _ in range(1 + number % 3):
            place = random.randrange(len(calls))
            call = calls[place]
            key = random.choice([*call.arguments, "query"])
            match random.choice(("value", "name", "missing", "tool", "more")):
                case "value":
                    call.arguments[key] = random.choice([random.randrange(100), "unknown", "San Francisco", True, 1.5])
                case "name":
                    call.arguments[random.choice(("q", "id", "name"))] = call.arguments.pop(key, 1)
                case "missing":
                    call.arguments.pop(key, None)
                case "tool":
                    calls[place] = ToolCall(
                        f"{random.choice(names)}{random.choice(('', '_v2', '_by_id', '.get'))}", call.arguments
                    )
                case "more":
                    calls.append(call)
        text = render(calls)
        # Sometimes the brackets are not closed.
        yield text if random.random() < 0.9 else text[:-2]


def _look(page: Path, browser: str) -> dict[str, float]:
    """Open the page as a reader does."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = []
        for _ in range(OPENED):
            chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
            tab = chromium.new_page(viewport={"width": 1440, "height": 900})
            started = time.perf_counter()
            tab.goto(page.as_uri())
            tab.wait_for_selector("body[data-ready]", state="attached")
            opened.append(time.perf_counter() - started)
            if len(opened) < OPENED:
                chromium.close()
        n = tab.locator("#tree-list button").count()
        switched = tab.evaluate(SWITCH, Random(1).sample(range(1, n), min(SWITCHES, n - 1)))
        tab.reload()
        tab.wait_for_selector("body[data-ready]", state="attached")
        searched = tab.evaluate(FIRST_SEARCH)
        chromium.close()
    print(f"open: {', '.join(f'{s:.2f}' for s in opened)} s")
    print(f"switch: median {statistics.median(switched):.0f} ms, slowest {max(switched):.0f} ms of {len(switched)}")
    return {
        "open_s": statistics.median(opened),
        "switch_ms": statistics.median(switched),
        "slowest_switch_ms": max(switched),
        "search_ms": searched,
    }


if __name__ == "__main__":
    main()
