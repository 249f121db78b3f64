"""Near-duplicates of held-out samples, and the pool of training samples that is left."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from toys import toy_sample

from itool_data.overlap import grams, near_duplicates
from itool_data.run import Run, write_run
from itool_data.run_samples import training_samples
from itool_data.sample import Message, Sample, Tool
from itool_data.store.samples import sample_row
from itool_data.store.sql import query


def asked(question: str, *tools: str, split: str = "train", target: str = "[f(a=1)]") -> Sample:
    offered = tuple(Tool(name, "", {"properties": {}}) for name in tools)
    return replace(toy_sample(target, question), messages=(Message("user", question),), tools=offered, split=split)


def test_grams_are_of_letters_and_digits_in_lower_case():
    assert grams("Ab, C!") == {" ab c", "ab c "}
    assert grams("") == {"  "}


def test_the_index_is_jaccards():
    # " abcdef " has 4 grams of 5, " abcdeg " too, and they share " abcd" and "abcde": 2 of 6.
    one, other = asked("abcdef"), asked("abcdeg", split="test")
    (found,) = near_duplicates([one], [asked("zzzzzz"), other], 1 / 3)
    assert (found.sample, found.held_out, found.similarity) == (one, other, pytest.approx(1 / 3))
    assert near_duplicates([one], [other], 0.34) == []
    assert near_duplicates([one], [], 0.1) == []


def test_a_question_with_other_distractors_is_found_and_another_with_the_same_tools_is_not():
    held_out = asked("Delete the release RL50", "delete_release", "post_release")
    same, other = asked("delete the release RL50.", "weather", "maps"), asked("Who am I?", "delete_release")
    assert [one.sample for one in near_duplicates([other, same], [held_out], 0.9)] == [same]
    # One in other words reaches the threshold only with its tools' names.
    reworded = asked("Please remove release RL50", "delete_release", "post_release")
    assert near_duplicates([asked("Please remove release RL50")], [asked("Delete the release RL50")], 0.5) == []
    assert [one.sample for one in near_duplicates([reworded], [held_out], 0.5)] == [reworded]


SAMPLES = [
    asked("What is the weather in Rome?", "weather"),
    asked("What is the weather in Rome today?", "weather", split="test"),
    asked("Say hello", "greet", target="Hello."),
    *(asked(f"Task number {word}", "f") for word in ("seventeen", "forty-two", "eighty")),
    asked("How tall is Everest?", "height", split="validation"),
]


def imported(folder: Path, *settings: str) -> Run:
    with write_run(folder, None, list(settings)) as run:
        if not run.store.log():
            run.store.commit("import", {"samples": [sample_row(sample) for sample in SAMPLES]})
        return run


def questions(run: Run) -> set[str]:
    return {sample.messages[0].content for sample in training_samples(run)}


def test_by_default_every_training_sample_is_left(tmp_path):
    assert questions(imported(tmp_path)) == {s.messages[0].content for s in SAMPLES if s.split == "train"}


def test_near_duplicates_are_set_aside_and_recorded_once(tmp_path):
    with write_run(tmp_path, None, ["data.max_overlap=0.7", "data.only_calls=true"]) as run:
        run.store.commit("import", {"samples": [sample_row(sample) for sample in SAMPLES]})
        for _ in range(2):
            assert questions(run) == {f"Task number {word}" for word in ("seventeen", "forty-two", "eighty")}
        (reject,) = query(run.store, "SELECT source_id, field, reason FROM (SELECT *, file AS source_id FROM rejects)"
                          ).to_pylist()  # fmt: skip
    assert reject["field"] == f"sample {SAMPLES[0].sample_id}"
    assert reject["reason"].startswith("overlap 0.") and "with the test sample toy" in reject["reason"]


def test_a_pool_is_random_and_a_larger_one_holds_it(tmp_path):
    pools = [questions(imported(tmp_path / str(n), f"data.pool={n}")) for n in range(1, 6)]
    assert [len(pool) for pool in pools] == [1, 2, 3, 4, 5]
    assert all(small < large for small, large in pairwise(pools))
    others = {frozenset(questions(imported(tmp_path / f"s{seed}", "data.pool=2", f"seed={seed}"))) for seed in range(8)}
    assert len(others) > 1
