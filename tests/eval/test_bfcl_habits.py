"""Outputs with the habits of real models, as the official checker decided on them.

`official_habits.jsonl` holds some of what `bench.bfcl_habits` makes, of every error type: prose and fences around
calls, JSON calls, tags, positional arguments, Java's and JavaScript's values, conversations of odd shapes.
"""

import json
from pathlib import Path

from bench.bfcl_habits import habits, odd_conversations
from itool_data.errors import ItoolError
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.multi_turn_checker import MultiTurnScorer
from itool_eval.bfcl.single_turn import SingleTurnScorer

OFFICIAL = Path(__file__).with_name("official_habits.jsonl")


def test_the_official_verdict_and_error_type(bfcl_folder: Path, v3: SingleTurnScorer) -> None:
    rows = [json.loads(line) for line in OFFICIAL.read_text("utf-8").splitlines()]
    conversations = MultiTurnScorer(bfcl_folder, Version.V3)
    differences = []
    for row in rows:
        scorer = conversations if row["category"] in conversations.categories else v3
        verdict = scorer.score(row["category"], row["id"], row["result"])
        if (verdict.valid, verdict.error_type) != (row["valid"], row["error_type"]):
            differences.append((row["id"], row["result"], verdict.error_type))
    assert differences == []
    assert len({(row["category"], row["error_type"]) for row in rows}) > 50


def test_no_habit_ends_in_an_exception(bfcl_folder: Path, v3: SingleTurnScorer) -> None:
    verdicts = [v3.score(r["category"], r["id"], r["result"]) for r in habits(bfcl_folder, 600, 0)]
    assert {True, False} == {verdict.valid for verdict in verdicts}
    conversations = MultiTurnScorer(bfcl_folder, Version.V3)
    for row in odd_conversations(bfcl_folder, 40, 0):
        try:
            conversations.score(row["category"], row["id"], row["result"])
        except ItoolError as error:
            assert "a turn is a list of replies" in str(error)
