"""What a run's tables say of its policy's doubts, place by place, and of what its pairs prove.

Both mining's summary and the report show it. Left out: how it looks, and single fragments (`itool show sample`).
"""

from typing import Any

from itool_data.run import Run
from itool_data.store.sql import query

Row = dict[str, Any]

# Prose counts only where it was drawn: that its gold wording is improbable says nothing.
_DEFICIENCIES = """
SELECT kind, function, parameter, count(*) AS fragments, count(*) FILTER (doubted) AS doubted,
    avg(probability) FILTER (doubted) AS probability, histogram(error_class) FILTER (doubted) AS breaks,
    arg_max({'right': step_text, 'probability': probability, 'wrong': wrong_text, 'wrong_probability':
        wrong_probability}, wrong_probability) FILTER (doubted) AS example
FROM (SELECT *, probability < ? AS doubted FROM fragments
    WHERE round = ? AND policy = ? AND (kind <> 'prose' OR tree_id IS NOT NULL))
GROUP BY ALL ORDER BY doubted DESC, probability, kind, function, parameter
"""
_PROOFS = """
SELECT count(*) AS pairs, count(*) FILTER (proved) AS proved, count(*) FILTER (NOT state_right) AS broken_before,
    count(*) FILTER (state_right AND NOT chosen_right) AS chosen_wrong,
    count(*) FILTER (state_right AND chosen_right AND rejected_right) AS rejected_right
FROM pairs WHERE round = ? AND policy = ?
"""


def deficiencies(run: Run, round_: int, policy: str) -> list[Row]:
    """The deficiency map of a round: where its policy doubts, the most doubted place first.

    A place is a kind of step with its function and parameter. Of walked samples the walk's fragments count, of others
    those of the perplexity pass, which know no wrong step.

    Args:
        run: the run.
        round_: of the loop.
        policy: that the round starts from.

    Returns:
        A row a place: how many fragments it has, how many of them have a probability below `walk.doubt`; of these the
        mean probability, the error classes of their most probable wrong steps, the most frequent first, and the
        fragment whose wrong step is most probable of all.
    """
    rows: list[Row] = query(run.store, _DEFICIENCIES, None, [run.config.walk.doubt, round_, policy]).to_pylist()
    return [row | {"breaks": dict(sorted(row["breaks"] or [], key=lambda item: (-item[1], item[0])))} for row in rows]


def proofs(run: Run, round_: int, policy: str) -> Row:
    """How many of a round's pairs are proved, and what is the matter with the others."""
    row: Row = query(run.store, _PROOFS, None, [round_, policy]).to_pylist()[0]
    return row


def place(row: Row) -> str:
    """What a deficiency is about: `function.parameter` or `function`; of the whole response, a dash."""
    return ".".join(filter(None, (row["function"], row["parameter"]))) or "–"
