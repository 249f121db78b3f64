"""The forms that TRL's chat templates give a model, on the embedded tokenizer, and seeded calls to write in them.

What `python -m bench.dialects` and the tests of the native form have in common. Left out: asserting anything.
"""

import random
from datetime import date
from functools import cache
from typing import Any

from itool_data.assets import embedded_model
from itool_data.chat_template import ChatTemplate, template_source
from itool_data.native import NativePrompter, open_native
from itool_data.sample import JSON, Message, Sample, Tool, ToolCall

# What the families whose templates are tried have as special tokens and the embedded tokenizer has not: their ends of
# turn, and markers that readers other than ours look for among the tokens.
ENDS = [
    "<|im_end|>",
    "<|eot_id|>",
    "<turn|>",
    "<|tool_response>",
    "<|call|>",
    "<|return|>",
    "<|user|>",
    "<|observation|>",
    "<|eot|>",
]
MARKERS = [
    "<|python_tag|>",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "<|start|>",
    "<|channel|>",
    "<|constrain|>",
    "<|message|>",
    "<|end|>",
    "<|eom|>",
]
# What TRL's package brings, by what its calls look like.
TEMPLATES = {
    "qwen2_5": "hermes", "qwen3": "hermes", "qwen3_instruct_2507": "hermes", "qwen3_vl": "hermes",
    "qwen3_5_nothink": "qwen-xml", "qwen3_5_think": "qwen-xml", "qwen3_6": "qwen-xml", "qwen3_8": "qwen-xml",
    "nemotron_3_nano": "qwen-xml", "nemotron_3_super": "qwen-xml", "nemotron_3_ultra": "qwen-xml",
    "nemotron_3_5_lightning": "qwen-xml",
    "llama3_1": "llama", "llama3_2": "llama",
    "lfm2_2_5": "lfm2", "lfm2_2_5_v2": "lfm2", "lfm2_2_5_vl": "lfm2", "lfm2_v2": "lfm2",
    "glm4moe": "glm", "gptoss": "harmony", "muse_glimmer": "atem",
    "gemma4": "gemma", "gemma4_v2": "gemma", "gemma4_v3": "gemma", "gemma4_v4": "gemma", "gemma4_v5": "gemma",
    "diffusion_gemma": "gemma",
}  # fmt: skip
ONE_CALL = ("llama3_1", "llama3_2", "gptoss")

SCHEMA: dict[str, JSON] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "n": {"type": "integer"},
        "x": {"type": "number"},
        "flag": {"type": "boolean"},
        "where": {"type": "object", "properties": {}},
        "list": {"type": "array"},
        "maybe": {"type": ["string", "null"]},
    },
}
TOOLS = (Tool("get.it", "Gets it.", SCHEMA), Tool("other_fn", "Does another thing.", SCHEMA))
TEXTS = [
    "Oslo",
    "it is",
    'a "q"',
    "né\nx",
    "",
    "  pad ",
    "5",
    "true",
    "世界 😀",
    "a, b=1)",
    "{",
    "]",
    "\\n",
    "a\\",
    "<b>",
]


@cache
def tokenizer() -> Any:
    """The embedded model's tokenizer, with special tokens of other families."""
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(embedded_model())
    found.add_special_tokens({"additional_special_tokens": ENDS + MARKERS})
    return found


def open_form(template: str, **settings: Any) -> NativePrompter | str:
    """The form of one of TRL's templates, or why there is none."""
    own = ChatTemplate(tokenizer(), template_source(template), settings, date(2024, 7, 26))
    return open_native(tokenizer(), own, {tokenizer().convert_tokens_to_ids(end) for end in ENDS})


@cache
def prompter(template: str) -> NativePrompter:
    """The prompter of a template that has a form."""
    # Asked for a thought, Nemotron's begin it in the prompt, and write the answer after another one.
    found = open_form(template, **({"enable_thinking": False} if template.startswith("nemotron") else {}))
    assert isinstance(found, NativePrompter), found
    return found


def sample(*calls: ToolCall, messages: tuple[Message, ...] = (Message("user", "Hi"),), target: str = "") -> Sample:
    """A sample with two functions on offer and the given gold calls."""
    return Sample("toy", "", messages, TOOLS, target, calls)


class Conversations:
    """Calls with every kind of value, nested and not.

    Args:
        seed: of all of them.
    """

    def __init__(self, seed: int):
        self._rng = random.Random(seed)

    def value(self, depth: int) -> JSON:
        """A value that lies in so many others."""
        kinds = ["text", "number", "float", "flag", "null"] + ["list", "object"] * (depth < 2)
        match self._rng.choice(kinds):
            case "text":
                return self._rng.choice(TEXTS)
            case "number":
                return self._rng.randrange(-5, 10_000)
            case "float":
                return self._rng.choice([1.5, -0.25, 3.0, 1e-7])
            case "flag":
                return self._rng.random() < 0.5
            case "list":
                return [self.value(depth + 1) for _ in range(self._rng.randrange(3))]
            case "object":
                names = self._rng.sample(["a", "b c", "d"], self._rng.randrange(3))
                return {name: self.value(depth + 1) for name in names}
        return None

    def arguments(self) -> dict[str, JSON]:
        """Some of a function's arguments, in any order."""
        kinds: dict[str, JSON] = {
            "city": self._rng.choice(TEXTS),
            "n": self._rng.randrange(-9, 99),
            "x": self._rng.choice([1.5, -0.25, 3.0]),
            "flag": self._rng.random() < 0.5,
            "where": {"k": self.value(1)},
            "list": [self.value(1)],
            "maybe": self._rng.choice(["x", None]),
        }
        return {name: kinds[name] for name in self._rng.sample(list(kinds), self._rng.randrange(6))}

    def calls(self) -> tuple[ToolCall, ...]:
        """One call, or up to three."""
        n = self._rng.choice([1, 1, 2, 3])
        return tuple(ToolCall(self._rng.choice(TOOLS).name, self.arguments()) for _ in range(n))
