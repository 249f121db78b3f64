"""How a policy was asked goes with every score, and comparing two ways is said."""

from dataclasses import replace
from pathlib import Path

import pytest
from outcomes import Itool
from toys import PROMPTER, ids_of, toy_sample

from itool_data.policy.scripted import ScriptedPolicy
from itool_data.prompt import Prompter, Wording
from itool_data.run import Run, open_run, write_run
from itool_data.sample import Sample
from itool_data.store.samples import sample_row
from itool_data.store.sql import query
from itool_data.workers.pool import Desk, LocalPool
from itool_eval.benchmark import Benchmark
from itool_eval.benchmarks import open_benchmark, open_of_run
from itool_eval.predict import answer, prepare
from itool_eval.predictions import read_evaluated
from itool_eval.protocol import protocol_of

FORM = Wording("a template", "python", "source", "")
SAMPLES = [replace(toy_sample(question=question), split="test") for question in ("one", "two", "three")]


def asked(run: Run, right: int, prompter: Prompter = PROMPTER) -> int:
    """Ask the run's test samples of a policy that answers so many right; returns how many it was asked."""
    replies = {s.sample_id: "[f(a=1)]" if i < right else "[f(a=2)]" for i, s in enumerate(SAMPLES)}
    table = {tuple(prompter.prompt_ids(s)): {ids_of(replies[s.sample_id]): 1.0} for s in SAMPLES}
    benchmark, pool = open_of_run(run, "test:toy"), LocalPool(Desk(ScriptedPolicy(table), prompter))
    protocol = protocol_of(benchmark, pool.wording, run.config.eval.max_tokens)
    wanted = prepare(run, str(pool.policy_id), benchmark, benchmark.questions("toy"), protocol.fingerprint)
    return sum(len(step.verdicts) for step in answer(run, pool, benchmark, wanted))


def made(folder: Path, right: int, *settings: str, samples: list[Sample] = SAMPLES) -> Path:
    with write_run(folder, None, list(settings)) as run:
        run.store.commit("import", {"samples": [sample_row(s) for s in samples]})
        assert asked(run, right) == len(samples)
    return folder


def toy_benchmark(**changes: object) -> Benchmark:
    return replace(open_benchmark("test:toy", "signatures", SAMPLES), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("data", protocol_of(open_benchmark("test:toy", "signatures", SAMPLES[:2]), FORM, 64)),
        ("prompt", protocol_of(open_benchmark("test:toy", "json", SAMPLES), FORM, 64)),
        ("template", protocol_of(toy_benchmark(), FORM._replace(template="another"), 64)),
        ("dialect", protocol_of(toy_benchmark(), FORM._replace(dialect="hermes"), 64)),
        ("system", protocol_of(toy_benchmark(), FORM._replace(system="none"), 64)),
        ("decoding", protocol_of(toy_benchmark(), FORM, 65)),
        ("decoding", protocol_of(toy_benchmark(temperature=0.7), FORM, 64)),
        ("history", protocol_of(toy_benchmark(history="all of it"), FORM, 64)),
    ],
)
def test_whatever_differs_makes_another_protocol_and_is_named(part, other):
    one = protocol_of(toy_benchmark(), FORM, 64)
    assert one == protocol_of(toy_benchmark(), FORM, 64) and one.fingerprint != other.fingerprint
    (difference,) = one.differences(other)
    assert difference.startswith(f"{part}: ")


def test_the_benchmark_s_own_text_is_the_same_whatever_form_the_run_has(bfcl_folder: Path) -> None:
    """There neither the run's dialect nor its system message is in the prompt."""
    benchmark = open_benchmark("bfcl-v3", "signatures")
    one, other = (protocol_of(benchmark, FORM._replace(dialect=d, system=d), 64) for d in ("python", "hermes"))
    assert one == other and one.data == "bfcl-eval 2025.8.6.2"


def test_scores_show_their_protocol_and_other_ones_are_compared_with_a_warning(itool: Itool, tmp_path: Path) -> None:
    one, same, other = (
        made(tmp_path / "one", 1), made(tmp_path / "same", 2), made(tmp_path / "other", 2, "eval.max_tokens=64")
    )  # fmt: skip
    (evaluated,) = read_evaluated(open_run(one))
    shown = itool("eval", "show", "--run", one)[1]
    assert evaluated.protocol and f"protocol {evaluated.protocol.fingerprint}: data: samples" in shown
    code, out, _ = itool("eval", "compare", one, same)
    assert code == 0 and "not asked under one protocol" not in out
    code, out, _ = itool("eval", "compare", one, other)
    assert code == 0 and "warning: not asked under one protocol" in out
    assert "decoding: greedy, at most 4096 tokens a reply; greedy, at most 64 tokens a reply" in out
    assert "template:" not in out


def test_another_protocol_is_asked_anew_and_compared_with_its_like(itool: Itool, tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", 1), made(tmp_path / "other", 3, "eval.max_tokens=64")
    with write_run(one, None, ["eval.max_tokens=64"], True) as run:
        assert asked(run, 2) == 3 and asked(run, 2) == 0
    shares = {
        e.protocol.decoding: sum(v.valid for v in e.verdicts) for e in read_evaluated(open_run(one)) if e.protocol
    }
    assert shares == {"greedy, at most 4096 tokens a reply": 1, "greedy, at most 64 tokens a reply": 2}
    assert query(open_run(one).store, "SELECT protocol FROM protocols").num_rows == 2
    out = itool("eval", "compare", one, other)[1]
    assert "not asked under one protocol" not in out and out.count("fixed ") >= 1


def test_answers_from_before_protocols_were_kept_count(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", 1)
    with write_run(folder, None, []) as run:
        rows = query(run.store, "SELECT * EXCLUDE protocol FROM predictions").to_pylist()
    with write_run(tmp_path / "old", None, []) as run:
        run.store.commit("import", {"samples": [sample_row(s) for s in SAMPLES]})
        run.store.commit("eval", {"predictions": rows[:2]})
        assert read_evaluated(run)[0].protocol is None
        assert asked(run, 1) == 1
        (evaluated,) = read_evaluated(run)
        assert evaluated.protocol and len(evaluated.verdicts) == 3
