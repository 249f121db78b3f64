"""What every dialect says of itself: how a response's calls are found, read, told from prose, and gone on with."""

from abc import ABC, abstractmethod
from typing import ClassVar

from itool_data.dialects.reader import Notation, Reader, place


class Dialect(ABC):
    """What a response's calls look like.

    Attributes:
        notation: how values are written.
        opening: the marker that opens the calls, where one does.
        value_end: where values are raw text, what ends one.
        closes: what a finished response may end with, in the order in which it is taken off to go on instead.
        another: what then announces another call, or argument; empty: nothing does.
        parser: vLLM's tool parser for it, as `--tool-call-parser` takes it; None: it has none.
    """

    notation: ClassVar[Notation]
    opening: ClassVar[str] = ""
    value_end: ClassVar[str] = ""
    closes: ClassVar[tuple[str, ...]] = ()
    another: ClassVar[str] = ""
    parser: ClassVar[str | None] = None

    def begins(self, text: str) -> int | None:
        """Where a response's calls begin, after a text before them; None: it has none so far."""
        return place(text, self.opening)

    @abstractmethod
    def read(self, reader: Reader) -> bool:
        """Read a response's calls up to their end.

        Returns:
            Whether nothing may follow; False: another call may.

        Raises:
            CallSyntaxError: they are none.
        """

    def attempt(self, text: str) -> int | None:
        """Where a text begins to attempt a call; None if it attempts none."""
        return self.begins(text)

    def content(self, text: str) -> str:
        """What a text beside calls, or without any, says to the user: without thoughts and marks of its channel.

        Where a chat template takes thoughts out of a text itself, or has no marks, that is the text.
        """
        return text

    def going_on(self, last_step: str) -> str:
        """A response's last step with another call or argument announced in place of its end."""
        for close in self.closes:
            last_step = last_step.removesuffix(close)
        return last_step + self.another if self.another else ""
