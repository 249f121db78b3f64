"""A sample as token ids in our own form: the functions in the system message, calls as `[f(a=1)]`.

The functions on offer are one line each with the arguments' names and types (`signatures`, a third of the tokens, for
small models and contexts) or whole JSON schemas (`json`). Left out: the form that a model's chat template has for
functions (`native.py`), and the benchmarks' own prompt contracts, which belong to the evaluation.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from itool_data.chat_template import ChatTemplate, TemplateRefusalError
from itool_data.errors import ItoolError
from itool_data.form import Form
from itool_data.kinds import SystemMessage
from itool_data.sample import JSON, Message, Sample, Tool, canonical_json
from itool_data.system_text import says_all

ToolStyle = Literal["signatures", "json"]

INSTRUCTION = "If no function fits or an argument is missing, say so in a sentence."
FUNCTIONS = "Functions:\n"
SYSTEM = (
    f"You call functions. Answer with the calls alone, as [name(argument=value, ...), ...]. {INSTRUCTION}\n{FUNCTIONS}"
)


class UnsayableError(ItoolError):
    """A sample cannot be written in the form of a model; it is set aside, with the reason."""


def signature(tool: Tool) -> str:
    """Render a function as one line: `name(a: string, b?: integer) what it does`; `?` marks an optional argument."""
    required = set(tool.parameters.get("required") or ())
    arguments = ", ".join(
        f"{name}{'' if name in required else '?'}: {_type(schema)}"
        for name, schema in (tool.parameters.get("properties") or {}).items()
    )
    return f"{tool.name}({arguments}) {' '.join(tool.description.split())}".rstrip()


def _type(schema: JSON) -> str:
    if not isinstance(schema, dict):
        return "any"
    if isinstance(schema.get("enum"), list):
        return "|".join(canonical_json(v) for v in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"array<{_type(schema.get('items', {}))}>"
    if kind == "object" and isinstance(schema.get("properties"), dict):
        inner = ", ".join(f"{k}: {_type(v)}" for k, v in schema["properties"].items())
        return "{" + inner + "}"
    return str(kind)


def prompt_messages(
    messages: Sequence[Message], tools: Sequence[Tool], style: ToolStyle, system: SystemMessage = "source"
) -> list[dict[str, str]]:
    """The conversation before a response, the functions on offer in its system message.

    Args:
        messages: of the conversation.
        tools: on offer.
        style: how they are written.
        system: whether the conversation's own system message comes after ours (`source`; in its place, if it says all
            that ours would) or is left out (`ours`), or neither is there and the functions stand alone (`none`).
    """
    chat = [{"role": m.role, "content": m.content} for m in messages]
    own = chat.pop(0)["content"] if chat and chat[0]["role"] == "system" else ""
    if system == "source" and says_all(own, tools):
        return [{"role": "system", "content": own}, *chat]
    if style == "signatures":
        offered = "\n".join(map(signature, tools))
    else:
        schemas = [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in tools]
        offered = "\n".join(map(canonical_json, schemas))
    text = (FUNCTIONS if system == "none" else SYSTEM) + offered
    text += f"\n\n{own}" if own and system == "source" else ""
    return [{"role": "system", "content": text}, *chat]


class Asked(Protocol):
    """What a prompt is made of: a sample, or a benchmark's item."""

    @property
    def messages(self) -> Sequence[Message]:
        """Of the conversation, oldest first."""
        ...

    @property
    def tools(self) -> Sequence[Tool]:
        """On offer."""
        ...


class Wording(NamedTuple):
    """What prompts are made by, in words by which those of two runs can be compared.

    Attributes:
        template: the chat template, by its hash and settings.
        dialect: how calls are written.
        system: whose system text a run's own prompts have.
        functions: how these show the functions, where that is not the messages' business.
    """

    template: str
    dialect: str
    system: str
    functions: str


class Prompter:
    """Turns samples into token ids and token ids into text, with one model's tokenizer.

    Args:
        tokenizer: a transformers tokenizer with a chat template and an end-of-turn token.
        tools: how the functions on offer are written.
        template: its chat template; None: as the tokenizer has it.
        system: which system message the prompt has.

    Attributes:
        form: how responses are read.
        template: its chat template.
    """

    def __init__(
        self,
        tokenizer: Any,
        tools: ToolStyle = "signatures",
        template: ChatTemplate | None = None,
        system: SystemMessage = "source",
    ):
        self._tokenizer = tokenizer
        self._tools = tools
        self.template = template or ChatTemplate(tokenizer)
        self._system = system
        self.form = Form(self.decode)

    @property
    def wording(self) -> Wording:
        """What its prompts are made by."""
        text = hashlib.sha256(SYSTEM.encode()).hexdigest()[:12]
        return Wording(self.template.identity, self.form.dialect, f"{self._system}, ours is {text}", "")

    def prompt_ids(self, asked: Asked) -> list[int]:
        """Token ids of everything before a response, the template's generation prompt included.

        Raises:
            UnsayableError: in the template's words.
        """
        return self.chat_ids(prompt_messages(asked.messages, asked.tools, self._tools, self._system))

    def gold_ids(self, sample: Sample) -> list[int]:
        """Token ids of a sample's gold response with its end-of-turn."""
        return self.response_ids(sample.target)

    def gold_text(self, sample: Sample) -> str:
        """A sample's gold response as text."""
        return sample.target

    def chat_ids(self, chat: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """Token ids of a conversation and the template's generation prompt.

        Args:
            chat: messages in OpenAI's form.
            tools: functions in OpenAI's form, where the template is to show them.

        Raises:
            UnsayableError: in the template's words.
        """
        try:
            return self.text_ids(self.template.render(chat, tools))
        except TemplateRefusalError as error:
            raise UnsayableError(str(error)) from None

    def response_ids(self, text: str) -> list[int]:
        """Token ids of a response with its end-of-turn; tokenised apart from the prompt, as a model produces it."""
        return [*self.text_ids(text), self._tokenizer.eos_token_id]

    def text_ids(self, text: str) -> list[int]:
        """Token ids of a piece of text with nothing added."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def opening(self) -> str:
        """What the tokenizer itself puts before any text, such as a beginning of text."""
        return self.text(self._tokenizer("")["input_ids"])

    def text(self, ids: Sequence[int]) -> str:
        """All that token ids stand for, special tokens too."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


@dataclass(frozen=True)
class Tokenised:
    """A sample with its prompt's and its gold response's token ids."""

    sample: Sample
    prompt: list[int]
    response: list[int]

    @property
    def key(self) -> str:
        """The sample's id."""
        return self.sample.sample_id

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


def tokenise(prompter: Prompter, samples: Sequence[Sample]) -> tuple[list[Tokenised], list[tuple[Sample, str]]]:
    """Prompt and gold response of each sample as token ids.

    Returns:
        The samples with their ids, and those that the form cannot say, with the reason.
    """
    found: list[Tokenised] = []
    refused: list[tuple[Sample, str]] = []
    for sample in samples:
        try:
            found.append(Tokenised(sample, prompter.prompt_ids(sample), prompter.gold_ids(sample)))
        except UnsayableError as error:
            refused.append((sample, str(error)))
    return found, refused
