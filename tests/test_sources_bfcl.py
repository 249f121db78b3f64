"""The BFCL-half source, from the pinned wheel: counts, the split, and answers that become accepted calls."""

from collections import Counter

import pytest

from itool_data.dialects import parse
from itool_data.match import calls_match
from itool_data.sample import AcceptedCall, Reject, Sample
from itool_data.sources import bfcl, load
from itool_data.sources.rows import BadRowError
from itool_data.sources.tools import tool


def test_bfcl_counts_and_rejects():
    rows = list(load("bfcl"))
    counts = Counter((s.source.removeprefix("bfcl:"), s.split) for s in rows if isinstance(s, Sample))
    assert counts == {
        ("simple", "train"): 206,
        ("simple", "test"): 194,
        ("multiple", "train"): 88,
        ("multiple", "test"): 112,
        ("parallel", "train"): 104,
        ("parallel", "test"): 96,
        ("parallel_multiple", "train"): 106,
        ("parallel_multiple", "test"): 94,
        ("live_simple", "train"): 142,
        ("live_simple", "test"): 114,
        ("live_multiple", "train"): 499,
        ("live_multiple", "test"): 552,
        ("live_parallel", "train"): 11,
        ("live_parallel", "test"): 5,
        ("live_parallel_multiple", "train"): 11,
        ("live_parallel_multiple", "test"): 13,
    }
    # The items that no answer satisfies.
    assert [(r.file, r.line) for r in rows if isinstance(r, Reject)] == [
        ("BFCL_v3_live_simple.json", 107),
        ("BFCL_v3_live_simple.json", 113),
        ("BFCL_v3_live_multiple.json", 863),
        ("BFCL_v3_live_multiple.json", 965),
    ]
    assert all("no accepted answer" in r.reason for r in rows if isinstance(r, Reject))


def test_bfcl_live_halves_the_live_items_alone():
    halves = {name: [s for s in load(name) if isinstance(s, Sample)] for name in ("bfcl", "bfcl-live")}
    assert halves["bfcl-live"] == [s for s in halves["bfcl"] if s.source.startswith("bfcl:live_")]
    marked = Counter(s.split for s in load("bfcl-live:0.2") if isinstance(s, Sample))
    assert marked["test"] == 684 and marked["train"] + marked["validation"] == 663 and marked["validation"] > 60


def test_bfcl_gold_is_accepted_and_reads_back():
    for sample in load("bfcl"):
        if isinstance(sample, Sample):
            assert calls_match(parse(sample.target), sample.answers), sample.source_id


def test_bfcl_families_stay_together():
    assert bfcl.split_of("live_simple_40-17-0") == bfcl.split_of("live_simple_43-17-3")
    # SHA-256 of "simple_0" begins with 0xbd, of "simple_1" with 0x2c: odd is test.
    assert (bfcl.split_of("simple_0"), bfcl.split_of("simple_1")) == ("test", "train")


def test_a_share_of_the_training_families_is_set_aside():
    share = 0.12
    ids = [f"live_simple_{n}-{n // 2}-{v}" for n in range(400) for v in range(3)]
    whole, small, large = ({i: bfcl.split_of(i, share) for i in ids} for share in (0.0, 0.12, 0.3))
    assert {i for i, split in small.items() if split == "test"} == {i for i, split in whole.items() if split == "test"}
    aside = [{i for i, split in some.items() if split == "validation"} for some in (whole, small, large)]
    assert aside[0] == set() and aside[1] < aside[2]
    training = sum(split == "train" for split in whole.values())
    assert len(aside[1]) / training == pytest.approx(share, abs=0.05)
    families = {i.rpartition("-")[0]: set() for i in ids}
    for i, split in large.items():
        families[i.rpartition("-")[0]].add(split)
    assert all(len(splits) == 1 for splits in families.values())
    counts = Counter(s.split for s in load(f"bfcl:{share}") if isinstance(s, Sample))
    assert counts == {"test": 1180, "train": 1043, "validation": 124}


def test_bfcl_answers():
    called = tool("f", "", {"type": "dict", "properties": {k: {} for k in "abcde"}, "required": ["a", "b"]}, "f")
    answer = {
        "a": ["", 3],
        "b": [{"x": [1, 2], "y": ["", 5], "z": [0, ""]}],
        "c": ["", "k"],
        "d": ["m", ""],
        "e": [[{"x": [1]}, {"x": [2]}], ""],
        "not_in_schema": ["", 1],
    }
    accepted = bfcl.accepted_call(called, answer, "answer")
    assert accepted == AcceptedCall(
        "f",
        {
            "a": [3],
            "b": [{"$options": {"x": [1, 2], "y": ["", 5], "z": [0, ""]}}],
            "c": ["k"],
            "d": ["m"],
            "e": [[{"$options": {"x": [1]}}, {"$options": {"x": [2]}}]],
        },
        frozenset("cde"),
    )
    gold = bfcl._gold_call(accepted, answer)
    assert gold.arguments == {"a": 3, "b": {"x": 1, "z": 0}, "d": "m", "e": [{"x": 1}, {"x": 2}]}
    assert calls_match([gold], [accepted])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"a": []}, "the list of accepted values is empty"),
        ({"a": [1], "z": [1]}, "no such parameter"),
        ({}, "lacks the required parameter 'a'"),
        ({"a": 1}, "expected a list, found a number"),
    ],
)
def test_bfcl_answers_that_nothing_satisfies(answer, reason):
    called = tool("f", "", {"type": "dict", "properties": {"a": {}}, "required": ["a"]}, "f")
    with pytest.raises(BadRowError, match=reason):
        bfcl.accepted_call(called, answer, "answer")
