"""Eq. 5, 8 and 9 on numbers worked out by hand."""

import math

import pytest

from itool_data.search.tree import Node, action_value, backup, descend, priors, puct, select, state_value


def test_puct_adds_the_prior_weighted_exploration_to_q():
    # Q 0.5, c 2, p 0.25, N(s) 9, N(s') 2: 0.5 + 2 * 0.25 * 3 / 3 = 1.0
    assert puct(0.5, 0.25, 2.0, 9, 2) == pytest.approx(1.0)


def test_puct_of_an_unvisited_child_divides_by_one():
    assert puct(0.0, 0.5, 1.0, 4, 0) == pytest.approx(1.0)


def test_select_prefers_an_unvisited_child_with_a_large_prior_over_a_good_but_known_one():
    # known: 0.6 + 0.2 * 4 / 9 = 0.69; new: 0.0 + 0.8 * 4 / 1 = 3.2
    known, new = Node(action_value=0.6, prior=0.2, visits=8), Node(action_value=0.0, prior=0.8, visits=0)
    assert select(Node(visits=16, children=[known, new]), c=1.0) is new
    assert select(Node(visits=16, children=[known, new]), c=0.0) is known


def test_select_takes_the_first_of_equals():
    twins = [Node(prior=0.5, visits=1), Node(prior=0.5, visits=1)]
    assert select(Node(visits=2, children=twins), c=1.0) is twins[0]


def test_priors_are_probabilities_normalised_over_the_siblings():
    assert priors([math.log(0.2), math.log(0.6)]) == pytest.approx([0.25, 0.75])


def test_priors_survive_very_improbable_steps():
    assert priors([-2000.0, -2000.0]) == pytest.approx([0.5, 0.5])


def test_state_value_weights_q_by_visits():
    # (1 * 1.0 + 3 * -0.2) / 4 = 0.1
    assert state_value([1, 3], [1.0, -0.2]) == pytest.approx(0.1)


def test_action_value_discounts_the_next_state():
    assert action_value(0.3, 0.9, -1.0) == pytest.approx(-0.6)


def test_backup_updates_n_v_and_q_bottom_up():
    left, right = Node(visits=1, action_value=1.0), Node(visits=1, action_value=-1.0)
    middle = Node(reward=0.1, children=[left, right])
    root = Node(children=[middle])
    backup([root, middle], gamma=0.5, rollouts=2)
    assert (middle.visits, middle.value, middle.action_value) == (2, 0.0, pytest.approx(0.1))
    assert (root.visits, root.value) == (2, pytest.approx(0.1))
    left.visits, left.action_value = 4, 1.0
    backup([root, middle], gamma=0.5, rollouts=3)
    # V = (4 * 1 + 1 * -1) / 5 = 0.6; Q = 0.1 + 0.5 * 0.6 = 0.4
    assert (middle.visits, middle.value, middle.action_value) == (5, pytest.approx(0.6), pytest.approx(0.4))
    assert (root.visits, root.value) == (5, pytest.approx(0.4))


def test_backup_of_a_leaf_keeps_the_value_of_its_roll_outs():
    leaf = Node(reward=0.0, value=0.5, visits=2)
    backup([leaf], gamma=1.0, rollouts=1)
    assert (leaf.visits, leaf.value, leaf.action_value) == (3, 0.5, 0.5)


def test_descend_follows_puct_to_a_leaf():
    leaf = Node(action_value=0.9, prior=0.1, visits=1)
    other = Node(action_value=0.0, prior=0.1, visits=1)
    root = Node(visits=4, children=[other, Node(action_value=1.0, prior=0.5, visits=2, children=[leaf])])
    assert descend(root, c=1.0) == [root, root.children[1], leaf]
