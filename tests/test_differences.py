"""The differing fragment of two steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itool_data.differences import differences


def marked(a: str, b: str) -> tuple[str, str]:
    """Both texts with the differing pieces in «»."""
    one, other = ("".join(f"«{p.text}»" if p.differs else p.text for p in pieces) for pieces in differences(a, b))
    return one, other


@pytest.mark.parametrize(
    ("a", "b", "one", "other"),
    [
        ("county='Santa Clara',", "county='California',", "county='«Santa Clara»',", "county='«California»',"),
        ("charge=1e-9,", "charge=1.0e-9,", "charge=«1e»-9,", "charge=«1.0e»-9,"),
        ("[search(", "[search_recipe(", "[«search»(", "[«search_recipe»("),
        # The space is in both, but between two differences it is a part of one fragment.
        (" q='Santa Clara')]", " q='San José')]", " q='«Santa Clara»')]", " q='«San José»')]"),
        # A word in between keeps two fragments apart.
        ("lat=1, b=5)", "lng=1, b=6)", "«lat»=1, b=«5»)", "«lng»=1, b=«6»)"),
        # What only one of them has leaves no mark in the other.
        ("a=1)]", "a=1, b=-1)]", "a=1)]", "a=1«, b=-1»)]"),
        ("", "x", "", "«x»"),
        ("same", "same", "same", "same"),
    ],
)
def test_the_fragment_is_whole_words(a: str, b: str, one: str, other: str) -> None:
    assert marked(a, b) == (one, other)


@given(st.text(alphabet="ab1 .,='(\n\x1b"), st.text(alphabet="ab1 .,='(\n\x1b"))
def test_pieces_are_the_texts_again_and_alternate(a: str, b: str) -> None:
    for text, pieces in zip((a, b), differences(a, b), strict=True):
        assert "".join(p.text for p in pieces) == text
        assert all(p.text for p in pieces)
    same_a, same_b = (tuple(p.text for p in pieces if not p.differs) for pieces in differences(a, b))
    assert "".join(same_a) == "".join(same_b)
    assert (a == b) == (not any(p.differs for pieces in differences(a, b) for p in pieces))
