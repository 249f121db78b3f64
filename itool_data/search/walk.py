"""A search along a right response: where the policy doubts, what would it do instead of the right step.

The gold calls are known, so right and wrong are facts (`proof.py`) and no roll-out is needed to estimate them. At each
state of a right response, `width` draws of the next step alone say what the policy does there; each distinct one is
proved right or wrong. The pair is the most probable right step (the policy's own where it drew one, else gold's)
against the most probable wrong one; then the walk goes on along the right step, so that all pairs of a sample lie on
one right response. States whose right step has a probability of `doubt` or more are passed without a draw.

Where the response ends, it is drawn whether doubted or not, and where no draw goes on, going on is set against the end
by hand: a policy that ends too early is contrasted at every argument, so one that ends rightly must be too.

In prose right is only what calls nothing, which says nothing of a text's worth: there gold stays the right step. Left
out: who runs many of these at once (`miner.py`).
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from itool_data.config import WalkSettings
from itool_data.dialects import DIALECTS
from itool_data.fragments import Fragment, before_calls, describe, right_steps, step_logprobs
from itool_data.match import ErrorClass
from itool_data.policy.base import Completion, Request, derive_seed
from itool_data.prompt import Prompter
from itool_data.proof import state_error, step_error
from itool_data.search.pairs import Pair, PairSet, similarity
from itool_data.search.task import Answer, Grown, Score, Task, path_text
from itool_data.search.tree import Node, priors
from itool_data.steps import first_step, until_step_end

Ids = tuple[int, ...]
Question = Request | Score
_WORTH = {True: 1.0, False: -1.0, None: 0.0}


@dataclass(frozen=True)
class _Option:
    """A step that may come next.

    Attributes:
        ids: token ids.
        logprob: the policy's, in nats.
        right: proved right; None: unfinished, so neither.
        ended: the response's end.
        error: what it breaks.
        draws: how many were this one.
    """

    ids: Ids
    logprob: float
    right: bool | None
    ended: bool
    error: ErrorClass | None = None
    draws: int = 0


def walk(task: Task, settings: WalkSettings, prompter: Prompter) -> Generator[Question, Answer, Grown]:
    """Walk along one sample's right response; send each yielded question's answer back in.

    Args:
        task: whose `gold` is a right response (`fragments.refusal`).
        settings: `walk.*`.
        prompter: with the policy's tokenizer.
    """
    return (yield from _Walk(task, settings, prompter).go(True))


def decide(task: Task, max_step_tokens: int, prompter: Prompter) -> Generator[Question, Answer, Grown]:
    """Ask at every prefix of the gold response for the policy's greedy next step: fragment accuracy.

    A step of probability above a half is the greedy one, as each of its tokens is; only the others are drawn. The way
    is gold's whatever the policy says, so that two policies are asked the same.
    """
    settings = WalkSettings(doubt=0.5, width=1, temperature=0, max_step_tokens=max_step_tokens, ends=False)
    return (yield from _Walk(task, settings, prompter).go(False))


@dataclass
class _Walk:
    """What is fixed for one sample."""

    task: Task
    settings: WalkSettings
    prompter: Prompter

    def go(self, own: bool) -> Generator[Question, Answer, Grown]:
        """Walk; `own` says whether it goes on along right steps of the policy's own."""
        own = own and bool(self.task.sample.calls)
        steps = right_steps(self.task.sample, self.task.gold, self.prompter.form)
        assert isinstance(steps, list), steps
        logprobs = list(self.task.step_logprobs) or (yield from self._score((), steps))
        root = node = Node()
        pairs: list[Pair] = []
        fragments: list[Fragment] = []
        before: Ids = ()
        number = 0
        while number < len(steps):
            undrawn = _Option(steps[number], logprobs[number], True, number == len(steps) - 1)
            options = yield from self._options(node, before, undrawn)
            chosen = gold = options[0]
            best = max((o for o in options if o.right), key=lambda o: o.logprob)
            rest = self._spliced(before, best, steps[number + 1 :]) if own and best is not gold else None
            if rest is not None:
                chosen, steps = best, [*steps[:number], best.ids, *rest]
                scores = (yield from self._score(before + best.ids, rest)) if rest else []
                logprobs = [*logprobs[:number], best.logprob, *scores]
            wrong = sorted((o for o in options if o.right is False), key=lambda o: -o.logprob)
            others = [o for o in options if o is not chosen and o.right is not False]
            _grow(node, [chosen, *wrong, *others])
            fragments.append(self._fragment(number, before, chosen, options, wrong))
            right, *rejected = node.children
            for rank, child in enumerate(rejected[: min(len(wrong), self.settings.wrong)]):
                alike = similarity(self.prompter.decode(right.step), self.prompter.decode(child.step))
                pairs.append(Pair(node, right, child, alike, rank))
            node, before, number = right, before + chosen.ids, number + 1
        return Grown(root, PairSet(pairs), tuple(fragments))

    def _options(self, node: Node, before: Ids, gold: _Option) -> Generator[Question, Answer, list[_Option]]:
        """What may come next: gold's step first and, where the policy is asked, the distinct drawn ones."""
        at_end = gold.ended and self.settings.ends and bool(self.task.sample.calls)
        if math.exp(gold.logprob) >= self.settings.doubt and not at_end:
            return [gold]
        if self._before_calls(before + gold.ids):
            return [gold]
        path = path_text(node.path)
        seed, sample = self.task.seed, self.task.sample
        completion = yield Request(
            request_id=f"{self.task.tree_id}/{path}",
            prompt=(*self.task.prompt, *before),
            seeds=[derive_seed(seed, self.task.round, sample.sample_id, path, n) for n in range(self.settings.width)],
            # Where gold's own step is long, so may a right one be.
            max_tokens=max(self.settings.max_step_tokens, 2 * len(gold.ids)),
            temperature=self.settings.temperature,
            group=self.task.tree_id,
            until=until_step_end(before, self.prompter.form),
        )
        assert isinstance(completion, Completion)
        options = self._judged(before, gold, completion)
        if at_end and all(option.right is not False for option in options):
            options += yield from self._going_on(before, gold)
        return options

    def _before_calls(self, response: Ids) -> bool:
        """Whether a response is at a text before its calls, which is never compared."""
        form = self.prompter.form
        return before_calls(form.decode(response), self.task.sample, form.dialect)

    def _judged(self, before: Ids, gold: _Option, completion: Completion) -> list[_Option]:
        """Gold's step first and the distinct drawn ones, each proved right or wrong, or unfinished."""
        form, sample = self.prompter.form, self.task.sample
        options = {gold.ids: gold}
        for draw in completion.draws:
            ids = first_step(before, draw.ids, form)
            if ids not in options:
                ended = draw.finish == "stop" and len(ids) == len(draw.ids)
                finished = ended or draw.finish == "step" or len(ids) < len(draw.ids)
                finished = ended or (finished and not self._before_calls(before + ids))
                text = form.decode(before), form.decode(ids)
                error = step_error(*text, ended, sample, form.dialect) if finished else None
                right = error is None if finished else None
                options[ids] = _Option(ids, sum(draw.logprobs[: len(ids)]), right, ended, error)
            options[ids] = replace(options[ids], draws=options[ids].draws + 1)
        return list(options.values())

    def _going_on(self, before: Ids, gold: _Option) -> Generator[Question, Answer, list[_Option]]:
        """The response's last step with a `,` in place of what closes it, if that is wrong there."""
        form = self.prompter.form
        text = DIALECTS[form.dialect].going_on(form.decode(gold.ids).rstrip())
        error = state_error(form.decode(before) + text, self.task.sample, form.dialect)
        if error is None:
            return []
        ids = tuple(self.prompter.text_ids(text))
        (logprob,) = yield from self._score(before, [ids])
        return [_Option(ids, logprob, False, False, error)]

    def _score(self, before: Ids, steps: Sequence[Ids]) -> Generator[Question, Answer, list[float]]:
        """Ask for the log-probabilities of the steps that follow."""
        answer = yield Score((*self.task.prompt, *before), tuple(token for step in steps for token in step))
        assert isinstance(answer, list)
        return step_logprobs(steps, answer)

    def _spliced(self, before: Ids, own: _Option, rest: Sequence[Ids]) -> list[Ids] | None:
        """What follows a step of the policy's own: gold's rest, or nothing where it ends; None if that is not right.

        The cuts between steps must fall where they fell, as the state after the own step is where the walk goes on. And
        the response may be longer than gold's by one draw at most: only so much room is sure to be in the context.
        """
        rest = [] if own.ended else list(rest)
        response = before + own.ids + tuple(token for step in rest for token in step)
        steps = right_steps(self.task.sample, response, self.prompter.form)
        kept = not isinstance(steps, str) and steps[-len(rest) - 1 :] == [own.ids, *rest]
        fits = len(response) <= len(self.task.gold) + self.settings.max_step_tokens
        return rest if kept and fits else None

    def _fragment(
        self, number: int, before: Ids, chosen: _Option, options: Sequence[_Option], wrong: Sequence[_Option]
    ) -> Fragment:
        form = self.prompter.form
        decode, prefix, text = form.decode, form.decode(before), form.decode(chosen.ids)
        draws, right_draws = sum(o.draws for o in options), sum(o.draws for o in options if o.right)
        decided = sum(o.draws for o in options if o.right is not None)
        known = min(1.0, sum(math.exp(o.logprob) for o in options if o.right))
        prose = not self.task.sample.calls
        return Fragment(
            number,
            prefix,
            chosen.ids,
            text,
            describe(prefix, text, self.task.sample, form.dialect),
            chosen.logprob,
            right_draws / decided if prose and decided else known,
            draws,
            right_draws,
            wrong=decode(wrong[0].ids) if wrong else None,
            wrong_probability=math.exp(wrong[0].logprob) if wrong else None,
            error=wrong[0].error if wrong else None,
        )


def _grow(node: Node, options: Sequence[_Option]) -> None:
    """Make the options children of a state, the one that the walk goes on along first."""
    for index, (option, prior) in enumerate(zip(options, priors([o.logprob for o in options]), strict=True)):
        worth = _WORTH[option.right]
        child = Node((*node.path, index), option.ids, option.logprob, prior, option.ended, worth, None, worth)
        child.visits, child.action_value, child.ended = option.draws, worth, option.ended
        node.children.append(child)
