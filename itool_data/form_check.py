"""Would samples train as they are meant to, in the form of a model: looked at before any GPU time is spent.

Of each sample: can the form say it, does its gold response end its turn, does the template keep what it wrote when the
conversation goes on, are the functions on offer in the prompt, and is it short enough. Left out: the text of the
answers (the data sets' own fault or not), and showing what is found.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from itool_data.dialects import OWN
from itool_data.prompt import Prompter, Tokenised, UnsayableError, tokenise
from itool_data.sample import Message, Sample, Tool

NEVER_SHOWN = "a gold call uses what the prompt never shows"
NO_END = "the gold response does not end with a token at which the model stops"
NOT_GIVEN_BACK = "the tokenizer does not give the gold response back"
FAULTS = (NEVER_SHOWN, NO_END, NOT_GIVEN_BACK)


@dataclass
class SourceCheck:
    """What was found of one source.

    Attributes:
        samples: looked at.
        refused: that the form cannot say, by the reason.
        prompts: lengths in tokens.
        responses: likewise, end of turn included.
        too_long: longer than the context, both together.
        wrong: that would train wrongly, by one of FAULTS: how many, and an example.
        shortened: functions whose prompt lacks a description or a list of values, by what it lacks.
        unkept: whose turn the template writes otherwise once the conversation goes on.
    """

    samples: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    prompts: list[int] = field(default_factory=list)
    responses: list[int] = field(default_factory=list)
    too_long: int = 0
    wrong: dict[str, tuple[int, str]] = field(default_factory=dict)
    shortened: Counter[str] = field(default_factory=Counter)
    unkept: int = 0

    @property
    def trainable(self) -> int:
        """Samples that a training would take."""
        return len(self.prompts) - self.too_long


def check(
    samples: Iterable[Sample], prompter: Prompter, stops: Collection[int], context: int
) -> dict[str, SourceCheck]:
    """Look at samples in the form of a model.

    Args:
        samples: of any sources.
        prompter: with the model's tokenizer.
        stops: the tokens at which it stops.
        context: the most tokens that it takes.

    Returns:
        What was found, by source.
    """
    found: dict[str, SourceCheck] = {}
    for sample in samples:
        one = found.setdefault(sample.source, SourceCheck())
        one.samples += 1
        said, refused = tokenise(prompter, [sample])
        for _, reason in refused:
            one.refused[reason] += 1
        for tokenised in said:
            _look(one, tokenised, prompter, stops, context)
    return found


def _look(one: SourceCheck, t: Tokenised, prompter: Prompter, stops: Collection[int], context: int) -> None:
    one.prompts.append(len(t.prompt))
    one.responses.append(len(t.response))
    one.too_long += len(t) > context
    shown = prompter.text(t.prompt)
    used = {(call.name, name) for call in t.sample.calls for name in call.arguments}
    for tool in t.sample.tools:
        one.shortened.update(_missing(tool, shown))
    hidden = [name for pair in sorted(used) for name in pair if not _stands(name, shown)]
    if hidden:
        _count(one, NEVER_SHOWN, f"{t.key}: {hidden[0]!r}")
    if t.response[-1] not in stops:
        _count(one, NO_END, f"{t.key}: ends with {prompter.text(t.response[-3:])!r}")
    if prompter.form.dialect == OWN and prompter.decode(t.response) != t.sample.target:
        _count(one, NOT_GIVEN_BACK, f"{t.key}: {t.sample.target[:60]!r} as {prompter.decode(t.response)[:60]!r}")
    one.unkept += not _kept(t, prompter)


def _count(one: SourceCheck, fault: str, example: str) -> None:
    n, first = one.wrong.get(fault, (0, example))
    one.wrong[fault] = n + 1, first


def _kept(t: Tokenised, prompter: Prompter) -> bool:
    """Whether the conversation begins as it was trained once the user goes on."""
    following = Message("tool" if t.sample.calls else "user", "ok")
    turns = (*t.sample.messages, Message("assistant", t.sample.target), following)
    later = Sample(t.sample.source, "", turns, t.sample.tools, "")
    try:
        ids = prompter.prompt_ids(later)
    except UnsayableError:
        return False
    return prompter.text(ids).startswith(prompter.text([*t.prompt, *t.response[:-1]]))


def _missing(tool: Tool, shown: str) -> Iterable[str]:
    """What a prompt lacks of a function."""
    if not _stands(tool.name, shown):
        yield "the function"
        return
    if tool.description and not _stands(" ".join(tool.description.split())[:80], " ".join(shown.split())):
        yield "its description"
    properties = tool.parameters.get("properties") or {}
    for name, schema in properties.items():
        if not _stands(name, shown):
            yield "a parameter"
        elif isinstance(schema, dict):
            if schema.get("description") and not _stands(str(schema["description"])[:40], shown):
                yield "a parameter's description"
            if any(isinstance(v, str) and not _stands(v, shown) for v in schema.get("enum") or ()):
                yield "a parameter's values"


def _stands(text: str, shown: str) -> bool:
    """Whether a text is in a prompt, as it is or as JSON has it."""
    return any(form in shown for form in (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]))
