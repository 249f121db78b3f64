"""Multi-turn conversations: the official verdicts, the driver's loop, and what a reply must not be able to do."""

import ast
import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from itool_data.errors import ItoolError
from itool_eval.bfcl.aggregate import summarise
from itool_eval.bfcl.categories import CATEGORIES, Version
from itool_eval.bfcl.decoded import DecodeError
from itool_eval.bfcl.multi_turn_calls import call_texts
from itool_eval.bfcl.multi_turn_checker import MultiTurnScorer, check
from itool_eval.bfcl.multi_turn_driver import MAX_STEPS, MultiTurnDriver
from itool_eval.bfcl.multi_turn_items import MultiTurnItem, load_multi_turn_items
from itool_eval.bfcl.multi_turn_world import World
from itool_eval.bfcl.score_file import score_results
from itool_eval.bfcl.simulators import Simulators
from itool_eval.bfcl.single_turn import SingleTurnScorer
from itool_eval.conversation import Conversation, Message, Result, Said
from itool_eval.summary import tally

BASE = "multi_turn_base"
LONG = "multi_turn_long_context"


@pytest.fixture(scope="session")
def scorer(bfcl_folder: Path) -> MultiTurnScorer:
    return MultiTurnScorer(bfcl_folder, Version.V3)


@pytest.fixture(scope="session")
def driver(bfcl_folder: Path) -> MultiTurnDriver:
    return MultiTurnDriver(bfcl_folder, Version.V3)


@pytest.fixture(scope="session")
def simulators(bfcl_folder: Path) -> Simulators:
    return Simulators(bfcl_folder)


def conversation(*classes: str, category: str = BASE, answers: list[list[str]] | None = None) -> MultiTurnItem:
    answers = answers or []
    return MultiTurnItem(f"{category}_0", category, [[] for _ in answers], {}, list(classes), {}, answers)


def answerable(data: Path, category: str, count: int = 10) -> list[MultiTurnItem]:
    """Some items whose expected calls name all arguments: a model's positional ones vanish, as officially."""
    return [
        item
        for item in load_multi_turn_items(data, Version.V3, category)
        if not any(ast.parse(call, mode="eval").body.args for turn in item.answers for call in turn)  # type: ignore[attr-defined]
    ][:count]


def converse(driver: MultiTurnDriver, item: MultiTurnItem, reply: Callable[[list[Message]], str]) -> Result:
    """Hold one conversation to its end."""
    conversation = driver.conversation(item)
    try:
        prompt = next(conversation)
        while True:
            prompt = conversation.send(Said(reply(prompt.messages)))
    except StopIteration as end:
        result: Result = end.value
        return result


def replay(item: MultiTurnItem) -> Callable[[list[Message]], str]:
    """A policy that gives the answer's calls, one reply a turn."""
    replies = [r for turn in item.answers for r in ([f"[{', '.join(turn)}]"] if turn else []) + ["Done."]]
    return lambda _messages: replies.pop(0)


def test_every_row_of_the_corpus_gets_the_official_verdict_and_error_type(
    scorer: MultiTurnScorer, shared_data: Path
) -> None:
    differences = []
    with gzip.open(shared_data / "bfcl_v3_multiturn_corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        verdict = scorer.score(row["category"], row["id"], row["result"])
        if (verdict.valid, verdict.error_type) != (row["official_valid"], row["official_error_type"]):
            differences.append((row["id"], row["mutation"], verdict.error_type))
        if row["official_turn"] is not None:
            assert verdict.faults[0].message.startswith(f"turn {row['official_turn']}:")
    assert (len(rows), differences) == (755, [])


@pytest.mark.parametrize("category", ["multi_turn_base", "multi_turn_miss_func", "multi_turn_long_context"])
def test_the_expected_calls_pass_and_a_bad_reply_ends_only_its_turn(
    bfcl_folder: Path, scorer: MultiTurnScorer, driver: MultiTurnDriver, category: str
) -> None:
    assert len(load_multi_turn_items(bfcl_folder, Version.V3, category)) == CATEGORIES[Version.V3][category].size
    for item in answerable(bfcl_folder, category):
        result = converse(driver, item, replay(item))
        assert scorer.score(category, item.id, result).valid

        good = replay(item)
        spoiled = converse(driver, item, lambda m, good=good: good(m) if m[-1]["role"] == "user" else "[ls(a=")
        assert len(spoiled) == len(item.turns)
        assert all(turn[-1] == "[ls(a=" or len(turn) == 1 for turn in spoiled)


def test_conversations_side_by_side_share_nothing(
    bfcl_folder: Path, scorer: MultiTurnScorer, driver: MultiTurnDriver
) -> None:
    """In a long context all travel simulators hold the same cards unless each has its own."""
    items = [item for item in answerable(bfcl_folder, LONG, 200) if "TravelAPI" in item.involved_classes][:4]
    alone = [converse(driver, item, replay(item)) for item in items]

    conversations = [driver.conversation(item) for item in items]
    replies = [replay(item) for item in items]
    waiting = {i: next(conversation) for i, conversation in enumerate(conversations)}
    beside: dict[int, Result] = {}
    while waiting:
        for i, prompt in list(waiting.items()):
            try:
                waiting[i] = conversations[i].send(Said(replies[i](prompt.messages)))
            except StopIteration as end:
                beside[i] = end.value
                del waiting[i]
    assert [beside[i] for i in range(len(items))] == alone
    assert all(scorer.score(item.category, item.id, beside[i]).valid for i, item in enumerate(items))


def test_what_one_conversation_spends_no_other_lacks(
    bfcl_folder: Path, driver: MultiTurnDriver, simulators: Simulators
) -> None:
    item = next(i for i in load_multi_turn_items(bfcl_folder, Version.V3, LONG) if "TravelAPI" in i.involved_classes)
    booking = next(reversed(World(item, "model", simulators).instances["TravelAPI"].booking_record))
    one, other = driver.conversation(item), driver.conversation(item)

    def call(conversation: Conversation, text: str) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(conversation.send(Said(f"[{text}]")).messages[-1]["content"])
        return result

    def cards(conversation: Conversation) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = call(conversation, "get_all_credit_cards()")["credit_card_list"]
        return found

    next(one), next(other)
    before = cards(one)
    assert cards(other) == before
    names = "client_id='a', client_secret='b', refresh_token='c', user_first_name='d', user_last_name='e'"
    token = call(one, f"authenticate_travel({names}, grant_type='read_write')")["access_token"]
    card = next(reversed(before))
    insurance = f"insurance_type='x', booking_id={booking!r}, insurance_cost=1, card_id={card!r}"
    assert call(one, f"purchase_insurance(access_token={token!r}, {insurance})")["insurance_status"]
    assert cards(one)[card]["balance"] == before[card]["balance"] - 1
    assert cards(other) == before


def test_a_withheld_function_is_not_shown_before_its_turn(bfcl_folder: Path, driver: MultiTurnDriver) -> None:
    item = load_multi_turn_items(bfcl_folder, Version.V3, "multi_turn_miss_func")[0]
    shown: list[list[Message]] = []
    converse(driver, item, lambda messages: shown.append(messages) or "No.")  # type: ignore[func-returns-value]
    assert item.missed_functions == {3: ["sort"]}
    system, first = shown[0]
    assert (system["role"], first) == ("system", item.turns[0][0])
    assert "{'name': 'grep'" in system["content"] and "{'name': 'sort'" not in system["content"]
    assert "Note that the provided function is in Python 3 syntax." in system["content"]
    later = shown[3][-1]
    assert later["role"] == "user" and later["content"].startswith("[{'name': 'sort'")
    assert later["content"].endswith("\nI have updated some more functions you can choose from. What about now?")


def test_a_conversation_ends_after_too_many_steps(
    bfcl_folder: Path, scorer: MultiTurnScorer, driver: MultiTurnDriver
) -> None:
    item = load_multi_turn_items(bfcl_folder, Version.V3, BASE)[0]
    messages: list[Message] = []

    def endless(seen: list[Message]) -> str:
        messages[:] = seen
        return "[pwd()]"

    result = converse(driver, item, endless)
    assert [len(turn) for turn in result] == [MAX_STEPS + 1] == [21]
    assert scorer.score(BASE, item.id, result).error_type == "multi_turn:force_terminated"
    assert messages[-1] == {
        "role": "tool",
        "name": "pwd()",
        "content": '{"current_working_directory": "/workspace"}',
    }


def test_results_of_another_shape(scorer: MultiTurnScorer) -> None:
    assert scorer.score(BASE, "multi_turn_base_0", "text").error_type == "multi_turn:inference_error"
    assert scorer.score(BASE, "multi_turn_base_0", []).error_type == "multi_turn:force_terminated"
    strange = [["", None, 5, {"a": 1}], "text", {"a": 1}, {}]
    assert scorer.score(BASE, "multi_turn_base_0", strange).error_type == "multi_turn:empty_turn_model_response"
    with pytest.raises(ItoolError, match="turn 1 is a NoneType"):
        scorer.score(BASE, "multi_turn_base_0", [[], None, [], []])


def test_a_file_may_mix_single_and_multi_turn_lines(
    scorer: MultiTurnScorer, v3: SingleTurnScorer, tmp_path: Path
) -> None:
    lines = [
        {"id": "multi_turn_base_0", "category": BASE, "result": [["x"], [], [], []]},
        {"id": "simple_0", "category": "simple", "result": "x"},
        {"id": "multi_turn_base_0", "category": BASE, "result": [1, 2, 3, 4]},
        {"id": "multi_turn_base_999", "category": BASE, "result": []},
    ]
    (tmp_path / "results.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    scored = score_results(tmp_path / "results.jsonl", [v3, scorer], Version.V3)
    assert [v.category for v in scored.verdicts] == [BASE, "simple"]
    assert [(reject.line, reject.field) for reject in scored.rejects] == [(3, "result"), (4, "id")]
    names = [score.name for score in summarise(tally(scored.verdicts), Version.V3).categories]
    assert names == ["simple", BASE]


def test_an_id_that_comes_twice_begins_anew(bfcl_folder: Path, scorer: MultiTurnScorer) -> None:
    for category in ("multi_turn_base", "multi_turn_long_context"):
        item = answerable(bfcl_folder, category)[0]
        result = [[f"[{', '.join(turn)}]"] for turn in item.answers]
        assert [scorer.score(category, item.id, result).valid for _ in range(3)] == [True] * 3


def test_what_long_contexts_share_is_renewed(simulators: Simulators) -> None:
    item = conversation("TravelAPI", category="multi_turn_long_context")
    worlds = []
    for _ in range(2):
        simulators.begin_long_context()
        worlds.append(World(item, "model", simulators))
    cards, later = (world.instances["TravelAPI"].credit_card_list for world in worlds)
    card = next(iter(cards))
    cards[card]["balance"] = -1
    assert later[card]["balance"] != -1


def test_loading_leaves_no_module_behind(bfcl_folder: Path) -> None:
    before, path = set(sys.modules), list(sys.path)
    Simulators(bfcl_folder)
    assert not {name for name in set(sys.modules) - before if "bfcl" in name or "gorilla" in name}
    assert sys.path == path


@pytest.mark.parametrize(
    ("reply", "texts"),
    [
        ("[f(1, a='x', b=y)]", ["f(a='x', b='y')"]),
        ("f(a={'x': 1})", ["f(a={'x': 1})"]),
        ("f(a=g(x=1))", ["f(a=g(x=1))"]),
        ("f(a={'g': {'x': 1}, 'h': {}})", ["f(a=g(x=1))"]),
        ("f(a=[g(x=1)], **k)", ["f(a=[{'g': {'x': 1}}], None='k')"]),
        ("()", []),
    ],
)
def test_calls_are_written_out_as_officially(reply: str, texts: list[str]) -> None:
    assert call_texts(reply, Version.V3) == texts


@pytest.mark.parametrize("reply", ["", "[]", "f(a={})", "f(a=", f"f(a=0x{'f' * 5000})"])
def test_replies_that_are_no_step(reply: str) -> None:
    with pytest.raises(DecodeError):
        call_texts(reply, Version.V3)


def test_results_are_the_official_texts(simulators: Simulators) -> None:
    world = World(conversation("GorillaFileSystem", "MathAPI"), "model", simulators)
    assert world.execute(["touch(file_name='a')", "ls()", "add(a=1, b=add(a=1, b=2))", "mean(numbers=[1, 2])"]) == [
        "None",
        '{"current_directory_content": ["a"]}',
        '{"error": "Both inputs must be numbers"}',
        '{"result": 1.5}',
    ]
    assert world.execute(
        ["cd()", "nothing(a=1)", "rm.kill(a=1)", "f(None=1)", "add(a=1, b=inf)", "add(a=1, b=dict(c=2))"]
    ) == [
        "Error during execution: GorillaFileSystem.cd() missing 1 required positional argument: 'folder'",
        "Error during execution: name 'nothing' is not defined",
        "Error during execution: Function call kill is not allowed.",
        "Error during execution: cannot assign to None (<unknown>, line 1)",
        "Error during execution: name 'inf' is not defined",
        '{"error": "Both inputs must be numbers"}',
    ]


def test_names_are_rewritten_inside_strings_too(simulators: Simulators) -> None:
    item = conversation("GorillaFileSystem")
    texts = [
        World(item, side, simulators).execute(["echo(content='hello (world), sort (x)')"])[0]
        for side in ("model", "answer")
    ]
    assert "hello(world), model_multi_turn_base_0_gorillafilesystem_instance.sort(x)" in texts[0]
    assert texts[0] != texts[1]


@pytest.mark.parametrize(
    "call",
    [
        "open(file='{canary}', mode='w')",
        "cat(file_name=open(file='{canary}', mode='w'))",
        "cat(file_name=__import__(name='pathlib'))",
        "cat(file_name=pathlib.Path('{canary}').touch(exist_ok=True))",
        "cat.__globals__(a=1)",
        "cat(file_name={{\"a': open('{canary}', 'w'), 'b\": 1}})",
        "cat(file_name={{\"open('{canary}', 'w') or f\": {{}}}})",
        "cat(file_name={{\"model_multi_turn_base_0_gorillafilesystem_instance._load_scenario\": {{'scenario': 1}}}})",
        "_load_scenario(scenario=1)",
        "__init__()",
        "__class__(a=1)",
        "model_multi_turn_base_0_gorillafilesystem_instance.__init__(a=1)",
    ],
)
def test_nothing_in_a_reply_is_executed(simulators: Simulators, tmp_path: Path, call: str) -> None:
    canary = tmp_path / "canary"
    world = World(conversation("GorillaFileSystem"), "model", simulators)
    world.execute(["touch(file_name='kept')"])
    (result,) = world.execute(call_texts(call.format(canary=canary), Version.V3))
    assert result.startswith("Error during execution: ")
    assert not canary.exists()
    assert world.execute(["ls()"]) == ['{"current_directory_content": ["kept"]}']


@pytest.mark.parametrize(
    "call",
    [
        "power(base=10, exponent=10 ** 9)",
        "power(base=power(base=10, exponent=9), exponent=9)",
        "logarithm(value=2, base=3, precision=999999999)",
        "logarithm(value=2, base=3, precision='999999999')",
        "square_root(number=2, precision=999999999)",
        "round_number(number=5, decimal_places=-999999999)",
        f"add(a={'[' * 150}{']' * 150}, b=1)",
    ],
)
def test_costly_arithmetic_is_refused(simulators: Simulators, call: str) -> None:
    results = World(conversation("MathAPI"), "model", simulators).execute(call_texts(call, Version.V3))
    assert all("rror" in result for result in results)


def test_folders_that_double_with_each_copy_end_in_time(simulators: Simulators) -> None:
    world = World(conversation("GorillaFileSystem"), "model", simulators)
    world.execute(["mkdir(dir_name='d')"])
    for _ in range(40):
        # Both copies share what they hold, so that a walk meets twice as many folders.
        moves = [f"mv(source='{name}', destination='new')" for name in ("d", "e")]
        world.execute(["cp(source='d', destination='e')", "mkdir(dir_name='new')", *moves])
        world.execute(["mv(source='new', destination='d')"])
    assert world.execute(["find()", "du()"]) == ["Error during execution: the call takes too long"] * 2


def test_a_folder_inside_itself_is_another_state(simulators: Simulators) -> None:
    item = conversation("GorillaFileSystem", answers=[["mkdir(dir_name='d')"]])
    calls = ["mkdir(dir_name='d')", "cp(source='d', destination='d')", "cp(source='d', destination='d')", "find()"]
    fault = check(item, [[calls]], simulators)
    assert fault is not None and fault.error_type == "multi_turn:instance_state_mismatch"
