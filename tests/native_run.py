"""A mined run in a model's own form: the embedded tokenizer, one of TRL's chat templates, a policy without a model."""

from pathlib import Path

import scripted_mine

from bench.native_forms import sample
from itool_data.dialects import render
from itool_data.policy.load import find_model
from itool_data.policy.open import open_prompter
from itool_data.policy.scripted import ScriptedPolicy
from itool_data.prompt import Prompter, UnsayableError
from itool_data.run import write_run
from itool_data.sample import Message, Sample, ToolCall
from itool_data.store.samples import sample_row
from itool_data.workers.pool import Desk, LocalPool


def _of(question: str, *calls: ToolCall, history: tuple[Message, ...] = ()) -> Sample:
    made = sample(*calls, messages=(*history, Message("user", question)), target=render(calls) if calls else "No.")
    return Sample("toy", question, made.messages, made.tools, made.target, made.calls)


OSLO, ROME = ToolCall("get.it", {"city": "Oslo", "n": 1}), ToolCall("other_fn", {"city": "Rome", "flag": True})
SAMPLES = (
    _of("one", OSLO),
    _of("both", OSLO, ROME),
    _of("nested", ToolCall("get.it", {"where": {"k": [1, None, "né"]}, "list": []})),
    _of(
        "again",
        ToolCall("other_fn", {"city": "Bergen"}),
        history=(
            Message("system", "Be brief."),
            Message("user", "Both?"),
            Message("assistant", render([OSLO, ROME])),
            Message("tool", '{"found": true}'),
            Message("tool", "two"),
            Message("assistant", "Done."),
        ),
    ),
    _of("late?"),
)


def native_run(folder: Path, template: str = "qwen2_5") -> Path:
    """A run of one round over `SAMPLES`, mined by walks."""
    settings = [*scripted_mine.SETTINGS["walk"], f"model.chat_template={template}", "model.format=native"]
    with write_run(folder, None, [*settings, "mcts.max_tokens=200"]) as run:
        prompter = open_prompter(run.config.model, find_model(run.config.model))
        run.store.commit("import", {"samples": [sample_row(s) for s in SAMPLES]}, source="toy.jsonl")
        table = {}
        for one in SAMPLES:
            try:
                table[tuple(prompter.prompt_ids(one))] = _answers(prompter, one)
            except UnsayableError:
                continue
        scripted_mine.mine(run, LocalPool(Desk(ScriptedPolicy(table), prompter)), "walk", prompter=prompter)
    return folder


def _answers(prompter: Prompter, of: Sample) -> dict[tuple[int, ...], float]:
    """Half right; else a value more, another value, a call too many, prose."""
    gold = prompter.gold_ids(of)
    text, end = prompter.decode(gold), gold[-1:]
    wrong = [text.replace("Oslo", "Os"), text.replace("Rome", "Ro"), text.replace("né", "ne"), "It is late."]
    wrong += [text.replace("Bergen", "Bern"), f"{text}\n{text}"]
    return {tuple(gold): 6.0} | {(*prompter.text_ids(other), *end): 1.0 for other in wrong if other != text}
