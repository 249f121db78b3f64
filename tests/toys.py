"""Stand-ins by shape: a tokenizer whose tokens are characters, and samples that fit on a line."""

from collections.abc import Sequence

from itool_data.dialects import parse
from itool_data.prompt import Prompter
from itool_data.sample import Message, Sample, Tool

END = 0  # the end-of-turn token; decodes to nothing


class CharTokenizer:
    """One token a character."""

    eos_token_id = END

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}

    def apply_chat_template(self, messages: list[dict[str, str]], **_: object) -> str:
        return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"

    def get_chat_template(self, chat_template: str | None = None, **_: object) -> str:
        return "a role in brackets before each message"

    def decode(self, ids: Sequence[int], **_: object) -> str:
        return "".join(chr(i) for i in ids if i != END)


PROMPTER = Prompter(CharTokenizer())


def ids_of(text: str, end: bool = True) -> tuple[int, ...]:
    """Token ids of a response, with its end-of-turn unless told otherwise."""
    return tuple(map(ord, text)) + ((END,) if end else ())


def toy_sample(target: str = "[f(a=1)]", question: str = "call f with 1") -> Sample:
    """A sample with one tool `f(a, b?)` and the given gold calls."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a"]}
    calls = tuple(parse(target)) if target.startswith("[") else ()
    return Sample("toy", question, (Message("user", question),), (Tool("f", "does f", schema),), target, calls)
