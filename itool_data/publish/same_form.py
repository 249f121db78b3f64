"""A name for the form in which a run asks its model, which another run can work out for itself and compare.

Whether two runs' token ids say the same depends on the tokenizer, the chat template and its settings, the dialect, how
functions are shown, and which system message there is. All of that shows in what becomes of a fixed conversation, so
the name is the dialect and a hash of these tokens. Left out: what differs, where two names do.
"""

import hashlib
from typing import Any

from itool_data.config import ModelSettings
from itool_data.native import PROBE_TOOL, PROBES
from itool_data.policy.open import prompter_if_here
from itool_data.prompt import Prompter, UnsayableError
from itool_data.sample import Message, Sample, Tool, canonical_json

_UNITS: dict[str, Any] = {
    "type": "object",
    "properties": {"unit": {"type": "string", "enum": ["C", "F"]}},
    "required": ["unit"],
}
_TOOLS = (PROBE_TOOL, Tool("itool_units", "Units.", _UNITS))
_ASKED = (Message("system", "Be brief."), Message("user", "Oslo?"))
_CALL = "[itool_probe(city='Rome')]"
_ANSWERED = (Message("user", "Rome?"), Message("assistant", _CALL), Message("tool", "21"), Message("user", "And?"))
# A call behind a system message, several calls, and a text behind a call and its result: a template may refuse some.
CONVERSATIONS = (
    Sample("", "", _ASKED, _TOOLS, _CALL, PROBES[1:]),
    Sample("", "", _ASKED[1:], _TOOLS, "[itool_probe(city='Rome'), itool_probe(city='Rome')]", PROBES[1:] * 2),
    Sample("", "", _ANSWERED, _TOOLS, "It is warm."),
)


def form_of(settings: ModelSettings) -> str | None:
    """The name of the settings' form; None where their model is not here to be looked at."""
    prompter = prompter_if_here(settings)
    return form_name(prompter) if prompter else None


def form_name(prompter: Prompter) -> str:
    """The dialect, and 12 hex digits over the token ids that fixed conversations become."""
    said = [_ids(prompter, sample) for sample in CONVERSATIONS]
    return f"{prompter.form.dialect}-{hashlib.sha256(canonical_json(said).encode()).hexdigest()[:12]}"


def _ids(prompter: Prompter, sample: Sample) -> list[list[int]]:
    try:
        return [prompter.prompt_ids(sample), prompter.gold_ids(sample)]
    except UnsayableError:
        return []
