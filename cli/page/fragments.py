"""Where two steps differ, as the reader sees it: whole words and numbers, not single letters."""

import re
from difflib import SequenceMatcher

# A word or number (with its sign and decimal point), a run of blanks, or one other character.
_WORDS = re.compile(r"-?\d+(?:\.\d+)?|\w+|\s+|[^\w\s]")
MOST_CHARACTERS = 2000  # beyond it, difflib's time would be felt


def differing(first: str, second: str) -> tuple[list[str], list[str]]:
    """Split two texts into what they share and what they do not.

    Returns:
        Each text's fragments, in turn shared and differing, beginning with a shared one (which may be empty); joined
        they are the text again.
    """
    if len(first) + len(second) > MOST_CHARACTERS:
        return ["", first], ["", second]
    a, b = _WORDS.findall(first), _WORDS.findall(second)
    left: list[str] = []
    right: list[str] = []
    # Equal and other stretches alternate, whichever comes first.
    for kind, i, i_end, j, j_end in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind != "equal" and not left:
            left.append("")
            right.append("")
        left.append("".join(a[i:i_end]))
        right.append("".join(b[j:j_end]))
    return left, right
