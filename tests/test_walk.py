"""The walk on responses small enough to write down: the test plays the policy, draw by draw and score by score."""

import math
from collections import deque
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import END, PROMPTER, CharTokenizer, ids_of, toy_sample

from itool_data import choosing, hardness, mining
from itool_data.config import Config, WalkSettings
from itool_data.match import response_error
from itool_data.policy.base import Completion, Draw, FinishReason, Request, derive_seed
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.prompt import Prompter
from itool_data.run import write_run
from itool_data.sample import AcceptedCall, Sample
from itool_data.search.miner import Miner, tree_rows
from itool_data.search.task import Grown, Score, Task
from itool_data.search.walk import walk
from itool_data.steps import step_ends
from itool_data.store.samples import sample_row
from itool_data.store.sql import query
from itool_data.workers.pool import Desk, LocalPool

CLOSED = chr(0xE000)  # what stands for `)]` in one token


class Merging(CharTokenizer):
    """One token a character, but for `)]`, which is one."""

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return super().__call__(text.replace(")]", CLOSED))

    def decode(self, ids, **_: object) -> str:
        return super().decode(ids).replace(CLOSED, ")]")


MERGING = Prompter(Merging())


def f_of(a: list[object], b: list[object], target: str) -> Sample:
    """One call of f whose b may be left out."""
    return replace(toy_sample(target), accepted=(AcceptedCall("f", {"a": a, "b": b}, frozenset({"b"})),))


def task(sample: Sample, *probabilities: float, prompter: Prompter = PROMPTER) -> Task:
    """With the probabilities of the gold response's steps, where they are known."""
    prompt, gold = (tuple(ids) for ids in (prompter.prompt_ids(sample), prompter.response_ids(sample.target)))
    return Task("t", sample, prompt, 42, 1, gold, tuple(map(math.log, probabilities)))


def draw(text: str, probability: float, finish: FinishReason = "step", prompter: Prompter = PROMPTER) -> Draw:
    """A continuation whose probability sits on its first token; `stop` ends it with the end-of-turn."""
    ids = (*prompter.text_ids(text), *([END] if finish == "stop" else []))
    return Draw(ids, (math.log(probability),) + (0.0,) * (len(ids) - 1), finish)


def play(
    task: Task, script: dict[str, object], prompter: Prompter = PROMPTER, **settings: object
) -> tuple[Grown, list]:
    """Walk; draws are answered from the script by the response so far, scores by its beginning and the continuation.

    A score in the script is the probability of the continuation's first token, the others' is 1. Returns what was
    found, and what was asked in turn: the response so far, with what was to be scored after `|`.
    """
    growth = walk(task, WalkSettings(**settings), prompter)
    asked, answer = [], None
    while True:
        try:
            wanted = growth.send(answer)
        except StopIteration as done:
            return done.value, asked
        said = prompter.decode(wanted.prompt[len(task.prompt) :])
        if isinstance(wanted, Score):
            asked.append(f"{said}|{prompter.decode(wanted.continuation)}")
            answer = [math.log(script[asked[-1]])] + [0.0] * (len(wanted.continuation) - 1)
        else:
            asked.append(said)
            answer = Completion(wanted.request_id, tuple(script[said]), 0, 0)


def texts(grown: Grown, prompter: Prompter = PROMPTER) -> list[tuple[str, str]]:
    return [(prompter.decode(p.chosen.step), prompter.decode(p.rejected.step)) for p in grown.found.pairs]


def response(grown: Grown) -> str:
    return "".join(f.text for f in grown.fragments)


TWO = toy_sample("[f(a=1, b=2)]")
ENDS = draw("]", 0.99, "stop")


def test_only_what_is_doubted_is_drawn_and_the_response_s_end():
    script = {"[f(": [draw("a=1,", 0.5)] * 4, "[f(a=1, b=2)": [ENDS] * 4, "[f(a=1, b=2)|,": 0.01}
    # A step of exactly the bound is not doubted.
    known = task(TWO, 0.95, 0.5, 0.9, 0.99)
    assert play(known, script, doubt=0.9)[1] == ["[f(", "[f(a=1, b=2)", "[f(a=1, b=2)|,"]
    assert play(known, script, doubt=0.9, ends=False)[1] == ["[f("]
    assert play(known, script, doubt=0.5, ends=False)[1] == []


def test_what_is_not_known_of_the_gold_response_is_scored_first():
    script = {"|[f(a=1, b=2)]": 0.3, "": [draw("[f(", 0.3)] * 4}
    grown, asked = play(task(TWO), script, ends=False)
    assert asked == ["|[f(a=1, b=2)]", ""]
    assert [f.probability for f in grown.fragments] == pytest.approx([0.3, 1, 1, 1])


def test_draws_carry_the_prefix_and_seeds_made_of_run_round_sample_state_and_draw():
    growth = walk(task(TWO, 1, 0.5, 1, 1), WalkSettings(width=3, temperature=0.7, max_step_tokens=9), PROMPTER)
    request = next(growth)
    assert isinstance(request, Request) and request.until is not None
    assert request.prompt == (*task(TWO).prompt, *ids_of("[f(", end=False))
    assert (request.max_tokens, request.temperature, request.group) == (9, 0.7, "t")
    assert request.seeds == [derive_seed(42, 1, TWO.sample_id, "0", n) for n in range(3)]
    # It ends with the step after the prefix.
    assert not request.until(ids_of("a=1", end=False)) and request.until(ids_of("a=1,", end=False))


DRAWN = [draw("a=2,", 0.2), draw("a=1,", 0.5), draw("c=1, b=2)", 0.1), draw("a=2,", 0.2)]


def test_the_pair_is_the_right_step_against_the_most_probable_wrong_one():
    grown, _ = play(task(TWO, 0.95, 0.5, 0.95, 0.95), {"[f(": DRAWN}, ends=False)
    assert texts(grown) == [("a=1,", "a=2,")]
    doubted = grown.fragments[1]
    assert (doubted.prefix, doubted.text, doubted.draws, doubted.right_draws) == ("[f(", "a=1,", 4, 1)
    assert (doubted.wrong, doubted.error) == ("a=2,", "Parameter Value")
    assert (doubted.probability, doubted.wrong_probability) == (pytest.approx(0.5), pytest.approx(0.2))
    # What was drawn beyond a step is cut off: `c=1,`. Visits are draws, priors the shares of 0.5 + 0.2 + 0.1.
    children = grown.root.children[0].children
    assert [(PROMPTER.decode(c.step), c.visits, c.action_value) for c in children] == [
        ("a=1,", 1, 1),
        ("a=2,", 2, -1),
        ("c=1,", 1, -1),
    ]
    assert [c.prior for c in children] == pytest.approx([5 / 8, 2 / 8, 1 / 8])
    # The others were passed: gold's alone, no draw.
    assert [f.draws for f in grown.fragments] == [0, 4, 0, 0]
    assert [f.wrong for f in grown.fragments] == [None, "a=2,", None, None]


def test_further_wrong_steps_of_a_state_are_further_pairs():
    for most, expected in ((1, ["a=2,"]), (2, ["a=2,", "c=1,"]), (3, ["a=2,", "c=1,"])):
        grown, _ = play(task(TWO, 0.95, 0.5, 0.95, 0.95), {"[f(": DRAWN}, ends=False, wrong=most)
        assert texts(grown) == [("a=1,", rejected) for rejected in expected]
        assert [pair.rank for pair in grown.found.pairs] == list(range(len(expected)))


def test_the_walk_goes_on_along_the_policy_s_own_right_step():
    sample = f_of([1, 3], [2], "[f(a=1, b=2)]")
    script = {
        "[f(": [draw("a=3,", 0.6), draw("a=2,", 0.1)],
        "[f(a=3,| b=2)]": 0.4,
        "[f(a=3,": [draw(" b=2)", 0.4), draw(" b=5)", 0.3)],
    }
    grown, asked = play(task(sample, 0.95, 0.2, 0.95, 0.95), script, ends=False)
    assert asked == ["[f(", "[f(a=3,| b=2)]", "[f(a=3,"]
    assert response(grown) == "[f(a=3, b=2)]"
    assert texts(grown) == [("a=3,", "a=2,"), (" b=2)", " b=5)")]
    own = grown.fragments[1]
    # Gold's step is right as well: 0.6 + 0.2.
    assert (own.logprob, own.probability) == (pytest.approx(math.log(0.6)), pytest.approx(0.8))
    assert (own.draws, own.right_draws) == (2, 1)


def test_an_own_step_that_ends_the_response_early_ends_the_walk():
    sample = f_of([1], [2], "[f(a=1, b=2)]")
    drawn = [draw("a=1)]", 0.6, "stop", MERGING), draw("a=2)]", 0.2, "stop", MERGING)]
    grown, asked = play(task(sample, 0.95, 0.2, 0.95, prompter=MERGING), {"[f(": drawn}, MERGING)
    assert asked == ["[f("]  # nothing follows that could be scored
    assert response(grown) == "[f(a=1)]"
    assert texts(grown, MERGING) == [("a=1)]", "a=2)]")]
    assert grown.found.pairs[0].chosen.step[-1] == END and grown.found.pairs[0].chosen.terminal


def test_an_own_right_step_after_which_gold_cannot_follow_leaves_the_walk_on_gold():
    sample = f_of([1], [2], "[f(a=1)]")
    script = {"[f(": [draw("a=1,", 0.6), draw("a=2,", 0.3)]}
    grown, _ = play(task(sample, 0.95, 0.2, 0.95), script, ends=False)
    assert response(grown) == "[f(a=1)]"
    assert texts(grown) == [("a=1)", "a=2,")]
    assert grown.fragments[1].probability == pytest.approx(0.8)


def test_an_own_step_far_longer_than_gold_s_leaves_the_walk_on_gold():
    """The context has room for gold's response and one draw, and no more is sure."""
    sample = replace(toy_sample("[f(a='x')]"), accepted=(AcceptedCall("f", {"a": ["x"]}),))
    for blanks, expected in ((4, "[f(a='" + " " * 4 + "x')]"), (13, "[f(a='x')]")):
        own = "a='" + " " * blanks + "x')"
        script = {"[f(": [draw(own, 0.6)], f"[f({own}|]": 0.95}
        grown, _ = play(task(sample, 0.95, 0.2, 0.95), script, ends=False, max_step_tokens=12)
        assert response(grown) == expected


def test_where_no_draw_goes_on_going_on_is_set_against_the_end():
    script = {"[f(a=1, b=2)": [ENDS, ENDS], "[f(a=1, b=2)|,": 0.01}
    grown, _ = play(task(TWO, 1, 1, 1, 0.99), script)
    (pair,) = grown.found.pairs
    assert texts(grown) == [("]", ",")] and pair.chosen.step == ids_of("]")
    end = grown.fragments[-1]
    assert (end.wrong, end.error, end.draws, end.right_draws) == (",", "Tools Count", 2, 2)
    assert end.wrong_probability == pytest.approx(0.01)
    # A draw that goes on is the wrong step already.
    script = {"[f(a=1, b=2)": [ENDS, draw(", g(", 0.02)]}
    assert texts(play(task(TWO, 1, 1, 1, 0.99), script)[0]) == [("]", ", g(")]


def test_with_one_token_for_both_ends_going_on_promises_an_argument_too_many():
    script = {"[f(a=1,": [draw(" b=2)]", 0.9, "stop", MERGING)], "[f(a=1,| b=2,": 0.05}
    grown, _ = play(task(TWO, 1, 1, 0.9, prompter=MERGING), script, MERGING)
    assert texts(grown, MERGING) == [(" b=2)]", " b=2,")]
    assert grown.fragments[-1].error == "Parameter Count"
    # Where another argument may follow, going on is no fault.
    optional = f_of([1], [2], "[f(a=1)]")
    script = {"[f(": [draw("a=1)]", 0.9, "stop", MERGING)]}
    assert texts(play(task(optional, 1, 0.9, prompter=MERGING), script, MERGING)[0], MERGING) == []


def test_draws_that_are_not_finished_prove_nothing():
    script = {"[f(": [draw("a=222222", 0.4, "length"), draw("a=1", 0.1, "length")]}
    grown, _ = play(task(TWO, 0.95, 0.5, 0.95, 0.95), script, ends=False)
    assert texts(grown) == []
    doubted = grown.fragments[1]
    assert (doubted.draws, doubted.right_draws, doubted.wrong) == (2, 0, None)
    assert doubted.probability == pytest.approx(0.5)
    assert [c.action_value for c in grown.root.children[0].children] == [1, 0, 0]


def test_an_end_in_the_middle_is_a_wrong_step():
    grown, _ = play(task(TWO, 0.95, 0.5, 0.95, 0.95), {"[f(": [draw("", 0.3, "stop")]}, ends=False)
    (pair,) = grown.found.pairs
    assert pair.rejected.step == (END,) and pair.rejected.terminal
    assert grown.fragments[1].error == "Code Syntax"


def test_in_prose_gold_stays_chosen_and_any_call_is_wrong():
    sample = toy_sample("It is late. Bye.")
    script = {
        "": [draw("No idea. B", 0.5), draw("[f(", 0.2), draw("Hm.", 0.1, "stop"), draw("It is lo", 0.1, "length")],
        "It is late.": [draw(" So long.", 0.7, "stop")],
    }
    grown, asked = play(task(sample, 0.01, 0.02), script)
    assert asked == ["", "It is late."]  # the end is not drawn for its own sake
    assert texts(grown) == [("It is late.", "[f(")]
    assert response(grown) == "It is late. Bye."
    # Two of the three finished draws call nothing.
    assert [f.probability for f in grown.fragments] == [pytest.approx(2 / 3), 1.0]
    assert grown.fragments[0].error == "Tools Count"


# --- rows, from a policy with a table ---------------------------------------------------------------------------------

RIGHT = ["[f(a=1, b=2), f(a=3)]", "[f(b=2, a=1), f(a=3)]", "[f(a=3), f(a=1, b=2)]", "[f(a=4), f(a=1, b=2)]"]
RIGHT += ["[f(a=1, b=2), f(a=4)]", "[f(b=2, a=1), f(a=4)]", "[f(a=3), f(b=2, a=1)]", "[f(a=4), f(b=2, a=1)]"]
WRONG = ["[f(a=1, b=5), f(a=3)]", "[f(a=1, b=2), f(a=3), f(a=3)]", "[f(a=1, b=2)]", "[g(a=1)]", "[f(a=1, c=2)]", "No."]
CALLS = replace(
    toy_sample(RIGHT[0]), accepted=(AcceptedCall("f", {"a": [1], "b": [2]}), AcceptedCall("f", {"a": [3, 4]}))
)


def mined(weights: dict[str, float], config: Config, max_rows: int = 8) -> dict[str, list[dict[str, object]]]:
    """The rows of the walk's tree along `CALLS` under a policy that answers so."""
    prompt = tuple(PROMPTER.prompt_ids(CALLS))
    policy = ScriptedPolicy({prompt: {ids_of(text): weight for text, weight in weights.items()}}, max_rows)
    wanted = Task("t", CALLS, prompt, config.seed, 1, ids_of(CALLS.target))
    (tree,) = [t for step in Miner(policy, PROMPTER, config, None, "walk").run(deque([wanted])) for t in step]
    rows = tree_rows([tree], policy.policy_id, PROMPTER, config, "walk")
    for row in rows["trees"]:
        del row["seconds"]
    return rows


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.01, 1), min_size=len(RIGHT), max_size=len(RIGHT)),
    st.dictionaries(st.sampled_from(WRONG), st.floats(0.01, 2)),
    st.integers(0, 99), st.integers(1, 6), st.integers(1, 3), st.floats(0.05, 1), st.booleans(),
)  # fmt: skip
def test_pairs_are_proved_and_lie_on_one_right_response(right, wrong, seed, width, most, doubt, ends):
    weights = dict(zip(RIGHT, right, strict=True)) | wrong
    walk_settings = {"width": width, "wrong": most, "doubt": doubt, "ends": ends}
    config = Config.model_validate({"seed": seed, "walk": walk_settings, "reward": {"weight": 0}})
    rows = mined(weights, config)
    assert rows == mined(weights, config, max_rows=1)
    fragments, pairs = rows["fragments"], rows["pairs"]
    followed = "".join(f["step_text"] for f in fragments)
    assert response_error(followed, CALLS, "python") is None
    assert tuple(t for f in fragments for t in f["step_ids"]) == ids_of(followed)
    for number, fragment in enumerate(fragments):
        assert (fragment["number"], fragment["draws"]) in ((number, 0), (number, width))
        before = fragment["prefix_text"]
        # What the policy says from here, and how much of it goes on with a right step, by the table alone.
        begun = {text: weight for text, weight in weights.items() if text.startswith(before)}
        upto = {text: text[: next(end for end in step_ends(text) if end > len(before))] for text in begun}
        total = sum(begun.values())
        own = sum(w for text, w in begun.items() if upto[text] == before + fragment["step_text"]) / total
        at_most = sum(w for text, w in begun.items() if any(r.startswith(upto[text]) for r in RIGHT)) / total
        assert math.exp(fragment["logprob"]) == pytest.approx(own)
        assert own - 1e-9 <= fragment["probability"] <= at_most + 1e-9
    assert all(p["proved"] and p["state_right"] and p["chosen_right"] and not p["rejected_right"] for p in pairs)
    assert len({p["pair_id"] for p in pairs}) == len(pairs) == rows["trees"][0]["pairs"] == rows["trees"][0]["proved"]
    for pair in pairs:
        assert followed.startswith(pair["prefix_text"] + pair["chosen_text"])
        assert not any(r.startswith(pair["prefix_text"] + pair["rejected_text"]) for r in RIGHT)
        assert 0 <= pair["parts_at"] <= pair["fault_first"] <= pair["fault_last"] < len(pair["rejected_ids"])
        assert pair["chosen_ids"][: pair["parts_at"]] == pair["rejected_ids"][: pair["parts_at"]]
    doubted = [f for f in fragments if f["draws"]]
    assert sum(f["wrong_text"] is not None for f in doubted) == len({p["path"] for p in pairs})


def test_a_fragment_says_what_kind_of_decision_it_is():
    rows = mined(dict.fromkeys(RIGHT[:1], 1.0), Config.model_validate({"reward": {"weight": 0}}))
    assert [(f["kind"], f["function"], f["parameter"]) for f in rows["fragments"]] == [
        ("name", "f", None),
        ("argument", "f", "a"),
        ("argument", "f", "b"),
        ("name", "f", None),
        ("argument", "f", "a"),
        ("end", None, None),
    ]
    assert {f["tree_id"] for f in rows["fragments"]} == {"t"}


# --- gold that cannot be walked along ---------------------------------------------------------------------------------


class Lossy(CharTokenizer):
    """Reads capitals as small letters."""

    def decode(self, ids, **_: object) -> str:
        return super().decode(ids).lower()


def test_gold_that_is_not_right_or_does_not_come_back_is_set_aside_once_and_named(tmp_path):
    good, capital = toy_sample(question="good"), toy_sample("[f(a='X')]", "capital")
    other = replace(toy_sample("[f(a=2)]", "wrong"), accepted=(AcceptedCall("f", {"a": [1]}),))
    prompter = Prompter(Lossy())
    samples = [good, capital, other]
    policy = ScriptedPolicy({tuple(prompter.prompt_ids(s)): {ids_of(s.target): 1.0} for s in samples})
    for _ in range(2):
        with write_run(tmp_path, None, ["reward.weight=0", "replay.fraction=1", "replay.hardest=1"]) as run:
            if not run.store.log():
                run.store.commit("import", {"samples": [sample_row(s) for s in samples]})
            buffer = hardness.replay(run, policy, prompter, 1)
            hardness.measure(run, LocalPool(Desk(policy, prompter)), buffer, 1, lambda done, total: None)
            before = len(run.store.log())
            assert len(choosing.tasks(run, policy, prompter, buffer, 1, "walk", None, plan=True)) == 1
            assert len(run.store.log()) == before, "a plan fixes no settings"
            wanted = choosing.tasks(run, policy, prompter, buffer, 1, "walk", None)
            assert [t.sample for t in wanted] == [good]
            # Other searches need no right response.
            assert len(choosing.tasks(run, policy, prompter, buffer, 1, "mcts", None)) == 3
    rejects = query(run.store, "SELECT stage, file, field, reason FROM rejects ORDER BY file").to_pylist()
    assert [(r["stage"], r["file"], r["field"]) for r in rejects] == [
        ("mine", "capital", f"sample {capital.sample_id}"),
        ("mine", "wrong", f"sample {other.sample_id}"),
    ]
    assert rejects[0]["reason"] == "the tokenizer does not give the gold response back"
    assert rejects[1]["reason"] == "its own checker calls the gold response wrong at 'a=2)': Parameter Value"


def test_the_walk_takes_its_probabilities_from_the_perplexity_pass(tmp_path):
    sample = toy_sample()
    policy = ScriptedPolicy({tuple(PROMPTER.prompt_ids(sample)): {ids_of("[f(a=1)]"): 3.0, ids_of("[f(a=2)]"): 1.0}})
    with write_run(tmp_path, None, ["reward.weight=0"]) as run:
        run.store.commit("import", {"samples": [sample_row(sample)]})
        buffer = hardness.replay(run, policy, PROMPTER, 1)
        hardness.measure(run, LocalPool(Desk(policy, PROMPTER)), buffer, 1, lambda done, total: None)
        (wanted,) = choosing.tasks(run, policy, PROMPTER, buffer, 1, "walk", None)
        assert wanted.step_logprobs == pytest.approx([0, math.log(3 / 4), 0])
        scored = policy.usage.scored
        for _ in mining.mine(run, LocalPool(Desk(policy, PROMPTER)), [wanted], "walk"):
            pass
        # Gold was not scored again, only going on at the end.
        assert policy.usage.scored - scored == len(wanted.prompt) + len("[f(a=1),")
        sql = "SELECT number, probability, tree_id IS NULL AS passed FROM {} ORDER BY number, passed"
        seen = query(run.store, sql.format("fragments")).to_pylist()
        everything = query(run.store, sql.format("all_fragments")).to_pylist()
    # SQL sees what the walk knows where there was one.
    assert [row["passed"] for row in seen] == [False] * 3 and len(everything) == 6
    assert [row["probability"] for row in seen] == pytest.approx([1, 3 / 4, 1])
