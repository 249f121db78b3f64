"""A mined run over the embedded tokenizer, in our own form or that of one of TRL's templates; no model is asked."""

from pathlib import Path

import scripted_mine

from bench.native_forms import sample
from itool_data.chat_template import template_source
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
    """A run in the form of one of TRL's templates, or of a file's."""
    return _mined(folder, "model.format=native", f"model.chat_template={template}")


def one_call(folder: Path) -> str:
    """Qwen2.5's template, if it wrote one call a turn and no more, as Llama's does; a file in a folder."""
    refuse = "{% if m.tool_calls and m.tool_calls|length > 1 %}{{ raise_exception('one call a turn') }}{% endif %}"
    path = folder / "one_call.jinja"
    path.write_text(f"{{% for m in messages %}}{refuse}{{% endfor %}}{template_source('qwen2_5')}")
    return str(path)


def own_run(folder: Path) -> Path:
    """The same in our own form."""
    return _mined(folder)


def _mined(folder: Path, *settings: str) -> Path:
    """A run of one round over `SAMPLES`: walks, whose pairs are steps, and whole responses set against each other."""
    common = [*scripted_mine.SETTINGS["walk"], "mcts.max_tokens=200", "pairs.max_similarity=1"]
    with write_run(folder, None, [*common, *settings]) as run:
        prompter = open_prompter(run.config.model, find_model(run.config.model))
        run.store.commit("import", {"samples": [sample_row(s) for s in SAMPLES]}, source="toy.jsonl")
        table = {}
        for one in SAMPLES:
            try:
                table[tuple(prompter.prompt_ids(one))] = _answers(prompter, one)
            except UnsayableError:
                continue
        pool = LocalPool(Desk(ScriptedPolicy(table), prompter))
        for search in ("walk", "best-of-n"):
            scripted_mine.mine(run, pool, search, prompter=prompter)
    return folder


def _answers(prompter: Prompter, of: Sample) -> dict[tuple[int, ...], float]:
    """Half right; else a value more, another value, a call too many, prose."""
    gold = prompter.gold_ids(of)
    text, end = prompter.decode(gold), gold[-1:]
    wrong = [text.replace("Oslo", "Os"), text.replace("Rome", "Ro"), text.replace("né", "ne"), "It is late."]
    wrong += [text.replace("Bergen", "Bern"), f"{text}\n{text}"]
    return {tuple(gold): 6.0} | {(*prompter.text_ids(other), *end): 1.0 for other in wrong if other != text}
