"""Samples and rejects as rows of their tables, and back."""

import json
from collections.abc import Sequence
from typing import Any

from itool_data.difficulty import criteria, level
from itool_data.errors import ItoolError
from itool_data.sample import AcceptedCall, Message, Reject, Sample, Tool, ToolCall
from itool_data.store.sql import query
from itool_data.store.tables import Store


def sample_row(sample: Sample) -> dict[str, Any]:
    """A row of `samples`, with the paper's three criteria and what they make of it."""
    measured = criteria(sample)
    return {
        "sample_id": sample.sample_id,
        "source": sample.source,
        "source_id": sample.source_id,
        "split": sample.split,
        "messages": json.dumps([vars(m) for m in sample.messages]),
        "tools": json.dumps([vars(t) for t in sample.tools]),
        "target": sample.target,
        "calls": json.dumps([vars(c) for c in sample.calls]),
        "accepted": json.dumps([{**vars(c), "optional": sorted(c.optional)} for c in sample.accepted]),
        "difficulty": level(measured),
        "a": measured.a,
        "b": measured.b,
        "c": measured.c,
    }


def reject_row(reject: Reject, stage: str) -> dict[str, Any]:
    """A row of `rejects`; `stage` is the command that set it aside."""
    return {"stage": stage, **vars(reject)}


def read_samples(store: Store, where: str, parameters: Sequence[Any] = ()) -> list[Sample]:
    """Read samples back, in the order they were imported.

    Args:
        store: the run's tables.
        where: an SQL condition on `samples`.
        parameters: values for `?` in the condition.

    Raises:
        ItoolError: if the store holds no samples at all.
    """
    table = query(
        store, f"SELECT * FROM samples WHERE {where} ORDER BY source, source_id, sample_id", None, list(parameters)
    )
    if not table.num_rows and not query(store, "SELECT 1 FROM samples LIMIT 1").num_rows:
        raise ItoolError(f"{store.place}: no samples; `itool data import SOURCE --run DIR` brings some")
    return [_sample(row) for row in table.to_pylist()]


def _sample(row: dict[str, Any]) -> Sample:
    return Sample(
        source=row["source"],
        source_id=row["source_id"],
        messages=tuple(Message(**m) for m in json.loads(row["messages"])),
        tools=tuple(Tool(**t) for t in json.loads(row["tools"])),
        target=row["target"],
        calls=tuple(ToolCall(**c) for c in json.loads(row["calls"])),
        accepted=tuple(
            AcceptedCall(c["name"], c["arguments"], frozenset(c["optional"])) for c in json.loads(row["accepted"])
        ),
        split=row["split"],
    )
