"""Items that a run trains on are not asked: BFCL-half, by version 3's and version 4's names."""

from pathlib import Path

import pytest
from toys import PROMPTER

from itool_data.abstain import SENTENCES
from itool_data.errors import ItoolError
from itool_data.prompt import SYSTEM
from itool_data.run import Run, write_run
from itool_data.run_samples import import_samples
from itool_data.sample import Sample
from itool_data.sources import apibank as apibank_source
from itool_data.sources import bfcl
from itool_data.store.samples import read_samples
from itool_eval.apibank.benchmark import API_BANK_OWN_PROMPT
from itool_eval.benchmarks import VALIDATION, choose, open_benchmark, summarise, version_of
from itool_eval.bfcl.benchmark import OWN_PROMPT
from itool_eval.bfcl.benchmark import bfcl as open_bfcl
from itool_eval.bfcl.categories import FORMAT_SENSITIVITY, Version
from itool_eval.bfcl.format_sensitivity import source_of
from itool_eval.bfcl.items import load_items
from itool_eval.headline import ALL, headline
from itool_eval.predict import not_asked
from itool_eval.predictions import Evaluated
from itool_eval.verdicts import Fault, Verdict

WITHOUT_GOLD = {"live_irrelevance": 882, "live_relevance": 18, "irrelevance": 240}


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
    in_forms = {item for category, item in seen if category == FORMAT_SENSITIVITY}  # nor in another form of the prompt
    assert len(seen) - len(in_forms) == len(trained)
    assert {source_of(item) for item in in_forms} <= seen and bool(in_forms) == (version is Version.V4)
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
        asked = {
            b.name: {q.id for q in choose(b, bfcl.CATEGORIES, None, 42, not_asked(run, b))} for b in (test, validation)
        }
        splits = {
            split: {s.source_id for s in read_samples(run.store, "split = ?", [split])}
            for split in ("test", "validation")
        }
    assert asked == {test.name: splits["test"], validation.name: splits["validation"]}
    assert len(splits["validation"]) > 100
    assert version_of(validation.name) is Version.V3 and "own prompt" in summarise(validation.name, []).era


def test_halves_of_the_items_that_no_run_trains_on(tmp_path: Path, bfcl_folder: Path) -> None:
    test, validation, official = (
        open_benchmark(n, "signatures") for n in (OWN_PROMPT, OWN_PROMPT + VALIDATION, "bfcl-v3")
    )

    def asked(run: Run) -> list[set[tuple[str, str]]]:
        return [
            {(q.category, q.id) for q in choose(b, list(WITHOUT_GOLD), None, 42, not_asked(run, b))}
            for b in (test, validation, official)
        ]

    with write_run(tmp_path, None, []) as run:
        everything = asked(run)[0]
        assert asked(run) == [everything, set(), everything], "nothing is trained on yet, or set aside"
        import_samples(run, "bfcl:0.2", 1, False, lambda done, total: None)
        half, other, whole = asked(run)
    assert half | other == everything == whole and not half & other
    assert {bfcl.split_of(item) for _, item in half} == {"test"}
    assert {category for category, _ in half} == {category for category, _ in other} == set(WITHOUT_GOLD)


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


def test_own_prompt_asks_the_items_without_a_gold_response(bfcl_folder: Path) -> None:
    benchmark = open_benchmark(OWN_PROMPT, "signatures")
    assert {name: len(benchmark.questions(name)) for name in WITHOUT_GOLD} == WITHOUT_GOLD
    for category in WITHOUT_GOLD:
        for question, item in zip(
            benchmark.questions(category), load_items(bfcl_folder, Version.V3, category), strict=True
        ):
            system, *messages = next(question.begin()).messages
            own = item.turns[0]
            assert system["content"].startswith(SYSTEM)
            for function, line in zip(item.functions, system["content"][len(SYSTEM) :].split("\n"), strict=False):
                assert line.startswith(f"{function['name']}(")
            if own[0]["role"] == "system":
                assert system["content"].endswith("\n\n" + own.pop(0)["content"])
            assert messages == own


@pytest.mark.parametrize("category", ["irrelevance", "live_irrelevance", "live_relevance"])
def test_abstention_is_right_where_nothing_fits_and_a_call_is_where_something_does(
    bfcl_folder: Path, category: str
) -> None:
    benchmark = open_benchmark(OWN_PROMPT, "signatures")
    scorer, should_call = benchmark.scorer(category), category == "live_relevance"
    for number, question in enumerate(benchmark.questions(category)):
        prose = scorer.score(category, question.id, SENTENCES[number % len(SENTENCES)])
        call = scorer.score(category, question.id, "[f(a=1)]")
        assert (prose.valid, call.valid) == (not should_call, should_call)
        assert prose.valid <= (prose.note == ""), "no malformed call that only counts as abstention"


def test_own_prompt_scores_both_sides_over_what_was_run() -> None:
    wrong = (Fault("x", "wrong"),)
    verdicts = [
        Verdict("a", "simple"), Verdict("b", "live_simple", wrong), Verdict("c", "live_simple", wrong),
        Verdict("d", "irrelevance"), Verdict("e", "live_relevance"),
    ]  # fmt: skip
    calls, abstention = summarise(OWN_PROMPT, verdicts).scores
    assert (calls.name, calls.n, calls.formula) == ("calls", 3, "correct / items over simple, live_simple")
    assert calls.value == pytest.approx(1 / 3) and not calls.missing
    assert (abstention.name, abstention.value, abstention.n) == ("abstention", 1.0, 1)
    assert [s.name for s in headline(Evaluated("p", OWN_PROMPT, verdicts, []))] == [ALL, "calls", "abstention"]
    assert [s.name for s in summarise(OWN_PROMPT + VALIDATION, verdicts[:3]).scores] == ["calls"]
    assert summarise("bfcl-v3", verdicts).scores[0].name == "overall"


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
