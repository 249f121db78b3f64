"""From settings to the policy that generates and the form it is asked in, over a base model and an adapter.

Whatever the policy is, only this file chooses it; every argument can be sent to another process, which then opens the
same policy for itself. Left out: finding models and adapters (`load.py`).
"""

from datetime import date

from itool_data.chat_template import ChatTemplate, template_source
from itool_data.config import ModelSettings
from itool_data.dialects import OWN
from itool_data.errors import ItoolError
from itool_data.native import open_native
from itool_data.policy.base import Policy
from itool_data.policy.limits import ROWS
from itool_data.policy.load import Adapter, BaseModel, choose_device, find_model, load_tokenizer, policy_id, stop_ids
from itool_data.policy.vllm import load_vllm_policy
from itool_data.prompt import Prompter
from itool_data.sizing.device import this_device
from itool_data.sizing.policy import check_weights
from itool_data.sizing.shape import read_shape


def open_policy(settings: ModelSettings, base: BaseModel, adapter: Adapter | None) -> Policy:
    """Load the policy of a base model and an adapter (None: the base model itself)."""
    if settings.policy == "openai":
        from itool_data.policy.openai import open_server_policy

        return open_server_policy(settings, base, adapter)
    device = choose_device(settings)
    check_weights(settings.name, read_shape(base.path), this_device(device))
    rows = settings.rows or ROWS[device]
    if settings.policy == "vllm":
        return load_vllm_policy(base, adapter, device, rows)
    from itool_data.policy.transformers import load_policy

    return load_policy(base.path, policy_id(base, adapter), adapter.path if adapter else None, device, rows)


def open_prompter(settings: ModelSettings, base: BaseModel) -> Prompter:
    """The prompter with a base model's tokenizer.

    Raises:
        ItoolError: if the tokenizer cannot be loaded or used, or a form is asked for that it does not have.
    """
    prompter, _ = choose_form(settings, base)
    return prompter


def choose_form(settings: ModelSettings, base: BaseModel) -> tuple[Prompter, str]:
    """The prompter, and why it has the form that it has.

    Raises:
        ItoolError: as for `open_prompter`.
    """
    source = template_source(settings.chat_template) if settings.chat_template else None
    tokenizer = load_tokenizer(base, source)
    template = ChatTemplate(tokenizer, source, settings.template_kwargs, date.fromisoformat(settings.date))
    reason = "model.format asks for it"
    if settings.format != "own":
        found = open_native(tokenizer, template, stop_ids(base.path), settings.dialect, settings.system)
        if not isinstance(found, str):
            return found, f"its chat template takes functions and writes calls as {found.form.dialect}"
        if settings.format == "native":
            raise ItoolError(f"model.format is native, but {base.name}: {found}; set model.format to own")
        reason = found
    return Prompter(tokenizer, settings.tools, template, settings.system), reason


def describe_form(settings: ModelSettings) -> str:
    """Which form a model is trained, mined and asked in, and why; nothing is downloaded for it."""
    if settings.format == "own":
        return "own: model.format asks for it"
    try:
        base = find_model(settings, download=False)
    except ItoolError:
        return f"{settings.format}: decided by the chat template of {settings.name}, once it is here"
    prompter, reason = choose_form(settings, base)
    return f"{'own' if prompter.form.dialect == OWN else 'native'}: {base.name}: {reason}"
