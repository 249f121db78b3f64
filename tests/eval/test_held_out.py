"""Items that a run trains on are not asked: BFCL-half, by version 3's and version 4's names."""

from pathlib import Path

import pytest
from toys import PROMPTER

from itool_data.errors import ItoolError
from itool_data.run import write_run
from itool_data.sample import Sample
from itool_data.sources import apibank as apibank_source
from itool_data.sources import bfcl
from itool_data.stages import import_samples
from itool_data.store.samples import read_samples
from itool_eval.benchmarks import (
    API_BANK_OWN_PROMPT,
    OWN_PROMPT,
    VALIDATION,
    choose,
    open_benchmark,
    summarise,
    version_of,
)
from itool_eval.benchmarks import bfcl as open_bfcl
from itool_eval.bfcl.categories import Version
from itool_eval.predict import not_asked


@pytest.mark.parametrize(
    ("version", "simple"), [(Version.V3, "simple"), (Version.V4, "simple_python")], ids=lambda v: str(v)
)
def test_the_training_half_is_left_out(
    tmp_path: Path, bfcl_folder: Path, bfcl_v4_folder: Path, version: Version, simple: str
) -> None:
    benchmark = open_bfcl(version)
    names = [simple, "multiple", "live_simple", "irrelevance"]
    with write_run(tmp_path, None, []) as run:
        assert not_asked(run, benchmark) == set(), "nothing is trained on yet"
        import_samples(run, "bfcl", None, False, lambda done, total: None)
        seen = not_asked(run, benchmark)
        trained = read_samples(run.store, "split = 'train'")
    everything = choose(benchmark, names, None, 42)
    asked = choose(benchmark, names, None, 42, seen)
    assert len(seen) == len(trained)
    assert not {(q.category, q.id) for q in asked} & seen
    left_out = [q for q in everything if (q.category, q.id) in seen]
    assert len(left_out) == len(everything) - len(asked) == 206 + 88 + 142
    v3_ids = [q.id.replace("simple_python", "simple") for q in left_out]
    assert {bfcl.split_of(item) for item in v3_ids} == {"train"}
    # The sample of a given size is the same whether more is asked for or not.
    ten = choose(benchmark, names, 10, 42, seen)
    assert [q.id for q in ten] == [q.id for q in choose(benchmark, names, 20, 42, seen)][:10]


def test_what_a_run_set_aside_is_asked_by_name_and_by_no_other(tmp_path: Path, bfcl_folder: Path) -> None:
    test, validation = (open_benchmark(f"{OWN_PROMPT}{end}", "signatures") for end in ("", VALIDATION))
    with write_run(tmp_path, None, []) as run:
        import_samples(run, "bfcl:0.2", None, False, lambda done, total: None)
        asked = {b.name: {q.id for q in choose(b, None, None, 42, not_asked(run, b))} for b in (test, validation)}
        splits = {
            split: {s.source_id for s in read_samples(run.store, "split = ?", [split])}
            for split in ("test", "validation")
        }
    assert asked == {test.name: splits["test"], validation.name: splits["validation"]}
    assert len(splits["validation"]) > 100
    assert version_of(validation.name) is Version.V3 and "own prompt" in summarise(validation.name, []).era


def test_api_bank_in_the_runs_own_prompt(shared_data: Path) -> None:
    benchmark = open_benchmark(f"{API_BANK_OWN_PROMPT}:{shared_data / 'apibank'}", "signatures")
    source = apibank_source.read(str(shared_data / "apibank" / "level-1-api.json"))
    samples = [sample for sample in source if isinstance(sample, Sample)]
    questions = benchmark.questions("level-1")
    assert len(questions) == len(samples) == 399
    right = 0
    for question, sample in zip(questions, samples, strict=True):
        assert PROMPTER.chat_ids(next(question.begin()).messages) == PROMPTER.prompt_ids(sample)
        right += benchmark.scorer("level-1").score("level-1", question.id, sample.target).valid
    assert right == 399, "the gold response is right by API-Bank's rules"


def test_benchmarks_by_name(bfcl_folder: Path) -> None:
    assert open_benchmark("bfcl-v3", "signatures").name == "bfcl-v3"
    for name in ("bfcl", "bfcl-v3:somewhere", "apibank"):
        with pytest.raises(ItoolError, match=f"{name!r} is no benchmark"):
            open_benchmark(name, "signatures")


def test_own_prompt_asks_what_training_asks_and_scores_by_the_official_rules(bfcl_folder: Path) -> None:
    benchmark = open_benchmark(OWN_PROMPT, "signatures")
    assert benchmark.questions("java") == []
    questions = {q.id: q for q in benchmark.questions("simple")}
    samples = {s.source_id: s for s in bfcl.read_category(bfcl_folder, "simple") if isinstance(s, Sample)}
    assert set(questions) == set(samples)
    for item in ("simple_0", "simple_399"):
        assert PROMPTER.chat_ids(next(questions[item].begin()).messages) == PROMPTER.prompt_ids(samples[item])
        assert benchmark.scorer("simple").score("simple", item, samples[item].target).valid
        assert not benchmark.scorer("simple").score("simple", item, "[f()]").valid
    verdicts = [benchmark.scorer("simple").score("simple", "simple_0", samples["simple_0"].target)]
    assert "own prompt" in summarise(OWN_PROMPT, verdicts).era
