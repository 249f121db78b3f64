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
    # difflib ends with an empty block, so the loop also takes what differs at the end.
    i = j = 0
    shared = ""
    for block in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks():
        left += [shared, "".join(a[i : block.a])]
        right += [shared, "".join(b[j : block.b])]
        i, j = block.a + block.size, block.b + block.size
        shared = "".join(a[block.a : i])
    return left, right
