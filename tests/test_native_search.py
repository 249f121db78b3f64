"""Searches, scoring and asking in a model's own form, with a policy that is a table of responses."""

import json
from collections import deque
from typing import Any, Literal

import pytest

from bench.native_forms import TOOLS, prompter, sample, tokenizer
from itool_data.config import Config, RewardSettings
from itool_data.fragments import gold_fragments, refusal
from itool_data.native import NativePrompter, openai_tools
from itool_data.pass_rate import Drawing, pass_rates
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.prompt import Prompter, Tokenised, tokenise
from itool_data.sample import Message, Sample, ToolCall
from itool_data.search.miner import Miner, Tree
from itool_data.search.reward import Judge
from itool_data.search.task import Task
from itool_eval.chat import PolicyChat, Reply
from itool_eval.conversation import Prompt, Said

OSLO = sample(ToolCall("get.it", {"city": "Oslo", "n": 1}))
CALL = '<tool_call>\n{"name": "get.it", "arguments": {"city": "Oslo", "n": 1}}\n</tool_call>'
END = "<|im_end|>"


def ids(text: str) -> tuple[int, ...]:
    return tuple(tokenizer()(text, add_special_tokens=False)["input_ids"])


def policy(own: NativePrompter, of: Sample, responses: dict[str, float]) -> ScriptedPolicy:
    """Answers with these texts, end of turn put after each."""
    table = {ids(text + END): weight for text, weight in responses.items()}
    return ScriptedPolicy({tuple(own.prompt_ids(of)): table})


def search(
    own: NativePrompter, of: Sample, responses: dict[str, float], kind: Literal["walk", "mcts", "decide"], **mcts: Any
) -> Tree:
    ((one,), _) = tokenise(own, [of])
    task = Task("t", of, tuple(one.prompt), 42, 1, tuple(one.response))
    config = Config.model_validate({"walk": {"width": 64, "wrong": 8}, "mcts": mcts, "reward": {"weight": 0}})
    miner = Miner(policy(own, of, responses), own, config, None, kind)
    return next(tree for trees in miner.run(deque([task])) for tree in trees)


def texts(own: NativePrompter, tree: Tree) -> set[tuple[str, str]]:
    return {(own.decode(p.pair.chosen.step), own.decode(p.pair.rejected.step)) for p in tree.pairs}


WRONG = {
    CALL: 0.2,
    CALL.replace("Oslo", "Rome"): 0.2,
    CALL.replace('"n": 1', '"n": 2'): 0.2,
    f"{CALL}\n{CALL}": 0.2,
    "It is late.": 0.2,
}


def test_a_walk_finds_the_proved_pairs_of_a_dialect_and_going_on_against_the_end() -> None:
    own = prompter("qwen2_5")
    tree = search(own, OSLO, WRONG, "walk")
    assert all(pair.proved for pair in tree.pairs)
    found = texts(own, tree)
    first = CALL[: CALL.index("city")]  # a token holds the brace and the quote of the first name
    assert found == {
        (first, "It is late."),
        ('city": "Oslo",', 'city": "Rome",'),
        (' "n": 1}}', ' "n": 2}}'),
        ("", '\n<tool_call>\n{"name": "get.it", "arguments": {"'),
    }
    at_fault = {own.decode(p.pair.rejected.step[p.fault.first : p.fault.last + 1]) for p in tree.pairs if p.fault}
    assert {"Rome", "2", "It is late."} <= {text.strip(' ",') for text in at_fault}
    assert [f.what.kind for f in tree.fragments] == ["name", "argument", "argument", "end", "end"]
    assert [f.what.parameter for f in tree.fragments][1:3] == ["city", "n"]


def test_where_no_draw_goes_on_that_is_set_against_the_end_by_hand() -> None:
    own = prompter("qwen2_5")
    responses = {CALL: 0.999, f"{CALL}\n<tool_call>\n": 0.001}  # the table must know what is scored
    tree = search(own, OSLO, responses, "walk")
    assert texts(own, tree) <= {("", "\n<tool_call>")} and len(tree.pairs) == 1


def test_thoughts_are_passed_over_and_never_compared() -> None:
    own = prompter("qwen3")
    silent, aloud = "<think>\n\n</think>\n\n", "<think>\nHm.\n</think>\n\n"
    wrong = CALL.replace("Oslo", "Rome")
    responses = {silent + CALL: 0.3, silent + wrong: 0.3, aloud + CALL: 0.2, aloud + wrong: 0.2}
    responses[f"{silent}{CALL}\n<tool_call>"] = 1e-6  # what a walk sets against the end by hand has to be known
    walked = search(own, OSLO, responses, "walk")
    assert texts(own, walked) == {('city": "Oslo",', 'city": "Rome",'), ("", "\n<tool_call>")}
    assert walked.fragments[0].what.kind == "prose" and walked.fragments[0].text == silent
    trees = search(own, OSLO, responses, "mcts", width=16, depth=4, iterations=8)
    assert texts(own, trees)
    assert not any("think" in text for pair in texts(own, trees) for text in pair)


@pytest.mark.parametrize("template", ["qwen2_5", "qwen3_5_nothink", "gemma4", "lfm2_2_5", "glm4moe"])
def test_a_right_response_can_be_walked_along_and_its_fragments_are_its_steps(template: str) -> None:
    own = prompter(template)
    ((one,), _) = tokenise(own, [OSLO])
    assert refusal(one, own.form) is None
    fragments = gold_fragments(one, [-0.1] * len(one.response), own.form)
    assert [token for fragment in fragments for token in fragment.ids] == one.response
    kinds = [f.what.kind for f in fragments if f.what.kind != "prose"]
    assert kinds[0] == "name" and kinds.count("argument") == 2 and kinds[-1] == "end"


def test_fragment_accuracy_and_pass_rates_are_those_of_the_dialect() -> None:
    own = prompter("qwen2_5")
    decided = search(own, OSLO, {CALL: 0.4, CALL.replace("Oslo", "Rome"): 0.6}, "decide")
    assert [f.wrong for f in decided.fragments if f.wrong] == ['city": "Rome",']
    drawing = Drawing(200, 200, 1.0, 42, 1)
    one = Tokenised(OSLO, own.prompt_ids(OSLO), own.gold_ids(OSLO))
    (rate,) = [r for rates in pass_rates(policy(own, OSLO, WRONG), own, drawing, 4, deque([one])) for r in rates]
    assert 20 < rate.right_draws < 70


# --- asking -----------------------------------------------------------------------------------------------------------


def reply(own: Prompter, of: Sample, text: str, prompt: Prompt) -> Said:
    chat = PolicyChat(policy(own, of, {text: 1.0}), own)
    chat.submit("1", prompt, 100)
    ((_, found),) = chat.step()
    assert isinstance(found, Reply)
    return found.said


NATIVE = Prompt([{"role": "user", "content": "Hi"}], tuple(openai_tools(TOOLS)))


def test_functions_are_offered_natively_and_calls_come_back_as_a_server_gives_them() -> None:
    own = prompter("qwen2_5")
    said = reply(own, OSLO, f"Let me look.\n{CALL}", NATIVE)
    assert said == Said("Let me look.", (("get.it", '{"city": "Oslo", "n": 1}'),))
    assert said.result == [{"get.it": '{"city": "Oslo", "n": 1}'}]
    assert reply(own, OSLO, "It is late.", NATIVE).result == "It is late."
    broken = CALL.replace("}}", "}")
    assert reply(own, OSLO, broken, NATIVE).result == broken


def test_what_is_asked_in_our_own_form_elsewhere_comes_back_in_it() -> None:
    """The scorers of the own-prompt benchmarks read one form."""
    own = prompter("qwen2_5")
    asked = Prompt([{"role": "user", "content": "not this"}], asked=OSLO)
    assert reply(own, OSLO, CALL, asked) == Said("[get.it(city='Oslo', n=1)]")
    assert reply(own, OSLO, "It is late.", asked) == Said("It is late.")


def test_what_is_asked_in_the_runs_own_form_has_the_runs_system_message() -> None:
    own = Prompter(tokenizer(), system="none")
    said = reply(own, OSLO, "[get.it(city='Oslo')]", Prompt([{"role": "user", "content": "not this"}], asked=OSLO))
    assert said == Said("[get.it(city='Oslo')]")


def test_a_conversation_goes_on_with_native_calls_and_their_results() -> None:
    own = prompter("qwen2_5")
    said = reply(own, OSLO, CALL, NATIVE)
    call = {"id": "1", "type": "function", "function": {"name": said.calls[0][0], "arguments": said.calls[0][1]}}
    turns = [
        *NATIVE.messages,
        {"role": "assistant", "content": said.text, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": json.dumps({"found": True})},
    ]
    history = (
        Message("user", "Hi"),
        Message("assistant", "[get.it(city='Oslo', n=1)]"),
        Message("tool", '{"found": true}'),
    )
    assert own.chat_ids(turns, NATIVE.tools) == own.prompt_ids(sample(messages=history))


def test_a_prompt_that_the_template_refuses_costs_that_item_alone() -> None:
    own = prompter("llama3_1")
    calls = [{"id": str(n), "type": "function", "function": {"name": "get.it", "arguments": "{}"}} for n in (1, 2)]
    chat = PolicyChat(ScriptedPolicy({}), own)
    chat.submit(
        "1", Prompt([*NATIVE.messages, {"role": "assistant", "content": "", "tool_calls": calls}], NATIVE.tools), 9
    )
    ((_, refused),) = chat.step()
    assert not isinstance(refused, Reply) and refused.finish == "refused" and "single tool-calls" in refused.reason


def test_the_judge_is_shown_gold_as_the_template_writes_it() -> None:
    own = prompter("qwen2_5")
    judge = Judge(ScriptedPolicy({}), own, RewardSettings())
    assert f"Ground Truth Response: {CALL}" in own.text(judge.prompt_ids(OSLO, CALL))
