"""Servers whose answers are odd: each is taken for what it says, and one that says nothing costs its own item only."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from openai_server import OpenAIServer, RefusedError, Said
from outcomes import Itool, one_line

from itool_data.run import open_run
from itool_data.store.sql import query

pytestmark = pytest.mark.usefixtures("bfcl_items")


def evaluate(
    itool: Itool, run: Path, server: OpenAIServer, *options: object, benchmark: str = "bfcl-v3", limit: int = 8
) -> tuple[int, str, str]:
    asked = ("--categories", "simple", "--limit", limit, "--set", "model.rows=1", "--set", "model.patience=1")
    return itool(
        "eval", "run", benchmark, "--run", run, "--policy", "openai", "--base-url", server.url, *asked, *options
    )


def outputs(run: Path) -> list[str]:
    return [row["output"] for row in query(open_run(run).store, "SELECT output FROM predictions").to_pylist()]


def rejects(run: Path) -> list[str]:
    return [row["reason"] for row in query(open_run(run).store, "SELECT reason FROM rejects").to_pylist()]


def question(body: dict[str, Any]) -> str:
    return str(next(message["content"] for message in body["messages"] if message["role"] == "user"))


def answer(message: dict[str, Any], finish: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant"} | message, "finish_reason": finish} | more], "usage": None}


class Numbered:
    """The items in the order in which they first came."""

    def __init__(self) -> None:
        self._order: dict[str, int] = {}

    def __call__(self, body: dict[str, Any]) -> int:
        return self._order.setdefault(question(body), len(self._order))


@pytest.mark.parametrize("finish", ["tool_calls", "function_call", "eos", "content_filter", None, "", "abort", 7])
def test_any_reason_to_end_is_the_end_of_a_reply(
    itool: Itool, tmp_path: Path, server: OpenAIServer, finish: Any
) -> None:
    server.chat = lambda body: answer({"content": "[f(a=1)]"}, finish)
    code, _, err = evaluate(itool, tmp_path, server, limit=2)
    assert not code, err
    assert outputs(tmp_path) == ["[f(a=1)]"] * 2 and len(server.bodies) == 2


CALL = {"id": "a", "type": "function"}


@pytest.mark.parametrize(
    ("message", "result"),
    [
        ({"content": [{"type": "text", "text": "I "}, {"type": "think", "text": "?"}, {"text": "do."}]}, "I do."),
        ({"content": None}, ""),
        ({"content": "", "tool_calls": []}, ""),
        ({"tool_calls": [CALL | {"function": {"name": "f"}}]}, [{"f": "{}"}]),
        ({"tool_calls": [CALL | {"function": {"name": "f", "arguments": None}}]}, [{"f": "{}"}]),
        ({"tool_calls": [CALL | {"function": {"name": "f", "arguments": ""}}]}, [{"f": "{}"}]),
        ({"tool_calls": [CALL | {"function": {"name": "f", "arguments": {"a": 1}}}]}, [{"f": '{"a": 1}'}]),
        ({"tool_calls": [CALL | {"function": {"name": "f", "arguments": "{a"}}]}, [{"f": "{a"}]),
        ({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, [{"f": "{}"}]),
        ({"content": "a \ud800 b"}, "a ? b"),
    ],
)  # fmt: skip
def test_a_message_of_any_shape_is_read(
    itool: Itool, tmp_path: Path, server: OpenAIServer, message: dict[str, Any], result: Any
) -> None:
    server.chat = lambda body: answer(message)
    code, _, err = evaluate(itool, tmp_path, server, benchmark="bfcl-v3-fc", limit=1)
    assert not code, err
    assert [json.loads(output) for output in outputs(tmp_path)] == [result] and len(server.bodies) == 1


ERRORS: list[dict[str, Any]] = [
    {"choices": None, "error": {"message": "Upstream says no", "code": 502}},
    {"choices": [], "error": "Upstream says no"},
    {"object": "error", "message": "Upstream says no", "code": 500},
    {"choices": [{"error": {"message": "Upstream says no", "code": 429}, "message": {"content": ""}}]},
]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_in_an_answer_of_status_200_is_an_error(
    itool: Itool, tmp_path: Path, server: OpenAIServer, error: dict[str, Any]
) -> None:
    number, asked = Numbered(), []

    def once_and_always(body: dict[str, Any]) -> Said:
        asked.append(number(body))
        return error if number(body) == 2 or asked.count(number(body)) == 1 else "no"

    server.chat = once_and_always
    code, out, err = evaluate(itool, tmp_path, server, limit=4)
    assert not code, err
    assert outputs(tmp_path) == ["no"] * 3
    assert ["Upstream says no" in reason for reason in rejects(tmp_path)] == [True] and "Upstream says no" in out


def test_an_item_that_fails_every_time_is_set_aside_and_asked_last(
    itool: Itool, tmp_path: Path, server: OpenAIServer
) -> None:
    number = Numbered()

    def fails_on_two(body: dict[str, Any]) -> Said:
        if number(body) in (0, 1):  # the first ones, before anything was answered
            raise RefusedError(500, "Failed to parse input at pos 12")
        return "no"

    server.chat = fails_on_two
    code, out, err = evaluate(itool, tmp_path, server, limit=6)
    assert not code, err
    assert len(outputs(tmp_path)) == 4 and "2 items set aside" in out and "Failed to parse input at pos 12" in out
    # With more items than before the bad ones come last; alone, they are told from a server that is down all the same.
    server.bodies.clear()
    assert evaluate(itool, tmp_path, server, limit=8)[0] == 0
    assert [number(body) for _, body in server.bodies][:2] == [6, 7]
    assert evaluate(itool, tmp_path, server, limit=8)[0] == 0
    assert len(outputs(tmp_path)) == 6 and len(rejects(tmp_path)) == 2


@pytest.mark.parametrize(("status", "after"), [(500, 0), (503, 3), (401, 3), (402, 3), (400, 0)])
def test_a_server_that_fails_on_everything_ends_the_run_and_sets_nothing_aside(
    itool: Itool, tmp_path: Path, server: OpenAIServer, status: int, after: int
) -> None:
    number = Numbered()

    def gone(body: dict[str, Any]) -> Said:
        if number(body) >= after or (after and len(server.bodies) > after):
            raise RefusedError(status, "Nobody is at home")
        return "no"

    server.chat = gone
    one_line(evaluate(itool, tmp_path, server), server.url, f"HTTP {status}: Nobody is at home")
    assert len(outputs(tmp_path)) == after and not rejects(tmp_path)


def test_a_server_that_comes_back_at_the_last_moment_has_failed_on_no_item(
    itool: Itool, tmp_path: Path, server: OpenAIServer
) -> None:
    """The item's last failure may have been the server's; it is asked again once the server is known to work."""
    number, failed = Numbered(), []

    def down_for_a_while(body: dict[str, Any]) -> Said:
        # Patience 0 gives up at the first failure.
        if number(body) == 2 and not failed:
            failed.append(body)
            raise RefusedError(503, "restarting")
        return "no"

    server.chat = down_for_a_while
    code, _, err = evaluate(itool, tmp_path, server, "--set", "model.patience=0")
    assert not code, err
    assert failed and len(outputs(tmp_path)) == 8 and not rejects(tmp_path)


TOO_LONG = [
    (400, "max_tokens must be at least 1, got -160. (parameter=max_tokens, value=-160)"),
    (400, "This model's maximum context length is 4096 tokens. However, you requested 4500 tokens."),
    (400, "The decoder prompt (length 4500) is longer than the maximum model length of 4096."),
    (400, "the request exceeds the available context size, try increasing it"),
    (500, "the request exceeds the available context size, try increasing it"),
    (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 404 and 4096"),
    (400, "The input (4500 tokens) is longer than the model's context length (4096 tokens)."),
    (400, "litellm.ContextWindowExceededError: prompt is too long"),
    (400, "Prompt contains 4500 tokens and 0 draft tokens, too large for model with 4096 maximum context length"),
    (400, "The input token count (4500) exceeds the maximum number of tokens allowed (4096)."),
    (413, "Payload Too Large"),
    (429, "Request too large for model `m` on tokens per minute (TPM): Limit 4000, Requested 4500, please reduce it."),
    (400, "prompt length (404) + max_tokens (4096) exceeds max_seq_len (4096)"),
    (400, "This model's maximum prompt length is 4096 but the request contains 4500 tokens."),
]


def test_too_long_in_anybodys_words(itool: Itool, tmp_path: Path, server: OpenAIServer) -> None:
    """A prompt that fits without a reply of 4096 tokens is asked without a limit; one that never fits is set aside."""
    number = Numbered()

    def tight(body: dict[str, Any]) -> Said:
        status, words = TOO_LONG[number(body) % len(TOO_LONG)]
        if "max_tokens" in body or number(body) >= len(TOO_LONG):
            raise RefusedError(status, words)
        return "no"

    server.chat = tight
    code, out, err = evaluate(itool, tmp_path, server, limit=2 * len(TOO_LONG))
    assert not code, err
    assert len(outputs(tmp_path)) == len(TOO_LONG) and f"{len(TOO_LONG)} items set aside" in out
    assert len(server.bodies) == 4 * len(TOO_LONG)  # each once with the limit and once without


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "Rate limit reached for m on tokens per minute (TPM): Limit 6000, Used 5800, Requested 400."),
        (503, "Too many tokens in the queue, the server is overloaded"),
        (504, "the request took too long"),
        (507, "out of memory"),
    ],
)
def test_what_only_sounds_too_long_is_asked_again_as_it_was(
    itool: Itool, tmp_path: Path, server: OpenAIServer, status: int, words: str
) -> None:
    failed: set[str] = set()

    def once(body: dict[str, Any]) -> Said:
        if question(body) not in failed:
            failed.add(question(body))
            raise RefusedError(status, words)
        return "no"

    server.chat = once
    code, _, err = evaluate(itool, tmp_path, server, limit=2)
    assert not code, err
    assert all("max_tokens" in body for _, body in server.bodies) and len(outputs(tmp_path)) == 2


@pytest.mark.parametrize(
    "models", [{"data": []}, {"data": None}, [], {}, {"data": [{"object": "model"}]}, RefusedError(404, "no"), "models"]
)
def test_a_model_that_is_named_needs_no_listing(
    itool: Itool, tmp_path: Path, server: OpenAIServer, models: Any
) -> None:
    route = server._route

    def listing(path: str, body: dict[str, Any]) -> Any:
        if path != "/v1/models":
            return route(path, body)
        if isinstance(models, Exception):
            raise models
        return models

    server._route = listing  # type: ignore[method-assign]
    code, _, err = evaluate(itool, tmp_path / "a", server, "--set", "model.served_name=toy-model", limit=1)
    assert not code, err
    one_line(evaluate(itool, tmp_path / "b", server, limit=1), "no model that it lists", "model.served_name=NAME")


def conversation(
    itool: Itool, run: Path, server: OpenAIServer, calls: list[dict[str, Any]]
) -> list[list[dict[str, Any]]]:
    """Hold a conversation in which these calls answer every question; returns the messages of each request."""
    server.chat = lambda body: answer(
        {"content": "Done."} if body["messages"][-1]["role"] == "tool" else {"content": "", "tool_calls": calls}
    )
    code, _, err = evaluate(
        itool, run, server, "--categories", "multi_turn_base", benchmark="bfcl-v3-fc", limit=1
    )  # fmt: skip
    assert not code, err
    return [body["messages"] for _, body in server.bodies]


def test_calls_go_back_with_the_servers_ids_and_else_with_ids_that_mistrals_models_take(
    itool: Itool, tmp_path: Path, server: OpenAIServer
) -> None:
    function = {"function": {"name": "pwd", "arguments": "{}"}}
    calls: list[dict[str, Any]] = [{"id": "a1b2c3d4e"} | function, {"id": "a1b2c3d4e"} | function, function]
    asked = conversation(itool, tmp_path, server, calls)
    made, *results = asked[1][-4:]
    ids = [call["id"] for call in made["tool_calls"]]
    assert ids[0] == "a1b2c3d4e" and [result["tool_call_id"] for result in results] == ids
    assert len(set(ids)) == 3 and all(re.fullmatch("[a-zA-Z0-9]{9}", id_) for id_ in ids)


def test_calls_that_cannot_be_read_go_back_as_text(itool: Itool, tmp_path: Path, server: OpenAIServer) -> None:
    asked = conversation(itool, tmp_path, server, [{"id": "a", "function": {"name": "ls", "arguments": '{"a": '}}])
    assert len(asked) > 1  # the next question came
    said = asked[-1][1]
    assert said["role"] == "assistant" and "tool_calls" not in said and said["content"] == 'ls({"a": )'
    assert '{\\"a\\": ' in outputs(tmp_path)[0]  # and is scored as it was said
