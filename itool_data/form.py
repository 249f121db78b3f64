"""How a policy's responses are read: its tokens as text, and the dialect of the calls in that text.

Left out: making token ids (`prompt.py`, `native.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from itool_data.dialects import OWN, DialectName

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Form:
    """What turns a response's token ids into text, and what its calls look like.

    Attributes:
        decode: the tokenizer's decode, without any clean-up of spaces.
        dialect: of the calls.
    """

    decode: Decode
    dialect: DialectName = OWN
