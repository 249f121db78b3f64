"""Samples as prompts."""

import pytest
from toys import END, PROMPTER, CharTokenizer, ids_of, toy_sample

from itool_data.prompt import Prompter, signature
from itool_data.sample import Message, Sample, Tool

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Where."},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "days": {"type": "array", "items": {"type": "integer"}},
        "at": {"type": "object", "properties": {"lat": {"type": "number"}}},
        "any": {},
    },
    "required": ["city"],
}


def test_a_signature_shows_types_choices_and_what_is_optional():
    shown = signature(Tool("weather.get", "Gets\n the weather.", SCHEMA))
    assert shown == (
        'weather.get(city: string, unit?: "C"|"F", days?: array<integer>, at?: {lat: number}, any?: any) '
        "Gets the weather."
    )


@pytest.mark.parametrize("style", ["signatures", "json"])
def test_the_prompt_holds_tools_then_messages_then_the_assistants_turn(style):
    text = PROMPTER.decode(Prompter(CharTokenizer(), style).prompt_ids(toy_sample()))
    assert text.index("f") < text.index("<user>call f with 1") < text.index("<assistant>")
    assert ("f(a: integer, b?: integer)" in text) == (style == "signatures")
    assert ('"name":"f"' in text) == (style == "json")


def test_a_samples_own_system_message_follows_the_tools_in_one_system_message():
    sample = Sample("toy", "1", (Message("system", "Be brief."), Message("user", "hi")), (), "hello")
    text = PROMPTER.decode(PROMPTER.prompt_ids(sample))
    assert text.count("<system>") == 1 and text.endswith("\n\nBe brief.<user>hi<assistant>")


def test_a_response_ends_with_end_of_turn_and_decodes_without_it():
    ids = PROMPTER.response_ids("[f(a=1)]")
    assert tuple(ids) == ids_of("[f(a=1)]") and ids[-1] == END
    assert PROMPTER.decode(ids) == "[f(a=1)]"
