"""tau2's telecom tasks in solo mode as a benchmark that a policy can be asked."""

from functools import partial

from itool_data.assets import TAU2
from itool_eval.benchmark import Benchmark, Contract, Question
from itool_eval.conversation import Conversation
from itool_eval.tau2 import tasks as tau2_tasks
from itool_eval.tau2.domain import load_domain
from itool_eval.tau2.driver import conversation as tau2_conversation
from itool_eval.tau2.scorer import SoloScorer


def tau2(name: str) -> Benchmark:
    """A split of tau2's telecom tasks in solo mode; fetches the official wheel on the first call."""
    domain, split = load_domain(), tau2_tasks.SPLITS[name]

    def begin(task_id: str) -> Conversation:
        return tau2_conversation(domain, domain.task(task_id))

    def questions(category: str) -> list[Question]:
        ids = [task_id for task_id in domain.splits[split] if tau2_tasks.category_of(task_id) == category]
        return [Question(category, task_id, i, partial(begin, task_id)) for i, task_id in enumerate(ids)]

    data, history = f"{TAU2.name} {TAU2.version}", "every reply and result is kept, to the end of the conversation"
    return Benchmark(name, name, [SoloScorer(domain, split)], questions, data, Contract.TOOLS, history=history)
