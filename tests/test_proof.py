"""Right and wrong by the gold calls alone: states, steps, what can still be mended, and which tokens are at fault."""

import random
from itertools import permutations, product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toys import toy_sample

from itool_data.dialects import parse_prefix, render
from itool_data.form import Form
from itool_data.match import response_error
from itool_data.proof import fault, mendable, state_error, step_error
from itool_data.sample import JSON, AcceptedCall, Sample, ToolCall
from itool_data.search.pairs import Pair
from itool_data.search.proved import prove
from itool_data.search.tree import Node
from itool_data.steps import split_steps, step_ends


def gold_of(*answers: AcceptedCall) -> Sample:
    return Sample("toy", "", (), (), "", tuple(ToolCall(a.name, {}) for a in answers), answers)


def call(name: str, optional: str = "", **arguments: list[JSON]) -> AcceptedCall:
    return AcceptedCall(name, arguments, frozenset(optional.split()))


CITY = gold_of(call("find", "days", city=["Nairobi", "Nairobi, Kenya"], days=[80]))
KINDS = gold_of(call("f", s=["it's"], i=[-12], x=[1.5, 2.0], b=[True], n=[None], l=[[1, "a"]], d=[{"k": 1}]))
TWICE = gold_of(call("f", a=[1]), call("f", a=[2]))
NAMES = gold_of(call("Get User's Songs", **{"user id": [1]}), call("f(x)", **{"a=b": [1]}))
TAGS = gold_of(call("f", tags=[["a"]], n=[1]))
DATES = gold_of(call("book", date=[1], date_to=[2]))
PROSE = toy_sample("It is late.")

# A response that breaks off anywhere: can it still become right?
CUTS = [
    # a name
    (CITY, "", True),
    (CITY, "[", True),
    (CITY, "[fi", True),
    (CITY, "[find", True),
    (CITY, "[find (", True),
    (CITY, "[fo", False),
    (CITY, "[finds", False),
    (CITY, "I", False),
    (CITY, "[]", False),
    # a parameter's name
    (CITY, "[find(ci", True),
    (CITY, "[find(da", True),
    (CITY, "[find(city", True),
    (CITY, "[find(citys", False),
    (CITY, "[find(t", False),
    (CITY, "[find(city='Nairobi', ci", False),
    (DATES, "[book(date=1, date", True),  # which is given, and the beginning of another
    (DATES, "[book(date=1, date=", False),
    # strings: BFCL's tolerance of case and signs; both accepted values
    (CITY, "[find(city=", True),
    (CITY, "[find(city='", True),
    (CITY, "[find(city='Nai", True),
    (CITY, "[find(city='nai", True),
    (CITY, "[find(city='Nairobi, K", True),
    (CITY, "[find(city='Nairobi, U", False),
    (CITY, "[find(city='Mom", False),
    (CITY, "[find(city='Nairobi'", True),
    (CITY, "[find(city='Nair'", False),
    (CITY, "[find(city=Nairobi", True),
    (CITY, "[find(city=7", False),
    # a number: 80 begins with 8, which may be closed by nothing yet
    (CITY, "[find(days=8", True),
    (CITY, "[find(days=80", True),
    (CITY, "[find(days=800", False),
    (CITY, "[find(days=9", False),
    (CITY, "[find(days=8,", False),
    (CITY, "[find(days=8)", False),
    (CITY, "[find(days=80)", False),
    # an optional parameter may be left out, and may be promised
    (CITY, "[find(city='Nairobi')", True),
    (CITY, "[find(city='Nairobi',", True),
    (CITY, "[find(city='Nairobi', days=80,", False),
    (CITY, "[find(city='Nairobi')]", True),
    (CITY, "[find(city='Nairobi'),", False),
    (CITY, "[find(city='Nairobi')] So", False),
    # every kind of value
    (KINDS, '[f(s="it', True),
    (KINDS, "[f(s=\"it'", True),
    (KINDS, "[f(s='it\\'s'", True),
    (KINDS, "[f(s=r", True),
    (KINDS, "[f(s='''it", True),
    (KINDS, '[f(s="is', False),
    (KINDS, "[f(i=-", True),
    (KINDS, "[f(i=-1", True),
    (KINDS, "[f(i=1", False),
    (KINDS, "[f(i=-12.", False),
    (KINDS, "[f(x=1", True),
    (KINDS, "[f(x=2", True),
    (KINDS, "[f(x=2.00", True),
    (KINDS, "[f(x=1.50", True),
    (KINDS, "[f(x=15e-", True),
    (KINDS, "[f(x=1.6", False),
    (KINDS, "[f(x=T", False),
    (KINDS, "[f(b=T", True),
    (KINDS, "[f(b=tr", True),
    (KINDS, "[f(b=F", False),
    (KINDS, "[f(b=1", False),
    (KINDS, "[f(n=No", True),
    (KINDS, "[f(n=nul", True),
    (KINDS, "[f(n=0", False),
    (KINDS, "[f(l=[", True),
    (KINDS, "[f(l=[1, 'b", True),  # the inside of a list is left open
    (KINDS, "[f(l=[1, 'b']", False),
    (KINDS, "[f(l=(1, 'a')", True),
    (KINDS, "[f(l=1", False),
    (KINDS, "[f(d={'k': 2", True),
    (KINDS, "[f(d={'k': 2}", False),
    (KINDS, "[f(d={'k': 1}", True),
    (KINDS, "[f(d=[", False),
    # two calls of one name, in either order
    (TWICE, "[f(a=2), f", True),
    (TWICE, "[f(a=2), f(a=1)", True),
    (TWICE, "[f(a=1), f(a=1)", False),
    (TWICE, "[f(a=1)]", False),
    (TWICE, "[f(a=1),", True),
    (TWICE, "[f(a=1), g", False),
    (TWICE, "[f(a=1), f(a=2),", False),
    # calls on several lines, and values in brackets of their own
    (TWICE, "[\nf", True),
    (TWICE, "[f(a=1),\n f", True),
    (TWICE, "[f(a=1),\ng", False),
    (TWICE, "[f(a=(1", True),
    (TWICE, "[f(a=(1)", True),
    (TWICE, "[f(a=(3)", False),
    # names that are no identifiers
    (NAMES, "[Get User", True),
    (NAMES, "[Get User's Songs(user", True),
    (NAMES, "[Get Song", False),
    (NAMES, "['f(x", True),
    (NAMES, "['f(x)'('a=b", True),
    # half a character
    (gold_of(call("f", a=["né"])), "[f(a='n\ufffd", True),
    (gold_of(call("f", a=["né"])), "[f(a='m\ufffd", False),
    # an integer beyond floats, a capital whose small letter depends on what follows, a number without its zero
    (gold_of(call("f", a=[10**400])), "[f(a=1000", True),
    (gold_of(call("f", a=["\u039f\u0394\u039f\u03a3\u0391"])), "[f(a='\u039f\u0394\u039f\u03a3", True),
    (gold_of(call("f", a=[0.5])), "[f(a=.", True),
    # prose: right is what calls nothing
    (PROSE, "It is", True),
    (PROSE, "No. [f", True),
    (PROSE, "No. [f(", False),
    (PROSE, '[{"name": "f", "arguments": {', False),
]


@pytest.mark.parametrize(("gold", "text", "can"), CUTS)
def test_what_breaks_off_can_be_mended(gold: Sample, text: str, can: bool) -> None:
    assert mendable(text, gold) == can


# A state and a step after it; what the step breaks, and what it breaks as the response's end.
STEPS = [
    (CITY, "", "[find(", None, "Code Syntax"),
    (CITY, "", "[look(", "Tool Name", "Code Syntax"),
    (CITY, "[find(", "city='Nairobi',", None, "Code Syntax"),
    (CITY, "[find(", "city='Mombasa',", "Parameter Value", "Code Syntax"),
    (CITY, "[find(", "town='Nairobi',", "Parameter Name", "Code Syntax"),
    (CITY, "[find(", "days=80)", "Parameter Count", "Code Syntax"),
    (CITY, "[find(city='Nairobi',", " days=80)", None, "Code Syntax"),
    (CITY, "[find(city='Nairobi',", " days=80,", "Parameter Count", "Code Syntax"),
    (CITY, "[find(city='Nairobi')", "]", None, None),
    (CITY, "[find(city='Nairobi')", ",", "Tools Count", "Code Syntax"),
    (CITY, "[find(city='Nairobi')", ", find(", "Tools Count", "Code Syntax"),
    (CITY, "[find(city='Nairobi')", "] Good", "Code Syntax", "Code Syntax"),
    (TWICE, "[f(a=1)", "]", "Tools Count", "Tools Count"),
    (PROSE, "It is late.", " [f(", "Tools Count", "Tools Count"),
    (PROSE, "It is late.", " f(a=1).", None, None),
]


@pytest.mark.parametrize(("gold", "before", "step", "error", "at_end"), STEPS)
def test_what_a_step_breaks(gold: Sample, before: str, step: str, error: str | None, at_end: str | None) -> None:
    assert state_error(before, gold) is None
    assert step_error(before, step, False, gold) == state_error(before + step, gold) == error
    assert step_error(before, step, True, gold) == at_end


# --- any gold calls -----------------------------------------------------------------------------------------------

NAME = st.sampled_from(["f", "g", "fg", "Get User's Songs", "f(x)", "a b"])
SCALARS = st.one_of(
    st.text("ab ,'\"\\.)]=\u00e9\n\u03a3", max_size=5), st.integers(-200, 200), st.integers(), st.booleans(),
    st.none(), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([1.5, 2.0, -0.25, 100.0, 1e22]),
)  # fmt: skip
VALUES = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.sampled_from(["k", "l"]), SCALARS, max_size=2)
)
LEFT_OUT = object()


@st.composite
def answers(draw: st.DrawFn) -> AcceptedCall:
    arguments = draw(st.dictionaries(NAME, st.lists(VALUES, min_size=1, max_size=2), max_size=2))
    return AcceptedCall(draw(NAME), arguments, frozenset(n for n in arguments if draw(st.booleans())))


GOLD = st.lists(answers(), min_size=1, max_size=2).map(lambda found: gold_of(*found))


def accepted_calls(answer: AcceptedCall) -> list[ToolCall]:
    """Every way of making a call: each value, what is optional or not, in any order."""
    ways = []
    for values in product(*([*v, *([LEFT_OUT] if n in answer.optional else [])] for n, v in answer.arguments.items())):
        given = [(n, v) for n, v in zip(answer.arguments, values, strict=True) if v is not LEFT_OUT]
        ways += [ToolCall(answer.name, dict(order)) for order in permutations(given)]
    return ways


def accepted_texts(gold: Sample) -> list[str]:
    """Every accepted response as `render` writes it."""
    ways = product(*map(accepted_calls, gold.answers))
    return [render(order) for calls in ways for order in permutations(calls)]


@settings(max_examples=100, deadline=None)
@given(GOLD, st.data())
def test_every_beginning_of_an_accepted_response_can_be_mended(gold: Sample, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(accepted_texts(gold)))
    assert response_error(text, gold, "python") is None
    for end in range(len(text) + 1):
        assert mendable(text[:end], gold), text[:end]
    for end in step_ends(text):
        assert state_error(text[:end], gold) is None, text[:end]


@settings(max_examples=300, deadline=None)
@given(GOLD, st.data())
def test_no_accepted_response_begins_with_what_cannot_be_mended(gold: Sample, data: st.DataObject) -> None:
    texts = accepted_texts(gold)
    text, other = data.draw(st.sampled_from(texts)), data.draw(st.sampled_from(texts))
    cut, start = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(other)))
    tail = data.draw(st.one_of(st.just(other[start : start + 4]), st.text("fgab '\"(),=[]0123\u00e9", max_size=4)))
    begun = text[:cut] + tail
    if not mendable(begun, gold):
        assert not any(accepted.startswith(begun) for accepted in texts), begun


# --- which tokens are at fault ------------------------------------------------------------------------------------


class Pieces:
    """A tokenizer whose tokens are pieces of text; the empty piece is the end-of-turn."""

    END = 0

    def __init__(self) -> None:
        self._known = [""]
        self.form = Form(self.decode)

    def ids(self, pieces: list[str]) -> list[int]:
        self._known += [piece for piece in dict.fromkeys(pieces) if piece not in self._known]
        return [self._known.index(piece) for piece in pieces]

    def cut_up(self, text: str, draw: random.Random) -> list[int]:
        """Tokens that are random cuts of a text."""
        pieces = []
        while text:
            n = draw.choice([1, 1, 2, 3, 5])
            pieces.append(text[:n])
            text = text[n:]
        return self.ids(pieces)

    def decode(self, ids: list[int]) -> str:
        return "".join(self._known[i] for i in ids)


def closings(text: str) -> tuple[int, bool]:
    partial = parse_prefix(text)
    return len(partial.calls), partial.closed


@settings(max_examples=300, deadline=None)
@given(GOLD, st.data(), st.integers(0, 2**32))
def test_no_token_that_is_right_where_it_stands_is_at_fault(gold: Sample, data: st.DataObject, seed: int) -> None:
    cuts, tokens = random.Random(seed), Pieces()
    texts = accepted_texts(gold)
    response = [*tokens.cut_up(data.draw(st.sampled_from(texts)), cuts), Pieces.END]
    steps = split_steps(response, tokens.form)
    number = data.draw(st.integers(0, len(steps) - 1))
    before, right = [token for step in steps[:number] for token in step], steps[number]
    # A wrong step: a beginning of the right one, something else, and perhaps the response's end.
    tail = data.draw(
        st.one_of(st.sampled_from([")]", ", f(", "1,", "'", "]"]), st.text("fgab '\"(),=[]012", max_size=6))
    )
    ended = data.draw(st.booleans())
    shared = right[: data.draw(st.integers(0, len(right)))]
    wrong = [*shared, *tokens.cut_up(tail, cuts), *([Pieces.END] if ended else [])]
    assume(wrong and wrong != right and Pieces.END not in wrong[:-1])
    assume(step_error(tokens.decode(before), tokens.decode(wrong), ended, gold) is not None)

    parts_at, first, last = fault(before, right, wrong, gold, tokens.form)
    upto = [tokens.decode([*before, *wrong[:i]]) for i in range(len(wrong) + 1)]
    assert wrong[:parts_at] == right[:parts_at]
    assert parts_at <= first <= last < len(wrong)
    for i in range(first, last):
        assert mendable(upto[i + 1], gold)
        assert closings(upto[i + 1]) == closings(upto[i])
    # With the last one nothing can be mended any more, or it is the end of what might have gone on.
    ends_too_early = ended and last == len(wrong) - 1
    assert not mendable(upto[last + 1], gold) or ends_too_early
    assert not any(text.startswith(upto[last + 1]) for text in texts) or ends_too_early


@pytest.mark.parametrize(
    ("gold", "before", "right", "wrong", "expected"),
    [
        # Digits too many, and too few.
        (CITY, "[find(city='Nairobi',", [" days", "=", "80", ")"], [" days", "=", "8", "00", ")"], (2, 2, 3)),
        (CITY, "[find(city='Nairobi',", [" days", "=", "80", ")"], [" days", "=", "8", ")"], (2, 2, 3)),
        # A name that begins as one that is given already is no fault.
        (DATES, "[book(date=1,", [" date", "_to", "=", "2", ")"], [" date", "_to", "=", "3", ")"], (3, 3, 3)),
        (DATES, "[book(date=1,", [" date", "_to", "=", "2", ")"], [" date", "=", "3", ")"], (1, 1, 1)),
        # A call too many in place of the end.
        (CITY, "[find(city='Nairobi')", ["]", ""], [", ", "find", "("], (0, 0, 0)),
        # Its `)` is right where it stands; the right step closed the call and the response with one token.
        (CITY, "[find(", ["city='Nairobi'", ")]", ""], ["city='Nairobi'", ")", ", ", "find("], (1, 2, 2)),
        # So is the `]` of a right value, however it is written.
        (TAGS, "[f(", ["tags=", "['", "a", "'],"], ["tags=", '["', "a", '"]', ")"], (1, 4, 4)),
        # A call on a line of its own is none.
        (TWICE, "[f(a=1)", [",", " f", "("], [",\n", "f", "oo", "("], (0, 0, 2)),
        # The end-of-turn alone, in the middle.
        (CITY, "[find(city='Nairobi')", ["]", ""], [""], (0, 0, 0)),
        # The end after one of two calls.
        (TWICE, "[f(a=1)", [",", " f", "("], ["]", ""], (0, 0, 0)),
        # From where a value parts to the first letter that no accepted one has.
        (CITY, "[find(", ["city='", "Nairobi", "',"], ["city='", "Nai", "ro", "sa", "',"], (1, 1, 3)),
        (PROSE, "", ["It", " is late."], ["It", " [", "f", "("], (1, 1, 3)),
    ],
)
def test_which_tokens_are_at_fault(
    gold: Sample, before: str, right: list[str], wrong: list[str], expected: tuple[int, int, int]
) -> None:
    tokens = Pieces()
    so_far, chosen, rejected = tokens.ids([before]), tokens.ids(right), tokens.ids(wrong)
    assert fault(so_far, chosen, rejected, gold, tokens.form) == expected


@pytest.mark.parametrize(("ended", "proved"), [(True, True), (False, False)])
def test_a_response_that_the_limit_cut_off_is_not_proved_wrong(ended: bool, proved: bool) -> None:
    tokens = Pieces()
    root = Node()
    for index, (piece, whole) in enumerate((("[find(city='Nairobi')]", True), ("[find(city='Nairobi, K", ended))):
        root.children.append(Node((index,), tuple(tokens.ids([piece])), terminal=True, ended=whole))
    found = prove(Pair(root, *root.children, 0.5, 0), root, CITY, tokens.form)
    assert (found.proved, found.rejected) == (proved, "Code Syntax" if ended else None)
