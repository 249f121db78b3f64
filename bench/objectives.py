"""What the same proved pairs teach, by objective: which parts of the loss mend fragments, and which of them lose ends.

One walk over training samples of BFCL by the embedded model after its warm-up gives the pairs; each arm trains one
adapter on them from that same policy, with as many updates as the others, and is asked validation items (of the
training half's share that is set aside; no test item is asked here):

    right, fixed, broken   items by the official rules in the run's own prompt, paired with the policy before
    fragments              share of greedy next steps that are right, at every right prefix of the same samples
    vs sft                 fragments fixed and broken against plain SFT on the same samples, McNemar's exact p
    classes                wrong items by error class: Code Syntax and Tools Count must not rise
    end                    mean log-probability of the gold responses' closing tokens, end-of-turn included

An arm is named by its objective and what it looks at: `dpo-fragment`; `+ends` adds what is to hold the ends: pairs at
right ends, pairs weighted by the wrong step's probability, and the likelihood of doubted right steps and ends beside
the loss (`anchor`); `+held` has these pairs without the weights, and four times that likelihood; `+sft` that of the
whole responses in its place. `sft` is the likelihood of the same samples' whole responses alone.
Finished arms are kept in RUN and passed over.

    python -m bench.objectives [--run runs/objectives] [--arms dpo-fragment+ends sft …] [--epochs 1] [--lr 4e-4]
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.ends import mean_end
from itool_cli.choose import choose as keep
from itool_cli.loaded import Policies
from itool_cli.variants import do_until
from itool_data.choosing import as_tasks, searchable
from itool_data.loop import finished, record
from itool_data.mining import mine, unfinished
from itool_data.policy.base import derive_seed
from itool_data.policy.load import Adapter, BaseModel, find_model, policy_id
from itool_data.policy.open import open_policy, open_prompter
from itool_data.prompt import tokenise
from itool_data.run import Run, open_run, write_run
from itool_data.run_samples import training_samples
from itool_data.store.samples import read_samples
from itool_data.store.sql import query
from itool_data.variant import Variant, make
from itool_data.workers.pool import Desk, LocalPool
from itool_eval.benchmarks import VALIDATION, choose, open_benchmark
from itool_eval.compare import compare, outcomes
from itool_eval.errors import error_table
from itool_eval.fragments import decide, held_out
from itool_eval.predict import answer, not_asked, prepare
from itool_eval.predictions import Evaluated, read_evaluated
from itool_eval.scores import mcnemar_p
from itool_train import preference
from itool_train.step_pairs import StepPair, ordered_updates

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "laptop.yaml"
BENCHMARK = f"bfcl-v3-own-prompt{VALIDATION}"
WARMUP_TOKENS = 320  # of the longest prompt and response in the warm-up
TOKENS = 240  # and of those walked along and asked: short ones, so that an arm takes minutes
SETTINGS = [
    "loop.sources=[bfcl:0.2]", "loop.rounds=1", "loop.search=walk", "walk.width=4", "walk.wrong=1",
    "loop.categories=[simple,multiple,parallel,parallel_multiple,live_simple,live_multiple]",
    "data.abstain=0", "validation.items=0", "eval.fragments=0",
    "warmup.samples=220", "warmup.order=mixed", "warmup.lr_mixed=1e-3", "warmup.epochs=1",
    "eval.max_tokens=64", f"warmup.max_tokens={WARMUP_TOKENS}", "preference.validation=0", "pairs.proved=true",
]  # fmt: skip
UPDATE = 4  # samples an update
ENDS = 40  # responses whose closing tokens are scored
STUDY, MINED = "objectives", "mine-1"
CLASSES = ("Code Syntax", "Tools Count", "Tool Name", "Parameter Name", "Parameter Count", "Parameter Value")
LOSSES = {
    "simpo": ["preference.loss=simpo"],
    "dpo": ["preference.loss=dpo"],
    "ipo": ["preference.loss=ipo"],
    "orpo": ["preference.loss=orpo"],
    "logistic": ["preference.loss=simpo", "preference.beta=1", "preference.gamma=0"],
}
HOLDS = {
    "": [],
    "+held": ["preference.anchor=4", "preference.anchor_on=doubted"],
    "+ends": ["preference.anchor=1", "preference.anchor_on=doubted", "preference.weighted=true"],
    "+sft": ["preference.anchor=4", "preference.anchor_on=response"],
}
ARMS: dict[str, list[str]] = {
    "sft": ["preference.loss=nll", "preference.anchor_on=response"],
    "nll": ["preference.loss=nll", "preference.anchor_on=doubted"],
    "nll-chosen": ["preference.loss=nll", "preference.anchor_on=chosen"],
    **{
        f"{loss}-{span}{hold}": [*settings, f"preference.span={span}", *held]
        for hold, held in HOLDS.items()
        for span in ("fragment", "step")
        for loss, settings in LOSSES.items()
    },
}
# The table of docs/objectives.md; the others by name.
TABLE = [
    "sft",
    "nll",
    *(
        f"{loss}-{span}{hold}"
        for hold in ("+held", "")
        for span in ("fragment", "step")
        for loss in ("dpo", "simpo", "ipo", "orpo")
    ),
]


def walk(run: Run, base: BaseModel, n: int) -> None:
    """Walk along some short training samples that no walk was made along yet."""
    prompter = open_prompter(run.config.model, base)
    ordered = sorted(training_samples(run), key=lambda s: derive_seed("objectives", s.sample_id))
    chosen = [t for t in tokenise(prompter, ordered)[0] if len(t) <= TOKENS][:n]
    pool = LocalPool(Desk(open_policy(run.config.model, base, run.adapter(base, 1)), prompter))
    tasks = as_tasks(run, pool, searchable(run, pool, prompter, chosen, "walk")[0], 1, "walk")
    for _ in mine(run, pool, unfinished(run, tasks), "walk"):
        pass
    pool.close()


def added_ends(run: Run, items: Sequence[StepPair], end: int) -> set[str]:
    """The pairs at right ends that the policy does not doubt: a search for what it doubts would not have made them."""
    sql = """SELECT tree_id FROM fragments WHERE round = 1 AND tree_id IS NOT NULL
             QUALIFY number = max(number) OVER (PARTITION BY tree_id) AND probability >= ?"""
    sure = {row["tree_id"] for row in query(run.store, sql, None, [run.config.walk.doubt]).to_pylist()}
    pairs = [item for item in items if "/right" not in item.pair_id]
    return {p.pair_id for p in pairs if p.chosen[-1] == end and p.pair_id.partition("/")[0] in sure}


def train(run: Run, base: BaseModel, name: str, end: int) -> None:
    """Train an arm, with as many updates as there are samples for."""
    prepared = preference.prepare(run, base, 1)
    items = [item for update in prepared.updates for item in update]
    items = list({item.pair_id: item for item in items}.values())
    samples = len({item.sample_id for item in items})
    if "+" not in name:
        left_out = added_ends(run, items, end)
        items = [item for item in items if item.pair_id not in left_out]
    counted = sum(bool(item.rejected) for item in items) or len(items)
    settings = run.config.preference
    updates = ordered_updates(items, -(-counted * UPDATE // samples), settings.epochs, run.config.seed)
    print(f"{name}: {counted} pairs or steps of {samples} samples, {len(updates)} updates", flush=True)
    ready = replace(prepared, updates=updates, n_train=len(items))
    trained = preference.train(run, base, ready, lambda progress: None, print)
    assert trained is not None
    kept = keep(Console(), run, Policies(), None, ready.start, trained.candidates)
    preference.finish(run, base, ready, trained, kept.info)


def ask(run: Run, base: BaseModel, adapter: Adapter | None, limit: int) -> float:
    """Ask the validation items and fragments of a policy; returns the mean log-probability of the ends."""
    prompter = open_prompter(run.config.model, base)
    samples = {(s.source.partition(":")[2], s.source_id): s for s in read_samples(run.store, "split = 'validation'")}
    short = {t.key for t in tokenise(prompter, list(samples.values()))[0] if len(t) <= TOKENS}
    pool = LocalPool(Desk(open_policy(run.config.model, base, adapter), prompter))
    benchmark = open_benchmark(BENCHMARK, run.config.model.tools)
    categories = run.config.loop.categories
    asked = [
        q
        for q in choose(benchmark, [c for c in categories if c in benchmark.categories], None, 0,
                        not_asked(run, benchmark))
        if (q.category, q.id) in samples and samples[q.category, q.id].sample_id in short
    ][:limit]  # fmt: skip
    for _ in answer(run, pool, benchmark, prepare(run, str(pool.policy_id), benchmark, asked)):
        pass
    wanted = {samples[q.category, q.id].sample_id for q in asked}
    tasks = [t for t in held_out(run, pool, prompter, "validation", None) if t.tree_id in wanted]
    for _ in decide(run, pool, tasks):
        pass
    ends = [t for t in tokenise(prompter, list(samples.values()))[0] if t.key in wanted][:ENDS]
    end = mean_end(pool, prompter, ends)
    pool.close()
    return end


def evaluated(run: Run, policy: str) -> Evaluated:
    """A policy's answers."""
    (found,) = [e for e in read_evaluated(run, policy) if e.policy == policy]
    return found


def decided(run: Run, policy: str) -> dict[tuple[str, int], bool]:
    """Which of a policy's greedy next steps are right, by sample and place."""
    sql = 'SELECT sample_id, number, "right" FROM decisions WHERE policy = ?'
    return {(r["sample_id"], r["number"]): r["right"] for r in query(run.store, sql, None, [policy]).to_pylist()}


def flips(before: dict[tuple[str, int], bool], after: dict[tuple[str, int], bool]) -> tuple[int, int]:
    """How many of the next steps that both decided are fixed and broken."""
    both = before.keys() & after.keys()
    return sum(after[k] and not before[k] for k in both), sum(before[k] and not after[k] for k in both)


def facts(run: Run, before: Run, base: BaseModel, name: str, ending: float, seconds: float) -> dict[str, Any]:
    """What came of an arm."""
    start, now = (str(policy_id(base, r.adapter(base, n))) for r, n in ((before, 1), (run, 2)))
    first, second = evaluated(before, start), evaluated(run, now)
    change = compare(outcomes(first.verdicts), outcomes(second.verdicts)).overall
    one, two = decided(before, start), decided(run, now)
    fixed, broken = flips(one, two)
    classes = {str(name): n for name, n in error_table(second.verdicts).first.items()}
    return {
        "arm": name,
        "n": len(second.verdicts),
        "right": sum(v.valid for v in second.verdicts),
        "fixed": change.fixed,
        "broken": change.broken,
        "decisions": len(two),
        "decisions_right": sum(two.values()),
        "decisions_fixed": fixed,
        "decisions_broken": broken,
        "end": round(ending, 3),
        "classes": classes,
        "seconds": round(seconds),
    }


def against_sft(main_run: Path, arm: str) -> str:
    """Fragments fixed and broken against plain SFT, and McNemar's exact p of that."""
    folders = [Variant(f"{STUDY}/{name}", MINED, ()).folder(main_run) for name in ("sft", arm)]
    if arm in ("before", "sft") or not all((folder / "config.yaml").is_file() for folder in folders):
        return ""
    sft, other = map(open_run, folders)
    base = find_model(sft.config.model)
    one, two = (decided(run, str(policy_id(base, run.adapter(base, 2)))) for run in (sft, other))
    fixed, broken = flips(one, two)
    return f"{fixed}, {broken}, p {mcnemar_p(fixed, broken):.2f}"


def show(main_run: Path, rows: Sequence[dict[str, Any]]) -> None:
    """The table."""
    table = Table("arm", "right", "fixed", "broken", "fragments %", "fixed", "broken", "vs sft", "end", *CLASSES)
    for row in rows:
        table.add_row(
            row["arm"],
            f"{row['right']} of {row['n']}",
            str(row["fixed"]),
            str(row["broken"]),
            f"{100 * row['decisions_right'] / row['decisions']:.1f} of {row['decisions']}",
            str(row["decisions_fixed"]),
            str(row["decisions_broken"]),
            against_sft(main_run, row["arm"]),
            f"{row['end']:.2f}",
            *(str(row["classes"].get(name, 0)) for name in CLASSES),
        )
    Console(width=220).print(table)


def do(name: str, parent: Path, variant: Variant, limit: int) -> dict[str, Any]:
    """Do an arm: a variant of the run that leaves it after its search, trained and asked."""
    started = time.monotonic()
    before = open_run(parent)
    base = find_model(before.config.model)
    end = open_prompter(before.config.model, base).response_ids("")[-1]
    folder = parent if name == "before" else make(before, variant)
    with write_run(folder, None, []) as run:
        if name != "before" and run.trained(preference.STAGE, 1) is None:
            train(run, base, name, end)
        ending = ask(run, base, run.adapter(base, 1 if name == "before" else 2), limit)
    if name == "before":
        found = facts_before(run, base, ending, time.monotonic() - started)
    else:
        found = facts(run, before, base, name, ending, time.monotonic() - started)
    return found


def facts_before(run: Run, base: BaseModel, ending: float, seconds: float) -> dict[str, Any]:
    """The policy that all arms start from, compared with itself."""
    policy = str(policy_id(base, run.adapter(base, 1)))
    verdicts = evaluated(run, policy).verdicts
    decisions = query(run.store, 'SELECT "right" FROM decisions WHERE policy = ?', None, [policy]).to_pylist()
    return {
        "arm": "before", "n": len(verdicts), "right": sum(v.valid for v in verdicts), "fixed": 0, "broken": 0,
        "decisions": len(decisions), "decisions_right": sum(d["right"] for d in decisions), "decisions_fixed": 0,
        "decisions_broken": 0, "end": round(ending, 3),
        "classes": {str(name): n for name, n in error_table(verdicts).first.items()}, "seconds": round(seconds),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/objectives"))
    parser.add_argument("--arms", nargs="*", default=TABLE, choices=list(ARMS), metavar="ARM")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--samples", type=int, default=64, help="to walk along")
    parser.add_argument("--items", type=int, default=80)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further settings of the arms")
    parser.add_argument("--label", default="", help="names the arms of other settings apart")
    options = parser.parse_args()
    console = Console()
    main_run = options.run / "main"
    if not (main_run / "config.yaml").is_file():
        with write_run(main_run, CONFIG, SETTINGS):
            pass
    do_until(console, main_run, "warmup")
    if MINED not in finished(open_run(main_run).store.log(), [MINED]):
        started = time.monotonic()
        with write_run(main_run, None, []) as run:
            walk(run, find_model(run.config.model), options.samples)
        record(main_run, MINED, started, True)
    results = options.run / "results.jsonl"
    shared = [
        "preference.collapse=0",
        f"preference.epochs={options.epochs}",
        f"preference.lr={options.lr:g}",
        *options.set,
    ]
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []
    for name in ["before", *options.arms]:
        label = name if name == "before" else f"{name}{options.label}"
        if label in {row["arm"] for row in rows}:
            continue
        arm = Variant(f"{STUDY}/{label}", MINED, (*shared, *ARMS.get(name, ())))
        found = do(name, main_run, arm, options.items)
        with results.open("a") as file:
            file.write(json.dumps(found | {"arm": label}) + "\n")
        rows.append(found | {"arm": label})
        show(main_run, rows)
    show(main_run, rows)


if __name__ == "__main__":
    main()
