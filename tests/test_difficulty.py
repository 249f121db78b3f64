"""Paper 3.1: every threshold, on both sides."""

import pytest

from itool_data.difficulty import Criteria, criteria, difficulty, level
from itool_data.sample import Message, Sample, Tool, ToolCall

TOOL = Tool("f", "", {"type": "object", "properties": {}, "required": []})
TOOL_LENGTH = len('{"description":"","name":"f","parameters":{"properties":{},"required":[],"type":"object"}}')


def make(tools: int = 1, calls: int = 1, description: str = "") -> Sample:
    offered = tuple(Tool("f", description, TOOL.parameters) for _ in range(tools))
    made = tuple(ToolCall("f", {}) for _ in range(calls))
    return Sample("s", "1", (Message("user", "q"),), offered, "[f()]", made)


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        (1, 999, 1, "easy"),
        (0, 2, 0, "easy"),
        (2, 999, 1, "medium"),
        (1, 1000, 1, "medium"),
        (1, 999, 2, "medium"),
        (3, 2000, 3, "medium"),
        (4, 2000, 3, "hard"),
        (3, 2001, 3, "hard"),
        (3, 2000, 4, "hard"),
        (4, 999, 1, "hard"),
        (1, 2001, 1, "hard"),
        (0, 999, 4, "hard"),
    ],
)
def test_level_at_every_edge(a, b, c, expected):
    assert level(Criteria(a, b, c)) == expected


def test_criteria_are_counted_by_hand():
    assert criteria(make()) == Criteria(a=1, b=TOOL_LENGTH + 2, c=1)
    assert criteria(make(tools=3, calls=2)) == Criteria(a=3, b=3 * TOOL_LENGTH + 2 + 2, c=2)
    assert criteria(make(tools=0, calls=0)) == Criteria(a=0, b=2, c=0)


def test_length_is_in_characters_not_bytes():
    assert criteria(make(description="日本")).b == criteria(make()).b + 2


def test_difficulty_of_samples():
    room = 999 - TOOL_LENGTH - 2
    assert difficulty(make(description="x" * room)) == "easy"
    assert difficulty(make(description="x" * (room + 1))) == "medium"
    assert difficulty(make(tools=4)) == "hard"
