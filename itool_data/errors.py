"""The error that every itool command turns into one line and exit code 1.

It leaves out any hierarchy: a message that names the thing, the value and the way out is all a caller
needs, because nobody catches these by kind.
"""


class ItoolError(Exception):
    """A problem the user can mend; its text is one line naming the thing, the value and the way out."""


def first_line(error: BaseException) -> str:
    """What an error says first, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
