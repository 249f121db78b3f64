"""Draws that end where the caller says (`Request.until`), against the same draws without it, cut by hand.

Of every policy but vLLM's, whose are in `vllm_engine`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from openai_server import OpenAIServer, toy_server

from bench.toy_loop import tiny_model, write_config
from itool_data.config_file import load_config
from itool_data.policy.base import Draw, Policy, PolicyId, Request, generate
from itool_data.policy.load import find_model, load_tokenizer
from itool_data.policy.openai import PIECE, PROBE, open_server_policy
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.policy.transformers import load_policy

Ids = tuple[int, ...]
PROMPT = [int(token) for token in np.random.default_rng(0).integers(3, 128, 20)]
MOST = 12
# Sentences with more than a piece, less than one, and several in one; ends of turns at and beside the pieces' ends.
ANSWERS = {
    "One two three four. Five.": 3.0, "One. Two. Three.": 3.0, "Eight..": 2.0, "Exactly.": 2.0, "Seven s": 2.0,
    "Eight ei": 2.0, "This goes on and on, and has no end of a sentence": 3.0,
}  # fmt: skip


def rarely(ids: Ids) -> bool:
    """So rare that draws end otherwise too."""
    return ids[-1] % 16 == 5


def cut(draw: Draw, max_tokens: int = MOST) -> Draw:
    """What a draw without `until` is with it."""
    for n in range(1, min(len(draw.ids), max_tokens) + 1):
        ids, logprobs = draw.ids[:n], draw.logprobs[:n]
        if draw.finish == "stop" and n == len(draw.ids):
            return draw
        if rarely(ids):
            return Draw(ids, logprobs, "step")
    return Draw(ids, logprobs, "length")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


def transformers_policy(folder: Path, rows: int = 8) -> Policy:
    return load_policy(folder, PolicyId("tiny", "0"), None, "cpu", rows)


def scripted_policy(_: Path) -> Policy:
    numbers = np.random.default_rng(0)
    lengths = [1, 2, 5, 8, 12, 13, 20] * 4
    answers = {tuple(map(int, numbers.integers(3, 128, n))): float(n) for n in lengths}
    return ScriptedPolicy({tuple(PROMPT): answers})


@pytest.mark.parametrize("kind", [transformers_policy, scripted_policy])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_a_draw_is_the_same_up_to_where_the_caller_ends_it(folder: Path, kind, temperature: float) -> None:
    whole, ended = (
        generate(kind(folder), [Request("a", PROMPT, range(200), MOST, temperature, until=until)])[0].draws
        for until in (None, rarely)
    )
    for draw, expected in zip(ended, map(cut, whole), strict=True):
        assert (draw.ids, draw.finish) == (expected.ids, expected.finish)
        assert draw.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
    if temperature:
        assert {draw.finish for draw in ended} == {"stop", "step", "length"}


@pytest.mark.parametrize("kind", [transformers_policy, scripted_policy])
def test_end_of_turn_goes_before_the_callers_end_and_that_before_the_longest(folder: Path, kind) -> None:
    policy = kind(folder)
    whole = generate(policy, [Request("a", PROMPT, range(60), MOST, 2.0)])[0].draws
    lengths = sorted({len(draw.ids) for draw in whole if draw.finish == "stop"})
    assert lengths[0] < MOST
    for n in lengths:
        ended = generate(policy, [Request("a", PROMPT, range(60), n, 2.0, until=lambda ids, n=n: len(ids) == n)])[0]
        for draw, expected in zip(ended.draws, whole, strict=True):
            assert draw.ids == expected.ids[:n]
            assert draw.finish == ("stop" if expected.finish == "stop" and len(expected.ids) <= n else "step")


def test_a_row_is_free_at_once_when_the_caller_ends_its_draw(folder: Path) -> None:
    policy = transformers_policy(folder, rows=2)
    long = Request("long", PROMPT, [0], 40, 1.0, ignore_stop=True)
    short = Request("short", PROMPT, range(20), 40, 1.0, ignore_stop=True, until=lambda ids: len(ids) == 2)
    generate(policy, [long, short])
    # Draws of two tokens take one step each, since the first token comes with the prompt.
    assert policy.usage.steps == 39 and policy.usage.decoded == 40 + 20 * 2


def test_what_an_ended_draw_computed_is_there_to_go_on_from(folder: Path) -> None:
    policy = transformers_policy(folder)
    until = lambda ids: len(ids) == 5  # noqa: E731
    (root,) = generate(policy, [Request("a", PROMPT, [1], 40, 1.0, "tree", ignore_stop=True, until=until)])
    state = [*PROMPT, *root.draws[0].ids]
    node, fresh = (
        generate(p, [Request("b", state, [4, 5], 12, 1.0, "tree")])[0] for p in (policy, transformers_policy(folder))
    )
    assert node.prefilled == 1
    assert [draw.ids for draw in node.draws] == [draw.ids for draw in fresh.draws]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("served"))


@pytest.fixture
def server(config: Path) -> Iterator[OpenAIServer]:
    server = toy_server(config, ANSWERS).start()
    yield server
    server.stop()


@pytest.fixture
def served(config: Path, server: OpenAIServer) -> Policy:
    settings = load_config(config, [f"model.base_url={server.url}"]).model
    policy = open_server_policy(settings, find_model(settings), None)
    server.bodies.clear()
    return policy


@pytest.fixture(scope="module")
def tokenizer(config: Path):
    return load_tokenizer(find_model(load_config(config, []).model))


def asked(server: OpenAIServer) -> list[dict]:
    return [body for path, body in server.bodies if path == "/v1/completions"]


def test_a_server_draws_in_pieces_and_every_draw_is_an_answer_up_to_its_first_end(
    server: OpenAIServer, served: Policy, tokenizer
) -> None:
    prompt = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    (dot,) = tokenizer(".", add_special_tokens=False)["input_ids"]
    request = Request("a", prompt, range(80), 30, 1.0, until=lambda ids: ids[-1] == dot)
    first, again = (generate(served, [request])[0].draws for _ in range(2))
    assert first == again
    seen = set()
    for draw in first:
        text = tokenizer.decode([token for token in draw.ids if token != tokenizer.eos_token_id])
        (answer,) = {a[: len(text)] for a in [*ANSWERS, "yes", "no", "so"] if a.startswith(text)}
        assert answer == text and "." not in text[:-1]
        if draw.finish == "step":
            assert draw.ids[-1] == dot and text.endswith(".")
        elif draw.finish == "stop":
            assert draw.ids[-1] == tokenizer.eos_token_id and text in {*ANSWERS, "yes", "no", "so"}
        else:
            assert len(draw.ids) == 30
        assert served.score([prompt], [draw.ids])[0] == pytest.approx(draw.logprobs, abs=1e-9)
        seen.add((text, draw.finish))
    assert {
        ("One two three four.", "step"), ("One.", "step"), ("Eight.", "step"), ("Exactly.", "step"),
        ("Seven s", "stop"), ("Eight ei", "stop"), ("yes", "stop"), ("This goes on and on, and has n", "length"),
    } <= seen  # fmt: skip


def test_a_servers_pieces_go_on_from_each_other_each_with_its_own_seed_and_all_they_decode_counts(
    server: OpenAIServer, served: Policy, tokenizer
) -> None:
    prompt = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    (completion,) = generate(served, [Request("a", prompt, [0], 30, 0.0, until=lambda ids: len(ids) == 2 * PIECE + 3)])
    bodies = asked(server)
    ids = completion.draws[0].ids
    assert len(ids) == 2 * PIECE + 3 and completion.draws[0].finish == "step"
    assert [body["prompt"] for body in bodies] == [[*prompt, *ids[: PIECE * n]] for n in range(3)]
    assert [body["max_tokens"] for body in bodies] == [PIECE] * 3
    assert len({body["seed"] for body in bodies}) == 3
    assert served.usage.decoded == 3 * PIECE
    assert completion.prefilled == 3 * len(prompt) + PIECE + 2 * PIECE

    (whole,) = generate(served, [Request("b", prompt, [0], 2 * PIECE + 1, 0.0, until=lambda ids: False)])
    assert whole.draws[0].ids == ids[: 2 * PIECE + 1] and whole.draws[0].finish == "length"
    assert [body["max_tokens"] for body in asked(server)[3:]] == [PIECE, PIECE, 1]


def test_a_server_is_asked_for_a_draw_at_once_where_nothing_ends_it(
    server: OpenAIServer, served: Policy, tokenizer
) -> None:
    prompt = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    generate(served, [Request("a", prompt, [7], 30, 1.0)])
    (body,) = asked(server)
    assert (body["max_tokens"], body["seed"], body["prompt"]) == (30, 7, prompt)
