"""Which of a round's measured samples are searched, as tasks; what cannot be searched is set aside.

Left out: measuring them (`hardness.py`), and the searches (`mining.py`).
"""

import math
from collections import Counter
from collections.abc import Sequence

from itool_data.fragments import refusal
from itool_data.hardness import Buffer
from itool_data.kinds import SearchKind
from itool_data.policy.base import Described, derive_seed
from itool_data.prompt import Prompter, Tokenised, tokenise
from itool_data.rejects import not_fitting, of_sample, record_rejects
from itool_data.run import Run
from itool_data.sample import Reject
from itool_data.search.miner import tree_sections
from itool_data.search.task import Task
from itool_data.selection import highest, scores
from itool_data.store.sql import query


def tree_id(run: Run, policy: Described, sample_id: str, round_: int, search: SearchKind) -> str:
    """16 hex digits that name a tree by all its result depends on."""
    settings = run.config.hash(*tree_sections(search))
    return f"{derive_seed(settings, policy.policy_id, sample_id, round_, search):016x}"


def tasks(
    run: Run,
    policy: Described,
    prompter: Prompter,
    buffer: Buffer,
    round_: int,
    search: SearchKind,
    limit: int | None,
    plan: bool = False,
) -> list[Task]:
    """The searches of a round: those of the buffer's scored samples that `replay.select` says, longest prompts first.

    Where an earlier round began with the same policy, the samples that it did not search are taken first. Neighbours of
    like length waste least of a batch, and the long ones do not come last to an empty machine.

    Args:
        run: with the scores, and the pass rates if those are asked for.
        policy: whose they are.
        prompter: with its tokenizer.
        buffer: of the round.
        round_: of the loop.
        search: which one.
        limit: search so many instead of `replay.hardest` of the buffer.
        plan: they are only counted; what is set aside is not recorded, which would fix the search's settings.
    """
    in_buffer = {s.sample_id: s for s in buffer.samples}
    settings, made_by = run.config.replay, (round_, str(policy.policy_id))
    scored = in_buffer.keys() & scores(run.store, "perplexity", *made_by)
    most = math.ceil(settings.hardest * len(scored)) if limit is None else limit
    by_id = {i: s for i, s in scores(run.store, settings.select, *made_by).items() if i in scored}
    sql = "SELECT sample_id FROM trees WHERE round < ? AND policy = ?"
    searched = Counter(row["sample_id"] for row in query(run.store, sql, None, [*made_by]).to_pylist())
    order = sorted(highest(by_id, len(by_id)), key=searched.__getitem__)
    fitting: list[Tokenised] = []
    rejects: list[Reject] = []
    while order and len(fitting) < most:  # what cannot be searched leaves its place to the next
        part, order = order[: most - len(fitting)], order[most - len(fitting) :]
        # What the form cannot say has no score and is not here.
        said, _ = tokenise(prompter, [in_buffer[i] for i in part])
        found, refused = searchable(run, policy, prompter, said, search)
        fitting, rejects = fitting + found, rejects + refused
    if not plan:
        record_rejects(run, "mine", rejects)
    return as_tasks(run, policy, sorted(fitting, key=lambda t: (-len(t.prompt), t.sample.sample_id)), round_, search)


def searchable(
    run: Run, policy: Described, prompter: Prompter, chosen: Sequence[Tokenised], search: SearchKind
) -> tuple[list[Tokenised], list[Reject]]:
    """Divide samples into those that can be searched, and those that do not fit or have no right response."""
    room = policy.context - (run.config.walk.max_step_tokens if search == "walk" else run.config.mcts.max_tokens)
    fitting: list[Tokenised] = []
    rejects: list[Reject] = []
    for t in chosen:
        if (len(t) if search == "walk" else len(t.prompt)) > room:
            rejects.append(not_fitting(t, room))
        elif search == "walk" and (reason := refusal(t, prompter.form)):
            rejects.append(of_sample(t.sample, reason))
        else:
            fitting.append(t)
    return fitting, rejects


def as_tasks(run: Run, policy: Described, chosen: Sequence[Tokenised], round_: int, search: SearchKind) -> list[Task]:
    """The searches of given samples, in their order."""
    known = _step_logprobs(run, policy, round_) if search == "walk" else {}
    return [
        Task(
            tree_id(run, policy, t.key, round_, search),
            t.sample,
            tuple(t.prompt),
            run.config.seed,
            round_,
            tuple(t.response),
            known.get(t.key, ()),
        )
        for t in chosen
    ]


def _step_logprobs(run: Run, policy: Described, round_: int) -> dict[str, tuple[float, ...]]:
    """What the perplexity pass knows of the gold responses' steps, by sample id."""
    sql = (
        "SELECT sample_id, list(logprob ORDER BY number) AS logprobs FROM all_fragments "
        "WHERE tree_id IS NULL AND round = ? AND policy = ? GROUP BY sample_id"
    )
    rows = query(run.store, sql, None, [round_, str(policy.policy_id)]).to_pylist()
    return {row["sample_id"]: tuple(row["logprobs"]) for row in rows}
