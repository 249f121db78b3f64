"""What a search costs and what it brings, on the embedded model after its warm-up, over the same BFCL samples.

`--search walk` (the default) sets the walk against the tree search, in one run over the same samples. Of each state one
pair at most counts in both, though a walk can give several (`walk.wrong`); a walk's pair at a right end that no draw
went beyond costs no decoded token:

    walk_pairs_per_1k      proved pairs per 1,000 decoded tokens of the walk; mcts_pairs_per_1k: of the tree search
    per_token_ratio        the one / the other
    per_minute_ratio       proved pairs a minute of the walk / of the tree search
    proved_share           of the walk's pairs; mcts_proved_share: of the tree search's

`--search mcts` says how well the tree search keeps the policy busy:

    utilisation            decoded tokens/s of the search / of the same policy on draws of the same lengths, all
                           submitted at once (no tree waits for another draw)
    prefill_amplification  prompt tokens computed / distinct tokens in the union of all request prompts of each tree
    waste                  share of the decoded tokens that are in no node of a tree
    pairs_per_1k_tokens    pairs per 1,000 decoded tokens
    speedup                (with --against) pairs per minute / of the same search by the slower policy: for
                           `transformers` transformers' own `generate`, one draw at a time and every prompt computed
                           anew, with the same seeds, which takes over 20 minutes; for `vllm` the `transformers` policy
    identical_trees        (with --against) share of trees that are the same in both, node by node (`transformers`
                           only: the others draw other random numbers)

    python -m bench.search [--search walk] [--samples 48] [--policy vllm] [--against] [--run runs/bench]
"""

import argparse
import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.shared import prepared_run
from itool_data.choosing import as_tasks, searchable
from itool_data.config import Config, WalkSettings
from itool_data.kinds import SearchKind
from itool_data.policy.base import Completion, Draw, Policy, Request, Usage, derive_seed, generate, uniforms
from itool_data.policy.load import Adapter, BaseModel, find_model, load_model, policy_id, stop_ids
from itool_data.policy.open import open_policy, open_prompter
from itool_data.policy.vllm import VllmPolicy
from itool_data.prompt import Prompter, Tokenised, tokenise
from itool_data.run import Run, write_run
from itool_data.search.miner import Miner, Tree
from itool_data.search.task import Task
from itool_data.store.samples import read_samples

Figures = dict[str, float | None]


class SequentialPolicy:
    """The straightforward way: transformers' `generate`, one draw after the other, nothing shared."""

    def __init__(self, base: BaseModel, adapter: Adapter | None):
        self.usage = Usage()
        self.policy_id = policy_id(base, adapter)
        self.max_rows = 1
        self._model = load_model(base.path, adapter.path if adapter else None, dtype="float32")
        self.context = int(self._model.config.max_position_embeddings)
        self._stop = sorted(stop_ids(base.path))
        self._waiting: list[Request] = []

    def submit(self, request: Request) -> None:
        self._waiting.append(request)

    def release(self, group: str) -> None:
        pass

    def reset(self) -> None:
        self._waiting.clear()

    def use(self, adapter: Adapter | None) -> bool:
        return False

    def leave(self, memory: float) -> None:
        pass

    def sleep(self) -> bool:
        return False

    def wake(self) -> None:
        pass

    def close(self) -> None:
        del self._model

    def score(self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        raise NotImplementedError("this benchmark asks no self-evaluations")

    def step(self) -> list[Completion]:
        request = self._waiting.pop(0)
        draws = tuple(self._draw(request, seed) for seed in request.seeds)
        prefilled = len(request.prompt) * len(draws)
        self.usage.prefilled += prefilled
        self.usage.decoded += sum(len(d.ids) for d in draws)
        return [Completion(request.request_id, draws, prefilled, 0)]

    def _draw(self, request: Request, seed: int) -> Draw:
        import torch

        numbers = uniforms(seed, request.max_tokens)
        logprobs: list[float] = []

        def choose(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
            """Leave only the token that the draw's own seed says, as the policy under test would choose it."""
            scores = logits[0].float()
            cdf = torch.softmax(scores / request.temperature, -1).double().cumsum(-1)
            drawn = torch.searchsorted(cdf, cdf[-1] * numbers[len(logprobs)], right=True)
            token = int(drawn.clamp(max=len(scores) - 1))
            logprobs.append(float(scores[token] - scores.logsumexp(-1)))
            only = torch.full_like(logits, float("-inf"))
            only[0, token] = 0
            return only

        prompt = torch.tensor([list(request.prompt)])
        out = self._model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=request.max_tokens,
            do_sample=False,
            logits_processor=[choose],
            eos_token_id=self._stop,
            pad_token_id=self._stop[0],
        )
        ids = tuple(out[0, prompt.shape[1] :].tolist())
        return Draw(ids, tuple(logprobs), "stop" if ids[-1] in self._stop else "length")


@dataclass
class Searched:
    """One search over all tasks."""

    trees: list[Tree]
    seconds: float
    usage: Usage
    requests: list[Request]
    lengths: dict[str, list[int]]

    @property
    def pairs(self) -> int:
        return sum(len(t.pairs) for t in self.trees)

    @property
    def proved(self) -> int:
        return sum(pair.proved for t in self.trees for pair in t.pairs)


class Recorder:
    """A policy that notes the requests made of it and how long the draws were."""

    def __init__(self, policy: Any):
        self._policy = policy
        self.requests: list[Request] = []
        self.lengths: dict[str, list[int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def submit(self, request: Request) -> None:
        self.requests.append(request)
        self._policy.submit(request)

    def step(self) -> list[Completion]:
        completions: list[Completion] = self._policy.step()
        self.lengths.update({c.request_id: [len(d.ids) for d in c.draws] for c in completions})
        return completions


def search(policy: Any, prompter: Prompter, config: Config, tasks: list[Task], kind: SearchKind = "mcts") -> Searched:
    recorder = Recorder(policy)
    policy.usage = Usage()
    trees: list[Tree] = []
    started = shown = time.monotonic()
    for finished in Miner(recorder, prompter, config, None, kind).run(deque(tasks)):
        trees += finished
        if time.monotonic() - shown > 15:
            shown = time.monotonic()
            print(f"  {len(trees)}/{len(tasks)} trees, {shown - started:.0f} s", flush=True)
    return Searched(trees, time.monotonic() - started, replace(policy.usage), recorder.requests, recorder.lengths)


def raw_seconds(policy: Any, searched: Searched) -> float:
    """Time the same number of draws of the same lengths, each tree's from its prompt, all submitted at once."""
    policy.reset()  # nothing that the search left in a cache
    prompts = {tree.task.tree_id: tree.task.prompt for tree in searched.trees}
    requests = []
    for node in searched.requests:
        for draw, length in enumerate(searched.lengths[node.request_id]):
            name = f"{node.request_id}#{draw}"
            seeds = [derive_seed(name)]
            requests.append(Request(name, prompts[node.group], seeds, length, 1.0, node.group, ignore_stop=True))
    started = time.monotonic()
    generate(policy, requests)
    return time.monotonic() - started


def distinct_prompt_tokens(requests: list[Request]) -> int:
    """Tokens in the union of the prompts: the size of the prefix tree over them, a tree of the search at a time."""
    total = 0
    by_group: dict[str, list[tuple[int, ...]]] = {}
    for request in requests:
        by_group.setdefault(request.group, []).append(tuple(request.prompt))
    for prompts in by_group.values():
        before: tuple[int, ...] = ()
        for prompt in sorted(prompts):
            shared = next((i for i, (a, b) in enumerate(zip(before, prompt, strict=False)) if a != b), None)
            total += len(prompt) - (min(len(before), len(prompt)) if shared is None else shared)
            before = prompt
    return total


def shape(tree: Tree) -> list[tuple[Any, ...]]:
    return [(n.path, n.step, n.visits, round(n.action_value, 9), n.terminal) for n in tree.root.walk()]


def walk_against_trees(run: Run, policy: Policy, prompter: Prompter, chosen: Sequence[Tokenised]) -> Figures:
    """Both searches over the same samples; every pair is kept, proved or not."""
    fitting, _ = searchable(run, policy, prompter, chosen, "walk")
    found: dict[SearchKind, Searched] = {}
    pairs = run.config.pairs.model_copy(update={"proved": False})
    config = run.config.model_copy(update={"pairs": pairs, "walk": WalkSettings()})
    kinds: tuple[SearchKind, ...] = ("walk", "mcts")
    for kind in kinds:
        tasks = [
            Task(t.key, t.sample, tuple(t.prompt), config.seed, 1, tuple(t.response))
            for t in sorted(fitting, key=lambda t: -len(t.prompt))
        ]
        policy.reset()
        done = found[kind] = search(policy, prompter, config, tasks, kind)
        print(
            f"{kind}: {done.pairs} pairs, {done.proved} proved, {done.usage.decoded} tokens decoded, "
            f"{done.usage.prefilled + done.usage.scored} computed, {done.seconds:.0f} s",
            flush=True,
        )
    walked, trees = found["walk"], found["mcts"]
    per_minute = {kind: 60 * one.proved / one.seconds for kind, one in found.items()}
    per_1k = {kind: 1000 * one.proved / one.usage.decoded for kind, one in found.items()}
    return {
        "walk_pairs_per_1k": round(per_1k["walk"], 2),
        "mcts_pairs_per_1k": round(per_1k["mcts"], 2),
        # Nothing is so many times none.
        "per_token_ratio": round(per_1k["walk"] / per_1k["mcts"], 1) if trees.proved else None,
        "per_minute_ratio": round(per_minute["walk"] / per_minute["mcts"], 1) if trees.proved else None,
        "proved_share": round(walked.proved / max(walked.pairs, 1), 3),
        "mcts_proved_share": round(trees.proved / max(trees.pairs, 1), 3),
    }


def busy(run: Run, policy: Policy, prompter: Prompter, chosen: Sequence[Tokenised], against: bool) -> Figures:
    """How busy the tree search keeps a policy, which is closed at the end."""
    tasks = as_tasks(run, policy, sorted(chosen, key=lambda t: -len(t.prompt)), 1, "mcts")
    # The paper's width (Table 7): a wider one only takes both sides longer.
    config = run.config.model_copy(update={"mcts": run.config.mcts.model_copy(update={"width": 3})})
    print(f"search of {len(tasks)} samples, {policy.max_rows} draws at once", flush=True)
    ours = search(policy, prompter, config, tasks)
    print(f"the same {ours.usage.decoded:,} tokens without the trees' dependencies", flush=True)
    raw = raw_seconds(policy, ours)
    print(f"utilisation {raw / ours.seconds:.3f}: {ours.seconds:.0f} s for the search, {raw:.0f} s without", flush=True)
    stored = sum(len(n.step) for t in ours.trees for n in t.root.walk())
    distinct = distinct_prompt_tokens(ours.requests)
    print(
        f"{ours.usage.decoded} tokens decoded, {stored} of them in nodes; {ours.usage.prefilled} prefilled, "
        f"{distinct} distinct; {len(ours.requests)} requests, {ours.pairs} pairs",
        flush=True,
    )
    policy.close()
    figures: Figures = {
        "utilisation": round(raw / ours.seconds, 3),
        "prefill_amplification": round(ours.usage.prefilled / distinct, 3),
        "waste": round(1 - stored / ours.usage.decoded, 3),
        "pairs_per_1k_tokens": round(1000 * ours.pairs / ours.usage.decoded, 2),
    }
    return figures | (compared(run, prompter, config, tasks, ours, policy) if against else {})


def compared(
    run: Run, prompter: Prompter, config: Config, tasks: list[Task], ours: Searched, policy: Policy
) -> Figures:
    """The same search by a slower policy."""
    base = find_model(run.config.model)
    slower: Policy
    if isinstance(policy, VllmPolicy):
        print("the same search by the transformers policy", flush=True)
        slower = open_policy(run.config.model, base, run.adapter(base, 1))
    else:
        print("the same search, one draw at a time", flush=True)
        slower = SequentialPolicy(base, run.adapter(base, 1))
    theirs = search(slower, prompter, config, tasks)
    print(
        f"{theirs.seconds:.0f} s, {theirs.usage.decoded} tokens decoded, {theirs.usage.prefilled} prefilled, "
        f"{theirs.pairs} pairs"
    )
    figures: Figures = {"speedup": round((ours.pairs / ours.seconds) / max(theirs.pairs / theirs.seconds, 1e-9), 2)}
    if not isinstance(policy, VllmPolicy):
        own = {t.task.tree_id: shape(t) for t in ours.trees}
        same = sum(own[t.task.tree_id] == shape(t) for t in theirs.trees)
        figures["identical_trees"] = round(same / len(tasks), 3)
    return figures


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--search", choices=["walk", "mcts"], default="walk")
    arguments.add_argument("--samples", type=int, default=48)
    arguments.add_argument("--policy", choices=["transformers", "vllm"], default="transformers")
    arguments.add_argument("--against", action="store_true", help="the tree search by a slower policy too")
    arguments.add_argument("--run", type=Path, default=Path("runs/bench"))
    options = arguments.parse_args()
    prepared = prepared_run(options.run)
    with write_run(options.run, None, []) as run:  # what cannot be walked along goes to its rejects
        model = prepared.config.model.model_copy(update={"policy": options.policy})
        base = find_model(model)
        prompter = open_prompter(model, base)
        policy = open_policy(model, base, run.adapter(base, 1))
        ordered = sorted(read_samples(run.store, "split = 'train'"), key=lambda s: derive_seed("bench", s.sample_id))
        chosen = tokenise(prompter, ordered[: options.samples])[0]
        if options.search == "walk":
            figures = walk_against_trees(run, policy, prompter, chosen)
        else:
            figures = busy(run, policy, prompter, chosen, options.against)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
