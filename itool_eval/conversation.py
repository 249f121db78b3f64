"""The one form in which every item of every benchmark is asked: a conversation.

It yields all messages so far, is sent the next reply, and returns the item's result once it is over. An item of one
question is a conversation of one reply. Left out: who replies (`predict.py`).
"""

from collections.abc import Generator

Message = dict[str, str]
# A reply's text; for several turns, the texts of each turn's replies.
Result = str | list[list[str]]
Conversation = Generator[list[Message], str, Result]


def one_reply(messages: list[Message]) -> Conversation:
    """A conversation whose first reply is the result."""
    return (yield messages)
