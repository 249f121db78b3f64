"""Variants of call samples without the needed functions: what they are, that they are stored once, and trained on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import PROMPTER, toy_sample

from itool_data.abstain import PREFIX, SENTENCES, alike, variants
from itool_data.errors import ItoolError
from itool_data.match import response_error
from itool_data.run import open_run, write_run
from itool_data.run_samples import training_samples
from itool_data.sample import Message, Sample, Tool, ToolCall
from itool_data.store.samples import sample_row
from itool_data.store.sql import query
from itool_data.warmup_samples import warmup_stages

SCHEMA = {"type": "object", "properties": {}, "required": []}
FUNCTIONS = {
    name: Tool(name, description, SCHEMA)
    for name, description in {
        "weather": "Current weather of a city.",
        "play_song": "Starts the music.",
        "book.hotel": "Reserves a room for some nights.",
        "factorial": "n! of a positive integer.",
        "sort_list": "Puts numbers into order.",
        "translate": "A text in another language.",
    }.items()
}


def sample(number: int, offered: str, called: str, *before: Message, source: str = "set") -> Sample:
    """A sample that offers some functions and calls some, both by their names' first letters."""
    by_letter = {name[0]: tool for name, tool in FUNCTIONS.items()}
    calls = tuple(ToolCall(by_letter[letter].name, {}) for letter in called)
    target = f"[{', '.join(f'{call.name}()' for call in calls)}]" if calls else "Hello."
    messages = (*before, Message("user", f"Question {number}"))
    return Sample(source, str(number), messages, tuple(by_letter[letter] for letter in offered), target, calls)


@st.composite
def data_sets(draw: st.DrawFn) -> list[Sample]:
    made = []
    for number in range(draw(st.integers(1, 12))):
        offered = draw(st.sets(st.sampled_from("wpbfst"), min_size=1, max_size=4))
        called = draw(st.sets(st.sampled_from(sorted(offered)), max_size=3))
        source = draw(st.sampled_from(["one", "two"]))
        made.append(sample(number, "".join(sorted(offered)), "".join(sorted(called)), source=source))
    return made


@given(data_sets(), st.floats(0, 1), st.floats(0, 1), st.integers(0, 5))
def test_variants_call_nothing_and_offer_nothing_that_was_called(samples, one, other, seed):
    less, more = ({v.sample_id: v for v in variants(samples, share, seed)} for share in sorted((one, other)))
    assert less.items() <= more.items()
    originals = {(PREFIX + s.source, s.source_id): s for s in samples}
    for variant in more.values():
        original = originals[variant.source, variant.source_id]
        assert original.calls and variant.messages == original.messages
        assert (variant.calls, variant.accepted, variant.split) == ((), (), "train")
        assert variant.target in SENTENCES and response_error(variant.target, variant, "python") is None
        assert response_error(original.target, variant, "python") == "Tools Count"
        called = {call.name for call in original.calls}
        kept = tuple(tool for tool in original.tools if tool.name not in called)
        if kept or not variant.tools:
            assert variant.tools == kept
        else:
            assert variant.tools in [s.tools for s in samples if s.source == original.source]
            assert not {tool.name for tool in variant.tools} & {tool.name for tool in original.tools}


@given(data_sets(), st.integers(0, 5))
def test_all_of_them_is_one_each_and_order_is_no_matter(samples, seed):
    made = variants(samples, 1, seed)
    assert [(v.source, v.source_id) for v in made] == [(PREFIX + s.source, s.source_id) for s in samples if s.calls]
    assert {v.sample_id: v for v in variants(samples[::-1], 1, seed)} == {v.sample_id: v for v in made}
    assert variants(samples, 0, seed) == []


def test_a_share_is_of_about_so_many_and_the_seed_says_which():
    samples = [sample(number, "wp", "w") for number in range(1000)]
    chosen = [{v.source_id for v in variants(samples, 0.1, seed)} for seed in range(3)]
    assert all(70 < len(ids) < 130 for ids in chosen)
    assert len(set(map(frozenset, chosen))) == 3
    assert len({v.target for v in variants(samples, 0.1, 0)}) == len(SENTENCES)


def test_functions_are_borrowed_from_the_same_source_and_not_from_who_might_do_the_same():
    lone = sample(1, "w", "w")
    like = Tool("get_weather", "Weather of a city, current.", SCHEMA)
    assert alike(lone.tools[0], like) and not alike(*sample(2, "wf", "w").tools)
    others = [replace(sample(n, "p", "p"), tools=(like, FUNCTIONS["play_song"])) for n in range(2, 9)]
    (variant,) = variants([lone, *others, sample(9, "s", "", source="elsewhere")], 1, 0)[:1]
    assert variant.tools == (), "every other sample of the source offers a function like the one that is gone"
    (variant,) = variants([lone, *others, sample(9, "fs", "")], 1, 0)[:1]
    assert [tool.name for tool in variant.tools] == ["factorial", "sort_list"]


def test_no_refusal_takes_back_what_was_said():
    said = [
        Message("assistant", "I can do that. Where?"),
        Message("tool", "{}"),
        Message("system", "Use weather for questions about rain."),
    ]
    assert variants([sample(n, "wp", "w", message) for n, message in enumerate(said)], 1, 0) == []
    harmless = [Message("system", "Today is Monday. play_song works."), Message("user", "weather, please")]
    assert len(variants([sample(n, "wp", "w", message) for n, message in enumerate(harmless)], 1, 0)) == 2


# --- in a run ---------------------------------------------------------------------------------------------------------

SAMPLES = [sample(number, *what) for number, what in enumerate([("wp", "w"), ("b", "b"), ("fs", "fs"), ("t", "")] * 5)]
HELD_OUT = replace(sample(99, "w", "w"), split="test", messages=(Message("user", "Question 0"),))


@pytest.mark.parametrize(
    ("settings", "originals", "of"),
    [
        ([], 20, 15),
        (["data.only_calls=true"], 15, 15),
        (["data.only_calls=true", "data.pool=6"], 6, 6),
        (["data.only_calls=true", "data.max_overlap=0.9"], 14, 14),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_variants_are_stored_once_and_join_what_they_are_of(tmp_path: Path, settings, originals, of):
    for _ in range(2):
        with write_run(tmp_path, None, ["data.abstain=1", *settings]) as run:
            if not run.store.log():
                run.store.commit("import", {"samples": [sample_row(s) for s in [*SAMPLES, HELD_OUT]]})
            first, second = training_samples(run), training_samples(run)
    assert first == second
    assert [s.source.startswith(PREFIX) for s in first] == [False] * originals + [True] * of
    joined = query(
        run.store,
        "SELECT v.sample_id, v.calls, v.split, v.tools, o.sample_id AS original, o.calls AS called FROM samples v "
        "JOIN samples o ON v.source = 'abstain:' || o.source AND v.source_id = o.source_id AND o.split = 'train'",
    ).to_pylist()
    assert {row["sample_id"] for row in joined} == {s.sample_id for s in first[originals:]} and len(joined) == of
    assert {row["original"] for row in joined} <= {s.sample_id for s in first[:originals]}
    for row in joined:
        assert (row["calls"], row["split"]) == ("[]", "train")
        assert not {t["name"] for t in json.loads(row["tools"])} & {c["name"] for c in json.loads(row["called"])}
    assert [commit.operation for commit in run.store.log()].count("abstain") == 1


def test_who_reads_a_run_has_the_same_samples_and_writes_none(tmp_path: Path):
    """As all but the first of several processes that train together do."""
    with write_run(tmp_path / "run", None, ["data.abstain=1", "data.max_overlap=0.9"]) as run:
        run.store.commit("import", {"samples": [sample_row(s) for s in [*SAMPLES, HELD_OUT]]})
        reader = open_run(run.folder)
        read = training_samples(reader)
        assert [c.operation for c in run.store.log()] == ["import"]
        assert training_samples(run) == read and any(s.source.startswith(PREFIX) for s in read)
        assert [c.operation for c in run.store.log()] == ["import", "overlap", "abstain"]
        with pytest.raises(AssertionError, match="was opened for reading"):
            reader.store.commit("import", {})


def test_a_later_import_adds_its_variants_and_the_setting_is_kept_to(tmp_path: Path):
    with write_run(tmp_path, None, ["data.abstain=0.5"]) as run:
        for part in (SAMPLES[:10], SAMPLES[10:]):
            run.store.commit("import", {"samples": [sample_row(s) for s in part]})
            made = training_samples(run)
        stored = query(run.store, "SELECT count(*) AS n FROM samples WHERE starts_with(source, 'abstain:')")
        assert stored.to_pylist()[0]["n"] >= sum(s.source.startswith(PREFIX) for s in made) > 0
    with (
        pytest.raises(ItoolError, match=r"data\.abstain: 0\.5 -> 0\.2"),
        write_run(tmp_path, None, ["data.abstain=0.2"]),
    ):
        pass


def test_a_borrowed_function_that_makes_a_variant_like_a_held_out_sample_keeps_it_out(tmp_path: Path):
    another = (Message("user", "Something else altogether, in so many words that the functions hardly count."),)
    lone, lender = sample(1, "w", "w"), replace(sample(2, "bfpt", ""), messages=another)
    held_out = replace(sample(11, "bfpt", "b"), split="test")
    with write_run(tmp_path, None, ["data.abstain=1", "data.max_overlap=0.75"]) as run:
        run.store.commit("import", {"samples": [sample_row(s) for s in (lone, lender, held_out)]})
        assert [s.source_id for s in training_samples(run)] == ["1", "2"]
        rejects = query(run.store, "SELECT source, file FROM rejects WHERE stage = 'overlap'").to_pylist()
    assert rejects == [{"source": "abstain:set", "file": "1"}]


def test_the_warm_up_trains_on_variants(tmp_path: Path):
    with write_run(tmp_path, None, ["data.abstain=1", "warmup.fraction=1"]) as run:
        run.store.commit("import", {"samples": [sample_row(toy_sample()), sample_row(sample(1, "w", "w"))]})
        (variant,) = [s for s in training_samples(run) if s.source == "abstain:toy"]
        stages, rejects = warmup_stages(run, PROMPTER)
    assert not rejects
    assert (PROMPTER.prompt_ids(variant), PROMPTER.response_ids(variant.target)) in stages["easy"]
    assert sum(map(len, stages.values())) == 4
