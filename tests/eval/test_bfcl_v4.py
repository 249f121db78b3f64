"""BFCL v4: the official verdicts and prompts on conversations and in every form of the system prompt.

`official_v4.jsonl` holds results with the verdict of bfcl-eval 2026.3.23 (`bench/bfcl_official.py`): of every category,
form, kind of calls and error type some, out of those that `python -m bench.bfcl_agreement --official` compares.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.bfcl_conversations import conversations
from bench.bfcl_forms import form_replies
from itool_data.errors import ItoolError
from itool_eval.bfcl.benchmark import bfcl, bfcl_scorers
from itool_eval.bfcl.categories import CATEGORIES, FORMAT_SENSITIVITY, Version
from itool_eval.bfcl.decode_forms import decode, first_objects
from itool_eval.bfcl.decoded import Call, DecodeError, NoCallError
from itool_eval.bfcl.format_sensitivity import by_form, form_scores, official_spread
from itool_eval.bfcl.multi_turn_driver import MultiTurnDriver
from itool_eval.bfcl.multi_turn_items import load_multi_turn_items
from itool_eval.bfcl.prompt_form import FORMS, PromptForm
from itool_eval.conversation import Prompt, Said
from itool_eval.verdicts import Fault, Verdict

OFFICIAL = Path(__file__).with_name("official_v4.jsonl")
# Of all that the official harness asks, by JSON with sorted keys: of a conversation, of the 26 forms of 40 items.
CONVERSATION = {
    ("multi_turn_miss_func_0", False): "8209371b3400955f9f76d65d15dc9114f49ed64f383f993da26531c36e2e7e40",
    ("multi_turn_miss_func_0", True): "088d11a81fe1c1740e561474b25d8c34f7b3a6cf14914e03cb9f8fdcd93fac51",
}
IN_FORMS = "dcea92ae507ca013883833c1d8c9e263a139a9c3cd83792a01a3439202341a0a"


def digest(asked: Iterable[Prompt]) -> str:
    text = json.dumps([[prompt.messages, list(prompt.tools)] for prompt in asked], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_official_verdict_and_error_type(bfcl_v4_folder: Path) -> None:
    scorers = {
        (category, native): scorer
        for native in (False, True)
        for scorer in bfcl_scorers(Version.V4, native)
        for category in scorer.categories
    }
    rows = [json.loads(line) for line in OFFICIAL.read_text("utf-8").splitlines()]
    differences = []
    for row in rows:
        scorer = scorers[row["category"], row.get("native", False)]
        try:
            verdict = scorer.score(row["category"], row["id"], row["result"])
            ours = verdict.valid, verdict.error_type
        except ItoolError:  # where the official code raises
            ours = None, None
        if ours != (row["official_valid"], row["official_error_type"]):
            differences.append((row, ours))
    assert differences == []
    assert len({(row["category"], row["official_error_type"]) for row in rows}) > 30


def test_there_are_as_many_items_as_said(bfcl_v4_folder: Path) -> None:
    benchmark = bfcl(Version.V4)
    for name in ("multi_turn_base", FORMAT_SENSITIVITY):
        assert len(benchmark.questions(name)) == CATEGORIES[Version.V4][name].size
    assert FORMAT_SENSITIVITY not in bfcl(Version.V4, native_calls=True).categories


@pytest.mark.parametrize(("item_id", "native"), CONVERSATION)
def test_a_conversation_asks_what_the_official_harness_asks(bfcl_v4_folder: Path, item_id: str, native: bool) -> None:
    items = load_multi_turn_items(bfcl_v4_folder, Version.V4, item_id.rpartition("_")[0])
    item = next(item for item in items if item.id == item_id)
    call = Said("", (("pwd", "{}"),)) if native else Said("[pwd()]")
    replies = [call, *[Said("Done.")] * 9]
    held = MultiTurnDriver(bfcl_v4_folder, Version.V4, native).conversation(item)
    asked = [next(held)]
    with pytest.raises(StopIteration):
        while True:
            asked.append(held.send(replies.pop(0)))
    assert digest(asked) == CONVERSATION[item_id, native]


def test_every_form_asks_what_the_official_harness_asks(bfcl_v4_folder: Path) -> None:
    questions = bfcl(Version.V4).questions(FORMAT_SENSITIVITY)[: 40 * len(FORMS)]
    assert digest(next(question.begin()) for question in questions) == IN_FORMS


def test_right_replies_pass_in_every_form_and_what_makes_no_sense_raises_nothing(bfcl_v4_folder: Path) -> None:
    scorer = bfcl_scorers(Version.V4)[-1]
    verdicts = [scorer.score(r["category"], r["id"], r["result"]) for r in form_replies(bfcl_v4_folder, 1000, 7)]
    right = by_form(verdicts[:5200])
    assert list(right) == list(FORMS)
    assert all(tally.n == 200 and tally.correct > 190 for tally in right.values())
    assert {True, False} == {verdict.valid for verdict in verdicts[5200:]}


def test_right_conversations_pass_as_text_and_natively(bfcl_v4_folder: Path) -> None:
    scorers = {native: bfcl_scorers(Version.V4, native)[1] for native in (False, True)}
    rows = [row for row in conversations(bfcl_v4_folder, 0, 0) if row["category"] != "multi_turn_long_context"][::10]
    assert all(scorers[row["native"]].score(row["category"], row["id"], row["result"]).valid for row in rows)


@pytest.mark.parametrize(
    ("text", "form", "calls"),
    [
        ("x <TOOLCALL>[f(a=1)]</TOOLCALL> y", PromptForm(tagged=True), [Call("f", {"a": 1})]),
        ("<TOOLCALL>f(a=1)</TOOLCALL>", PromptForm(tagged=True), [Call("f", {"a": 1})]),
        ('```json\n[{"function": "f", "parameters": {"a": [1]}}]\n```', PromptForm("json"), [Call("f", {"a": [1]})]),
        ('[{"function": "f", "parameters": {"a": 1}}', PromptForm("json"), [Call("f", {"a": 1})]),
        ('[{"function": "f", "parameters": {"a": ', PromptForm("json"), []),
        ("No call.", PromptForm("json"), []),
        (
            '<functions><function name="f"><params><param name="a" value="[1]" type="array"/></params></function>'
            "</functions>",
            PromptForm("verbose_xml"),
            [Call("f", {"a": [1]})],
        ),
        (
            'So: <functions><function name="f"><param name="a" type="boolean"> True </param></function></functions>',
            PromptForm("concise_xml"),
            [Call("f", {"a": True})],
        ),
        ("<functions></functions>", PromptForm("concise_xml"), []),
    ],
)
def test_calls_in_a_form(text: str, form: PromptForm, calls: list[Call]) -> None:
    assert decode(text, form) == calls


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("[f(a=1)]", PromptForm(tagged=True)),
        ('[{"name": "f", "parameters": {}}]', PromptForm("json")),
        ("<functions><function/></functions>", PromptForm("concise_xml")),
        ('<functions><function name="f"><param name="a" type="integer">x</param></function></functions>', FORMS[21]),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><functions>&x;</functions>", PromptForm("verbose_xml")),
        ('<functions><function name="f"><param name="a" type="list">1</functions>', PromptForm("concise_xml")),
    ],
)
def test_no_calls_in_a_form(text: str, form: PromptForm) -> None:
    with pytest.raises(DecodeError):
        decode(text, form)


def test_arguments_that_are_no_object_are_another_fault() -> None:
    with pytest.raises(NoCallError):
        decode('[{"function": "f", "parameters": [1]}]', PromptForm("json"))


@given(st.text(alphabet="[]{}, \na\u00a0", max_size=14))
def test_lists_are_found_where_the_official_pattern_finds_them(text: str) -> None:
    found = re.search(r"\[\s*{.*?}\s*(?:,\s*{.*?}\s*)*\]", text, re.DOTALL)
    assert first_objects(text) == (found and found[0])


def test_a_cut_list_of_many_objects_takes_no_time() -> None:
    assert first_objects('[{"a": {}}, ' * 5_000) is None


def test_the_forms_spread_as_the_official_score_file_says() -> None:
    right = {FORMS[0]: 3, FORMS[1]: 1, FORMS[25]: 2}
    verdicts = [
        Verdict(f"{FORMAT_SENSITIVITY}_{i}:{form.official}:simple_python_{i}", FORMAT_SENSITIVITY, faults)
        for form, correct in right.items()
        for i in range(4)
        for faults in [() if i < correct else (Fault("x", "y"),)]
    ]
    tallies = by_form(verdicts)
    assert official_spread(tallies) == {"accuracy_max_delta": 50.0, "accuracy_variance": 625.0, "accuracy_std": 25.0}
    scores = {score.name: score for score in form_scores(tallies)}
    assert scores["format_max_delta"].value == 0.5 and scores["format_std"].value == 0.25
    assert scores[FORMS[0].short].value == 0.75 and scores[FORMS[0].short].partial == (FORMAT_SENSITIVITY,)
    assert official_spread(by_form(verdicts[:4]))["accuracy_std"] == 0.0
    assert form_scores(by_form([])) == []
