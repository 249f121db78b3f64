"""The whole search on trees small enough to write down: the test plays the policy, draw by draw."""

import math
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import PROMPTER, ids_of, toy_sample

from itool_data.config import Config, MctsSettings, PairSettings, RewardSettings
from itool_data.policy.base import Completion, Draw, Request, derive_seed
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.search.mcts import best_of_n, mcts, sample_responses
from itool_data.search.miner import Miner, tree_rows
from itool_data.search.pairs import best_and_worst, extract_pairs, most_and_least_probable
from itool_data.search.task import Assess, Task, path_text
from itool_data.search.tree import action_value, state_value

PLAIN = RewardSettings(weight=0)


def task(target: str = "[f(a=1)]") -> Task:
    sample = toy_sample(target)
    return Task("t", sample, tuple(PROMPTER.prompt_ids(sample)), 42, 1)


def draw(text: str, logprob: float = -1.0, end: bool = True) -> Draw:
    """A continuation whose whole log-probability sits on its first token."""
    ids = ids_of(text, end)
    return Draw(ids, (logprob,) + (0.0,) * (len(ids) - 1), "stop" if end else "length")


def play(growth, script):
    """Answer a search's requests from {path: draws or C values}, in the order it asks; returns root and paths asked."""
    asked, answer = [], None
    while True:
        try:
            wanted = growth.send(answer)
        except StopIteration as done:
            return done.value, asked
        if isinstance(wanted, Assess):
            answer = [script["C"][text] for text in wanted.responses]
        else:
            path = wanted.request_id.partition("/")[2]
            asked.append(path)
            answer = Completion(wanted.request_id, tuple(script[path]), 0, 0)


def facts(node):
    return node.visits, pytest.approx(node.value), pytest.approx(node.action_value)


SCRIPT = {
    # Both draws begin with the step "[f(": one child, and one right and one wrong roll-out below it.
    "": [draw("[f(a=1)]"), draw("[f(a=2)]")],
    "0": [draw("a=1)]", math.log(0.75)), draw("a=2)]", math.log(0.25))],
    "0.0": [draw("]"), draw("]")],
}


@pytest.mark.parametrize(
    ("gamma", "child", "right", "wrong", "root_value"),
    [
        # V("[f(") = (3 * 1 + 1 * -1) / 4 = 0.5
        (1.0, (6, 0.5, 0.5), (3, 1.0, 1.0), (1, -1.0, -1.0), 0.5),
        # Q("a=1)") = 0.5 * 1; V("[f(") = (3 * 0.5 + 1 * -0.5) / 4 = 0.25; Q("[f(") = 0.125
        (0.5, (6, 0.25, 0.125), (3, 1.0, 0.5), (1, -1.0, -0.5), 0.125),
    ],
)
def test_three_iterations_by_hand(gamma, child, right, wrong, root_value):
    settings = MctsSettings(depth=3, width=2, simulation=1, iterations=3, gamma=gamma)
    root, asked = play(mcts(task(), settings, PLAIN, PROMPTER.form), SCRIPT)
    # PUCT at "[f(" with N = 4: "a=1)" gets Q + 0.75 * 2 / 2, "a=2)" Q + 0.25 * 2 / 2, so the right one is expanded.
    assert asked == ["", "0", "0.0"]
    first = root.children[0]
    assert [PROMPTER.decode(first.step)] + [PROMPTER.decode(k.step) for k in first.children] == ["[f(", "a=1)", "a=2)"]
    assert facts(first) == child
    assert facts(first.children[0]) == right
    assert facts(first.children[1]) == wrong
    assert [k.prior for k in first.children] == pytest.approx([0.75, 0.25])
    end = first.children[0].children[0]
    assert (end.terminal, end.outcome, end.reward, end.visits) == (True, 1.0, 1.0, 2)
    assert (root.visits, root.value) == (6, pytest.approx(root_value))


def test_simulation_expands_on_from_the_best_new_child_in_the_same_iteration():
    settings = MctsSettings(depth=3, width=2, simulation=3, iterations=1)
    root, asked = play(mcts(task(), settings, PLAIN, PROMPTER.form), SCRIPT)
    assert asked == ["", "0", "0.0"]
    assert root.visits == 6


def test_a_selected_terminal_node_is_backed_up_and_costs_no_request():
    settings = MctsSettings(depth=1, width=2, simulation=2, iterations=4)
    script = {"": [draw("[f(a=1)]", -0.1), draw("[g()]", -3.0)]}
    root, asked = play(mcts(task(), settings, PLAIN, PROMPTER.form), script)
    assert asked == [""]
    # At depth 1 the action is the whole response; three more iterations visit the right one.
    assert [k.visits for k in root.children] == [4, 1]
    assert root.value == pytest.approx((4 * 1 + 1 * -1) / 5)


def test_a_response_cut_off_at_its_longest_is_wrong_even_if_it_reads_right():
    settings = MctsSettings(depth=1, width=2, simulation=1, iterations=1)
    root, _ = play(mcts(task(), settings, PLAIN, PROMPTER.form), {"": [draw("[f(a=1)]"), draw("[f(a=1)]", end=False)]})
    assert [k.outcome for k in root.children] == [1.0, -1.0]


def test_requests_carry_the_prefix_and_seeds_made_of_run_round_sample_path_and_draw():
    growth = mcts(task(), MctsSettings(depth=3, width=2, max_tokens=50, temperature=1.5), PLAIN, PROMPTER.form)
    first = next(growth)
    second = growth.send(Completion("t/", tuple(SCRIPT[""]), 0, 0))
    assert isinstance(first, Request) and isinstance(second, Request)
    sample = task().sample
    assert second.prompt == (*task().prompt, *ids_of("[f(", end=False))
    assert (second.max_tokens, second.temperature, second.group) == (47, 1.5, "t")
    assert second.seeds == [derive_seed(42, 1, sample.sample_id, "0", d) for d in (0, 1)]
    assert set(first.seeds).isdisjoint(second.seeds)


def test_reward_is_the_difference_of_states_with_self_evaluation_weighted():
    settings = MctsSettings(depth=2, width=2, simulation=1, iterations=1)
    reward = RewardSettings(weight=0.5)
    c = {"[f(": 0.4, "[f(a=1)]": 1.0, "[g(": -1.0, "[g()]": -2.0}
    root, _ = play(mcts(task(), settings, reward, PROMPTER.form), {"": [draw("[f(a=1)]"), draw("[g()]")], "C": c})
    right, wrong = root.children
    # R("[f(") = 0 + 0.5 * 0.4 = 0.2; R("[f(a=1)]") = 1 + 0.5 = 1.5; V = 1.5 - 0.2 = 1.3; Q = 0.2 + 1.3 = 1.5
    assert (right.state_reward, right.reward) == (pytest.approx(0.2), pytest.approx(0.2))
    assert (right.value, right.action_value) == (pytest.approx(1.3), pytest.approx(1.5))
    # R("[g(") = -0.5; R("[g()]") = -1 - 1 = -2; Q = -0.5 - 1.5 = -2
    assert (wrong.reward, wrong.action_value) == (pytest.approx(-0.5), pytest.approx(-2.0))


def test_self_evaluation_asks_each_response_once_a_tree():
    settings = MctsSettings(depth=3, width=2, simulation=1, iterations=2)
    growth = mcts(task(), settings, RewardSettings(weight=1), PROMPTER.form)
    asked, answer = [], None
    while True:
        try:
            wanted = growth.send(answer)
        except StopIteration:
            break
        if isinstance(wanted, Assess):
            asked += wanted.responses
            answer = [0.0] * len(wanted.responses)
        else:
            answer = Completion(wanted.request_id, tuple(SCRIPT[wanted.request_id[2:]]), 0, 0)
    assert sorted(asked) == sorted({"[f(", "[f(a=1)]", "[f(a=2)]", "[f(a=1)", "[f(a=2)"})


def test_prefix_outcome_tells_a_wrong_step_before_the_end():
    settings = MctsSettings(depth=3, width=2, simulation=1, iterations=2)
    root, _ = play(mcts(task(), settings, RewardSettings(weight=0, outcome="prefix"), PROMPTER.form), SCRIPT)
    right, wrong = root.children[0].children
    assert right.outcome > root.children[0].outcome > wrong.outcome


def test_pairs_are_the_extremes_of_q_at_each_node():
    settings = MctsSettings(depth=3, width=2, simulation=1, iterations=3)
    root, _ = play(mcts(task(), settings, PLAIN, PROMPTER.form), SCRIPT)
    found = extract_pairs(root, lambda n: PROMPTER.decode(n.step), PairSettings())
    (pair,) = found.pairs
    assert (PROMPTER.decode(pair.chosen.step), PROMPTER.decode(pair.rejected.step)) == ("a=1)", "a=2)")
    assert (pair.parent.path, pair.similarity) == ((0,), 0.75)


@pytest.mark.parametrize(
    ("changed", "counted"),
    [
        ({"min_delta_q": 2.1}, "delta_q"),
        ({"max_similarity": 0.7}, "similarity"),
        ({"min_q_chosen": 1.1}, "q_chosen"),
    ],
)
def test_each_filter_drops_and_is_counted(changed, counted):
    settings = MctsSettings(depth=3, width=2, simulation=1, iterations=3)
    root, _ = play(mcts(task(), settings, PLAIN, PROMPTER.form), SCRIPT)
    found = extract_pairs(root, lambda n: PROMPTER.decode(n.step), PairSettings(**changed))
    assert found.pairs == []
    assert vars(found.dropped) == {"similarity": 0, "delta_q": 0, "q_chosen": 0, "unproved": 0} | {counted: 1}


def test_filters_keep_what_is_exactly_on_the_bound():
    settings = MctsSettings(depth=3, width=2, simulation=1, iterations=3)
    root, _ = play(mcts(task(), settings, PLAIN, PROMPTER.form), SCRIPT)
    bounds = PairSettings(max_similarity=0.75, min_delta_q=2.0, min_q_chosen=1.0)
    assert len(extract_pairs(root, lambda n: PROMPTER.decode(n.step), bounds).pairs) == 1


def test_the_ablation_pairs_the_most_with_the_least_probable_of_four():
    draws = [draw("[f(a=1)]", -2.0), draw("[f(a=3)]", -5.0), draw("[g()]", -0.5), draw("[f(a=1)]", -2.0)]
    root, asked = play(sample_responses(task(), MctsSettings(), PLAIN, PROMPTER.form), {"": draws})
    assert asked == [""]
    (pair,) = most_and_least_probable(root).pairs
    assert (PROMPTER.decode(pair.chosen.step), PROMPTER.decode(pair.rejected.step)) == ("[g()]", "[f(a=3)]")


def test_best_of_n_draws_until_the_budget_is_spent_and_pairs_the_best_with_the_worst():
    # A response of nine tokens with its end; a budget of 19 takes two draws, and then two more.
    batches = [["[f(a=3)]", "[f(a=2)]"], ["[f(a=1)]", "[g(c=1)]"], ["never", "asked"]]
    seeds, answer = [], None
    settings = MctsSettings(width=2, budget=19)
    growth = best_of_n(task(), settings, RewardSettings(weight=0, outcome="prefix"), PROMPTER.form)
    while True:
        try:
            wanted = growth.send(answer)
        except StopIteration as done:
            root = done.value
            break
        texts = batches[len(seeds)]
        seeds.append(list(wanted.seeds))
        answer = Completion(wanted.request_id, tuple(map(draw, texts)), 0, 0)
    assert seeds == [[derive_seed(42, 1, toy_sample().sample_id, "", n) for n in some] for some in ((0, 1), (2, 3))]
    assert (root.visits, len(root.children)) == (4, 4)
    (pair,) = best_and_worst(root, lambda n: PROMPTER.decode(n.step), PairSettings()).pairs
    assert (PROMPTER.decode(pair.chosen.step), PROMPTER.decode(pair.rejected.step)) == ("[f(a=1)]", "[g(c=1)]")


@pytest.mark.parametrize(("texts", "pairs"), [(["[f(a=1)]", "[f(a=2)]"], 1), (["[f(a=2)]", "[f(a=3)]"], 0)])
def test_best_of_n_keeps_a_pair_that_is_alike_but_for_a_value_and_none_of_equal_worth(texts, pairs):
    growth = best_of_n(task(), MctsSettings(budget=1), PLAIN, PROMPTER.form)
    root, _ = play(growth, {"": list(map(draw, texts))})
    found = best_and_worst(root, lambda n: PROMPTER.decode(n.step), PairSettings(max_similarity=0.5))
    assert len(found.pairs) == pairs


def test_the_miner_searches_by_best_of_n():
    sample = toy_sample()
    prompt = tuple(PROMPTER.prompt_ids(sample))
    policy = ScriptedPolicy({prompt: {ids_of("[f(a=1)]"): 1.0, ids_of("[f(a=2)]"): 1.0}})
    config = Config.model_validate({"mcts": {"width": 4, "budget": 100, "max_tokens": 40}, "reward": {"weight": 0}})
    wanted = [Task("tree", sample, prompt, 42, 1)]
    (tree,) = [t for step in Miner(policy, PROMPTER, config, None, "best-of-n").run(deque(wanted)) for t in step]
    # Nine tokens a response, four at a time: 36, 72, 108.
    assert (tree.requests, tree.decoded) == (3, 108)
    (row,) = tree_rows([tree], policy.policy_id, PROMPTER, config, "best-of-n")["pairs"]
    assert (row["chosen_text"], row["rejected_text"]) == ("[f(a=1)]", "[f(a=2)]")
    assert row["chosen_terminal"] and row["error_class"] == "Parameter Value"


RESPONSES = st.dictionaries(
    st.sampled_from(["[f(a=1)]", "[f(a=2)]", "[f(a=1, b=2)]", "[f(b=2, a=1)]", "[g(a=1)]", "[f()]", "no.", "[f(a=1"]),
    st.floats(0.05, 1.0),
    min_size=1,
)


@settings(max_examples=60, deadline=None)
@given(RESPONSES, st.integers(1, 4), st.integers(2, 4), st.integers(1, 3), st.integers(1, 6), st.integers(0, 99))
def test_every_tree_agrees_with_the_equations(responses, depth, width, simulation, iterations, seed):
    config = Config.model_validate(
        {
            "seed": seed,
            "mcts": {
                "depth": depth,
                "width": width,
                "simulation": simulation,
                "iterations": iterations,
                "max_tokens": 40,
            },
            "reward": {"weight": 0},
        }
    )
    sample = toy_sample()
    prompt = tuple(PROMPTER.prompt_ids(sample))
    policy = ScriptedPolicy({prompt: {ids_of(text): weight for text, weight in responses.items()}})
    wanted = [Task("tree", sample, prompt, config.seed, 1)]
    (tree,) = [t for step in Miner(policy, PROMPTER, config, None).run(deque(wanted)) for t in step]
    nodes = list(tree.root.walk())
    assert max(len(n.path) for n in nodes) <= depth
    for node in nodes:
        if node.children:
            assert len({k.step for k in node.children}) == len(node.children) <= width
            assert sum(k.prior for k in node.children) == pytest.approx(1)
            assert node.visits >= sum(k.visits for k in node.children)
            by_eq_8 = state_value([k.visits for k in node.children], [k.action_value for k in node.children])
            assert node.value == pytest.approx(by_eq_8)
        if node.path:
            assert node.action_value == pytest.approx(action_value(node.reward, config.mcts.gamma, node.value))
            assert -1 <= node.action_value <= 1  # with O alone, Q is a mean of outcomes
    rows = tree_rows([tree], policy.policy_id, PROMPTER, config, "mcts")
    whole = {ids_of(text) for text in responses}
    by_path = {n.path: n for n in nodes}
    for node in nodes:
        prefix = sum((by_path[node.path[: d + 1]].step for d in range(len(node.path))), ())
        assert any(response[: len(prefix)] == prefix for response in whole)
        assert node.terminal == (prefix in whole)
    for pair in rows["pairs"]:
        parent = by_path[tuple(map(int, pair["path"].split("."))) if pair["path"] else ()]
        said = sum((by_path[parent.path[: d + 1]].step for d in range(len(parent.path))), ())
        assert pair["prompt_ids"] == (*prompt, *said)
        assert pair["q_chosen"] - pair["q_rejected"] >= config.pairs.min_delta_q


def test_paths_read_as_child_indices():
    assert (path_text(()), path_text((0, 2, 1))) == ("", "0.2.1")
