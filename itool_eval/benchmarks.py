"""The benchmarks that a policy can be asked: opened by their names, their items chosen, their scores summed up.

Left out: what each is (its own `benchmark.py`), holding the conversations (`predict.py`), and filling the memories that
some begin with (`memories.py`).
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from itool_data.errors import ItoolError
from itool_data.policy.base import derive_seed
from itool_data.prompt import ToolStyle
from itool_data.run import Run
from itool_data.sample import Sample, Split
from itool_data.store.samples import read_samples
from itool_data.store.sql import query
from itool_eval import own_samples
from itool_eval.apibank.aggregate import summarise as summarise_api_bank
from itool_eval.apibank.benchmark import API_BANK, API_BANK_OWN_PROMPT, api_bank, api_bank_own_prompt
from itool_eval.benchmark import Benchmark, Contract, Question, own_prompt, shown_as
from itool_eval.bfcl.aggregate import summarise as summarise_bfcl
from itool_eval.bfcl.benchmark import NATIVE, OWN_PROMPT, bfcl, bfcl_own_prompt
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.format_sensitivity import by_form, form_scores
from itool_eval.bfcl.formulas import two_sides
from itool_eval.bfcl.memory_stores import Memory
from itool_eval.conversation import one_reply
from itool_eval.summary import Summary, tally
from itool_eval.tau2 import tasks as tau2_tasks
from itool_eval.tau2.aggregate import summarise as summarise_tau2
from itool_eval.tau2.benchmark import tau2
from itool_eval.verdicts import Verdict

VALIDATION = ":validation"  # how the name of a benchmark ends whose items are those that the run set aside to tune on
ITEMS_SEED = 42  # of the random sample of items: the same in every run, so that runs of several seeds can be paired


def of_samples(name: str, samples: Sequence[Sample], tools: ToolStyle) -> Benchmark:
    """Samples of a run in its own prompt; an item is a sample by its id, so none has a place."""

    def questions(category: str) -> list[Question]:
        own = [sample for sample in samples if sample.source == category]
        return [Question(category, s.sample_id, 0, partial(one_reply, own_prompt(s, tools))) for s in own]

    split: Split = "validation" if name == own_samples.NAME else "test"
    content = hashlib.sha256("".join(sorted(sample.sample_id for sample in samples)).encode()).hexdigest()[:12]
    return Benchmark(
        name, name, [own_samples.SampleScorer(samples)], questions, f"samples {content}", Contract.RUN,
        shown_as(tools), split=split, samples=tuple(samples),
    )  # fmt: skip


def version_of(benchmark: str) -> Version | None:
    """The BFCL version whose rules a benchmark is scored by; None for another benchmark."""
    name = benchmark.removesuffix(VALIDATION)
    if name == OWN_PROMPT:
        return Version.V3
    if name in NATIVE:
        return NATIVE[name]
    return Version(name) if name in set(Version) else None


def open_benchmark(
    name: str,
    tools: ToolStyle,
    samples: Sequence[Sample] = (),
    memories: Mapping[str, Memory] = MappingProxyType({}),
) -> Benchmark:
    """A benchmark by its name.

    Args:
        name: `bfcl-v3`, `bfcl-v4`, both with `-fc`, `bfcl-v3-own-prompt`, all of them also with `:validation` for the
            items that the run set aside to tune on, `apibank:FOLDER` or `apibank-own-prompt:FOLDER`;
            `tau2-telecom-solo`, also with `-small`, `-full`, `-train`, `-test`; `validation` and `test:SOURCE`, whose
            items are samples of a run.
        tools: how the run's own prompt writes functions.
        samples: the items of these last two.
        memories: that v4's items about a memory begin with.

    Raises:
        ItoolError: there is no such benchmark.
    """
    if own_samples.are(name) and samples:
        return of_samples(name, samples, tools)
    kind, _, folder = name.partition(":")
    if kind == API_BANK and folder:
        return api_bank(Path(folder))
    if kind == API_BANK_OWN_PROMPT and folder:
        return api_bank_own_prompt(Path(folder), tools)
    if name in tau2_tasks.SPLITS:
        return tau2(name)
    version = version_of(name)
    if version is None:
        names, tau2_names = ", ".join([*Version, *NATIVE, OWN_PROMPT]), ", ".join(tau2_tasks.SPLITS)
        raise ItoolError(
            f"{name!r} is no benchmark; there are {names} (and these with {VALIDATION}), {tau2_names}, "
            f"{API_BANK}:FOLDER, {API_BANK_OWN_PROMPT}:FOLDER and {own_samples.TEST}SOURCE"
        )
    benchmark = bfcl_own_prompt(tools) if kind == OWN_PROMPT else bfcl(version, kind in NATIVE, memories)
    return replace(benchmark, name=name, source=name, split="validation") if name.endswith(VALIDATION) else benchmark


def open_of_run(run: Run, name: str) -> Benchmark:
    """A benchmark by its name, for a policy of a run, whose own test samples `test:SOURCE` means.

    tau2's tasks are tried as often as the run's settings say.

    Raises:
        ItoolError: there is no such benchmark, or the run has no such samples.
    """
    samples: list[Sample] = []
    if name.startswith(own_samples.TEST):
        test = "split = 'test'"
        samples = read_samples(run.store, f"{test} AND source = ?", [name.removeprefix(own_samples.TEST)])
        if not samples:
            rows = query(run.store, f"SELECT DISTINCT source FROM samples WHERE {test} ORDER BY source").to_pylist()
            there = ", ".join(row["source"] for row in rows) or "none of any"
            raise ItoolError(f"{run.folder}: no test samples for {name}; the sources that it has some of: {there}")
    benchmark, wanted = open_benchmark(name, run.config.model.tools, samples), run.config.eval
    if name in tau2_tasks.SPLITS and wanted.trials > 1:
        return replace(benchmark, trials=wanted.trials, temperature=wanted.temperature)
    return benchmark


def choose(
    benchmark: Benchmark,
    categories: Sequence[str] | None,
    limit: int | None,
    seed: int,
    leave_out: Collection[tuple[str, str]] = (),
) -> list[Question]:
    """The questions of some categories, or a random sample of them.

    Args:
        benchmark: whose questions.
        categories: their names, by default all but those that are asked on request.
        limit: take so many; which ones depends on the seed alone, and a larger limit takes them too.
        seed: of the random sample.
        leave_out: category and id of items that are not asked.

    Raises:
        ItoolError: a category is not one of the benchmark's.
    """
    known = benchmark.categories
    for name in categories or ():
        if name in benchmark.refused:
            raise ItoolError(f"{name}: {benchmark.refused[name]}")
        if name not in known:
            raise ItoolError(f"{name!r} is no category of {benchmark.name}; it has {', '.join(known)}")
    questions = [
        question
        for name in categories or [name for name in known if name not in benchmark.on_request]
        for question in benchmark.questions(name)
        if (question.category, question.id) not in leave_out
    ]
    if limit is None:
        return questions
    return sorted(questions, key=lambda q: derive_seed(seed, "eval", q.category, q.position))[:limit]


def summarise(benchmark: str, verdicts: Sequence[Verdict]) -> Summary:
    """All scores of one policy's verdicts on one benchmark."""
    if own_samples.are(benchmark):
        return own_samples.summarise(benchmark, verdicts)
    if benchmark in tau2_tasks.SPLITS:
        return summarise_tau2(benchmark, verdicts)
    version, name = version_of(benchmark), benchmark.removesuffix(VALIDATION)
    if version is None:
        summary = summarise_api_bank(verdicts)
    else:
        counts = tally(verdicts)
        summary = summarise_bfcl(counts, version, two_sides(counts) if name == OWN_PROMPT else None)
        summary = replace(summary, scores=(*summary.scores, *form_scores(by_form(verdicts))))
    if name in NATIVE:
        return replace(summary, era=f"{summary.era}, native function calling (FC): compare with FC only")
    if name in (OWN_PROMPT, API_BANK_OWN_PROMPT):
        return replace(summary, era=f"{summary.era}, in the run's own prompt: compare with nothing but the same")
    return summary
