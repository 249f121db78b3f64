"""The sizes of a model that its memory depends on, from its config.json alone.

The model is built without content, so parameters are counted and not guessed, whatever its architecture. Left out: the
weights themselves, which need not be here.
"""

from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from itool_data.errors import ItoolError, first_line


@dataclass(frozen=True)
class Shape:
    """Sizes of a causal language model.

    Attributes:
        layers: how many.
        hidden: width between layers.
        intermediate: width inside an MLP.
        heads: of queries.
        kv_heads: of keys and values.
        head_dim: of a head.
        vocabulary: tokens.
        context: the longest sequence.
        parameters: all of them.
        linear: those in linear layers, the output's left out: what NF4 quantises.
        sides: inputs and outputs of these layers together: an adapter has rank times as many parameters.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    parameters: int
    linear: int
    sides: int

    @property
    def kv_values(self) -> int:
        """Numbers in a token's keys and values."""
        return 2 * self.layers * self.kv_heads * self.head_dim


def shape_of(config: Any) -> Shape:
    """The shape of a model with a transformers config."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    text = config.get_text_config()
    return Shape(
        text.num_hidden_layers,
        text.hidden_size,
        getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        text.num_attention_heads,
        getattr(text, "num_key_value_heads", None) or text.num_attention_heads,
        getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        text.vocab_size,
        text.max_position_embeddings,
        sum(p.numel() for p in model.parameters()),
        sum(m.weight.numel() for m in linears),
        sum(m.in_features + m.out_features for m in linears),
    )


def read_shape(model: Path | str, revision: str | None = None) -> Shape:
    """The shape of a model folder, or of a model on the Hub, of which the config alone is fetched.

    Raises:
        ItoolError: if its config is of no known kind of model.
        OSError: if there is no such model.
    """
    from transformers import AutoConfig

    try:
        return shape_of(AutoConfig.from_pretrained(model, revision=revision))
    except (ValueError, AttributeError) as error:
        reason = first_line(error)
        raise ItoolError(f"{model}: its config.json is of no model that can be read: {shorten(reason, 200)}") from None
