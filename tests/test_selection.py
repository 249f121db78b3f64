"""Which samples are searched: the buffer, and what comes first by perplexity, doubt or pass rate."""

from dataclasses import replace

import pytest
from toys import PROMPTER, ids_of, toy_sample

from itool_data import choosing, hardness, mining
from itool_data.errors import ItoolError
from itool_data.policy.base import Request, derive_seed, generate
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.run import Run, write_run
from itool_data.sample import AcceptedCall, Sample
from itool_data.selection import highest, replay_buffer
from itool_data.store.samples import sample_row
from itool_data.store.sql import query
from itool_data.workers.pool import Desk, LocalPool

SAMPLES = [toy_sample(question=f"question {i}") for i in range(41)]
ALL = ["reward.weight=0", "replay.fraction=1", "replay.hardest=1"]


def test_the_buffer_is_a_reproducible_random_half():
    buffer = replay_buffer(SAMPLES, 0.5, 42)
    assert len(buffer) == 21
    assert buffer == [s for s in SAMPLES if s in buffer]
    assert {s.sample_id for s in replay_buffer(SAMPLES[::-1], 0.5, 42)} == {s.sample_id for s in buffer}
    assert {s.sample_id for s in replay_buffer(SAMPLES, 0.5, 43)} != {s.sample_id for s in buffer}
    assert replay_buffer(SAMPLES, 1.0, 42) == SAMPLES


def test_the_highest_come_first_and_equals_in_the_order_of_their_ids():
    scores = {f"{i:02}": float(i % 7) for i in reversed(range(21))}
    assert highest(scores, 4) == ["06", "13", "20", "05"]
    assert highest({}, 4) == []


def policy_of(table: list[tuple[Sample, dict[str, float]]]) -> ScriptedPolicy:
    return ScriptedPolicy({tuple(PROMPTER.prompt_ids(s)): {ids_of(t): w for t, w in says.items()} for s, says in table})


def chosen(run: Run, policy: ScriptedPolicy, samples: list[Sample], limit: int | None = None) -> set[str]:
    """What is searched, by its question, once all that is missing is measured; what was imported stays."""
    pool = LocalPool(Desk(policy, PROMPTER))
    if not run.store.log():
        run.store.commit("import", {"samples": [sample_row(s) for s in samples]})
    buffer = hardness.replay(run, policy, PROMPTER, 1)
    hardness.measure(run, pool, buffer, 1, lambda done, total: None)
    if buffer.undrawn:
        hardness.draw_pass_rates(run, pool, buffer, 1, lambda done, total: None)
    return {task.sample.source_id for task in choosing.tasks(run, policy, PROMPTER, buffer, 1, "walk", limit)}


# Perplexities: 1, 2^(1/9) = 1.080, and of 14 tokens (0.7 * 0.7)^(-1/14) = 1.052. Wrong steps expected: 0, 1/2, and
# 0.3 + 0.3 = 0.6.
SURE, SHORT, LONG = toy_sample(question="sure"), toy_sample("[f(a=1)]", "short"), toy_sample("[f(a=1, b=2)]", "long")
SAYS = [
    (SURE, {"[f(a=1)]": 1.0}),
    (SHORT, {"[f(a=1)]": 0.5, "[f(a=2)]": 0.5}),
    (LONG, {"[f(a=1, b=2)]": 0.49, "[f(a=1, b=3)]": 0.21, "[f(a=2)]": 0.3}),
]


@pytest.mark.parametrize(
    ("select", "order"), [("perplexity", ["short", "long", "sure"]), ("doubt", ["long", "short", "sure"])]
)
def test_by_perplexity_and_by_the_number_of_wrong_steps_expected(tmp_path, select, order):
    with write_run(tmp_path, None, [*ALL, f"replay.select={select}"]) as run:
        for most in (1, 2, 3):
            assert chosen(run, policy_of(SAYS), [s for s, _ in SAYS], most) == set(order[:most])
    # As many as the share of the buffer, rounded up: 0.4 * 3 are two.
    with write_run(tmp_path, None, [*ALL, "replay.hardest=0.4", f"replay.select={select}"], force=True) as run:
        assert chosen(run, policy_of(SAYS), [s for s, _ in SAYS]) == set(order[:2])


def test_what_cannot_be_searched_leaves_its_place_to_the_next(tmp_path):
    wrong = replace(toy_sample(question="wrong"), accepted=(AcceptedCall("f", {"a": [2]}),))  # but its gold says 1
    says = [(wrong, {"[f(a=1)]": 0.1, "[f(a=2)]": 0.9}), *SAYS]
    with write_run(tmp_path, None, [*ALL, "replay.select=perplexity"]) as run:
        assert chosen(run, policy_of(says), [s for s, _ in says], 1) == {"short"}
        assert chosen(run, policy_of(says), [s for s, _ in says]) == {"short", "long", "sure"}
        assert query(run.store, "SELECT count(*) AS n FROM rejects").to_pylist() == [{"n": 1}]


def test_what_the_walk_found_does_not_count_for_the_doubt(tmp_path):
    with write_run(tmp_path, None, [*ALL, "replay.select=doubt", "walk.width=1"]) as run:
        pool = LocalPool(Desk(policy_of(SAYS), PROMPTER))
        before = chosen(run, policy_of(SAYS), [s for s, _ in SAYS], 2)
        buffer = hardness.replay(run, pool, PROMPTER, 1)
        for _ in mining.mine(run, pool, choosing.tasks(run, pool, PROMPTER, buffer, 1, "walk", 2), "walk"):
            pass
        assert query(run.store, "SELECT 1 FROM all_fragments WHERE tree_id IS NOT NULL").num_rows
        assert chosen(run, policy_of(SAYS), [s for s, _ in SAYS], 2) == before


# Right in about 10, 9, ... 0 of 10 of what it says.
RATES = [
    (toy_sample(question=f"rate {n:02}"), {"[f(a=1)]": max(10.0 - n, 1e-9), "[f(a=2)]": float(n)}) for n in range(11)
]


def expected_rates(policy: ScriptedPolicy, draws: int) -> dict[str, int]:
    """Right draws by sample id; right is what is word for word the gold response."""
    requests = [
        Request(
            s.sample_id, PROMPTER.prompt_ids(s), [derive_seed(42, 1, s.sample_id, n) for n in range(draws)], 512, 1.0
        )
        for s, _ in RATES
    ]
    return {c.request_id: [d.ids for d in c.draws].count(ids_of("[f(a=1)]")) for c in generate(policy, requests)}


def test_by_pass_rate_only_what_is_right_now_and_then_is_searched_nearest_to_one_half_first(tmp_path):
    expected = expected_rates(policy_of(RATES), 8)
    mixed = sorted((abs(right / 8 - 0.5), sample_id) for sample_id, right in expected.items() if 0 < right < 8)
    questions = {s.sample_id: s.source_id for s, _ in RATES}
    assert 4 < len(mixed) < len(RATES) - 1
    assert len({distance for distance, _ in mixed}) < len(mixed), "there are equals"
    with write_run(tmp_path, None, [*ALL, "replay.select=pass-rate", "replay.draws=8"]) as run:
        policy = policy_of(RATES)
        for most in (*range(1, len(mixed) + 1), None):
            found = chosen(run, policy, [s for s, _ in RATES], most)
            assert found == {questions[sample_id] for _, sample_id in mixed[:most]}
        sql = "SELECT sample_id, round, policy, draws, right_draws FROM pass_rates"
        rows = query(run.store, sql).to_pylist()
    assert {row["sample_id"]: row["right_draws"] for row in rows} == expected
    assert len(rows) == len(RATES), "each is drawn once"
    assert {(row["round"], row["policy"], row["draws"]) for row in rows} == {(1, "scripted@0", 8)}
    # The share is of the buffer, not of those that are mixed: 0.2 * 11 are three.
    with write_run(
        tmp_path, None, [*ALL, "replay.hardest=0.2", "replay.select=pass-rate", "replay.draws=8"], force=True
    ) as run:
        assert len(chosen(run, policy_of(RATES), [s for s, _ in RATES])) == 3


def test_a_draw_that_is_cut_off_is_not_right(tmp_path):
    settings = [*ALL, "replay.select=pass-rate", f"mcts.max_tokens={len('[f(a=1)]')}"]
    with write_run(tmp_path, None, settings) as run:
        assert chosen(run, policy_of(RATES), [s for s, _ in RATES]) == set()
        assert query(run.store, "SELECT sum(right_draws) AS n FROM pass_rates").to_pylist() == [{"n": 0}]


def test_draws_that_would_all_be_the_same_are_refused(tmp_path):
    settings = [*ALL, "replay.select=pass-rate", "walk.temperature=0"]
    with (
        pytest.raises(ItoolError, match=r"walk.temperature is 0, so that all draws .* set it above 0$") as refused,
        write_run(tmp_path, None, settings) as run,
    ):
        chosen(run, policy_of(RATES), [s for s, _ in RATES])
    assert "\n" not in str(refused.value)
