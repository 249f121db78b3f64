"""One sample's search as a coroutine: it yields what it needs from the policy or the judge and ends with its tree.

Select, expand, backup of paper 3.2. An iteration selects a leaf (Eq. 5), expands it, and goes on from the best new
child up to `simulation` expansions in all; every expansion is backed up (Eq. 8, 9). An expansion draws `width`
continuations to the end of the response: the first step of each is a child, the rest is its roll-out. Left out: who
runs many of these at once (`miner.py`).
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from itool_data.config import MctsSettings, RewardSettings
from itool_data.form import Form
from itool_data.policy.base import Completion, Draw, Request, derive_seed
from itool_data.search.reward import outcome, state_reward
from itool_data.search.task import Answer, Assess, Growth, Task, path_text
from itool_data.search.tree import Node, action_value, backup, descend, priors, select
from itool_data.steps import first_step


@dataclass
class _Search:
    """What is fixed for one tree."""

    task: Task
    mcts: MctsSettings
    reward: RewardSettings
    form: Form
    known: dict[str, float] = field(default_factory=dict)  # C by response text

    def seed(self, path: tuple[int, ...], draw: int) -> int:
        return derive_seed(self.task.seed, self.task.round, self.task.sample.sample_id, path_text(path), draw)

    def request(self, node: Node, ids: tuple[int, ...], draws: Sequence[int]) -> Request:
        return Request(
            request_id=f"{self.task.tree_id}/{path_text(node.path)}",
            prompt=(*self.task.prompt, *ids),
            seeds=[self.seed(node.path, draw) for draw in draws],
            max_tokens=self.mcts.max_tokens - len(ids),
            temperature=self.mcts.temperature,
            group=self.task.tree_id,
        )

    def self_evals(self, responses: Sequence[str], path: tuple[int, ...]) -> Generator[Assess, Answer, None]:
        """Ask the judge for the responses not yet known."""
        if not self.reward.weight:
            return
        new = tuple(dict.fromkeys(r for r in responses if r not in self.known))
        if new:
            seeds = tuple(derive_seed(self.seed(path, -1), r) for r in new)
            answer = yield Assess(new, seeds)
            assert isinstance(answer, list)
            self.known.update(zip(new, answer, strict=True))

    def state(self, text: str, terminal: bool, complete: bool) -> tuple[float, float | None, float]:
        """O, C and R of a state."""
        o = outcome(text, self.task.sample, terminal, complete, self.reward.outcome, self.form.dialect)
        c = self.known.get(text) if self.reward.weight else None
        return o, c, state_reward(o, c, self.reward.weight)


def mcts(task: Task, settings: MctsSettings, reward: RewardSettings, form: Form) -> Growth:
    """Search one sample; send each yielded request's answer back in; returns the root."""
    search = _Search(task, settings, reward, form)
    root = Node()
    for _ in range(settings.iterations):
        path = descend(root, settings.c)
        if path[-1].terminal:
            backup(path, settings.gamma, rollouts=1)
            continue
        for _ in range(settings.simulation):
            yield from _expand(search, path)
            backup(path, settings.gamma, rollouts=settings.width)
            path.append(select(path[-1], settings.c))
            if path[-1].terminal:
                break
    return root


def _expand(search: _Search, path: Sequence[Node]) -> Generator[Request | Assess, Answer, None]:
    """Give the last node of a path its children, with their rewards and first values."""
    node = path[-1]
    ids = tuple(token for ancestor in path for token in ancestor.step)
    completion = yield search.request(node, ids, range(search.mcts.width))
    assert isinstance(completion, Completion)
    last_level = len(node.path) + 1 == search.mcts.depth
    merged: dict[tuple[int, ...], list[Draw]] = {}
    for draw in completion.draws:
        step = draw.ids if last_level else first_step(ids, draw.ids, search.form)
        merged.setdefault(step, []).append(draw)
    texts = {
        ids + end: search.form.decode(ids + end)
        for step, draws in merged.items()
        for end in (step, *(d.ids for d in draws))
    }
    yield from search.self_evals(list(texts.values()), node.path)

    for index, (step, draws) in enumerate(merged.items()):
        # A draw may be over with this step, while another that begins with the same tokens goes on. One that is over
        # makes the child an end of the response; whether it was finished or cut off at the longest length, `complete`
        # says.
        terminal = any(draw.ids == step for draw in draws)
        complete = any(draw.ids == step and draw.finish == "stop" for draw in draws)
        o, c, r = search.state(texts[ids + step], terminal, complete)
        ends = [search.state(texts[ids + d.ids], True, d.finish == "stop")[2] for d in draws]
        child = Node(
            path=(*node.path, index),
            step=step,
            logprob=sum(draws[0].logprobs[: len(step)]),
            terminal=terminal,
            outcome=o,
            self_eval=c,
            state_reward=r,
            reward=r - node.state_reward,
            visits=len(draws),
            # The roll-out counts as one more action, so its return is the difference of R from here to its end.
            value=0.0 if terminal else sum(end - r for end in ends) / len(ends),
            ended=complete,
        )
        child.action_value = action_value(child.reward, search.mcts.gamma, child.value)
        node.children.append(child)
    for child, prior in zip(node.children, priors([k.logprob for k in node.children]), strict=True):
        child.prior = prior


def sample_responses(task: Task, settings: MctsSettings, reward: RewardSettings, form: Form) -> Growth:
    """The paper's ablation without search (4.3.2): draw whole responses, rank them by their probability.

    Returns:
        A root whose children are the distinct responses; their Q is their own R, for the record only.
    """
    search = _Search(task, settings, reward, form)
    draws = yield from _draw(search, range(settings.draws))
    return (yield from _rank(search, draws))


def best_of_n(task: Task, settings: MctsSettings, reward: RewardSettings, form: Form) -> Growth:
    """What a search has to beat: whole responses, `width` at a time, until `budget` tokens are decoded.

    Returns:
        A root whose children are the distinct responses; their Q is their own R.
    """
    search = _Search(task, settings, reward, form)
    draws: list[Draw] = []
    while sum(len(draw.ids) for draw in draws) < settings.budget:
        draws += yield from _draw(search, range(len(draws), len(draws) + settings.width))
    return (yield from _rank(search, draws))


def _draw(search: _Search, numbers: Sequence[int]) -> Generator[Request | Assess, Answer, tuple[Draw, ...]]:
    """Draw whole responses; a draw's number gives its seed."""
    completion = yield search.request(Node(), (), numbers)
    assert isinstance(completion, Completion)
    return completion.draws


def _rank(search: _Search, draws: Sequence[Draw]) -> Growth:
    """Make a root of whole responses, equal ones one child, with their rewards."""
    root = Node()
    merged: dict[tuple[int, ...], list[Draw]] = {}
    for draw in draws:
        merged.setdefault(draw.ids, []).append(draw)
    texts = {ids: search.form.decode(ids) for ids in merged}
    yield from search.self_evals(list(texts.values()), ())
    for index, (ids, same) in enumerate(merged.items()):
        complete = same[0].finish == "stop"
        o, c, r = search.state(texts[ids], True, complete)
        child = Node((index,), ids, sum(same[0].logprobs), 1.0, True, o, c, r, r, len(same), 0.0, r, complete)
        root.children.append(child)
    for child, prior in zip(root.children, priors([k.logprob for k in root.children]), strict=True):
        child.prior = prior
    backup([root], search.mcts.gamma, rollouts=len(draws))
    return root
