"""Training on fragments: spans, weights and right steps alone, against one plain sequence a step and plain formulas."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes import Itool, one_line
from pair_run import END, finish, make_run, pair_rows
from tiny_lora import gradients, tiny_lora
from toys import PROMPTER, ids_of, toy_sample

from bench.toy_loop import tiny_model
from itool_data.config import PreferenceSettings
from itool_data.policy.load import find_model
from itool_data.run import open_run, write_run
from itool_data.store.samples import sample_row
from itool_train import preference
from itool_train.collate import pair_batches, step_logprobs
from itool_train.lessons import closing, doubted, pairs_of, right_steps, whole
from itool_train.losses import StepLogprobs, hyperparameters
from itool_train.objective import contributions, totals
from itool_train.step_pairs import StepPair, ordered_updates
from itool_train.tree_attention import TreeLayout
from itool_train.tree_batch import tree_batches

TOKEN = st.integers(3, 12)  # few, so that steps share beginnings
STEP = st.lists(TOKEN, min_size=1, max_size=5).map(tuple)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_lora(tiny_model(tmp_path_factory.mktemp("model")))


@st.composite
def lessons(draw) -> list[StepPair]:
    """Pairs with spans and weights along a right response, and right steps alone, of one or two samples."""
    found = []
    for sample in range(draw(st.integers(1, 2))):
        prompt = tuple(draw(st.lists(TOKEN, min_size=1, max_size=8)))
        for number in range(draw(st.integers(1, 4))):
            right = draw(STEP)
            name = f"{sample}/{number}"
            first = draw(st.integers(0, len(right) - 1))
            if draw(st.booleans()):
                found.append(StepPair(f"{name}/right", str(sample), prompt, right, (), first))
            if draw(st.booleans()):
                rejected = draw(STEP.filter(lambda step, right=right: step != right))
                begin = draw(st.integers(0, len(rejected) - 1))
                span = draw(st.sampled_from([None, (begin, draw(st.integers(begin + 1, len(rejected))))]))
                weight = draw(st.sampled_from([1.0, 0.25, 1.5]))
                found.append(StepPair(name, str(sample), prompt, right, rejected, first, span, weight))
            prompt += right
    return found


# --- against one plain sequence a step ----------------------------------------------------------------------------


def span_logprob(model: Any, prompt: tuple[int, ...], step: tuple[int, ...], span: tuple[int, int]) -> Any:
    """The log-probability of a step's tokens in a span, from the whole sequence."""
    logprobs = model(input_ids=torch.tensor([[*prompt, *step]])).logits.float().log_softmax(-1)[0]
    return sum(logprobs[len(prompt) + i - 1, step[i]] for i in range(*span))


def reference_of(item: StepPair) -> tuple[float, float]:
    """What some other policy says: any numbers, fixed for an item."""
    return -1.5 * len(item.chosen), -0.7 * len(item.rejected)


def plain_loss(model: Any, preferences: PreferenceSettings, items: list[StepPair]) -> Any:
    """The update's loss by its formulas, a sequence a step."""
    own = hyperparameters(preferences)
    pairs = [item for item in items if item.rejected]
    alone = [item for item in items if not item.rejected]
    total: Any = torch.zeros(())
    for item in pairs:
        (a, b), (c, d) = (item.chosen_from, len(item.chosen)), item.rejected_span or (0, len(item.rejected))
        w = span_logprob(model, item.prompt, item.chosen, (a, b))
        l = span_logprob(model, item.prompt, item.rejected, (c, d))  # noqa: E741
        w_reference, l_reference = reference_of(item)
        log_ratios = (w - w_reference) - (l - l_reference)
        w_mean, l_mean = w / (b - a), l / (d - c)
        if preferences.loss == "simpo":
            loss = -torch.log(torch.sigmoid(own["beta"] * (w_mean - l_mean) - own["gamma"]))
        elif preferences.loss == "dpo":
            loss = -torch.log(torch.sigmoid(own["beta"] * log_ratios))
        elif preferences.loss == "ipo":
            loss = (log_ratios - 1 / (2 * own["tau"])) ** 2
        else:
            odds = torch.exp(w_mean) / (1 - torch.exp(w_mean)) / (torch.exp(l_mean) / (1 - torch.exp(l_mean)))
            loss = -w_mean - own["lam"] * torch.log(odds / (1 + odds))
        total = total + item.weight * loss / len(pairs)
    share = 1.0 if preferences.loss == "nll" else preferences.anchor
    tokens = sum(len(item.chosen) - item.chosen_from for item in alone)
    for item in alone:
        span = (item.chosen_from, len(item.chosen))
        total = total - share * span_logprob(model, item.prompt, item.chosen, span) / tokens
    return total


OBJECTIVES = [
    PreferenceSettings(loss="simpo", anchor=0.5, anchor_on="doubted"),
    PreferenceSettings(loss="dpo", anchor=0.3, anchor_on="response"),
    PreferenceSettings(loss="ipo", tau=0.5, anchor=2.0, anchor_on="doubted"),
    PreferenceSettings(loss="orpo", anchor=0.5, anchor_on="doubted"),
    PreferenceSettings(loss="nll"),
]


@pytest.mark.parametrize("preferences", OBJECTIVES, ids=lambda s: s.loss)
@settings(max_examples=12, deadline=None)
@given(items=lessons().filter(bool), max_tokens=st.sampled_from([1, 30, 1000]))
def test_losses_and_gradients_are_those_of_one_sequence_a_step(model, preferences, items, max_tokens):
    if preferences.loss == "nll":
        items = [item for item in items if not item.rejected]
    if not items:
        return
    model.zero_grad()
    expected = plain_loss(model, preferences, items)
    expected.backward()
    gradient = gradients(model)
    for lay_out in (tree_batches, pair_batches):
        model.zero_grad()
        loss, done = 0.0, 0
        for batch in lay_out(items, max_tokens):
            of_batch = items[done : done + batch.n_pairs]
            done += batch.n_pairs
            policy = step_logprobs(model, batch)
            known = torch.tensor([reference_of(item) for item in of_batch])
            reference = policy._replace(chosen=known[:, 0], rejected=known[:, 1])
            losses, _ = contributions(
                preferences, hyperparameters(preferences), of_batch, policy, reference, totals(items)
            )
            losses.sum().backward()
            loss += losses.sum().item()
        assert done == len(items)
        assert loss == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)
        assert (gradients(model) - gradient).abs().max() <= 1e-5 * max(1.0, float(gradient.abs().max()))


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_on_whole_responses_nll_is_cross_entropy(model, data):
    pairs = data.draw(st.lists(st.tuples(STEP, STEP), min_size=1, max_size=3))
    items = [StepPair(f"{i}", f"{i}", prompt, response, ()) for i, (prompt, response) in enumerate(pairs)]
    logits, labels = [], []
    for prompt, response in pairs:
        out = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0]
        logits.append(out[len(prompt) - 1 : -1])
        labels += response
    expected = torch.nn.functional.cross_entropy(torch.cat(logits), torch.tensor(labels))
    (batch,) = pair_batches(items, 1000)
    preferences = PreferenceSettings(loss="nll", anchor_on="response")
    losses, _ = contributions(preferences, {}, items, step_logprobs(model, batch), None, totals(items))
    assert losses.sum().item() == pytest.approx(expected.item(), abs=1e-5)


# --- what an update's loss is made of -----------------------------------------------------------------------------


@given(items=lessons(), data=st.data())
def test_a_loss_is_the_sum_of_its_batches_however_it_is_divided(items, data):
    preferences = data.draw(st.sampled_from(OBJECTIVES[:4]))
    own, of = hyperparameters(preferences), totals(items)
    values = [data.draw(st.tuples(*[st.floats(-9, -0.1)] * 4)) for _ in items]

    def parts(some: list[int]) -> tuple[list[float], Any]:
        chosen = [items[i] for i in some]
        numbers = torch.tensor([values[i] for i in some], dtype=torch.float32).reshape(-1, 4)
        lengths = [[after - first for first, after in item.spans] for item in chosen]
        n_chosen, n_rejected = torch.tensor(lengths).reshape(-1, 2).unbind(1)
        paired = torch.tensor([bool(item.rejected) for item in chosen])
        policy = StepLogprobs(numbers[:, 0], numbers[:, 1] * paired, n_chosen, n_rejected)
        reference = StepLogprobs(numbers[:, 2], numbers[:, 3] * paired, n_chosen, n_rejected)
        losses, sums = contributions(preferences, own, chosen, policy, reference, of)
        return losses.tolist(), sums

    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(items) - 1)), max_size=3))) if len(items) > 1 else []
    bounds = [0, *cuts, len(items)]
    if not items:
        return
    together, sums = parts(list(range(len(items))))
    divided = [parts(list(range(a, b))) for a, b in pairwise(bounds)]
    assert [v for losses, _ in divided for v in losses] == pytest.approx(together, rel=1e-5, abs=1e-6)
    assert sum(s for _, s in divided).tolist() == pytest.approx(sums.tolist(), rel=1e-5, abs=1e-5)
    assert sums.tolist()[0] == pytest.approx(sum(together), rel=1e-5, abs=1e-5)
    assert sums.tolist()[-2:] == [of.pairs, len(items)]


def test_an_update_by_hand():
    """SimPO at equal means is log 2; two pairs of weights 0.5 and 1.5, a right step of two tokens at -3 together."""
    pairs = [StepPair(n, "s", (1,), (2, 3), (4,), 0, None, w) for n, w in (("a", 0.5), ("b", 1.5))]
    items = [*pairs, StepPair("r", "s", (1,), (2, 3, 4), (), chosen_from=1)]
    policy = StepLogprobs(*(torch.tensor(v) for v in ([-4.0, -4.0, -3.0], [-2.0, -2.0, 0.0], [2, 2, 2], [1, 1, 0])))
    preferences = PreferenceSettings(loss="simpo", gamma=0.0, anchor=0.5, anchor_on="doubted")
    of = totals(items)
    assert (of.pairs, of.tokens) == (2, 2)
    losses, sums = contributions(preferences, hyperparameters(preferences), items, policy, None, of)
    assert losses.tolist() == pytest.approx([0.5 * math.log(2) / 2, 1.5 * math.log(2) / 2, 0.5 * 3 / 2])
    # Loss, chosen and rejected a token, margin, above 0, pairs, steps.
    assert sums.tolist() == pytest.approx([math.log(2) + 0.75, -5.5, -4, 0, 0, 2, 3])


def test_right_steps_alone_make_no_more_updates():
    pairs = [StepPair(f"s{s}/{i}", f"s{s}", (1,), (2,), (3,)) for s in range(8) for i in range(2)]
    alone = [StepPair(f"s{s}/right-{i}", f"s{s}", (1,), (2,), ()) for s in range(8) for i in range(5)]
    updates = ordered_updates(pairs + alone, 4, 1, 42)
    assert len(updates) == 4
    assert sorted(p.pair_id for u in updates for p in u) == sorted(p.pair_id for p in pairs + alone)
    assert len(ordered_updates(alone, 4, 1, 42)) == 8  # of eight samples


# --- a walk's pairs are one sequence ------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    prompt=st.lists(TOKEN, min_size=1, max_size=8),
    steps=st.lists(st.tuples(STEP, st.integers(0, 4), st.booleans()), min_size=1, max_size=5),
)
def test_pairs_of_one_walk_with_one_wrong_token_each_are_one_plain_sequence(prompt, steps):
    before, pairs, end = tuple(prompt), [], len(prompt)
    for number, (right, at, paired) in enumerate(steps):
        parts_at = min(at, len(right) - 1)
        if paired:
            wrong = (*right[:parts_at], right[parts_at] + 50, 99)
            span = (parts_at, parts_at + 1)
            pairs.append(StepPair(str(number), "s", before, right, wrong, parts_at, span))
            end = len(before) + len(right) - 1
        before += right
    batches = tree_batches(pairs, 1000)
    assert [(TreeLayout(b.ends).trunk, b.input_ids.shape[1]) for b in batches] == ([(end, end)] if pairs else [])


# --- from the store's rows ----------------------------------------------------------------------------------------


def test_spans_and_weights_come_from_the_rows(tmp_path):
    row = {"pair_id": "p", "sample_id": "s", "prompt_ids": [1], "proved": True}
    rows = [
        # The right step is a beginning of the wrong one: its last token stands for it.
        row | {"chosen_ids": [5, 6], "rejected_ids": [5, 6, 7, 8], "parts_at": 2, "fault_first": 2, "fault_last": 2,
               "rejected_logprob": math.log(0.2)},
        row | {"chosen_ids": [5, 6], "rejected_ids": [5, 7, 8, 9], "parts_at": 1, "fault_first": 2, "fault_last": 3,
               "rejected_logprob": math.log(0.6)},
    ]  # fmt: skip
    with write_run(tmp_path, None, ["preference.span=fragment", "preference.weighted=true"]) as run:
        found = pairs_of(run, rows)
    assert [pair.spans for pair in found] == [((1, 2), (2, 3)), ((1, 2), (2, 4))]
    assert [pair.weight for pair in found] == pytest.approx([0.5, 1.5])  # their mean is 1
    with write_run(tmp_path / "plain", None, []) as run:
        assert [(p.spans, p.weight) for p in pairs_of(run, rows)] == [(((0, 2), (0, 4)), 1.0)] * 2


def test_pairs_that_are_not_proved_have_no_fragments(itool: Itool, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [], "preference.span=fragment")
    with write_run(folder, None, []) as run:
        base = find_model(run.config.model)
        rows = pair_rows(f"{base.name}@{base.revision}")
        proved = {"proved": True, "parts_at": 0, "fault_first": 0, "fault_last": 0}
        rows = [rows[0] | proved, *(row | {"proved": False} for row in rows[1:])]
        run.store.commit("mine", {"pairs": rows}, round=1)
    one_line(
        itool("train", "preference", "--run", folder), "preference.span is fragment",
        f"but {len(rows) - 1} of {len(rows)} pairs are not proved", "or pairs.proved to true (--force)",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "closes"), [("a='x')]", "')]"), ("]", "]"), (" b=[1, 2])]", "])]"), ("a=1)]\n", ")]\n"), ("Bye.", "")]
)
def test_what_closes_a_response(text, closes):
    ids = ids_of(text)
    assert PROMPTER.decode(ids[closing(ids, PROMPTER.decode) :]) == closes


def steps_of(*steps: tuple[str, float]) -> list[dict[str, Any]]:
    """Rows of `fragments` of one response, which ends with the last step."""
    return [
        {"number": n, "step_ids": ids_of(text, end=n == len(steps) - 1), "probability": p, "kind": "argument"}
        for n, (text, p) in enumerate(steps)
    ]


def test_right_steps_are_the_doubted_ones_and_the_end_or_the_whole_response():
    steps = steps_of(("[f(", 0.5), ("a=1,", 0.9), (" b='x')]", 0.99))
    prompt = (7, 8)
    first, end = doubted("t", "s", prompt, steps, 0.9, PROMPTER.decode)  # exactly the bound is no doubt
    assert (first.pair_id, first.prompt, first.chosen, first.spans[0]) == (
        "t/right-000",
        prompt,
        ids_of("[f(", False),
        (0, 3),
    )
    assert (end.sample_id, end.prompt) == ("s", prompt + ids_of("[f(a=1,", end=False))
    assert end.chosen[end.chosen_from :] == ids_of("')]") and not end.rejected
    # A doubted end is learnt as a whole.
    (*_, end) = doubted("t", "s", prompt, steps_of(("[f(", 0.99), ("a=1)]", 0.2)), 0.9, PROMPTER.decode)
    assert end.chosen_from == 0
    # Prose is doubted where draws were wrong, not where gold's own wording is improbable.
    said = steps_of(("It is late.", 0.2))[0] | {"kind": "prose"}
    for tree_id, start in ((None, len("It is late.")), ("t", 0)):
        (end,) = doubted("t", "s", prompt, [said | {"tree_id": tree_id}], 0.9, PROMPTER.decode)
        assert end.chosen_from == start
    (response,) = whole("t", "s", prompt, steps, 0.9, PROMPTER.decode)
    assert (response.prompt, response.chosen, response.spans[0]) == (prompt, ids_of("[f(a=1, b='x')]"), (0, 16))


def test_where_samples_were_walked_along_theirs_alone_are_learnt(tmp_path):
    walked, passed = toy_sample(), toy_sample(question="passed")

    def rows(sample: str, tree: str | None, text: str) -> list[dict[str, Any]]:
        row = {"sample_id": sample, "round": 1, "policy": "p", "tree_id": tree, "kind": "name", "logprob": 0.0}
        return [row | step for step in steps_of((text[:3], 0.5), (text[3:], 0.99))]

    def learnt(run: Any) -> list[tuple[str, str]]:
        return sorted((p.sample_id, PROMPTER.decode(p.chosen)) for p in right_steps(run, "p", 1, PROMPTER))

    with write_run(tmp_path, None, ["preference.loss=nll", "preference.anchor_on=response"]) as run:
        run.store.commit("import", {"samples": [sample_row(walked), sample_row(passed)]})
        both = [row for s in (walked, passed) for row in rows(s.sample_id, None, "[f(a=1)]")]
        run.store.commit("perplexity", {"fragments": both})
        of_gold = [(s.sample_id, "[f(a=1)]") for s in (walked, passed)]
        assert learnt(run) == sorted(of_gold)
        run.store.commit("mine", {"fragments": rows(walked.sample_id, "t", "[f(a=3)]")})
        assert learnt(run) == [(walked.sample_id, "[f(a=3)]")]
        # Walked along again under other settings: two responses, not one of both.
        run.store.commit("mine", {"fragments": rows(walked.sample_id, "u", "[f(a=4)]")})
        assert learnt(run) == [(walked.sample_id, "[f(a=3)]"), (walked.sample_id, "[f(a=4)]")]
        assert len({p.pair_id for p in right_steps(run, "p", 1, PROMPTER)}) == 2
    # Losses on pairs alone ask for none.
    with write_run(tmp_path, None, ["preference.loss=simpo"], force=True) as run:
        assert learnt(run) == []


# --- a training, with right steps beside the pairs --------------------------------------------------------------------


def make_lessons(folder: Path, *settings: str) -> Path:
    """A run with proved pairs of one wrong token each, and the right responses that they lie on."""
    folder = make_run(folder, [], "preference.validation=0", *settings)
    with write_run(folder, None, []) as run:
        base = find_model(run.config.model)
        policy = f"{base.name}@{base.revision}"
        samples = [toy_sample(question=f"t{n} t{n + 1}") for n in range(20, 32)]
        pairs, fragments = [], []
        for n, sample in enumerate(samples):
            wrong = {"proved": True, "parts_at": 1, "fault_first": 1, "fault_last": 1, "rejected_logprob": -1.0}
            prompt = pair_prompt(run, sample)
            for number, right in enumerate(([40, 41 + n], [60 + n, END])):
                at = {"sample_id": sample.sample_id, "round": 1, "policy": policy}
                step = {"step_ids": right, "probability": 0.5, "tree_id": f"t{n}", "number": number}
                fragments.append(at | step)
                rejected = [right[0], 90]
                texts = [" ".join(f"t{i}" for i in ids if i != END) for ids in (right, rejected)]
                pairs.append(at | wrong | {
                    "pair_id": f"t{n}/{number}", "prompt_ids": prompt, "chosen_ids": right, "rejected_ids": rejected,
                    "chosen_text": texts[0], "rejected_text": texts[1],
                })  # fmt: skip
                prompt = [*prompt, *right]
        rows = {"samples": [sample_row(s) for s in samples], "pairs": pairs, "fragments": fragments}
        run.store.commit("mine", rows, round=1)
    return folder


def pair_prompt(run: Any, sample: Any) -> list[int]:
    from itool_data.policy.open import open_prompter

    return open_prompter(run.config.model, find_model(run.config.model)).prompt_ids(sample)


@pytest.mark.parametrize("loss", ["simpo", "dpo", "ipo", "nll"])
def test_a_round_on_fragments_learns(tmp_path, loss):
    held = ["preference.anchor=0.5", "preference.anchor_on=doubted", "preference.weighted=true"]
    spans = ["preference.span=fragment", f"preference.loss={loss}", "preference.collapse=0"]
    folder = make_lessons(tmp_path / "run", *spans, *([] if loss == "nll" else held))
    with write_run(folder, None, []) as run:
        base = find_model(run.config.model)
        prepared = preference.prepare(run, base, 1)
        assert {bool(p.rejected) for u in prepared.updates for p in u} == ({False} if loss == "nll" else {True, False})
        trained = preference.train(run, base, prepared, lambda progress: None, print)
        assert trained is not None
        finish(run, base, prepared, trained)
    updates = [row for row in trained.rows if row["split"] == "train"]
    assert updates[-1]["loss"] < updates[0]["loss"]
    assert updates[0]["pairs"] == sum(bool(p.rejected) for p in prepared.updates[0])
    assert all((row[name] is None) == (loss == "nll") for row in updates for name in ("accuracy", "rejected_logprob"))
    assert open_run(folder).adapter(base) is not None
