"""A value that is not finished: may it still become an accepted one?

The answer is about characters, in the notation of the dialect: `'Nairobi, K` may become `'Nairobi, Kenya'`, and `8` may
become 80. Where it cannot be told (the inside of a list, an escape) it is yes. Left out: finished values, which
`match.py` compares.
"""

from collections.abc import Sequence

from itool_data.dialects import GEMMA_QUOTE, CallSyntaxError, Dialect, Notation, Reader, begun
from itool_data.match import accepted, standardised
from itool_data.sample import JSON


def value_mendable(literal: str, options: Sequence[JSON], dialect: Dialect) -> bool:
    """Whether what there is of a value can become an accepted one.

    Args:
        literal: what there is.
        options: the accepted values.
        dialect: that it is written in.
    """
    if dialect.notation == "raw":
        return not literal.strip() or any(_raw_may_become(literal, option, dialect.value_end) for option in options)
    stripped = literal.rstrip()
    if not stripped:
        return bool(options)
    closes = stripped[-1] in "'\"])}" or (dialect.notation == "gemma" and stripped.endswith(GEMMA_QUOTE))
    if closes and (whole := whole_value(stripped, dialect.notation)) is not None:
        return accepted(whole[0], options)
    return any(_may_become(literal, option, dialect.notation) for option in options)


def whole_value(literal: str, notation: Notation) -> list[JSON] | None:
    """A complete literal's value, in a list; None where it is not complete, or raw text, whose end is no part of it."""
    if notation == "raw":
        return None
    reader = Reader(literal + " ", notation)  # a number ends with what comes after it
    try:
        value = reader.value(0)
    except CallSyntaxError:
        return None
    return [value] if reader.at_end() else None


def _raw_may_become(literal: str, option: JSON, end: str) -> bool:
    """Raw text up to a tag, of which a part may be there already; a line break at either end may be the tags'."""
    text = literal.removeprefix("\n")
    if n := begun(text, end):
        whole = text[:-n].removesuffix("\n")
        read = whole_value(whole, "json")
        if accepted(whole, [option]) or (read is not None and accepted(read[0], [option])):
            return True
        if n > 1:  # one `<` alone may be the text's
            return False
    if isinstance(option, str):
        return _begins_text(text.removesuffix("\n"), option)
    return not text.strip() or _may_become(text.lstrip(), option, "python")


def _begins_text(text: str, option: str) -> bool:
    # Case-folded too, as what a capital sigma is in lower case depends on what comes after it.
    return standardised(option).casefold().startswith(standardised(text).casefold())


def _may_become(literal: str, option: JSON, notation: Notation) -> bool:
    first = literal[0]
    if first == "(":  # what stands in brackets of its own is left open
        return True
    if isinstance(option, str):
        if notation == "gemma":
            text = literal.removeprefix(GEMMA_QUOTE)
            if text == literal:
                return GEMMA_QUOTE.startswith(literal)
            n = begun(text, GEMMA_QUOTE)
            return _begins_text(text, option) or (n > 0 and accepted(text[:-n], [option]))
        if first in "rRuU" and literal[1:2] in ("'", '"', ""):
            return True
        quoted = first in "'\""
        if quoted and (literal[:3] in ("'''", '"""') or "\\" in literal or literal[1:].count(first)):
            return True
        return _begins_text(literal[1:] if quoted else literal, option)
    if isinstance(option, list):
        return first == "["
    if isinstance(option, dict):
        return first == "{"
    if isinstance(option, bool) or option is None:
        words = {True: ("True", "true"), False: ("False", "false"), None: ("None", "null")}[option]
        return any(word.startswith(literal.rstrip()) for word in words)
    return _number_may_become(literal.rstrip(), option)


def _number_may_become(literal: str, option: float) -> bool:
    """By the ways of writing a number that policies use; one with a letter, or begun with + or `.`, is left open."""
    if literal[0] not in "-0123456789" or any(c in "eExXoObB_" for c in literal):
        return literal[0] in "+-.0123456789"
    ways = {repr(option)}
    if isinstance(option, float):
        ways |= {f"{option:e}"}
        ways |= {f"{option:.{digits}f}" for digits in range(1, 7) if float(f"{option:.{digits}f}") == option}
        ways |= {str(int(option))} if option.is_integer() else set()
    return any(way.startswith(literal) for way in ways)
