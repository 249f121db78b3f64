"""Runs the arms of a plan that have no result yet, as run folders of `itool run` and their variants.

Everything resumes: a finished arm is passed over, one that was stopped goes on where its last commit was. Where the
results of earlier arms are kept and their run folders are not, the folders that an arm builds on are made again.
Several processes share the work: an arm's folder is locked while it is worked on. Left out: what the arms are
(`first.py`, `second.py`, `third.py`).
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console

from bench.replication.asked import ask_fragments_and_ends, by_distance
from bench.replication.plan import MAIN, Arm, Plan, Steps
from bench.replication.results import Key, Results
from itool_cli.run import Loop
from itool_cli.variants import do_until, do_variant
from itool_data.config import LoopSettings
from itool_data.loop import finished, stage_names
from itool_data.policy.load import Adapter, find_model, policy_id
from itool_data.run import Run, open_run, write_run
from itool_data.store.sql import query
from itool_data.variant import Variant
from itool_eval.benchmarks import VALIDATION
from itool_eval.compare import Outcome, outcomes
from itool_eval.predictions import read_evaluated

STUDY = "replication"
WAIT = 2.0  # seconds before looking again for an arm whose turn it is, while other processes work


@dataclass
class Replication:
    """Where everything is.

    Attributes:
        console: where progress goes.
        root: the folder of the seeds' main runs.
        plan: the arms and what they share.
        data: the folder of the data sets.
        results: what came of the arms so far.
        until: the last arm to do, by its place in the plan; None: all.
    """

    console: Console
    root: Path
    plan: Plan
    data: Path
    results: Results
    until: int | None = None

    def do_all(self) -> None:
        """Do the arms that have no result, in their order, waiting for those that other processes work on."""
        while self._missing():
            if not self.do_next():
                time.sleep(WAIT)

    def do_next(self) -> bool:
        """Do the first arm that has no result, whose needs are met and that no other process works on.

        Returns:
            Whether there was one.
        """
        return any(self._try(arm) for arm in self._missing() if self._needs(arm) <= self.results.facts.keys())

    def _missing(self) -> list[Arm]:
        self.results.read()
        wanted = self.plan.arms[: None if self.until is None else self.until + 1]
        return [arm for arm in wanted if (arm.name, arm.seed) not in self.results.facts]

    def _try(self, arm: Arm) -> bool:
        """Do an arm unless another process has its folder, or has just done it."""
        self.root.mkdir(parents=True, exist_ok=True)
        # Not beside the folder: that may be in the folder of another arm, which is yet to be made.
        name = "-".join(self._folder(arm.name, arm.seed).relative_to(self.root).parts)
        try:
            with FileLock(self.root / f".{name}.lock", timeout=0):
                self.results.read()
                if (arm.name, arm.seed) not in self.results.facts:
                    self.do(arm)
        except Timeout:
            return False
        return True

    def _needs(self, arm: Arm) -> set[Key]:
        """The arms without whose results it cannot be done."""
        groups = {arm.rates, arm.parent} & self.plan.rates.keys()
        rates = {(name, self._tuned(group, arm.seed)) for group in groups for name in self.plan.rates[group]}
        if not rates <= self.results.facts.keys():
            return rates  # which arm's run it leaves is not known before
        tokens = {(arm.tokens_of, arm.seed)} if arm.tokens_of else set()
        return rates | tokens | {(a.name, a.seed) for a in self._before(arm)}

    def do(self, arm: Arm) -> None:
        """Do what is missing of an arm, and keep what came of it."""
        self.console.rule(f"{arm.name}, seed {arm.seed}", style="bold")
        run = open_run(self._reach(arm))
        facts: dict[str, Any] = {}
        found: dict[str, list[Outcome]] = {}
        if arm.until.startswith("evaluate"):
            if self.plan.steps and arm.tier != "tuning":
                facts["end"] = self._ask_more(arm, run, self.plan.steps)
            found = self._evaluated(arm, run)
        self.results.add(_facts(arm, run) | facts, found)

    def _reach(self, arm: Arm) -> Path:
        """Bring an arm's run to its last stage, and before that the runs that it builds on, in case they are gone.

        What is there already is left alone: another process may be working in the run of a parent.
        """
        own = self._folder(arm.name, arm.seed)
        if self._has(own, arm.until):
            return own
        self._main(arm.seed)
        if before := self._before(arm):
            self._reach(before[-1])
        parent = self._folder(self._parent(arm), arm.seed)
        changes = (*(c.format(data=self.data) for c in arm.changes), *self._rates(arm), *self._budget(arm))
        if arm.leaves:
            if not self._has(parent, arm.leaves):
                do_until(self.console, parent, arm.leaves)
            variant = Variant(f"{STUDY}/{arm.name}", arm.leaves, changes)
            folder: Path = do_variant(self.console, parent, variant, arm.until)
            return folder
        with write_run(parent, None, list(changes)):
            pass  # takes the settings over
        do_until(self.console, parent, arm.until)
        return parent

    def _before(self, arm: Arm) -> list[Arm]:
        """The arms that bring the run of an arm's parent on, as far as the arm needs it."""
        parent = self._parent(arm)
        owners = [a for a in self.plan.arms if a.seed == arm.seed and (a.name if a.leaves else a.parent) == parent]
        if not arm.leaves:
            return owners[: owners.index(arm)]
        stages = self._stages()
        before = [a for a in owners if stages.index(a.until) <= stages.index(arm.leaves)]
        return before if parent == MAIN else before or owners[:1]  # who makes the folder comes first in any case

    def _parent(self, arm: Arm) -> str:
        """The name of the arm whose run an arm leaves or goes on in."""
        return self._best(arm.parent, arm.seed) if arm.parent in self.plan.rates else arm.parent

    def _main(self, seed: int) -> None:
        """Make a seed's main run and import its data, unless that is done."""
        folder = self.root / f"seed-{seed}"
        settings = [f"seed={seed}", *(setting.format(data=self.data) for setting in self.plan.settings)]
        with FileLock(self.root / f".import-{seed}.lock"):  # the one place where processes may meet in a main run
            if not self._has(folder, "import"):
                with write_run(folder, None if (folder / "config.yaml").is_file() else self.plan.config, settings):
                    pass
                do_until(self.console, folder, "import")

    def _folder(self, name: str, seed: int) -> Path:
        """The folder of the arm of a name."""
        if name == MAIN:
            return self.root / f"seed-{seed}"
        arm = next(a for a in self.plan.arms if (a.name, a.seed) == (name, seed))
        parent = self._folder(self._parent(arm), seed)
        return parent / "studies" / STUDY / name if arm.leaves else parent

    def _rates(self, arm: Arm) -> tuple[str, ...]:
        """The learning rate that the validation items chose for the arm's group."""
        if not arm.rates:
            return ()
        return self.plan.with_rate(arm.rates, self.plan.rates[arm.rates][self._best(arm.rates, arm.seed)])

    def _tuned(self, group: str, seed: int) -> int:
        """The seed whose tuning arms choose for a seed: its own where it has some, else the first."""
        own = {arm.name for arm in self.plan.arms if arm.seed == seed}
        return seed if own >= self.plan.rates[group].keys() else self.plan.seeds[0]

    def _best(self, group: str, seed: int) -> str:
        """The tuning arm of a group that the validation items chose for a seed."""
        best = self.results.best_arm(self.plan.rates[group], self._tuned(group, seed), self.plan.validation)
        assert best is not None, f"the tuning of {group} comes too late in the plan"
        return best

    def _budget(self, arm: Arm) -> tuple[str, ...]:
        if not arm.tokens_of:
            return ()
        facts = self.results.facts[arm.tokens_of, arm.seed]
        return (f"mcts.budget={round(facts['tokens_decoded'] / facts['trees'])}",)

    def _evaluated(self, arm: Arm, run: Run) -> dict[str, list[Outcome]]:
        """The outcomes of the arm's policy; asks what no stage of its run asks."""
        base = find_model(run.config.model)
        adapter = None if arm.policy == "base" else run.adapter(base, _round_of(arm.until) + 1)
        if arm.policy == "base":
            self._ask(run.folder, adapter, [])
        if arm.also:
            self._ask(run.folder, adapter, [setting.format(data=self.data) for setting in arm.also])
        evaluated = read_evaluated(run, adapter.content if adapter else "base")
        tuning = arm.tier == "tuning"
        found = {e.benchmark: outcomes(e.verdicts) for e in evaluated if e.benchmark.endswith(VALIDATION) == tuning}
        return found | (by_distance(run, str(policy_id(base, adapter))) if self.plan.steps and not tuning else {})

    def _ask_more(self, arm: Arm, run: Run, steps: Steps) -> float:
        """Ask the arm's policy for next steps and ends; returns how firmly it ends."""
        adapter = run.adapter(find_model(run.config.model), _round_of(arm.until) + 1)
        with write_run(run.folder, None, []) as writable:
            return ask_fragments_and_ends(self.console, writable, adapter, steps)

    def _stages(self) -> list[str]:
        return stage_names(LoopSettings(rounds=self.plan.rounds))

    def _has(self, folder: Path, stage: str) -> bool:
        """Whether a stage of a run is done."""
        return (folder / "config.yaml").is_file() and stage in finished(open_run(folder).store.log(), self._stages())

    def _ask(self, folder: Path, adapter: Adapter | None, changes: list[str]) -> None:
        """Ask a policy; the run's own settings stay as they are."""
        changed = open_run(folder, None, changes).config
        with write_run(folder, None, []) as run:
            Loop(self.console, folder).evaluate(Run(run.folder, changed, run.store), adapter)


def _facts(arm: Arm, run: Run) -> dict[str, Any]:
    """What an arm was and took: settings, samples, tokens, pairs, and the seconds of its last round's stages."""
    round_ = _round_of(arm.until)
    base = find_model(run.config.model)
    mined = query(
        run.store,
        "SELECT count(*) AS trees, coalesce(sum(tokens_decoded), 0)::BIGINT AS tokens_decoded, "
        "coalesce(sum(tokens_prefilled), 0)::BIGINT AS tokens_computed, "
        "coalesce(sum(pairs), 0)::BIGINT AS pairs, coalesce(sum(proved), 0)::BIGINT AS proved "
        "FROM trees WHERE round = ?",
        None,
        [max(round_, 1)],
    ).to_pylist()[0]
    trained = "SELECT coalesce(sum(tokens), 0)::BIGINT AS n FROM training WHERE round = ? AND split = 'train'"
    tokens = query(run.store, trained, None, [round_]).to_pylist()[0]["n"] if round_ else 0
    warmups = [c.info["stages"] for c in run.store.log() if c.operation == "warmup" and "stages" in c.info]
    stages = warmups[-1] if warmups and arm.policy == "newest" else []
    seconds = finished(run.store.log(), stage_names(run.config.loop))
    settings = run.config
    return {
        "arm": arm.name,
        "seed": arm.seed,
        "tier": arm.tier,
        "policy": str(policy_id(base, None if arm.policy == "base" else run.adapter(base, round_ + 1))),
        "lr": {s["stage"]: s["learning_rate"] for s in stages} | {"preference": settings.preference.lr},
        "loss": settings.preference.loss,
        "sft_samples": sum(s["samples"] for s in stages),
        "sft_tokens": sum(s["tokens"] for s in stages),
        "tokens_trained": tokens,
        **(mined if round_ or arm.until.startswith("mine") else {}),
        # The base model's run is another arm's too, and so are its stages.
        "seconds": {n: spent for n, spent in seconds.items() if _round_of(n) == round_ and arm.policy == "newest"},
    }


def _round_of(stage: str) -> int:
    """The round a stage belongs to; everything up to the first evaluation is round 0."""
    return int(stage.rpartition("-")[2]) if "-" in stage else 0
