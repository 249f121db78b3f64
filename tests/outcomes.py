"""What a command gave: its types, and the shape that an error must have."""

from collections.abc import Callable

Outcome = tuple[int, str, str]  # exit code, standard output, standard error
Itool = Callable[..., Outcome]


def one_line(outcome: Outcome, *parts: str) -> None:
    """Exit code 1 and one line on standard error that holds the parts."""
    code, _, err = outcome
    assert (code, len(err.splitlines())) == (1, 1), outcome
    assert err.startswith("itool: ")
    for part in parts:
        assert part in err
