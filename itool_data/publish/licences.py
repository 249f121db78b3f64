"""Which licences a published data set or adapter inherits: those of the imported data sets and of the base model.

The table holds what the publishers state on their own pages. Whatever is not in it is `unknown`, never guessed; the
user may say otherwise (`--license`). Identifiers are the Hub's. Left out: what a licence asks of who publishes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from itool_data.config import ModelSettings
from itool_data.run import Run

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Licensed:
    """Something that a published repository was made from.

    Attributes:
        name: for people; never a path.
        licence: the Hub's identifier, or `unknown`.
        hub_id: its name on the Hub; "" where it has none.
    """

    name: str
    licence: str
    hub_id: str = ""


BFCL = Licensed("BFCL v3", "apache-2.0", "gorilla-llm/Berkeley-Function-Calling-Leaderboard")
SOURCES = {
    "toolace": Licensed("ToolACE", "apache-2.0", "Team-ACE/ToolACE"),
    "xlam": Licensed("xLAM function calling 60k", "cc-by-4.0", "Salesforce/xlam-function-calling-60k"),
    "bfcl": BFCL,
    "bfcl-live": BFCL,
    "apibank": Licensed("API-Bank (AlibabaResearch/DAMO-ConvAI)", "mit"),
    "seal_tools": Licensed("Seal-Tools (fairyshine/Seal-Tools)", "apache-2.0"),
}
# The first pattern that fits a base model's whole name on the Hub.
BASE_MODELS = {
    r"HuggingFaceTB/SmolLM[23]-.*": "apache-2.0",
    r"meta-llama/(Meta-)?Llama-3-.*": "llama3",
    r"meta-llama/(Meta-)?Llama-3\.([123])-.*": r"llama3.\2",
    r"Qwen/Qwen2\.5-(Coder-)?(0\.5|1\.5|7|14|32)B.*": "apache-2.0",
    r"Qwen/Qwen3-.*": "apache-2.0",
    r"mistralai/Mistral-7B-.*": "apache-2.0",
}
HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
EMBEDDED = "HuggingFaceTB/SmolLM2-135M-Instruct"


def sources(run: Run) -> list[Licensed]:
    """The data sets that a run's samples were imported from, in that order, and those that pairs were borrowed from."""
    log = run.store.log()
    imported = [str(c.info["source"]) for c in log if c.operation == "import" and c.rows.get("samples")]
    borrowed = [str(c.info["origin"]) for c in log if c.operation == "borrow"]
    return [_source(name) for name in dict.fromkeys([*imported, *borrowed])]


def _source(source: str) -> Licensed:
    """What stands behind a SOURCE string of `itool data import`; a file's folder is nobody's business."""
    kind, _, rest = source.partition(":")
    if (name := kind.removesuffix("-system")) in SOURCES:
        return SOURCES[name]
    if kind == "hf":
        hub_id = rest.partition(":")[0]
        return Licensed(hub_id, UNKNOWN, hub_id)
    return Licensed(PurePath(source).stem, UNKNOWN)


def base_model(settings: ModelSettings) -> Licensed:
    """The base model of a run; a folder is named by its last part."""
    name = EMBEDDED if settings.name == "embedded" else settings.name
    if Path(name).expanduser().is_dir() or not HUB_NAME.fullmatch(name):
        return Licensed(PurePath(name).name, UNKNOWN)
    for pattern, licence in BASE_MODELS.items():
        if match := re.fullmatch(pattern, name):
            return Licensed(name, match.expand(licence), name)
    return Licensed(name, UNKNOWN, name)


def combined(parts: Sequence[Licensed]) -> list[str]:
    """All licences of what something was made from, each once."""
    return sorted({part.licence for part in parts})
