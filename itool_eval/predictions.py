"""Evaluated items as rows of the table `predictions`, and back.

A row holds the whole verdict, so that scores, error tables and comparisons need neither the benchmark's data nor its
scorer. Left out: how outputs are generated (`predict.py`).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from itool_data.errors import ItoolError
from itool_data.policy.base import FinishReason
from itool_data.run import Run
from itool_data.store.sql import query
from itool_eval import own_samples
from itool_eval.benchmark import Question
from itool_eval.bfcl.benchmark import NATIVE
from itool_eval.bfcl.categories import SET_UP
from itool_eval.conversation import Result
from itool_eval.errors import first_class
from itool_eval.protocol import Protocol
from itool_eval.tau2 import tasks as tau2_tasks
from itool_eval.verdicts import Fault, Verdict

# Which rows an ending of a policy's name means, such as its adapter's hash or `base`; takes it twice.
MEANT = "(ends_with(policy, ?) OR ? = 'base' AND NOT contains(policy, '+'))"
SETS_UP = f"ends_with(category, '{SET_UP}')"  # conversations that are held for what they leave
# Which rows are scores: those of validation samples are not, unless it is given that they are meant too, and those of
# conversations that fill a memory never are.
_SCORES = f"(? OR benchmark <> '{own_samples.NAME}') AND NOT {SETS_UP}"
SEVERAL_TURNS = (
    "multi_turn_",
    "memory_",
    *tau2_tasks.CATEGORIES,
)  # how the names of categories begin whose items are conversations
_LARGEST = 2**63  # what a JSON reader may be expected to hold


@dataclass(frozen=True)
class Answer:
    """What a policy answered a question with.

    Attributes:
        question: what was asked.
        result: the reply's text, for several turns those of each turn's replies.
        tokens_prompt: tokens of the prompts of all replies.
        tokens_output: tokens of all replies, end-of-turn included.
        finish: why the last reply ended; `context` where the conversation outgrew the context, `refused` where a server
            took no more of it.
        seconds: its share of the time, so that the shares add up to what the whole took.
    """

    question: Question
    result: Result
    tokens_prompt: int
    tokens_output: int
    finish: FinishReason | Literal["context", "refused"]
    seconds: float


@dataclass(frozen=True)
class Evaluated:
    """What one policy made of one benchmark."""

    policy: str
    benchmark: str
    verdicts: list[Verdict]
    results: list[Result]
    protocol: Protocol | None = None  # not known of older runs


def prediction_row(
    benchmark: str, policy: str, answer: Answer, calls: Sequence[Any] | None, verdict: Verdict
) -> dict[str, Any]:
    """A row of `predictions`."""
    question = answer.question
    return {
        "benchmark": benchmark,
        "policy": policy,
        "category": question.category,
        "item": question.id,
        "position": question.position,
        "trial": verdict.trial,
        "output": answer.result
        if isinstance(answer.result, str) and benchmark not in NATIVE
        else json.dumps(answer.result),
        "calls": None
        if calls is None
        else json.dumps([{"name": call.name, "arguments": _json(call.arguments)} for call in calls]),
        "valid": None if question.category.endswith(SET_UP) else verdict.valid,
        "error_type": verdict.error_type,
        "error_class": first_class(verdict),
        "message": verdict.message,
        "verdict": json.dumps(
            {
                "faults": [_plain(fault) for fault in verdict.faults],
                "attempts": [[[_plain(f) for f in faults] for faults in attempt] for attempt in verdict.attempts],
                "note": verdict.note,
            }
        ),
        "tokens_prompt": answer.tokens_prompt,
        "tokens_output": answer.tokens_output,
        "finish": answer.finish,
        "seconds": answer.seconds,
    }


def any_evaluated(run: Run, policy: str = "", own: bool = False) -> bool:
    """Whether there is anything that `read_evaluated` would read."""
    sql = f"SELECT 1 FROM predictions WHERE {MEANT} AND {_SCORES} LIMIT 1"
    return bool(query(run.store, sql, None, [policy, policy, own]).num_rows)


def read_evaluated(run: Run, policy: str = "", own: bool = False) -> list[Evaluated]:
    """What the run's policies made of each benchmark, by benchmark; under each protocol of it, if there are several.

    Args:
        run: the run.
        policy: the end of a policy's name, such as its adapter's hash, or `base` for the base model; only that
            policy's.
        own: also of the run's own validation samples, which are no scores: its trainings were chosen by them.

    Raises:
        ItoolError: there is none, or the ending fits several policies.
    """
    rows = query(
        run.store,
        # Rows from before protocols were kept count as of the one that the rest was asked under.
        "SELECT policy, benchmark, category, item, coalesce(trial, 0) AS trial, output, verdict, "
        "coalesce(protocol, max(protocol) OVER (PARTITION BY benchmark, policy), '') AS protocol "
        f"FROM predictions WHERE {MEANT} AND {_SCORES} ORDER BY benchmark, policy, protocol, category, position, item, "
        "trial",
        None,
        [policy, policy, own],
    ).to_pylist()
    names = dict.fromkeys(row["policy"] for row in rows)
    if not rows:
        raise ItoolError(
            f"{run.folder}: no predictions{f' of a policy …{policy}' if policy else ''}; "
            f"`itool eval run bfcl-v3 --run {run.folder}` makes some"
        )
    if policy and len(names) > 1:
        raise ItoolError(f"{run.folder}: {policy!r} ends the names of {', '.join(names)}; give more of the name")
    protocols = _protocols(run)
    found: dict[tuple[str, ...], Evaluated] = {}
    for row in rows:
        key = (row["policy"], row["benchmark"])
        protocol = row["protocol"]
        evaluated = found.setdefault((*key, protocol), Evaluated(*key, [], [], protocols.get(protocol)))
        evaluated.verdicts.append(_verdict(row))
        evaluated.results.append(read_result(row))
    return list(found.values())


def _protocols(run: Run) -> dict[str, Protocol]:
    """The protocols of a run by their fingerprints."""
    rows = query(run.store, "SELECT * FROM protocols").to_pylist()
    return {row.pop("protocol"): Protocol(**row) for row in rows}


def _verdict(row: dict[str, Any]) -> Verdict:
    stored = json.loads(row["verdict"])
    attempts = tuple(
        tuple(tuple(Fault(*fault) for fault in faults) for faults in attempt) for attempt in stored["attempts"]
    )
    faults = tuple(Fault(*fault) for fault in stored["faults"])
    return Verdict(row["item"], row["category"], faults, attempts, stored["note"], row["trial"])


def read_result(row: dict[str, Any]) -> Result:
    """What was scored: several turns are stored as JSON, and a conversation that broke off as a text."""
    output: str = row["output"]
    if row["benchmark"] in NATIVE or (row["category"].startswith(SEVERAL_TURNS) and output.startswith("[")):
        result: Result = json.loads(output)
        return result
    return output


def _plain(fault: Fault) -> list[str]:
    return [fault.error_type, fault.message, fault.note]


def _json(value: Any) -> Any:
    """A decoded value as JSON can hold it; what it cannot hold becomes text."""
    if isinstance(value, dict):
        return {str(name): _json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(inner) for inner in value]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < _LARGEST else hex(value)
    return value if isinstance(value, float) and math.isfinite(value) else repr(value)
