"""Many trees over one policy: keeps it busy, answers each tree's coroutine, and turns finished trees into rows.

A tree's result depends on its own seeds alone, so how many are open and in which order they are answered changes
nothing but the time. A tree on which the policy cannot work is given up, and the others go on. Left out: where rows go
(`itool_data.store`) and which samples are searched (`perplexity.py`).
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from itool_data.config import Config
from itool_data.fragments import Fragment, fragment_row
from itool_data.kinds import SearchKind
from itool_data.policy.base import Completion, Policy, PolicyId, Request, UnansweredError
from itool_data.prompt import Prompter
from itool_data.search.mcts import best_of_n, mcts, sample_responses
from itool_data.search.pairs import PairSet, best_and_worst, extract_pairs, most_and_least_probable
from itool_data.search.proved import Proved, comparable, prove
from itool_data.search.reward import Judge
from itool_data.search.task import Answer, Assess, Grown, Score, Task, path_text
from itool_data.search.tree import Node
from itool_data.search.walk import decide, walk

SCORED_AT_ONCE = 8  # sequences, between two steps of the policy
_GROW = {"mcts": mcts, "sample": sample_responses, "best-of-n": best_of_n}


Growing = Generator[Request | Assess | Score, Answer, Grown]
Q = TypeVar("Q", Assess, Score)


@dataclass
class Tree:
    """A finished search and what it cost; the pairs are those that are kept.

    One that was given up has a reason for that, and nothing that is of use.
    """

    task: Task
    given_up: str = ""
    root: Node = field(default_factory=Node)
    found: PairSet = field(default_factory=PairSet)
    pairs: list[Proved] = field(default_factory=list)
    fragments: tuple[Fragment, ...] = ()
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
    growth: Growing


class Miner:
    """Searches tasks over one policy.

    Args:
        policy: generates.
        prompter: with the policy's tokenizer.
        config: the run's settings.
        judge: answers self-evaluations; None when `reward.weight` is 0.
        search: which one; `decide` is evaluation's.

    Attributes:
        most_open: trees searched at once.
    """

    def __init__(
        self,
        policy: Policy,
        prompter: Prompter,
        config: Config,
        judge: Judge | None,
        search: SearchKind | Literal["decide"] = "mcts",
    ):
        self._policy = policy
        self._prompter = prompter
        self._config = config
        self._judge = judge
        self._search = search
        self._open: dict[str, _Open] = {}
        # A tree asks for `width` draws and does nothing until the longest of them is there. With twice as many trees
        # open as fill the policy's rows, the others' draws fill the rows that become free meanwhile.
        width = {"walk": config.walk.width, "decide": 1}.get(search, config.mcts.width)
        self.most_open = config.mine.open_trees or max(1, 2 * policy.max_rows // width)
        self._asked: list[tuple[_Open, Assess]] = []
        self._to_score: list[tuple[_Open, Score]] = []
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
            try:
                for completion in self._policy.step():
                    self._answer(completion)
            except UnansweredError as error:
                self._give_up(self._open[_tree_of(error.request_id)], error.reason)
            asked, self._asked = self._asked, []
            while asked:  # an answer may lead to the next question
                self._together(self._assess, asked)
                asked, self._asked = self._asked, []
            # A few, and draws go on between them.
            to_score, self._to_score = self._to_score[:SCORED_AT_ONCE], self._to_score[SCORED_AT_ONCE:]
            if to_score:
                self._together(self._score, to_score)
            finished, self._finished = self._finished, []
            yield finished

    def _start(self, task: Task) -> None:
        opened = self._open[task.tree_id] = _Open(Tree(task), self._grow(task))
        self._resume(opened, None)

    def _grow(self, task: Task) -> Growing:
        if self._search == "walk":
            return (yield from walk(task, self._config.walk, self._prompter))
        if self._search == "decide":
            return (yield from decide(task, self._config.walk.max_step_tokens, self._prompter))
        root = yield from _GROW[self._search](task, self._config.mcts, self._config.reward, self._prompter.form)
        return Grown(root, self._pairs(root))

    def _answer(self, completion: Completion) -> None:
        opened = self._open[_tree_of(completion.request_id)]
        tree = opened.tree
        tree.requests += 1
        tree.prefilled += completion.prefilled
        tree.reused += completion.reused
        tree.decoded += sum(len(draw.ids) for draw in completion.draws)
        self._resume(opened, completion)

    def _together(self, put: Callable[[list[tuple[_Open, Q]]], None], asked: list[tuple[_Open, Q]]) -> None:
        """Put several trees' questions at once; where there is no answer, each alone, so that only one is given up."""
        try:
            put(asked)
        except UnansweredError as error:
            if len(asked) == 1:
                self._give_up(asked[0][0], error.reason)
                return
            for one in asked:
                self._together(put, [one])

    def _assess(self, asked: list[tuple[_Open, Assess]]) -> None:
        """Put self-evaluations to the judge."""
        assert self._judge is not None
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

    def _score(self, asked: list[tuple[_Open, Score]]) -> None:
        """Ask the policy for log-probabilities."""
        before = self._policy.usage.scored
        answers = self._policy.score([a.prompt for _, a in asked], [a.continuation for _, a in asked])
        tokens = self._policy.usage.scored - before
        total = sum(len(a.prompt) + len(a.continuation) for _, a in asked)
        for (opened, score), answer in zip(asked, answers, strict=True):
            opened.tree.prefilled += round(tokens * (len(score.prompt) + len(score.continuation)) / total)
            self._resume(opened, answer)

    def _resume(self, opened: _Open, answer: Answer | None) -> None:
        try:
            wanted = next(opened.growth) if answer is None else opened.growth.send(answer)
        except StopIteration as finished:
            self._finish(opened.tree, finished.value)
            return
        if isinstance(wanted, Request):
            self._policy.submit(wanted)
        elif isinstance(wanted, Score):
            self._to_score.append((opened, wanted))
        else:
            self._asked.append((opened, wanted))

    def _finish(self, tree: Tree, grown: Grown) -> None:
        tree.root, tree.found, tree.fragments = grown.root, grown.found, grown.fragments
        tree.seconds = time.monotonic() - tree.started
        sample, form = tree.task.sample, self._prompter.form
        pairs = [pair for pair in tree.found.pairs if comparable(pair, tree.root, sample, form)]
        proofs = [prove(pair, tree.root, sample, form) for pair in pairs]
        tree.pairs = [p for p in proofs if p.proved or not self._config.pairs.proved]
        tree.found.dropped.unproved = len(tree.found.pairs) - len(tree.pairs)
        self._close(tree)

    def _give_up(self, opened: _Open, reason: str) -> None:
        opened.growth.close()
        opened.tree.given_up = reason
        self._close(opened.tree)

    def _close(self, tree: Tree) -> None:
        del self._open[tree.task.tree_id]
        self._policy.release(tree.task.tree_id)
        self._finished.append(tree)

    def _pairs(self, root: Node) -> PairSet:
        if self._search == "sample":
            return most_and_least_probable(root)
        extract = extract_pairs if self._search == "mcts" else best_and_worst
        return extract(root, lambda n: self._prompter.decode(n.step), self._config.pairs)


def _tree_of(request_id: str) -> str:
    return request_id.partition("/")[0]


def tree_rows(
    trees: Sequence[Tree], policy: PolicyId, prompter: Prompter, config: Config, search: SearchKind
) -> dict[str, list[dict[str, Any]]]:
    """Rows of `trees`, `nodes`, `pairs` and `fragments` for finished trees; they belong in one commit."""
    rows: dict[str, list[dict[str, Any]]] = {"trees": [], "nodes": [], "pairs": [], "fragments": []}
    for tree in trees:
        task, nodes = tree.task, list(tree.root.walk())
        rows["trees"].append(
            {
                "tree_id": task.tree_id,
                "sample_id": task.sample.sample_id,
                "round": task.round,
                "policy": str(policy),
                "config_hash": config.hash(*tree_sections(search)),
                "search": search,
                "seed": task.seed,
                "nodes": len(nodes),
                "pairs": len(tree.pairs),
                "proved": sum(pair.proved for pair in tree.pairs),
                "requests": tree.requests,
                "tokens_prefilled": tree.prefilled,
                "tokens_reused": tree.reused,
                "tokens_decoded": tree.decoded,
                "tokens_judged": tree.judged,
                "seconds": tree.seconds,
                "dropped_delta_q": tree.found.dropped.delta_q,
                "dropped_similarity": tree.found.dropped.similarity,
                "dropped_q_chosen": tree.found.dropped.q_chosen,
                "dropped_unproved": tree.found.dropped.unproved,
            }
        )
        rows["nodes"] += [_node_row(task, node, prompter) for node in nodes]
        rows["pairs"] += [_pair_row(task, pair, policy, prompter) for pair in tree.pairs]
        rows["fragments"] += [
            fragment_row(fragment, task.sample, task.round, str(policy), task.tree_id) for fragment in tree.fragments
        ]
    return rows


def tree_sections(search: SearchKind) -> tuple[str, ...]:
    """The sections of the settings that a search's result depends on, besides its sample and policy."""
    return ("walk", "pairs") if search == "walk" else ("mcts", "reward", "pairs")


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


def _pair_row(task: Task, found: Proved, policy: PolicyId, prompter: Prompter) -> dict[str, Any]:
    pair, prefix = found.pair, found.prefix
    path = path_text(pair.parent.path)
    at_fault = found.fault
    return {
        "pair_id": f"{task.tree_id}/{path}" + (f"~{pair.rank}" if pair.rank else ""),
        "tree_id": task.tree_id,
        "sample_id": task.sample.sample_id,
        "round": task.round,
        "policy": str(policy),
        "path": path,
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
        "error_class": found.rejected or "Other",  # it breaks nothing itself and only leads astray
        "state_right": found.state is None,
        "chosen_right": found.chosen is None,
        "rejected_right": found.rejected is None,
        "proved": found.proved,
        "chosen_logprob": pair.chosen.logprob,
        "rejected_logprob": pair.rejected.logprob,
        "parts_at": at_fault.parts_at if at_fault else None,
        "fault_first": at_fault.first if at_fault else None,
        "fault_last": at_fault.last if at_fault else None,
    }
