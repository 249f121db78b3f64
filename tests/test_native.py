"""The model's own form: prompts and gold responses by chat templates, and calls read back out of them."""

from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from bench.native_forms import ENDS, ONE_CALL, TEMPLATES, TOOLS, Conversations, open_form, prompter, sample, tokenizer
from itool_data.chat_template import ChatTemplate, fold, template_source
from itool_data.dialects import DIALECTS, NATIVE, CallSyntaxError, parse, parse_prefix
from itool_data.errors import ItoolError
from itool_data.native import NativePrompter, as_chat, open_native
from itool_data.prompt import UnsayableError, tokenise
from itool_data.sample import Message, ToolCall
from itool_data.steps import split_steps

CONVERSATIONS = 2_000  # a template
FILES = resources.files("trl").joinpath("chat_templates").iterdir()
IN_TRL = {file.name.removesuffix(".jinja") for file in FILES if file.name.endswith(".jinja")}
TRAINING = "_training"  # what TRL calls a template with marks around what the model says


# --- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_a_template_writes_reads_back_and_every_prefix_of_it_has_an_answer(template: str) -> None:
    own, conversations, said = prompter(template), Conversations(1), 0
    assert own.form.dialect == TEMPLATES[template]
    for number in range(CONVERSATIONS):
        wanted = conversations.calls()
        try:
            ids = own.gold_ids(sample(*wanted))
        except UnsayableError as error:
            # Either it writes one call, or its quotes, or tags, or the lack of types, do not hold a text.
            one = template in ONE_CALL and len(wanted) > 1
            held = {"lfm2", "gemma", "glm", "qwen-xml", "atem"}
            assert one or own.form.dialect in held, (wanted, error)
            continue
        said += 1
        assert ids[-1] in {tokenizer().convert_tokens_to_ids(end) for end in ENDS}
        text = own.decode(ids)
        assert parse(text, own.form.dialect, TOOLS) == list(wanted)
        steps = split_steps(ids, own.form)
        assert [token for step in steps for token in step] == ids
        # A step for each name, each argument and each end at least; before that perhaps a text.
        assert len(steps) > sum(1 + len(call.arguments) for call in wanted) - (own.form.dialect == "harmony")
        if number % 50 == 0:
            for cut in range(len(text)):
                partial = parse_prefix(text[:cut], own.form.dialect, TOOLS)
                assert partial.error is None, (text[:cut], partial.error)
                assert partial.calls == wanted[: len(partial.calls)]
                assert partial.open is None or partial.open.name == wanted[len(partial.calls)].name
    least = 0.3 if template in ONE_CALL else 0.85 if own.form.dialect == "lfm2" else 0.9
    assert said >= CONVERSATIONS * least


def test_the_templates_of_trl_that_are_not_tried_show_no_functions_or_write_no_call() -> None:
    others = [template for template in IN_TRL if template.removesuffix(TRAINING) not in TEMPLATES]
    refused = {template: open_form(template) for template in sorted(others)}
    known = ("its chat template shows no functions", "its chat template writes no call")
    assert {template: why for template, why in refused.items() if why not in known} == {} and len(refused) > 10


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name + TRAINING in IN_TRL])
def test_a_template_for_training_writes_what_its_model_has(template: str) -> None:
    conversations, written = Conversations(2), 0
    for _ in range(CONVERSATIONS // 20):
        asked = sample(*conversations.calls())
        said = []
        for own in (prompter(template), prompter(template + TRAINING)):
            try:
                said.append((own.prompt_ids(asked), own.gold_ids(asked)))
            except UnsayableError:
                said.append(None)
        assert said[0] == said[1]
        written += said[0] is not None
    assert written > CONVERSATIONS // 60


@pytest.mark.parametrize("template", TEMPLATES)
def test_prose_is_no_call_and_ends_with_a_turn(template: str) -> None:
    own = prompter(template)
    ids = own.gold_ids(sample(target="It is late."))
    assert "It is late." in own.decode(ids)
    assert parse(own.decode(ids), own.form.dialect) == []
    assert len(split_steps(ids, own.form)) == 1


def test_the_prompt_and_the_response_together_are_what_the_template_writes() -> None:
    own = prompter("qwen2_5")
    call = ToolCall("get.it", {"city": "Oslo"})
    ids = [*own.prompt_ids(sample(call)), *own.gold_ids(sample(call))]
    assert (
        tokenizer()
        .decode(ids, skip_special_tokens=False)
        .endswith(
            '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<tool_call>\n{"name": "get.it", "arguments": '
            '{"city": "Oslo"}}\n</tool_call><|im_end|>'
        )
    )


def test_a_thought_that_the_template_writes_is_a_step_of_its_own() -> None:
    own = prompter("qwen3")
    steps = [own.decode(step) for step in split_steps(own.gold_ids(sample(ToolCall("get.it", {"n": 1}))), own.form)]
    assert steps[0] == "<think>\n\n</think>\n\n"
    assert steps[1].startswith("<tool_call>") and steps[-1] == ""


def test_where_another_call_may_follow_the_end_is_a_step_of_its_own() -> None:
    own = prompter("qwen2_5")
    steps = split_steps(own.gold_ids(sample(ToolCall("get.it", {"n": 1}))), own.form)
    assert steps[-1] == [tokenizer().convert_tokens_to_ids("<|im_end|>")]
    closed = prompter("lfm2_2_5")
    last = split_steps(closed.gold_ids(sample(ToolCall("get.it", {"n": 1}))), closed.form)[-1]
    assert closed.decode(last).endswith("<|tool_call_end|>")


# --- history ----------------------------------------------------------------------------------------------------------

HISTORY = (
    Message("system", "Be brief."),
    Message("user", "Both?"),
    Message("assistant", "[get.it(n=1), other_fn(city='Rome')]"),
    Message("tool", "one"),
    Message("tool", "two"),
    Message("assistant", "Done."),
    Message("user", "Again."),
)


def test_history_goes_through_the_template_with_its_calls_results_and_ids() -> None:
    chat = as_chat(HISTORY)
    calls = chat[2]["tool_calls"]
    assert [call["function"] for call in calls] == [
        {"name": "get.it", "arguments": {"n": 1}},
        {"name": "other_fn", "arguments": {"city": "Rome"}},
    ]
    assert [(m["tool_call_id"], m["name"]) for m in chat[3:5]] == [
        (calls[0]["id"], "get.it"),
        (calls[1]["id"], "other_fn"),
    ]
    assert all(len(call["id"]) == 9 and call["id"].isalnum() for call in calls)  # as Mistral's template wants them
    text = tokenizer().decode(prompter("qwen2_5").prompt_ids(sample(messages=HISTORY)), skip_special_tokens=False)
    assert '{"name": "other_fn", "arguments": {"city": "Rome"}}' in text and "<tool_response>\ntwo" in text
    assert "Be brief." in text and "[get.it(" not in text


@pytest.mark.parametrize(("system", "kept"), [("source", True), ("none", False), ("ours", False)])
def test_the_system_message_is_the_data_sets_ours_or_none(system: Any, kept: bool) -> None:
    own = ChatTemplate(tokenizer(), template_source("qwen2_5"))
    found = open_native(tokenizer(), own, {tokenizer().convert_tokens_to_ids("<|im_end|>")}, None, system)
    assert isinstance(found, NativePrompter)
    text = tokenizer().decode(found.prompt_ids(sample(messages=HISTORY)), skip_special_tokens=False)
    assert ("Be brief." in text) == kept
    assert ("If no function fits" in text) == (system == "ours")


def test_a_system_message_that_asks_for_our_own_form_contradicts_the_template() -> None:
    functions = ", ".join(f'{{"name": "{tool.name}"}}' for tool in TOOLS)
    text = f"Here are functions: [{functions}]. Answer as [func1(a=1), func2(b)]."
    asking = sample(ToolCall("get.it", {}), messages=(Message("system", text), Message("user", "Hi")))
    found, ((_, reason),) = tokenise(prompter("qwen2_5"), [asking])
    assert not found and "asks for calls as [f(a=1)]" in reason and "model.system" in reason
    ends = {tokenizer().convert_tokens_to_ids("<|im_end|>")}
    without = open_native(tokenizer(), ChatTemplate(tokenizer(), template_source("qwen2_5")), ends, None, "none")
    assert isinstance(without, NativePrompter) and len(tokenise(without, [asking])[0]) == 1


def test_what_a_template_cannot_say_is_set_aside_with_the_reason() -> None:
    two = sample(ToolCall("get.it", {}), ToolCall("other_fn", {}))
    for template, reason in (
        ("llama3_1", "only supports single tool-calls"),
        ("gptoss", r"reads back as 1 \(get.it\)"),
    ):
        found, refused = tokenise(prompter(template), [sample(ToolCall("get.it", {"n": 1})), two])
        assert len(found) == 1 and [one for one, _ in refused] == [two]
        with pytest.raises(UnsayableError, match=reason):
            prompter(template).gold_ids(two)
    with pytest.raises(UnsayableError, match=r"reads back as|does not read"):
        prompter("qwen3_5_nothink").gold_ids(sample(ToolCall("get.it", {"city": "a\n</parameter>\nb"})))


# --- which form, and what is wrong ------------------------------------------------------------------------------------


def own_template(text: str) -> NativePrompter | str:
    return open_native(tokenizer(), ChatTemplate(tokenizer(), text), {tokenizer().eos_token_id})


TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
ASKS = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (TURNS + ASKS, "shows no functions"),
        ("{{ tools }}" + TURNS + ASKS, "writes no call"),
        ("{{ raise_exception('no tools here') }}", "refuses it: no tools here"),
        ("{{ messages + 1 }}", "refuses it"),
        (
            "{{ tools }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ m.tool_calls }}<|im_end|>\n"
            "{% endfor %}" + ASKS,
            "no dialect reads a call as its chat template writes it",
        ),
        (
            "{{ tools }}{% for m in messages %}{{ m.role }}:{{ m.content }}{% for c in m.tool_calls %}<tool_call>"
            '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }} }</tool_call>'
            "{% endfor %}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
            "writes no end of turn at which the model stops",
        ),
    ],
)
def test_a_template_without_a_native_form_says_why(template: str, reason: str) -> None:
    found = own_template(template)
    assert isinstance(found, str) and reason in found and "\n" not in found


def test_a_template_that_does_not_keep_its_prompt_names_the_way_out() -> None:
    reason = open_form("nemotron_3_nano")
    assert isinstance(reason, str) and "{enable_thinking: false}" in reason
    mended = open_form("nemotron_3_nano", enable_thinking=False)
    assert isinstance(mended, NativePrompter) and mended.form.dialect == "qwen-xml"


def test_a_dialect_that_the_template_contradicts_is_refused() -> None:
    own = ChatTemplate(tokenizer(), template_source("qwen2_5"))
    with pytest.raises(ItoolError, match=r"model.dialect is llama, but the chat template writes .* reads as hermes"):
        open_native(tokenizer(), own, {tokenizer().eos_token_id}, "llama")


def test_a_model_may_stop_at_two_tokens_and_the_template_leave_the_end_to_the_next_turn() -> None:
    """GLM's turns end with whatever comes next: a result, or the user."""
    own = prompter("glm4moe")
    ends = [own.gold_ids(one)[-1] for one in (sample(ToolCall("get.it", {"n": 1})), sample(target="Hi."))]
    assert tokenizer().convert_ids_to_tokens(ends) == ["<|observation|>", "<|user|>"]


def test_a_template_that_wants_arguments_as_text_gets_them() -> None:
    call = (
        '{{ "<tool_call>{\\"name\\": \\"" + c.function.name + "\\", \\"arguments\\": " + c.function.arguments }}'
        "}</tool_call>"
    )
    template = (
        "{{ tools | tojson }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{% for c in m.tool_calls %}" + call + "{% endfor %}<|im_end|>\n{% endfor %}" + ASKS
    )
    found = own_template(template)
    assert isinstance(found, NativePrompter)
    wanted = ToolCall("get.it", {"city": "né"})
    assert parse(found.decode(found.gold_ids(sample(wanted))), "hermes") == [wanted]


def test_a_system_message_that_a_template_refuses_goes_into_the_first_turn() -> None:
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    text = ChatTemplate(tokenizer(), refuses + TURNS + ASKS).render(chat)
    assert text == "<|im_start|>user\nBe brief.\n\nHi<|im_end|>\n<|im_start|>assistant\n"
    twice = [*chat, {"role": "user", "content": "There?"}, {"role": "assistant", "content": "Yes."}]
    assert [(m["role"], m["content"]) for m in fold(twice)] == [
        ("user", "Be brief.\n\nHi\n\nThere?"),
        ("assistant", "Yes."),
    ]


def test_a_date_in_a_template_is_the_runs() -> None:
    for clock in ("{{ strftime_now('%Y-%m-%d') }}", "{{ date_string }}"):
        text = ChatTemplate(tokenizer(), clock, today=date(2025, 1, 2)).render([{"role": "user", "content": "Hi"}])
        assert text in ("2025-01-02", "02 Jan 2025")


def test_calls_in_the_history_that_are_no_json_end_in_a_line() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}
    chat = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    with pytest.raises(UnsayableError, match=r"arguments in the history are not JSON: '\{'"):
        prompter("qwen2_5").chat_ids(chat)


def test_a_template_that_wants_ids_of_nine_letters_and_digits_gets_them() -> None:
    """Mistral's: in the probe, the history and the gold response alike."""
    wants = (
        "{% for m in messages %}{% for c in m.tool_calls %}{% if c.id|length != 9 or not c.id.isalnum() %}"
        "{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}{% endfor %}"
        "{% if m.role == 'tool' and m.tool_call_id|length != 9 %}{{ raise_exception('no id') }}{% endif %}{% endfor %}"
    )
    source = wants + template_source("qwen2_5")
    found = open_native(tokenizer(), ChatTemplate(tokenizer(), source), {tokenizer().eos_token_id})
    assert isinstance(found, NativePrompter)
    one = sample(ToolCall("get.it", {"n": 1}), messages=HISTORY)
    assert found.prompt_ids(one) == prompter("qwen2_5").prompt_ids(one)
    assert found.gold_ids(one) == prompter("qwen2_5").gold_ids(one)


CALL = '<tool_call>\n{"name": "get.it", "arguments": {"n": 1}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("<|tool_call>call:get.it{n:1}<tool_call|>", None),  # another family's call is prose here
        (CALL.replace('"n": 1', '"n": <|tool_call_start|>1'), r"expected a value, found '<\|tool_call_start\|>1"),
        (CALL + "<|channel|>final", r"expected .*, found '<\|channel\|>final'"),
        (f"<|python_tag|>{CALL}<|im_end|><|im_end|>", None),  # an end of turn is no part of the text
    ],
)
def test_tokens_that_a_dialect_does_not_know_are_text(text: str, error: str | None) -> None:
    own = prompter("qwen2_5")
    ids = own.text_ids(text)
    assert own.text(ids) == text
    said = own.decode(ids)
    if error is not None:
        with pytest.raises(CallSyntaxError, match=error):
            parse(said, own.form.dialect, TOOLS)
    else:
        assert parse(said, own.form.dialect, TOOLS) == ([ToolCall("get.it", {"n": 1})] if CALL in text else [])
    assert [token for step in split_steps(ids, own.form) for token in step] == ids


def test_a_template_by_an_unknown_name_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ItoolError, match=r"chat_template: no file 'qwen9', and no template .* did you mean qwen3"):
        template_source("qwen9")
    (tmp_path / "own.jinja").write_text(TURNS)
    assert template_source(str(tmp_path / "own.jinja")) == TURNS


# --- dialects that no template here writes ----------------------------------------------------------------------------

WRITTEN_BY_HAND = [
    ("mistral", '[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]abc123def[ARGS]{"b": "x"}'),
    (
        "mistral",
        '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {"b": "x"}, "id": "a"}]',
    ),
    (
        "deepseek",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"a": 1}\n```<｜tool▁call▁end｜>'
        '\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{"b": "x"}\n```<｜tool▁call▁end｜>'
        "<｜tool▁calls▁end｜>",
    ),
    ("llama", '<|python_tag|>{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {"b": "x"}}'),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "text"), WRITTEN_BY_HAND)
def test_two_calls_written_by_hand(dialect: Any, text: str) -> None:
    wanted = [ToolCall("f", {"a": 1}), ToolCall("g", {"b": "x"})]
    assert parse(text, dialect) == wanted
    assert parse("I will. " + text, dialect) == wanted if dialect != "llama" else True
    for cut in range(len(text)):
        partial = parse_prefix(text[:cut], dialect)
        assert partial.error is None, (text[:cut], partial.error)
        assert list(partial.calls) == wanted[: len(partial.calls)]
    assert parse_prefix(text + " so", dialect).error is not None


def test_gpt_oss_thinks_first_and_names_the_recipient_before_the_channel_or_after_it() -> None:
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    after = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}'
    before = ' to=functions.f<|channel|>commentary json<|message|>{"a": 1}'
    for text in (after, before, thought + after):
        assert parse(text, "harmony") == [ToolCall("f", {"a": 1})]
    assert parse_prefix(thought + after, "harmony").begins == len(thought) - len("<|start|>assistant")
    assert parse("<|channel|>final<|message|>Hello.", "harmony") == []


@pytest.mark.parametrize(
    ("dialect", "thought", "answer"),
    [
        ("harmony", "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant", "<|channel|>final<|message|>Hello."),
        ("atem", " to=self<|message|>Hm.<|eom|><|start|>assistant", " to=user<|message|>Hello."),
    ],
)
def test_what_is_said_to_the_user_is_without_its_channel_and_without_thoughts(
    dialect: Any, thought: str, answer: str
) -> None:
    content = DIALECTS[dialect].content
    assert content(thought + answer) == content(answer) == content("Hello.") == "Hello."
    assert content(thought) == ""


def test_muse_glimmer_calls_in_messages_to_functions_alone() -> None:
    call = '<atem:function_calls>\n<atem:invoke name="f">\n<atem:parameter name="a">1</atem:parameter>\n</atem:invoke>'
    call += "\n</atem:function_calls>"
    wanted = [ToolCall("f", {"a": 1})]
    assert parse(f" to=f<|message|>{call}", "atem") == wanted
    thought = f" to=self<|message|>I could {call}<|eom|><|start|>assistant"
    assert parse(f"{thought} to=f<|message|>{call}", "atem") == wanted
    assert parse_prefix(f"{thought} to=f<|message|>{call}", "atem").begins == len(thought) - len("<|start|>assistant")
    assert parse(f" to=user<|message|>As in {call}", "atem") == []
    for broken in (f" to=g<|message|>{call}", f" to=f<|message|>{call}<|eom|><|start|>assistant to=self<|message|>Hm."):
        with pytest.raises(CallSyntaxError):
            parse(broken, "atem")


def test_every_dialect_of_a_model_says_how_vllm_reads_it() -> None:
    assert {name for name, dialect in DIALECTS.items() if dialect.parser is None} == {"python", "json"}
    assert set(NATIVE) == DIALECTS.keys() - {"python", "json"}
