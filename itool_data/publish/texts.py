"""How a published run's prompts and responses are written: conversations in our own form, text in a model's own.

In our own form a trainer's chat template renders a conversation whose system message shows the functions. In a model's
own form the texts are what its template made of messages and functions, and what the policy wrote behind it, decoded
from the very tokens that were mined: a step that breaks off in the middle of a call is nothing that a message could
say. Left out: token ids (the config `steps` has them), and other trainers' layouts.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from itool_data.config import ModelSettings
from itool_data.dialects import OWN, DialectName
from itool_data.kinds import SystemMessage
from itool_data.native import NativePrompter, openai_tools
from itool_data.policy.load import find_model
from itool_data.policy.open import open_prompter
from itool_data.prompt import ToolStyle, prompt_messages, tokenise
from itool_data.sample import Sample

MESSAGES = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
Columns = dict[str, pa.Array]


@dataclass(frozen=True)
class FormName:
    """The form of a row's text and token ids, as the row says it.

    Attributes:
        form: `own` or `native`.
        dialect: what its calls look like.
        template: under `native` the chat template that wrote it, by name and hash; null where there is none in it yet.
    """

    form: str
    dialect: DialectName
    template: str | None

    def columns(self, rows: int) -> Columns:
        """The same in every row."""
        return {name: pa.repeat(pa.scalar(value, pa.string()), rows) for name, value in vars(self).items()}


class Texts(Protocol):
    """Prompts and responses as columns.

    Attributes:
        name: of the form.
        template: the chat template that wrote them, to be published beside them; empty where none did.
        refused: samples that cannot be written in it, with the reasons, as far as they have come by.
    """

    name: FormName
    template: str
    refused: list[tuple[Sample, str]]

    def pairs(self, steps: pa.Table, by_id: Mapping[str, Sample]) -> Columns:
        """`prompt`, and `chosen` and `rejected`: the response up to and including the step.

        Args:
            steps: rows of the table `pairs`.
            by_id: at least the samples that they are of.
        """
        ...

    def samples(self, samples: Sequence[Sample]) -> tuple[list[Sample], Columns]:
        """`prompt` and `completion` of those samples that can be written, and which they are."""
        ...


class OwnTexts:
    """Conversations, the functions in the system message.

    Args:
        style: how it shows them.
        system: whether the data set's own system message is kept.
    """

    def __init__(self, style: ToolStyle, system: SystemMessage):
        self._style: ToolStyle = style
        self._system: SystemMessage = system
        self.name = FormName("own", OWN, None)
        self.template = ""
        self.refused: list[tuple[Sample, str]] = []

    def pairs(self, steps: pa.Table, by_id: Mapping[str, Sample]) -> Columns:
        """As `Texts` says."""
        # What pairs of one sample share is made once.
        encoded = steps["sample_id"].combine_chunks().dictionary_encode()
        samples = [by_id[sample_id] for sample_id in encoded.dictionary.to_pylist()]

        def response(step: str) -> pa.Array:
            return _assistant(pc.binary_join_element_wise(steps["prefix_text"], steps[step], "").combine_chunks())

        return {
            "prompt": self._prompts(samples).take(encoded.indices),
            "chosen": response("chosen_text"),
            "rejected": response("rejected_text"),
        }

    def samples(self, samples: Sequence[Sample]) -> tuple[list[Sample], Columns]:
        """As `Texts` says."""
        gold = pa.array([sample.target for sample in samples], pa.string())
        return list(samples), {"prompt": self._prompts(samples), "completion": _assistant(gold)}

    def _prompts(self, samples: Sequence[Sample]) -> pa.Array:
        chats = [prompt_messages(s.messages, s.tools, self._style, self._system) for s in samples]
        return pa.array(chats, MESSAGES)


@dataclass
class NativeTexts:
    """What a model's chat template and the model wrote, markers and ends of turn included.

    What the tokenizer itself puts before any text (a beginning of text) is left out of prompts, or trainers, which
    tokenise them, would have it twice.

    Attributes:
        prompter: of the model's own form.
        name: of that form.
        template: the model's.
        refused: what the template cannot say.
    """

    prompter: NativePrompter
    name: FormName
    template: str
    refused: list[tuple[Sample, str]] = field(default_factory=list)

    def pairs(self, steps: pa.Table, by_id: Mapping[str, Sample]) -> Columns:
        """As `Texts` says."""
        found: dict[str, list[str]] = {"prompt": [], "chosen": [], "rejected": []}
        for row in steps.select(["prompt_ids", "chosen_ids", "rejected_ids", "prefix_text"]).to_pylist():
            prompt = self.prompter.text(row["prompt_ids"]).removesuffix(row["prefix_text"])
            found["prompt"].append(prompt.removeprefix(self.prompter.opening))
            for side in ("chosen", "rejected"):
                # Decoded together, because a character may begin before the step.
                whole = self.prompter.text([*row["prompt_ids"], *row[f"{side}_ids"]])
                found[side].append(whole[len(prompt) :])
        return {name: pa.array(texts, pa.string()) for name, texts in found.items()}

    def samples(self, samples: Sequence[Sample]) -> tuple[list[Sample], Columns]:
        """As `Texts` says, and `conversation`: messages and answer as JSON text, for another model's template."""
        said, refused = tokenise(self.prompter, samples)
        self.refused += refused
        prompts = [self.prompter.text(one.prompt) for one in said]
        wholes = [self.prompter.text([*one.prompt, *one.response]) for one in said]
        kept = [one.sample for one in said]
        texts = {
            "prompt": [prompt.removeprefix(self.prompter.opening) for prompt in prompts],
            "completion": [whole[len(prompt) :] for whole, prompt in zip(wholes, prompts, strict=True)],
            "conversation": [_json(self.prompter.conversation(sample)) for sample in kept],
        }
        return kept, {name: pa.array(column, pa.string()) for name, column in texts.items()}


def open_texts(settings: ModelSettings) -> Texts:
    """How the texts of a run are written.

    Args:
        settings: of the run; its model is looked at unless they ask for our own form.

    Raises:
        ItoolError: if the model, whose template decides, cannot be had.
    """
    if settings.format != "own":
        base = find_model(settings)
        prompter = open_prompter(settings, base)
        if isinstance(prompter, NativePrompter):
            source = prompter.template.source
            of = settings.chat_template.rpartition("/")[2] or base.name
            name = f"{of}@{hashlib.sha256(source.encode()).hexdigest()[:12]}"
            return NativeTexts(prompter, FormName("native", prompter.form.dialect, name), source)
    return OwnTexts(settings.tools, settings.system)


def tools_json(sample: Sample) -> str:
    """A sample's functions as JSON text in the form that chat templates take."""
    return _json(openai_tools(sample.tools))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _assistant(texts: pa.Array) -> pa.Array:
    """Each text as a conversation of one assistant message."""
    roles = pa.repeat(pa.scalar("assistant"), len(texts))
    messages = pa.StructArray.from_arrays([roles, texts], ["role", "content"])
    return pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1, dtype=np.int32)), messages)
