"""A round's pairs and right steps, from the store's rows to token ids with spans.

Pairs are rows of `pairs`. Right steps alone, which `nll` and an anchor are over, come from `fragments`: a sample's rows
in turn are a right response, walked along or gold's, with the probability of each step; where samples were walked
along, theirs alone are taken. Left out: what is done with them (`objective`).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from itool_data.config import PreferenceSettings
from itool_data.errors import ItoolError
from itool_data.form import Decode
from itool_data.policy.load import BaseModel, load_tokenizer, policy_id
from itool_data.prompt import Prompter
from itool_data.run import Run
from itool_data.store.samples import read_samples
from itool_data.store.sql import query
from itool_train.losses import anchor_on, takes_pairs
from itool_train.step_pairs import StepPair

# What closes a response, with the quote that shares a token with it.
_CLOSING = re.compile(r"""\s*['"]?[\s)\]}]*""")


def material(settings: PreferenceSettings) -> tuple[str, str]:
    """What the settings train on: the table that it comes from, and what one of it is called."""
    return ("pairs", "pair") if takes_pairs(settings) else ("fragments", "right step")


def of_policy(
    run: Run, rows: Sequence[dict[str, Any]], base: BaseModel, policy: str, round_: int
) -> list[dict[str, Any]]:
    """The pairs that the policy's own search gave.

    Raises:
        ItoolError: if there are none, or they are another base model's.
    """
    bare = str(policy_id(base, None))
    makers = sorted({row["policy"] for row in rows})
    for maker in makers:
        if maker != bare and not maker.startswith(f"{bare}+"):
            raise ItoolError(
                f"{run.folder}: pairs of round {round_} are of {maker}, but the base model is {bare}: their token ids "
                "are of another model; set model.name to it"
            )
    own = [row for row in rows if row["policy"] == policy]
    if not own:
        raise ItoolError(
            f"{run.folder}: the pairs of round {round_} are of {', '.join(makers)}, but the round starts from "
            f"{policy}; `itool mine --run {run.folder} --round {round_}` mines with it"
        )
    return own


def check_tokenizer(rows: Sequence[dict[str, Any]], base: BaseModel, policy: str) -> None:
    """Refuse pairs whose token ids do not read as their text.

    Raises:
        ItoolError: naming the pair.
    """
    prompter = Prompter(load_tokenizer(base))
    for row in rows:
        for ids, text in ((row["chosen_ids"], row["chosen_text"]), (row["rejected_ids"], row["rejected_text"])):
            if prompter.decode(ids) != text:
                raise ItoolError(
                    f"pair {row['pair_id']}: {row['policy']} wrote {text!r}, but the tokenizer of {policy} reads its "
                    f"ids as {prompter.decode(ids)!r}; use the tokenizer that the pairs were mined with"
                )


def pairs_of(run: Run, rows: Sequence[dict[str, Any]]) -> list[StepPair]:
    """Pairs with the spans and weights that the settings say.

    Raises:
        ItoolError: if spans are to be fragments and a pair is not proved.
    """
    settings = run.config.preference
    pairs = [
        StepPair(r["pair_id"], r["sample_id"], tuple(r["prompt_ids"]), tuple(r["chosen_ids"]), tuple(r["rejected_ids"]))
        for r in rows
    ]
    if settings.span == "fragment":
        unproved = sum(not row["proved"] for row in rows)
        if unproved:
            raise ItoolError(
                f"preference.span is fragment, but {unproved} of {len(rows)} pairs are not proved, so that nothing "
                "says which of their tokens are wrong; set span to step, or pairs.proved to true (--force), which "
                "passes them over"
            )
        pairs = [fragment_span(pair, row) for pair, row in zip(pairs, rows, strict=True)]
    if settings.weighted:
        wrong = [math.exp(row["rejected_logprob"]) for row in rows]
        mean = sum(wrong) / max(len(wrong), 1)
        pairs = [replace(pair, weight=p / mean) for pair, p in zip(pairs, wrong, strict=True)]
    return pairs


def fragment_span(pair: StepPair, row: dict[str, Any]) -> StepPair:
    """A pair whose loss is over what lies between where its steps part and the token that cannot be mended."""
    span = row["fault_first"], row["fault_last"] + 1
    return replace(pair, chosen_from=min(row["parts_at"], len(pair.chosen) - 1), rejected_span=span)


def right_steps(run: Run, policy: str, round_: int, prompter: Prompter) -> list[StepPair]:
    """The right steps that the likelihood term is over, none where the settings have no such term.

    Args:
        run: with `fragments`.
        policy: whose fragments.
        round_: of the loop.
        prompter: with its tokenizer.
    """
    settings, on = run.config.preference, anchor_on(run.config.preference)
    if on == "chosen" or not (settings.anchor or settings.loss == "nll"):
        return []
    sql = "SELECT * FROM fragments WHERE round = ? AND policy = ? ORDER BY sample_id, tree_id, number"
    rows = query(run.store, sql, None, [round_, policy]).to_pylist()
    if any(row["tree_id"] for row in rows):
        rows = [row for row in rows if row["tree_id"]]
    samples = {s.sample_id: s for s in read_samples(run.store, "split = 'train'")}
    found: list[StepPair] = []
    lay_out = whole if on == "response" else doubted
    # A sample may have been walked along under other settings too (`--force`): that is another right response.
    for (sample_id, tree_id), steps in groupby(rows, key=lambda row: (row["sample_id"], row["tree_id"])):
        prompt = tuple(prompter.prompt_ids(samples[sample_id]))
        found += lay_out(tree_id or sample_id, sample_id, prompt, list(steps), run.config.walk.doubt, prompter.decode)
    return found


def whole(
    name: str, sample_id: str, prompt: tuple[int, ...], steps: Sequence[dict[str, Any]], doubt: float, decode: Decode
) -> list[StepPair]:
    """A sample's whole right response as one step."""
    response = tuple(token for step in steps for token in step["step_ids"])
    return [StepPair(f"{name}/right", sample_id, prompt, response, ())]


def doubted(
    name: str, sample_id: str, prompt: tuple[int, ...], steps: Sequence[dict[str, Any]], doubt: float, decode: Decode
) -> list[StepPair]:
    """The steps of a right response that the policy doubts, and the tokens that close the response, doubted or not."""
    found: list[StepPair] = []
    for number, step in enumerate(steps):
        ids, pair_id = tuple(step["step_ids"]), f"{name}/right-{number:03d}"
        # That gold's own wording of a sentence is improbable says nothing: prose is doubted where draws were wrong.
        if step["probability"] < doubt and (step["kind"] != "prose" or step["tree_id"]):
            found.append(StepPair(pair_id, sample_id, prompt, ids, ()))
        elif number == len(steps) - 1:
            found.append(StepPair(pair_id, sample_id, prompt, ids, (), chosen_from=closing(ids, decode)))
        prompt += ids
    return found


def closing(ids: Sequence[int], decode: Decode) -> int:
    """The first of a response's last tokens that does nothing but close it, end-of-turn included."""
    starts = (i for i in range(len(ids)) if _CLOSING.fullmatch(decode(ids[i:])))
    return next(starts, len(ids) - 1)
