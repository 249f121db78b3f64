"""Stand-ins by shape: a tokenizer whose tokens are characters, samples that fit on a line, a tiny random model."""

from collections.abc import Sequence
from pathlib import Path

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


def tiny_model(folder: Path, vocabulary: int = 128, context: int = 256, head: int = 8) -> Path:
    """Save a random two-layer Llama with grouped heads; wide initial weights, so that its choices are not near ties."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # commands' standard error is looked at
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, head_dim=head, max_position_embeddings=context, initializer_range=0.3, bos_token_id=1,
        eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(vocabulary)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="t2", pad_token="t2",
        chat_template="{% for message in messages %}{{ message.content }} t2 {% endfor %}",
    ).save_pretrained(folder)  # fmt: skip
    return folder
