"""Validation samples: a share of any data set, by families, and none that is trained on."""

import json
from pathlib import Path

import pytest
from toys import toy_sample

from itool_data.errors import ItoolError
from itool_data.run import Run, write_run
from itool_data.run_samples import import_samples
from itool_data.sources.bfcl import split_of
from itool_data.store.samples import read_samples
from itool_data.validation import drawn, refuse_trained_on

TOOL = {"name": "f", "description": "", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}


def conversation(number: int) -> dict[str, object]:
    """Two turns to answer."""
    call = {"function": {"name": "f", "arguments": json.dumps({"a": number})}}
    said = [("user", f"{number}?"), ("assistant", ""), ("user", "once more"), ("assistant", "")]
    messages = [{"role": role, "content": text} | ({} if text else {"tool_calls": [call]}) for role, text in said]
    return {"messages": messages, "tools": [TOOL]}


def write(path: Path, numbers: range) -> str:
    path.write_text("\n".join(json.dumps(conversation(number)) for number in numbers))
    return str(path)


def imported(run: Run, *sources: str) -> dict[str, set[str]]:
    """The questions on each side."""
    for source in sources:
        import_samples(run, source, None, False, lambda done, total: None)
    sides = {split: read_samples(run.store, "split = ?", [split]) for split in ("train", "validation")}
    return {split: {s.messages[0].content for s in samples} for split, samples in sides.items()}


def test_a_share_of_a_file_is_set_aside_whole_conversations_whatever_their_order(tmp_path):
    file, backwards = write(tmp_path / "a.jsonl", range(400)), write(tmp_path / "b.jsonl", range(399, -1, -1))
    sides = []
    for n, (share, *sources) in enumerate([(0.2, file), (0.2, backwards, file), (0.1, file), (0, file)]):
        with write_run(tmp_path / f"{n}", None, [f"data.validation={share}"]) as run:
            sides.append(imported(run, *sources))
    whole, other, smaller, none = sides
    assert 50 < len(whole["validation"]) < 110 and not whole["validation"] & whole["train"]
    assert other == whole and smaller["validation"] < whole["validation"] and not none["validation"]


def test_bfcl_keeps_its_own_halves(tmp_path):
    with write_run(tmp_path / "run", None, ["data.validation=0.5"]) as run:
        import_samples(run, "bfcl:0.1", None, False, lambda done, total: None)
        assert all(s.split == split_of(s.source_id, 0.1) for s in read_samples(run.store, "true"))


def test_the_samples_that_are_asked_are_the_same_in_every_run(tmp_path):
    with write_run(tmp_path / "run", None, []) as run:
        import_samples(run, write(tmp_path / "a.jsonl", range(9)), None, False, lambda done, total: None)
        samples = read_samples(run.store, "true")
    few, more = drawn(samples[::-1], 5), drawn(samples, 7)
    assert few == more[:5] and few != samples[:5] and len(drawn(samples, 99)) == 18


def test_what_a_training_sample_asks_too_is_refused():
    training = [toy_sample(question=question) for question in ("one?", "two?", "three?")]
    other = [toy_sample(question="four?"), toy_sample("[f(a=2)]", "five?")]
    refuse_trained_on(other, training)
    with pytest.raises(ItoolError) as error:
        refuse_trained_on([*other, toy_sample("[f(a=2)]", "two?")], training)
    said = str(error.value)
    assert said.startswith(
        "1 of 3 validation samples ask what a training sample asks, the first: toy two? as toy two?;"
    )
    assert "data.max_overlap=0.9 sets" in said and len(said.splitlines()) == 1
