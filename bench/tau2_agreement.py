"""How far our tau2 rewards agree with the official code's (`python -m bench.tau2_agreement`).

On recorded runs, with the official outcome of each: the reward, how it ended, which assertions hold and which actions
were done, what the calls returned, and the prompt. `--oracle PYTHON` makes new runs and asks the official code about
them, in an environment that has it (`bench/tau2_oracle.py` says how to make one). Ends with one line of JSON; exits
with 1 where anything differs.
"""

import argparse
import gzip
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from bench.tau2_oracle import digest
from bench.tau2_runs import runs
from itool_eval.conversation import Said
from itool_eval.tau2.domain import Domain, load_domain
from itool_eval.tau2.driver import conversation
from itool_eval.tau2.reward import evaluate
from itool_eval.tau2.scorer import SoloScorer
from itool_eval.tau2.simulation import End, Simulation
from itool_eval.tau2.tasks import SIZES, category_of

RECORDED = Path(__file__).resolve().parent.parent / "tests" / "eval" / "official_tau2.jsonl.gz"
# Where the official code ends with an exception, and so gives no reward.
NO_REWARD = ("tau2:agent_error", "tau2:evaluation_error", "tau2:unfinished")


def recorded(path: Path = RECORDED) -> Iterator[dict[str, Any]]:
    """Runs with their official outcomes."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def asked(oracle: str, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Runs, with what the official code makes of them."""
    script = Path(__file__).with_name("tau2_oracle.py")
    with TemporaryFile("w+", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
        lines.seek(0)
        process = subprocess.Popen([oracle, str(script)], stdin=lines, stdout=subprocess.PIPE, encoding="utf-8")
        with process:
            yield from map(json.loads, process.stdout or ())
    if process.returncode:
        sys.exit(f"{oracle} {script}: ended with {process.returncode}; its own message is above")


def outcome(domain: Domain, scorer: SoloScorer, row: dict[str, Any]) -> dict[str, Any]:
    """What we make of a run, in the oracle's words: through our conversation and our scorer."""
    task = domain.task(row["task"])
    said = [Said(text, tuple((name, arguments) for name, arguments in calls)) for text, calls in row["replies"]]
    talk = conversation(domain, task)
    prompt = next(talk)
    found: dict[str, Any] = {"prompt": digest([prompt.messages[0]["content"], prompt.tools])}
    result: Any = [[one.result for one in said]]  # of a run that lacks its end
    try:
        for one in said:
            talk.send(one)
    except StopIteration as end:
        result = end.value
    verdict = scorer.score(category_of(row["task"]), row["task"], result)
    simulation = Simulation(domain, task)
    for reply in result[0]:
        simulation.take(reply)
    # Officially one more reply is run before it is too long.
    if simulation.end is not End.MAX_STEPS:
        found["returned"] = digest([m.content for m in simulation.trajectory if m.role == "tool"])
    if verdict.error_type in NO_REWARD:
        return found
    found |= {"reward": float(verdict.valid), "end": simulation.end}
    if simulation.end is End.STOPPED:
        held = evaluate(domain, task, simulation)
        found["database"] = held.database
        found["assertions"] = [holds for _, holds in held.assertions]
        found["actions"] = [done for _, done in held.actions]
    return found


def difference(domain: Domain, scorer: SoloScorer, row: dict[str, Any]) -> str:
    """Where our outcome of a run is not the official one; empty: nowhere."""
    ours, official = outcome(domain, scorer, row), row["official"]
    if "error" in official:
        names = ["reward", "returned", "prompt"]
    else:
        names = ["reward", "end", "database", "assertions", "actions", "prompt", "returned"]
    if ours.get("end") is End.MAX_STEPS:
        names.remove("returned")
    differing = [f"{name} {ours.get(name)}, officially {official.get(name)}" for name in names
                 if ours.get(name) != official.get(name)]  # fmt: skip
    return f"{row['task']}, {row['kind']}: {'; '.join(differing)}" if differing else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--oracle", help="the official environment's python: make new runs and ask it")
    parser.add_argument("--split", default="base", choices=list(SIZES), help="whose tasks new runs are of")
    parser.add_argument("--changes", type=int, default=3, help="new changed runs a task, beside its own solution")
    parser.add_argument("--seed", type=int, default=42, help="of new runs")
    parser.add_argument("--write", type=Path, help="keep the runs and their official outcomes in this .jsonl.gz")
    chosen = parser.parse_args()
    domain = load_domain()
    scorer = SoloScorer(domain, "full")
    rows = recorded()
    if chosen.oracle:
        rows = asked(chosen.oracle, runs(domain, domain.splits[chosen.split], chosen.changes, chosen.seed))
    start, kinds, rewards, differences, kept = time.perf_counter(), Counter[str](), Counter[str](), [], []
    for row in rows:
        kinds[row["kind"]] += 1
        rewards[str(row["official"].get("reward"))] += 1
        if found := difference(domain, scorer, row):
            differences.append(found)
            print(found)
        kept.append(json.dumps(row) + "\n")
    if chosen.write:
        with gzip.open(chosen.write, "wt", encoding="utf-8") as file:
            file.writelines(kept)
    print("runs:", ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
    print(f"official rewards: {rewards['1.0']} are 1, {rewards['0.0']} are 0, {rewards['None']} runs end with an error")
    tried = kinds.total()
    print(
        f"{tried - len(differences)} of {tried} rewards equal, and with them how each ended, what holds, and the prompt"
    )
    seconds = round(time.perf_counter() - start, 1)
    print(json.dumps({"runs": tried, "differences": len(differences), "rewards": dict(rewards), "seconds": seconds}))
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
