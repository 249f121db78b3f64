"""Samples as prompts."""

import pytest
from toys import END, PROMPTER, CharTokenizer, ids_of, toy_sample

from itool_data.prompt import Prompter, prompt_messages, signature
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


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        ('You have [{"name": "f"}, {"name": "g"}]. Answer as [func1(a=1, b=2...), func2(c)].', True),
        (
            'You have [{"name": "g"}, {"name": "f"}]. Answer as [func1(a=1)].',
            False,
        ),  # other functions, or another order
        ('You have [{"name": "f"}, {"name": "g"}]. Answer as {"name": ...}.', False),
        ('You have [{"name": "f"}, {"name": "g"]. Answer as [func1(a=1)].', False),
        ("Answer as [func1(a=1)].", False),
    ],
)
def test_a_system_message_that_says_all_that_ours_would_stands_alone(text, alone):
    tools = (Tool("f", "", SCHEMA), Tool("g", "", SCHEMA))
    messages = (Message("system", text), Message("user", "hi"))
    (system, _) = prompt_messages(messages, tools, "signatures")
    assert (system["content"] == text) == alone
    assert system["content"].endswith(text)
    (system, _) = prompt_messages(messages, tools, "signatures", "none")
    assert text not in system["content"] and "f(" in system["content"]


def test_a_response_ends_with_end_of_turn_and_decodes_without_it():
    ids = PROMPTER.response_ids("[f(a=1)]")
    assert tuple(ids) == ids_of("[f(a=1)]") and ids[-1] == END
    assert PROMPTER.decode(ids) == "[f(a=1)]"
