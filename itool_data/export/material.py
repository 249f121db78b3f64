"""What is exported, in a form that every trainer's layout is made from: messages in OpenAI's form, and token ids.

A message is given only if the run's own chat template makes of it the very text that was mined, so a trainer that
renders it with that template trains on that text. A whole pair is one whose steps both end their response; any other
is a step within a response, which no message can say, and goes out as token ids alone. What cannot be given, or not as
it was, is counted by its reason. Left out: the trainers' layouts (a file each).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from itool_data.chat_template import TemplateRefusalError
from itool_data.config import Config
from itool_data.dialects import CallSyntaxError, DialectName, parse
from itool_data.errors import ItoolError
from itool_data.native import NativePrompter, calls_message, gold_message, native_chat, openai_tools
from itool_data.policy.load import find_model
from itool_data.policy.open import open_prompter
from itool_data.prompt import Prompter, UnsayableError, prompt_messages
from itool_data.publish.licences import base_model
from itool_data.run import Run
from itool_data.sample import Sample
from itool_data.store.samples import read_samples
from itool_data.store.sql import query

Message = dict[str, Any]  # in OpenAI's form
PAIRS = (
    "SELECT * FROM pairs SEMI JOIN (SELECT sample_id FROM samples WHERE split = 'train') USING (sample_id) "
    "ORDER BY round, pair_id"
)
UNSAID = "samples that the chat template cannot say"
REWRITTEN = "answers of whole pairs that the chat template would write otherwise: the pair is in the step form alone"
WITHIN = "pairs of steps within a response: in the step form alone"
ENDLESS = "answers that the chat template writes or ends otherwise than they are trained on here"
SEVERAL = "samples with several accepted answers: the first is exported"


@dataclass(frozen=True)
class Question:
    """What stands before an answer.

    Attributes:
        messages: the conversation.
        tools: the functions on offer; none where a message shows them.
    """

    messages: list[Message]
    tools: list[dict[str, Any]]


@dataclass(frozen=True)
class SampleRow:
    """A sample: a prompt and its gold answer."""

    asked: Question
    answer: Message
    source: str
    sample_id: str


@dataclass(frozen=True)
class PairRow:
    """A whole pair.

    Attributes:
        asked: what came before both responses.
        chosen: the better one.
        rejected: the worse one.
        prompt_text: of the prompt, without what the tokenizer itself puts before any text.
        chosen_text: of the better response, its end of turn included.
        rejected_text: of the worse one.
        step: its row of the table `pairs`.
    """

    asked: Question
    chosen: Message
    rejected: Message
    prompt_text: str
    chosen_text: str
    rejected_text: str
    step: Mapping[str, Any]


@dataclass
class Material:
    """What a run has to export.

    Attributes:
        config: of the run.
        model: the base model's name on the Hub, or its folder.
        native: whether messages have calls and functions of their own.
        dialect: what calls look like in the text.
        template: the chat template's text where it is not the model's own; else empty.
        ends: the tokens that end an answer, as text.
        samples: to learn from.
        pairs: whole ones.
        steps: all pairs as rows of the table `pairs`, and `prompt_text`: what their `prompt_ids` stand for.
        longest: tokens of the longest prompt with its answer.
        notes: what could not be given, or not as it was, and how often.
    """

    config: Config
    model: str
    native: bool
    dialect: DialectName
    template: str
    ends: list[str]
    samples: list[SampleRow] = field(default_factory=list)
    pairs: list[PairRow] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    longest: int = 0
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def policies(self) -> list[str]:
        """Who drew the pairs."""
        return sorted({step["policy"] for step in self.steps})


def collect(run: Run) -> Material:
    """Everything that a run can export: its training samples, and the pairs of all rounds.

    Raises:
        ItoolError: there is nothing, or the model, whose template decides, cannot be had.
    """
    settings = run.config.model
    base = find_model(settings)
    prompter = open_prompter(settings, base)
    writer = _Writer(prompter, run.config)
    found = Material(
        run.config,
        base_model(settings).hub_id or settings.name,
        isinstance(prompter, NativePrompter),
        prompter.form.dialect,
        prompter.template.source if settings.chat_template else "",
        [],
    )
    samples = read_samples(run.store, "split = 'train'")
    ends: set[str] = set()
    for sample in samples:
        try:
            prompt, gold = prompter.prompt_ids(sample), prompter.gold_ids(sample)
        except UnsayableError:
            found.notes[UNSAID] += 1
            continue
        asked, said = writer.asked(sample), prompter.text([*prompt, *gold])[len(prompter.text(prompt)) :]
        answer = gold_message(sample) if found.native else {"role": "assistant", "content": sample.target}
        if not writer.writes(asked, answer, said):
            found.notes[ENDLESS] += 1
        if sample.answers and any(len(values) > 1 for one in sample.answers for values in one.arguments.values()):
            found.notes[SEVERAL] += 1
        ends.add(prompter.text(gold[-1:]))
        found.longest = max(found.longest, len(prompt) + len(gold))
        found.samples.append(SampleRow(asked, answer, sample.source, sample.sample_id))
    found.ends = sorted(ends)
    by_id = {sample.sample_id: sample for sample in samples}
    for step in query(run.store, PAIRS).to_pylist():
        found.steps.append(step | {"prompt_text": prompter.text(step["prompt_ids"])})
        longer = max(len(step["chosen_ids"]), len(step["rejected_ids"]))
        found.longest = max(found.longest, len(step["prompt_ids"]) + longer)
        if not (step["chosen_terminal"] and step["rejected_terminal"]):
            found.notes[WITHIN] += 1
        elif pair := writer.pair(step, by_id[step["sample_id"]]):
            found.pairs.append(pair)
        else:
            found.notes[REWRITTEN] += 1
    if not found.samples and not found.steps:
        raise ItoolError(
            f"{run.folder}: nothing to export; `itool data import SOURCE --run {run.folder}` brings samples"
        )
    return found


class _Writer:
    """Messages of which the chat template makes what was mined."""

    def __init__(self, prompter: Prompter, config: Config):
        self._prompter, self._model = prompter, config.model

    def asked(self, sample: Sample) -> Question:
        """What stands before a sample's answer."""
        if isinstance(self._prompter, NativePrompter):
            return Question(native_chat(sample, self._model.system), openai_tools(sample.tools))
        model = self._model
        return Question(prompt_messages(sample.messages, sample.tools, model.tools, model.system), [])

    def writes(self, asked: Question, answer: Message, said: str) -> bool:
        """Whether the template makes this text of an answer, whatever it writes behind it."""
        template = self._prompter.template
        try:
            before = template.render(asked.messages, asked.tools)
            return template.render([*asked.messages, answer], asked.tools, reply=False).startswith(before + said)
        except TemplateRefusalError:
            return False

    def pair(self, step: Mapping[str, Any], sample: Sample) -> PairRow | None:
        """A pair that ends its responses; None if the template would write one of them otherwise."""
        asked, text = self.asked(sample), self._prompter.text
        prompt = text(step["prompt_ids"]).removesuffix(step["prefix_text"])
        said: dict[str, tuple[Message, str]] = {}
        for side in ("chosen", "rejected"):
            whole = text([*step["prompt_ids"], *step[f"{side}_ids"]])[len(prompt) :]
            # As it stands, markers of calls included; where the template would not leave it so, as calls.
            plain = step["prefix_text"] + step[f"{side}_text"]
            candidates: list[Message] = [{"role": "assistant", "content": plain}, *self._as_calls(plain, sample)]
            message = next((one for one in candidates if self.writes(asked, one, whole)), None)
            if message is None:
                return None
            said[side] = message, whole
        (chosen, chosen_text), (rejected, rejected_text) = said["chosen"], said["rejected"]
        before = prompt.removeprefix(self._prompter.opening)
        return PairRow(asked, chosen, rejected, before, chosen_text, rejected_text, step)

    def _as_calls(self, text: str, sample: Sample) -> list[Message]:
        if not isinstance(self._prompter, NativePrompter):
            return []
        try:
            calls = parse(text, self._prompter.form.dialect, sample.tools)
        except CallSyntaxError:
            return []
        return [calls_message(calls, [f"call{i:05d}" for i in range(len(calls))])] if calls else []
