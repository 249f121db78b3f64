"""Which adapter of a training is kept, over scripted policies: who is asked, what wins, what the log says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from toys import PROMPTER, ids_of, toy_sample

from itool_cli.choose import Choice, choose, open_validation
from itool_cli.loaded import Loaded
from itool_data.errors import ItoolError
from itool_data.policy.base import PolicyId
from itool_data.policy.load import Adapter, find_adapter, find_model, policy_id
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.run import Run, standing, write_run
from itool_data.sample import Sample
from itool_data.store.samples import sample_row
from itool_data.store.sql import query
from itool_data.workers.pool import Desk, LocalPool

QUESTIONS = "abcdefgh"
Right = dict[int, str]  # the questions that each candidate answers, by update; 0: the start


class Named(ScriptedPolicy):
    """A scripted policy under the name of a model with an adapter."""

    def __init__(self, name: PolicyId, right: str, samples: list[Sample]):
        answers = [s.target if s.messages[0].content in right else "[g()]" for s in samples]
        prompts = [tuple(PROMPTER.prompt_ids(s)) for s in samples]
        super().__init__({prompt: {ids_of(a): 1.0} for prompt, a in zip(prompts, answers, strict=True)})
        self.name = name

    @property
    def policy_id(self) -> PolicyId:
        return self.name


class Scripted:
    """Loads a scripted policy for each adapter, and remembers for which."""

    def __init__(self, right: dict[str, str], samples: list[Sample]):
        self.loaded: list[str] = []
        self._right = right
        self._samples = samples

    def load(self, run: Run, adapter: Adapter | None) -> Loaded:
        name = adapter.path.name if adapter else "base"
        self.loaded.append(name)
        policy = Named(policy_id(find_model(run.config.model), adapter), self._right[name], self._samples)
        return Loaded(adapter, LocalPool(Desk(policy, PROMPTER)), PROMPTER)


def fake(folder: Path, name: str) -> Path:
    """Files that pass for a model or an adapter of it."""
    (folder / name).mkdir(parents=True)
    for file in ("config.json", "adapter_config.json"):
        (folder / name / file).write_text('{"base_model_name_or_path": "model"}')
    for file in ("model.safetensors", "adapter_model.safetensors"):
        (folder / name / file).write_text(name)
    return folder / name


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A run of eight validation samples and one to train on, with adapters that are only names."""
    for name in ("start", "4", "8"):
        fake(tmp_path / "run" / "adapters", name)
    model = fake(tmp_path, "model")
    with write_run(tmp_path / "run", None, [f"model.name={model}", "validation.items=8"]) as opened:
        rows = [sample_row(toy_sample(question=q)) | {"split": "validation"} for q in QUESTIONS]
        opened.store.commit("import", {"samples": [*rows, sample_row(toy_sample(question="trained on"))]})
        yield opened


def chosen(run: Run, right: Right, last_of_equals: bool = False) -> tuple[Choice, list[str]]:
    """The choice among what is left after updates 4 and 8, and which policies were loaded for it."""
    benchmark = open_validation(run)
    assert benchmark
    start = None if last_of_equals else find_adapter(run.folder / "adapters" / "start", find_model(run.config.model))
    names = {0: "start" if start else "base", 4: "4", 8: "8"}
    policies = Scripted({names[update]: questions for update, questions in right.items()}, list(benchmark.samples))
    candidates = {update: run.folder / "adapters" / names[update] for update in (4, 8)}
    choice = choose(Console(quiet=True), run, policies, benchmark, start, candidates, last_of_equals)  # type: ignore[arg-type]
    return choice, policies.loaded


@pytest.mark.parametrize(
    ("right", "kept", "update", "verdict"),
    [
        ({0: "ab", 4: "ab", 8: "bcd"}, True, 8, "2 fixed, 1 broken: kept"),
        ({0: "ab", 4: "bcd", 8: "abc"}, True, 4, "2 fixed, 1 broken: kept"),
        ({0: "abc", 4: "ade", 8: "e"}, False, 4, "2 fixed, 2 broken: not kept"),
        ({0: "abc", 4: "", 8: "de"}, False, 8, "2 fixed, 3 broken: not kept"),
        ({0: "", 4: "", 8: ""}, False, 4, "0 fixed, 0 broken: not kept"),
    ],
    ids=["the best", "the earlier of equals", "not better", "worse", "nothing right"],
)
def test_a_round_is_kept_if_it_gets_more_right_than_its_start(
    run: Run, right: Right, kept: bool, update: int, verdict: str
) -> None:
    choice, loaded = chosen(run, right)
    assert (choice.kept, choice.update, choice.info["verdict"]) == (kept, update, verdict)
    assert loaded == ["start", "4", "8"] and choice.adapter.name == str(update)
    assert choice.info["adapter" if kept else "refused"] == f"adapters/{update}"
    assert ("adapter" in choice.info, "refused" in choice.info) == (kept, not kept)
    counts = [(c["update"], c["right"]) for c in choice.info["candidates"]]  # type: ignore[attr-defined]
    assert counts == [(u, len(questions)) for u, questions in right.items()]


@pytest.mark.parametrize(
    ("right", "kept", "update"),
    [
        ({0: "", 4: "", 8: ""}, True, 8),
        ({0: "a", 4: "b", 8: "c"}, True, 8),
        ({0: "a", 4: "bc", 8: "c"}, True, 4),
        ({0: "ab", 4: "b", 8: "c"}, False, 8),
    ],
)
def test_of_equals_a_warm_up_s_last_is_kept_but_no_training_is_better_than_harm(
    run: Run, right: Right, kept: bool, update: int
) -> None:
    choice, loaded = chosen(run, right, last_of_equals=True)
    assert (choice.kept, choice.update) == (kept, update)
    assert loaded == ["base", "4", "8"]


def test_who_has_answered_is_neither_loaded_nor_asked_again(run: Run) -> None:
    first, _ = chosen(run, {0: "ab", 4: "abc", 8: "a"})
    rows = query(run.store, "SELECT * FROM predictions").num_rows
    again, loaded = chosen(run, {0: "", 4: "", 8: ""})
    assert again == first and loaded == [] and query(run.store, "SELECT * FROM predictions").num_rows == rows == 24


def test_bad_input(run: Run) -> None:
    run.store.commit("import", {"samples": [sample_row(toy_sample("[f(a=7)]", "c"))]})
    with pytest.raises(ItoolError, match="1 of 8 validation samples ask what a training sample asks, the first: toy c"):
        open_validation(run)
    with write_run(run.folder.parent / "none", None, ["validation.items=3"]) as other:
        other.store.commit("import", {"samples": [sample_row(toy_sample())]})
        with pytest.raises(ItoolError, match=r"none: validation.items is 3, but no sample is set aside .*bfcl:0.1"):
            open_validation(other)


def test_a_round_starts_from_what_a_refused_one_started_from(run: Run) -> None:
    def commit(round_: int, **info: str) -> None:
        run.store.commit("preference" if round_ else "warmup", {}, round=round_, **info)

    def starts() -> list[str | None]:
        found = [standing(run.store.log(), round_) for round_ in (1, 2, 3, None)]
        return [c.info["adapter"] if c else None for c in found]

    commit(0, adapter="warm")
    commit(1, refused="x")
    assert starts() == ["warm"] * 4 and run.trained("preference", 1) == run.store.log()[-1]
    commit(2, adapter="two")
    assert starts() == ["warm", "warm", "two", "two"]
    commit(1, adapter="one")  # done again, and so are those after it
    assert starts()[:2] == ["warm", "one"]
    commit(2, refused="y")
    assert starts() == ["warm", "one", "one", "one"]
    commit(0, refused="z")
    assert starts() == [None] * 4
