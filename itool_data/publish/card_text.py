"""What the data card and the model card have in common: safe text, tables of scores and licences, the citation.

A model's and a data set's text appears as code only, so that the Hub shows it and obeys none of it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from itool_data.publish.licences import UNKNOWN, Licensed, combined

CITATION = """## Citation

```bibtex
@misc{zeng2025itool,
  title = {iTool: Reinforced Fine-Tuning with Dynamic Deficiency Calibration for Advanced Tool Use},
  author = {Yirong Zeng and Xiao Ding and Yuxian Wang and Weiwen Liu and Wu Ning and Xu Huang and Duyu Tang
            and Dandan Tu and Bing Qin and Ting Liu},
  year = {2025}, eprint = {2501.09766}, archivePrefix = {arXiv}
}
```"""


def code(text: str) -> str:
    """Text as inline code that neither it nor a table around it can break."""
    return "`" + re.sub(r"[`|\s]+", " ", text).strip() + "`"


def block(text: str) -> str:
    """Text as a code block, behind a fence longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def score_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """The share of right items of each policy on each benchmark; "" if there is none.

    Args:
        scores: rows as `shards.SCORES` has them.
    """
    whole = [row for row in scores if row["category"] == "all items"]
    if not whole:
        return ""
    lines = [
        "## Scores", "", "Right items of those that were asked.", "",
        "| benchmark | policy | round | n | right | 95 % interval |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {code(row['benchmark'])} | {code(row['policy'])} | {row['round']} | {row['n']:,} | {row['score']:.1%} | "
        f"{row['interval']['low']:.1%} to {row['interval']['high']:.1%} |"
        for row in whole
    ]
    eras = dict.fromkeys(row["era"] for row in whole)
    return "\n".join([*lines, "", *(f"Comparable with: {era}." for era in eras)])


def licence_field(made_from: Sequence[Licensed]) -> str | list[str]:
    """What the metadata say: the one licence, or all of them."""
    licences = combined(made_from)
    return licences[0] if len(licences) == 1 else licences


def licence_section(made_from: Sequence[Licensed], licence: str | None) -> str:
    """The licences of what something was made from; the last is the base model."""
    lines = ["## Licences", ""]
    if licence:
        lines += [f"Published under {code(licence)}.", ""]
    lines += ["| made from | licence |", "|---|---|"]
    for part in made_from:
        at = "datasets/" if part is not made_from[-1] else ""
        link = f" ([page](https://huggingface.co/{at}{part.hub_id}))" if part.hub_id else ""
        lines.append(f"| {code(part.name)}{link} | `{part.licence}` |")
    if any(part.licence == UNKNOWN for part in made_from):
        lines += ["", "`unknown`: itool does not know it; ask whoever published it."]
    return "\n".join(lines)
