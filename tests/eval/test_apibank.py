"""API-Bank (AST): the published samples, gold calls pass, and each kind of error is told apart."""

from pathlib import Path

import pytest

from itool_data.errors import ItoolError
from itool_eval.apibank.aggregate import summarise
from itool_eval.apibank.items import LEVELS, load_items
from itool_eval.apibank.scorer import ApiBankScorer, extract
from itool_eval.errors import ErrorClass, first_class
from itool_eval.verdicts import Verdict

# The gold arguments of the first sample that calls ModifyRegistration.
GOLD = "appointment_id='34567890', new_appointment_date='2023-03-26', new_appointment_doctor='Dr. Lee'"


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "apibank"


@pytest.fixture(scope="module")
def scorer(folder: Path) -> ApiBankScorer:
    return ApiBankScorer(folder)


@pytest.mark.parametrize("level", LEVELS)
def test_every_gold_call_passes_over_both_denominators(folder: Path, scorer: ApiBankScorer, level: str) -> None:
    from itool_data.sources.files import read_file

    rows = [row for _, row in read_file(folder / LEVELS[level].file)]
    verdicts = [scorer.score(level, f"{row['file']}:{row['id']}", row["expected_output"]) for row in rows]
    assert [verdict for verdict in verdicts if not verdict.valid] == []
    summary = summarise(verdicts)
    assert [(s.n, s.value, s.partial) for s in summary.categories] == [(LEVELS[level].published, 1.0, ())]
    assert [(s.n, s.value, s.partial) for s in summary.scores] == [(LEVELS[level].different, 1.0, ())]
    assert "not the official score" in summary.era
    assert summarise(verdicts[:2]).categories[0].partial == (level,)


def test_the_prompt_is_what_was_published(folder: Path) -> None:
    system, user = load_items(folder, "level-2")[0].messages
    assert "API descriptions:" in system["content"] and "ToolSearcher" in system["content"]
    assert user["content"].startswith("User: ") and user["content"].rstrip().endswith("Generate API Request:")


@pytest.mark.parametrize(
    ("reply", "types", "decided"),
    [
        (f"API-Request: [ModifyRegistration({GOLD})]", [], None),
        (f"Sure!\n[ModifyRegistration({GOLD.replace('03-26', '3-26')})] done", [], None),
        (f"[ModifyRegistration({GOLD.replace('Lee', 'LEE')})]", [], None),
        ("Sorry, I cannot.", ["no_api_call"], ErrorClass.CODE_SYNTAX),
        (f"ModifyRegistration({GOLD})", ["no_api_call"], ErrorClass.CODE_SYNTAX),
        ("[ModifyRegistration('34567890', '2023-03-26')]", ["failed_parse_api_call"], ErrorClass.CODE_SYNTAX),
        (f"[ModifyAppointment({GOLD})]", ["api_name_mismatch"], ErrorClass.TOOL_NAME),
        (f"[ModifyRegistration({GOLD}, why='')]", ["invalid_input_parameter"], ErrorClass.PARAMETER_NAME),
        ("[ModifyRegistration()]", ["miss_input_argument"] * 3, ErrorClass.PARAMETER_COUNT),
        (f"[ModifyRegistration({GOLD.replace('34', '43')})]", ["input_mismatch"], ErrorClass.PARAMETER_VALUE),
    ],
)
def test_errors_are_told_apart(scorer: ApiBankScorer, reply: str, types: list[str], decided: object) -> None:
    verdict = scorer.score("level-1", find(scorer, "ModifyRegistration")[0], reply)
    assert [fault.error_type for fault in verdict.faults] == [f"api_bank:{name}" for name in types]
    assert first_class(verdict) is decided


def find(scorer: ApiBankScorer, api: str) -> tuple[str, dict[str, object]]:
    return next((i.id, dict(i.gold.arguments)) for i in scorer.items("level-1").values() if i.gold.name == api)


def call(scorer: ApiBankScorer, api: str, **changed: object) -> Verdict:
    item, arguments = find(scorer, api)
    text = ", ".join(f"{name}={value!r}" for name, value in (arguments | changed).items())
    return scorer.score("level-1", item, f"[{api}({text})]")


def test_free_text_needs_most_words_and_numbers_may_be_texts(scorer: ApiBankScorer) -> None:
    content = str(find(scorer, "AddReminder")[1]["content"])
    assert call(scorer, "AddReminder", content=content.upper()).valid
    assert not call(scorer, "AddReminder", content="something else").valid
    agenda = str(find(scorer, "AddAgenda")[1]["content"])
    assert not call(scorer, "AddAgenda", content=agenda.swapcase()).valid
    rooms = str(find(scorer, "BookHotel")[1]["room_count"])
    assert call(scorer, "BookHotel", room_count=int(rooms)).valid
    assert call(scorer, "BookHotel", room_count=rooms).valid


def test_no_call_attempted_is_noted(scorer: ApiBankScorer) -> None:
    item = find(scorer, "BookHotel")[0]
    assert scorer.score("level-1", item, "Sorry.").faults[0].note == "no call attempted"
    assert scorer.score("level-1", item, "BookHotel(a='b')").faults[0].note == ""


def test_extraction_takes_a_line_up_to_its_last_closing() -> None:
    assert extract("a [f(x='1')] b [g()] c\n[h()]") == "[f(x='1')] b [g()]"
    assert extract("[f(x='1')\n]") is None
    assert extract(")] [f(") is None
    assert extract("[[f()]]") == "[f()]"


@pytest.mark.parametrize(
    "text", ["[f(" * 20_000, "[f(" + "a=" * 20_000 + ")]", "[f(a=" + "[" * 5_000 + ")]", ",a" * 9**5]
)
def test_hostile_replies_end_in_a_verdict(scorer: ApiBankScorer, text: str) -> None:
    item = find(scorer, "BookHotel")[0]
    for reply in (text, f"[BookHotel(room_count={'9' * 6000})]"):
        assert not scorer.score("level-1", item, reply).valid
        scorer.calls("level-1", reply)


def test_an_absent_folder_and_a_result_that_is_no_text_are_named(scorer: ApiBankScorer, tmp_path: Path) -> None:
    with pytest.raises(ItoolError, match=r"level-1-api\.json"):
        load_items(tmp_path, "level-1")
    with pytest.raises(ItoolError, match="is a text"):
        scorer.score("level-1", find(scorer, "BookHotel")[0], [])
