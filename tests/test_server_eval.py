"""Benchmarks answered by an OpenAI-compatible server: what it is asked, what is stored, and that a key is nowhere."""

from pathlib import Path
from typing import Any

import pytest
from fault_proxy import Fault
from openai_server import OpenAIServer, RefusedError, Said
from outcomes import Itool, one_line

from itool_data.errors import ItoolError
from itool_data.run import open_run
from itool_data.store.sql import query

pytestmark = pytest.mark.usefixtures("bfcl_items")

KEY = "sk-not-to-be-seen-0123456789"
GOOD = "[calculate_triangle_area(base=10, height=5)]"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def evaluate(itool: Itool, run: Path, url: str, *options: object, benchmark: str = "bfcl-v3") -> tuple[int, str, str]:
    asked = ("--categories", "simple,irrelevance", "--limit", 12, "--set", "model.rows=4")
    return itool("eval", "run", benchmark, "--run", run, "--policy", "openai", "--base-url", url, *asked, *options)


def rows(run: Path) -> list[dict[str, Any]]:
    sql = "SELECT * EXCLUDE (seconds) FROM predictions ORDER BY benchmark, category, position"
    return [{k: v for k, v in row.items() if k != "policy"} for row in query(open_run(run).store, sql).to_pylist()]


def question(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def half_right(body: dict[str, Any]) -> str:
    """A reply that depends on the question alone."""
    return GOOD if len(question(body)) % 2 else f"I cannot: {len(question(body))}."


def everything_written(run: Path) -> bytes:
    return b"".join(file.read_bytes() for file in run.rglob("*") if file.is_file())


def test_a_servers_answers_are_scored_and_stored_under_its_model_and_host(
    itool: Itool, tmp_path: Path, server: OpenAIServer
) -> None:
    server.chat = half_right
    code, out, err = evaluate(itool, tmp_path / "run", server.url)
    assert not code, err
    host = server.url.split("/")[2]
    assert f"toy-model@{host}" in out and "12 items, 0 already answered" in out
    stored = rows(tmp_path / "run")
    assert len(stored) == 12 and {row["benchmark"] for row in stored} == {"bfcl-v3"}
    assert {
        row["policy"] for row in query(open_run(tmp_path / "run").store, "SELECT policy FROM predictions").to_pylist()
    } == {f"toy-model@{host}"}
    asked = {question(body): body for _, body in server.bodies}
    assert len(asked) == 12
    for body in asked.values():
        assert body["model"] == "toy-model" and body["temperature"] == 0 and body["max_tokens"] == 4096
        assert body["messages"][0]["role"] == "system" and "tools" not in body
    assert {row["output"] for row in stored} == {half_right(body) for body in asked.values()}
    assert sum(row["tokens_output"] for row in stored) == sum(len(half_right(body)) for body in asked.values())
    # Nothing is asked twice.
    assert "12 already answered" in evaluate(itool, tmp_path / "run", server.url)[1]
    assert len(server.bodies) == 12


def test_the_key_is_sent_and_nowhere_else(itool: Itool, tmp_path: Path, server: OpenAIServer) -> None:
    code, out, err = evaluate(itool, tmp_path / "run", server.url, "--set", "model.patience=0")
    assert not code
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}

    def tells_it(body: dict[str, Any]) -> Said:
        raise RefusedError(status, f"Incorrect API key provided: {KEY}")

    server.chat = tells_it
    said = out + err
    for status in (400, 401, 403, 404, 429, 500):
        code, out, err = evaluate(itool, tmp_path / f"{status}", server.url, "--set", "model.patience=0")
        assert code == 1 and f"HTTP {status}" in err, err
        said += out + err
    for name in ("run", "400", "401", "403", "404", "429", "500"):
        assert KEY.encode() not in everything_written(tmp_path / name)
    assert KEY not in said and "OPENAI_API_KEY" in said


def test_a_traceback_does_not_hold_the_key(itool: Itool, tmp_path: Path, server: OpenAIServer, monkeypatch) -> None:
    import traceback

    from itool_cli.main import main

    def refuse(body: dict[str, Any]) -> Said:
        raise RefusedError(400, f"bad key {KEY}")

    server.chat = refuse
    command = ["itool", "--debug", "eval", "run", "bfcl-v3", "--run", str(tmp_path), "--policy", "openai"]
    monkeypatch.setattr("sys.argv", [*command, "--base-url", server.url, "--limit", "1"])
    with pytest.raises(ItoolError) as failed:
        main()
    assert KEY not in "".join(traceback.format_exception(failed.value))


@pytest.mark.parametrize("bad", [f"{KEY}\nX", f"“{KEY}”", f"{KEY} {KEY}"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(
    itool: Itool, tmp_path: Path, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", bad)
    outcome = evaluate(itool, tmp_path / "run", server.url)
    one_line(outcome, "OPENAI_API_KEY", "copy the key again")
    assert KEY not in outcome[1] + outcome[2]


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{KEY}@127.0.0.1/v1", f"https://{KEY}@127.0.0.1/v1", f"http://127.0.0.1/v1?api_key={KEY}",
        f"http://127.0.0.1/v1#{KEY}", f"http://[{KEY}/v1", f"http://127.0.0.1:{KEY}/v1", f"{KEY}.example.com/v1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("option", ["--base-url", "--set"])
def test_a_url_that_may_hold_a_key_is_refused_unseen(itool: Itool, tmp_path: Path, url: str, option: str) -> None:
    given = url if option == "--base-url" else f"model.base_url={url}"
    outcome = itool("eval", "run", "bfcl-v3", "--run", tmp_path, "--policy", "openai", option, given)
    one_line(outcome, "model.base_url")
    assert KEY not in outcome[1] + outcome[2] and KEY.encode() not in everything_written(tmp_path)


def test_no_server_and_no_key(itool: Itool, tmp_path: Path, server: OpenAIServer, monkeypatch) -> None:
    one_line(itool("eval", "run", "bfcl-v3", "--run", tmp_path / "a", "--policy", "openai"), "give --base-url")
    monkeypatch.delenv("OPENAI_API_KEY")

    def refuse(body: dict[str, Any]) -> Said:
        raise RefusedError(401, "no key")

    server.chat = refuse
    one_line(evaluate(itool, tmp_path / "b", server.url), server.url, "set OPENAI_API_KEY")
    assert not any("authorization" in headers for headers in server.headers)


FAULTS = {
    "overload": Fault("status", 429, "0.3"),
    "error": Fault("status", 500),
    "late": Fault("delay", seconds=4.0),
    "refused": Fault("refuse"),
    "broken off": Fault("drop"),
    "cut off": Fault("cut"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_failed_request_is_sent_again(itool: Itool, tmp_path: Path, server: OpenAIServer, proxied, name: str) -> None:
    server.chat = half_right
    assert evaluate(itool, tmp_path / "alone", server.url)[0] == 0
    failed: set[bytes] = set()

    def once_each(number: int, body: bytes) -> Fault | None:
        first = body not in failed
        failed.add(body)
        return FAULTS[name] if first else None

    proxy = proxied(once_each)
    # Long enough that a machine with other work does not make a right answer late too.
    code, _, err = evaluate(itool, tmp_path / "faults", proxy.url, "--set", "model.timeout=2.5")
    assert not code, err
    assert rows(tmp_path / "faults") == rows(tmp_path / "alone")
    requests: dict[bytes, list[float]] = {}
    for seen in proxy.seen:
        if seen.body:
            requests.setdefault(seen.body, []).append(seen.time)
    assert len(requests) == 12 and {len(times) for times in requests.values()} == {2}
    if name == "overload":
        assert min(times[1] - times[0] for times in requests.values()) >= 0.3


def test_a_wait_that_is_longer_than_the_patience_is_not_waited(
    itool: Itool, tmp_path: Path, server: OpenAIServer, proxied
) -> None:
    proxy = proxied(lambda number, body: Fault("status", 429, "3600"))
    one_line(evaluate(itool, tmp_path, proxy.url), proxy.url, "HTTP 429", "asks to wait 3600 s", "model.patience")


def test_no_more_requests_at_once_than_rows(itool: Itool, tmp_path: Path, server: OpenAIServer) -> None:
    at_once, most = 0, 0
    served = server._answer

    def counted(path: str, headers: dict[str, str], data: bytes) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return served(path, headers, data)
        finally:
            at_once -= 1

    server.stop()
    server._answer = counted  # type: ignore[method-assign]
    server.delay = 0.1
    server.start()
    assert evaluate(itool, tmp_path, server.url)[0] == 0
    assert most == 4


def test_after_the_patience_one_line_and_what_is_finished_is_kept(
    itool: Itool, tmp_path: Path, server: OpenAIServer, proxied
) -> None:
    server.chat = half_right
    proxy = proxied(lambda number, body: Fault("refuse") if number >= 7 else None)
    outcome = evaluate(itool, tmp_path / "run", proxy.url, "--set", "model.patience=0.5")
    one_line(outcome, proxy.url, "breaks connections off", "model.patience", "the same command goes on")
    assert len(rows(tmp_path / "run")) == 7
    server.stop()
    one_line(evaluate(itool, tmp_path / "other", server.url, "--set", "model.patience=0.5"), "cannot be reached")
    server.start()
    asked = len(server.bodies)
    proxy.plan, proxy.upstream = (lambda number, body: None), server.url
    assert "7 already answered" in evaluate(itool, tmp_path / "run", proxy.url)[1]
    assert len(rows(tmp_path / "run")) == 12 and len(server.bodies) - asked == 5


def test_what_the_server_finds_too_long_is_set_aside_and_a_reply_has_what_room_there_is(
    itool: Itool, tmp_path: Path, server: OpenAIServer
) -> None:
    server.chat = half_right
    assert evaluate(itool, tmp_path / "all", server.url)[0] == 0
    lengths = sorted({sum(len(m["content"]) for m in body["messages"]) for _, body in server.bodies})
    server.context = lengths[-3] + 1  # two items do not fit, and no item with a reply of 4096 tokens
    server.bodies.clear()
    code, out, err = evaluate(itool, tmp_path / "run", server.url)
    assert not code, err
    assert "2 items set aside" in out and f"maximum context length is {lengths[-3] + 1}" in out
    kept = rows(tmp_path / "run")
    assert len(kept) == 10 and all(row in rows(tmp_path / "all") for row in kept)
    sql = "SELECT stage, source, reason FROM rejects"
    rejects = query(open_run(tmp_path / "run").store, sql).to_pylist()
    assert len(rejects) == 2 and {r["stage"] for r in rejects} == {"eval"} and "HTTP 400" in rejects[0]["reason"]
    # Each was asked with the limit, then without it; the ones that are too long are asked again, and recorded once.
    assert [len([b for _, b in server.bodies if ("max_tokens" in b) == limit]) for limit in (True, False)] == [12, 12]
    assert "2 items set aside" in evaluate(itool, tmp_path / "run", server.url)[1]
    assert query(open_run(tmp_path / "run").store, sql).num_rows == 2


def test_one_item_that_the_server_takes_exception_to_does_not_stop_the_others(
    itool: Itool, tmp_path: Path, server: OpenAIServer
) -> None:
    replied = 0

    def choosy(body: dict[str, Any]) -> Said:
        nonlocal replied
        replied += 1
        if replied == 6:
            raise RefusedError(400, "[red]unsupported[/red]")
        return "no"

    server.chat = choosy
    code, out, err = evaluate(itool, tmp_path, server.url)
    assert not code, err
    assert "1 items set aside" in out and "HTTP 400: [red]unsupported[/red]" in out and len(rows(tmp_path)) == 11


def test_of_several_models_one_must_be_named(itool: Itool, tmp_path: Path, server: OpenAIServer) -> None:
    models = {"data": [{"id": "one"}, {"id": "two", "root": "/models/two"}]}
    route = server._route
    server._route = lambda path, body: models if path == "/v1/models" else route(path, body)  # type: ignore[method-assign]
    one_line(evaluate(itool, tmp_path / "a", server.url), "serves one, two", "--set model.served_name=NAME")
    server.adapters["gpt"] = ""
    code, out, _ = evaluate(itool, tmp_path / "a", server.url, "--set", "model.served_name=gpt")
    assert not code and "gpt@127.0.0.1" in out
    server.adapters["two"] = ""
    code, out, _ = evaluate(itool, tmp_path / "b", server.url, "--set", "model.name=/models/two")
    assert not code and "two@127.0.0.1" in out


def test_a_conversation_in_text_shows_results_as_the_users(itool: Itool, tmp_path: Path, server: OpenAIServer) -> None:
    def walk(body: dict[str, Any]) -> str:
        return "Done." if len(body["messages"]) > 2 and "cluster" not in question(body) else "[pwd(), ls(a=True)]"

    server.chat = walk
    code, _, err = itool(
        "eval", "run", "bfcl-v3", "--run", tmp_path, "--policy", "openai", "--base-url", server.url,
        "--categories", "multi_turn_base", "--limit", 2,
    )  # fmt: skip
    assert not code, err
    assert {m["role"] for _, body in server.bodies for m in body["messages"]} == {"system", "user", "assistant"}
    results = [
        m["content"] for _, body in server.bodies for m in body["messages"] if m["content"].startswith("[{'role'")
    ]
    assert results and "'name': 'pwd()'" in results[0]
    assert len(rows(tmp_path)) == 2


def test_a_conversation_that_outgrows_the_servers_context_is_wrong_and_the_rest_goes_on(
    itool: Itool, tmp_path: Path, server: OpenAIServer
) -> None:
    server.chat = lambda body: "[pwd()]" + " " * 3000
    server.context = 30_000
    code, _, err = itool(
        "eval", "run", "bfcl-v3", "--run", tmp_path, "--policy", "openai", "--base-url", server.url,
        "--categories", "multi_turn_base", "--limit", 2,
    )  # fmt: skip
    assert not code, err
    for row in rows(tmp_path):
        assert (row["error_type"], row["finish"]) == ("multi_turn:inference_error", "context")
        assert row["output"].startswith("Error during inference: HTTP 400")


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("0.25", 0.25, 0.25),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("-3", 0, 0),
        ("soon", None, None),
        ("nan", None, None),
    ],
)
def test_what_retry_after_says(header: str, low: float | None, high: float | None) -> None:
    from itool_data.policy.server import _retry_after

    seconds = _retry_after({"retry-after": header})  # type: ignore[arg-type]
    assert seconds is None if low is None else low <= seconds <= high
