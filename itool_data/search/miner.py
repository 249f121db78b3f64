"""Many trees over one policy: keeps it busy, answers each tree's coroutine, and turns finished trees into rows.

A tree's result depends on its own seeds alone, so how many are open and in which order they are answered changes
nothing but the time. Left out: where rows go (`itool_data.store`) and which samples are searched (`perplexity.py`).
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from itool_data.calls import parse_prefix
from itool_data.config import Config, SearchKind
from itool_data.match import prefix_error, response_error
from itool_data.policy.base import Completion, Policy, PolicyId, Request
from itool_data.prompt import Prompter
from itool_data.sample import Sample
from itool_data.search.mcts import Answer, Assess, Growth, Task, best_of_n, mcts, path_text, sample_responses
from itool_data.search.pairs import Pair, PairSet, best_and_worst, extract_pairs, most_and_least_probable
from itool_data.search.reward import Judge
from itool_data.search.tree import Node

_GROW = {"mcts": mcts, "sample": sample_responses, "best-of-n": best_of_n}
# What a tree depends on besides its sample and policy.
TREE_SECTIONS = ("mcts", "reward", "pairs")


@dataclass
class Tree:
    """A finished search and what it cost."""

    task: Task
    root: Node
    found: PairSet
    requests: int = 0
    prefilled: int = 0
    reused: int = 0
    decoded: int = 0
    judged: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)


@dataclass
class _Open:
    tree: Tree
    growth: Growth


class Miner:
    """Searches tasks over one policy.

    Args:
        policy: generates.
        prompter: with the policy's tokenizer.
        config: the run's settings.
        judge: answers self-evaluations; None when `reward.weight` is 0.
        search: `mcts`, `sample` for the paper's ablation without search, or `best-of-n`.

    Attributes:
        most_open: trees searched at once.
    """

    def __init__(
        self, policy: Policy, prompter: Prompter, config: Config, judge: Judge | None, search: SearchKind = "mcts"
    ):
        self._policy = policy
        self._prompter = prompter
        self._config = config
        self._judge = judge
        self._search = search
        self._open: dict[str, _Open] = {}
        # Some draws always wait, so that no row of the policy is empty while a tree waits for its longest draw.
        self.most_open = config.mine.open_trees or max(1, 2 * policy.max_rows // config.mcts.width)
        self._asked: list[tuple[_Open, Assess]] = []
        self._finished: list[Tree] = []

    @property
    def under_way(self) -> list[Tree]:
        """The trees begun and not finished, with their cost so far."""
        return [opened.tree for opened in self._open.values()]

    def run(self, waiting: deque[Task]) -> Iterator[list[Tree]]:
        """Search the waiting tasks, and those appended meanwhile; yields the trees finished in each step of the policy.

        Mostly that is none: a list comes at every step, so that the caller can show progress, commit by the clock, or
        stop.
        """
        while True:
            while waiting and len(self._open) < self.most_open:
                self._start(waiting.popleft())
            if not self._open and not self._finished:
                return
            for completion in self._policy.step():
                self._answer(completion)
            self._assess()
            finished, self._finished = self._finished, []
            yield finished

    def _start(self, task: Task) -> None:
        growth = _GROW[self._search](task, self._config.mcts, self._config.reward, self._prompter.decode)
        opened = self._open[task.tree_id] = _Open(Tree(task, Node(), PairSet()), growth)
        self._resume(opened, None)

    def _answer(self, completion: Completion) -> None:
        opened = self._open[completion.request_id.partition("/")[0]]
        tree = opened.tree
        tree.requests += 1
        tree.prefilled += completion.prefilled
        tree.reused += completion.reused
        tree.decoded += sum(len(draw.ids) for draw in completion.draws)
        self._resume(opened, completion)

    def _assess(self) -> None:
        """Put all waiting self-evaluations to the judge together."""
        while self._asked:
            assert self._judge is not None
            asked, self._asked = self._asked, []
            before = self._judge.usage.scored
            answers = iter(
                self._judge.confidences(
                    [(o.tree.task.sample, r, s) for o, a in asked for r, s in zip(a.responses, a.seeds, strict=True)]
                )
            )
            tokens = self._judge.usage.scored - before
            total = sum(len(a.responses) for _, a in asked)
            for opened, assess in asked:
                opened.tree.judged += round(tokens * len(assess.responses) / total)
                self._resume(opened, [next(answers) for _ in assess.responses])

    def _resume(self, opened: _Open, answer: Answer | None) -> None:
        try:
            wanted = next(opened.growth) if answer is None else opened.growth.send(answer)
        except StopIteration as finished:
            self._finish(opened.tree, finished.value)
            return
        if isinstance(wanted, Request):
            self._policy.submit(wanted)
        else:
            self._asked.append((opened, wanted))

    def _finish(self, tree: Tree, root: Node) -> None:
        tree.root = root
        tree.seconds = time.monotonic() - tree.started
        tree.found = self._pairs(root)
        del self._open[tree.task.tree_id]
        self._policy.release(tree.task.tree_id)
        self._finished.append(tree)

    def _pairs(self, root: Node) -> PairSet:
        if self._search == "sample":
            return most_and_least_probable(root)
        extract = extract_pairs if self._search == "mcts" else best_and_worst
        return extract(root, lambda n: self._prompter.decode(n.step), self._config.pairs)


def tree_rows(
    trees: Sequence[Tree], policy: PolicyId, prompter: Prompter, config: Config, search: SearchKind
) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables `trees`, `nodes` and `pairs` for finished trees; they belong in one commit."""
    rows: dict[str, list[dict[str, Any]]] = {"trees": [], "nodes": [], "pairs": []}
    for tree in trees:
        task, nodes = tree.task, list(tree.root.walk())
        rows["trees"].append(
            {
                "tree_id": task.tree_id,
                "sample_id": task.sample.sample_id,
                "round": task.round,
                "policy": str(policy),
                "config_hash": config.hash(*TREE_SECTIONS),
                "search": search,
                "seed": task.seed,
                "nodes": len(nodes),
                "pairs": len(tree.found.pairs),
                "requests": tree.requests,
                "tokens_prefilled": tree.prefilled,
                "tokens_reused": tree.reused,
                "tokens_decoded": tree.decoded,
                "tokens_judged": tree.judged,
                "seconds": tree.seconds,
                "dropped_delta_q": tree.found.dropped.delta_q,
                "dropped_similarity": tree.found.dropped.similarity,
                "dropped_q_chosen": tree.found.dropped.q_chosen,
            }
        )
        rows["nodes"] += [_node_row(task, node, prompter) for node in nodes]
        by_path = {node.path: node for node in nodes}
        rows["pairs"] += [_pair_row(task, pair, by_path, policy, prompter) for pair in tree.found.pairs]
    return rows


def _node_row(task: Task, node: Node, prompter: Prompter) -> dict[str, Any]:
    return {
        "tree_id": task.tree_id,
        "path": path_text(node.path),
        "depth": len(node.path),
        "step_text": prompter.decode(node.step),
        "step_ids": node.step,
        "logprob": node.logprob,
        "prior": node.prior,
        "visits": node.visits,
        "q": node.action_value,
        "v": node.value,
        "reward": node.reward,
        "outcome": node.outcome,
        "self_eval": node.self_eval,
        "terminal": node.terminal,
    }


def _pair_row(
    task: Task, pair: Pair, by_path: dict[tuple[int, ...], Node], policy: PolicyId, prompter: Prompter
) -> dict[str, Any]:
    path = pair.parent.path
    prefix = tuple(t for depth in range(len(path)) for t in by_path[path[: depth + 1]].step)
    return {
        "pair_id": f"{task.tree_id}/{path_text(path)}",
        "tree_id": task.tree_id,
        "sample_id": task.sample.sample_id,
        "round": task.round,
        "policy": str(policy),
        "path": path_text(path),
        "prompt_ids": (*task.prompt, *prefix),
        "chosen_ids": pair.chosen.step,
        "rejected_ids": pair.rejected.step,
        "prefix_text": prompter.decode(prefix),
        "chosen_text": prompter.decode(pair.chosen.step),
        "rejected_text": prompter.decode(pair.rejected.step),
        "q_chosen": pair.chosen.action_value,
        "q_rejected": pair.rejected.action_value,
        "similarity": pair.similarity,
        "chosen_terminal": pair.chosen.terminal,
        "rejected_terminal": pair.rejected.terminal,
        "error_class": _broken(prompter.decode(prefix + pair.rejected.step), pair.rejected.terminal, task.sample),
    }


def _broken(response: str, terminal: bool, sample: Sample) -> str:
    """The class of what a rejected step breaks; `Other` when it breaks nothing itself and only leads astray."""
    error = (
        response_error(response, sample, "python")
        if terminal
        else prefix_error(parse_prefix(response), sample.answers, sample.tools)
    )
    return error or "Other"
