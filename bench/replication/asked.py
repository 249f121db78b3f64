"""What a policy of a later part is asked beside benchmarks: next steps at three distances from training, and ends.

The distances are the samples that the first round searches from, test samples whose functions the training samples
offer too, and test samples with functions that they do not. Left out: benchmarks (`itool run` asks them), and which
test samples (`eval.fragments` says how many).
"""

from rich.console import Console

from bench.ends import mean_end
from bench.replication.plan import Steps
from itool_cli.eval_fragments import decide_held_out
from itool_cli.loaded import Policies
from itool_data.policy.base import derive_seed
from itool_data.policy.load import Adapter
from itool_data.prompt import tokenise
from itool_data.run import Run
from itool_data.run_samples import training_samples
from itool_data.selection import replay_buffer
from itool_data.store.samples import read_samples
from itool_eval.compare import Outcome
from itool_eval.decisions import read_decisions
from itool_eval.fragments import decide, held_out

SEARCHED, SAME, OTHER = "fragments:searched samples", "fragments:same functions", "fragments:other functions"
DISTANCES = (SEARCHED, SAME, OTHER)


def ask_fragments_and_ends(console: Console, run: Run, adapter: Adapter | None, steps: Steps) -> float:
    """Ask what is missing of a policy's next steps; returns the mean log-probability of ends."""
    policies = Policies()
    loaded = policies.load(run, adapter)
    decide_held_out(console, run, loaded.pool, loaded.prompter, "test", run.config.eval.fragments)
    searched = {s.sample_id for s in replay_buffer(training_samples(run), run.config.replay.fraction, run.config.seed)}
    searched = set(sorted(searched, key=lambda key: derive_seed("searched", key))[: steps.searched])
    along = [t for t in held_out(run, loaded.pool, loaded.prompter, "train", None) if t.tree_id in searched]
    console.print(f"{SEARCHED}: {len(along)} to decide along")
    for _ in decide(run, loaded.pool, along):
        pass
    tests = sorted(read_samples(run.store, "split = 'test'"), key=lambda s: derive_seed("ends", s.sample_id))
    end: float = mean_end(loaded.pool, loaded.prompter, tokenise(loaded.prompter, tests[: steps.ends])[0])
    policies.close()
    return end


def by_distance(run: Run, policy: str) -> dict[str, list[Outcome]]:
    """A policy's decisions, by the distance of the samples that they lie along.

    Args:
        run: the run.
        policy: as rows name it.
    """
    offered = {tool.name for sample in training_samples(run) for tool in sample.tools}
    known = {s.sample_id: {call.name for call in s.calls} <= offered for s in read_samples(run.store, "split = 'test'")}
    found: dict[str, list[Outcome]] = {}
    for decisions in read_decisions(run, policy):
        for outcome in decisions.outcomes:
            distance = SEARCHED if decisions.split == "train" else SAME if known[outcome.group] else OTHER
            found.setdefault(distance, []).append(outcome)
    return found
