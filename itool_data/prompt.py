"""A sample as token ids: the prompt in the model's own chat template, and the gold response.

The functions on offer go into the system message, as one line each with the arguments' names and types (`signatures`,
a third of the tokens, for small models and contexts) or as whole JSON schemas (`json`). Left out: templates that take
tools themselves, and the benchmarks' own prompt contracts, which belong to the evaluation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from itool_data.form import Form
from itool_data.sample import JSON, Message, Sample, Tool, canonical_json

ToolStyle = Literal["signatures", "json"]

SYSTEM = (
    "You call functions. Answer with the calls alone, as [name(argument=value, ...), ...]. "
    "If no function fits or an argument is missing, say so in a sentence.\nFunctions:\n"
)


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


def prompt_messages(messages: Sequence[Message], tools: Sequence[Tool], style: ToolStyle) -> list[dict[str, str]]:
    """The conversation before a response, the functions on offer in its system message."""
    if style == "signatures":
        offered = "\n".join(map(signature, tools))
    else:
        schemas = [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in tools]
        offered = "\n".join(map(canonical_json, schemas))
    chat = [{"role": m.role, "content": m.content} for m in messages]
    system = SYSTEM + offered
    if chat and chat[0]["role"] == "system":
        system += "\n\n" + chat.pop(0)["content"]
    return [{"role": "system", "content": system}, *chat]


class Prompter:
    """Turns samples into token ids and token ids into text, with one model's tokenizer.

    Args:
        tokenizer: a transformers tokenizer with a chat template and an end-of-turn token.
        tools: how the functions on offer are written.
    """

    def __init__(self, tokenizer: Any, tools: ToolStyle = "signatures"):
        self._tokenizer = tokenizer
        self._tools = tools
        self.form = Form(self.decode)

    def prompt_ids(self, sample: Sample) -> list[int]:
        """Token ids of everything before the sample's response, the template's generation prompt included."""
        return self.chat_ids(prompt_messages(sample.messages, sample.tools, self._tools))

    def chat_ids(self, messages: list[dict[str, str]]) -> list[int]:
        """Token ids of a conversation and the template's generation prompt."""
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def response_ids(self, text: str) -> list[int]:
        """Token ids of a response with its end-of-turn; tokenised apart from the prompt, as a model produces it."""
        return [*self.text_ids(text), self._tokenizer.eos_token_id]

    def text_ids(self, text: str) -> list[int]:
        """Token ids of a piece of text with nothing added."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

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


def tokenise(prompter: Prompter, samples: Sequence[Sample]) -> list[Tokenised]:
    """Prompt and gold response of each sample as token ids."""
    return [Tokenised(s, prompter.prompt_ids(s), prompter.response_ids(s.target)) for s in samples]
