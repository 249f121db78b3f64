"""Data sets: a SOURCE string names one, and `load` yields its samples in order.

    toolace  xlam              from the Hugging Face Hub; toolace:PATH, xlam:PATH from a file in the set's own form
    toolace-system[:PATH]      the same with its system texts, functions and all: ToolACE's own prompts
    apibank:PATH  seal_tools:PATH  sharegpt:PATH  toolrl:PATH   from a file in the set's own form
    bfcl[:SHARE]               half of BFCL v3's single-turn Python items, from the pinned wheel; a share of the
                               training half is set aside for validation
    bfcl-live[:SHARE]          half of the live ones alone, as the paper has it (4.5)
    PATH.jsonl  PATH.json      a file in the OpenAI form (messages, tools), .gz too; with :test or :validation it is
                               held out
    hf:USER/NAME[:SPLIT]       a data set on the Hub in the OpenAI form; the split is train unless given, and those
                               called test and validation are held out

Every target is in the Python call form. A bad row becomes a Reject and the rest goes on; nothing in a row is executed.
One file a data set holds what its rows look like; `files.py` reads, `rows.py` sets aside, `tools.py` normalises.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from itool_data.errors import ItoolError
from itool_data.sample import Item, Sample, Split
from itool_data.sources import apibank, bfcl, openai_jsonl, seal_tools, sharegpt, toolace, toolrl, xlam
from itool_data.sources.files import is_rows
from itool_data.validation import divided

OWN_FORM: dict[str, Callable[[str | None], Iterator[Item]]] = {
    "toolace": toolace.read,
    "toolace-system": partial(toolace.read, whole_system=True),
    "xlam": xlam.read,
    "apibank": apibank.read,
    "seal_tools": seal_tools.read,
    "sharegpt": sharegpt.read,
    "toolrl": toolrl.read,
}
# Half of which categories of BFCL is trained on; the other half, and all other categories, are asked.
HALVES = {"bfcl": bfcl.CATEGORIES, "bfcl-live": bfcl.LIVE}


def load(source: str, validation: float = 0.0) -> Iterator[Item]:
    """Yield a data set's samples, a Reject for each bad row, and notes of what was left out, lazily and in order.

    Args:
        source: as above.
        validation: about this share of its training samples is marked `validation`; BFCL's says its own.

    Raises:
        ItoolError: the source string names no data set, or the data set cannot be read (also while iterating).
    """
    name, _, rest = source.partition(":")
    if name in HALVES:
        return bfcl.read(HALVES[name], bfcl.validation_share(rest))
    return (divided(item, validation) if isinstance(item, Sample) else item for item in _read(source))


def _read(source: str) -> Iterator[Item]:
    name, _, rest = source.partition(":")
    if name in OWN_FORM:
        return OWN_FORM[name](rest or None)
    if name == "hf" and rest:
        hub_name, _, split = rest.partition(":")
        return _held_out(openai_jsonl.read_from_hub(hub_name, split or "train"), split)
    path, _, split = source.rpartition(":") if source.endswith((":test", ":validation")) else (source, "", "")
    if is_rows(path):
        return _held_out(openai_jsonl.read(path), split)
    raise ItoolError(
        f"unknown data source {source!r}; give {', '.join(OWN_FORM)} (with :PATH for a file), bfcl or bfcl-live (with "
        ":SHARE to set some aside), "
        "a .jsonl or .json file in the OpenAI form (with :test or :validation if it is not to be trained on), or "
        "hf:USER/NAME[:SPLIT]"
    )


def _held_out(items: Iterator[Item], split: str) -> Iterator[Item]:
    """The items of a data set's split, marked if its name says that it is not for training (`test[:100]` too)."""
    name = split.partition("[")[0]
    marked: Split = "test" if name == "test" else "validation" if name == "validation" else "train"
    return (replace(item, split=marked) if isinstance(item, Sample) else item for item in items)
