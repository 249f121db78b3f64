"""From settings to the policy that generates and the form it is asked in, over a base model and an adapter.

Whatever the policy is, only this file chooses it; every argument can be sent to another process, which then opens the
same policy for itself. Left out: finding models and adapters (`load.py`).
"""

from datetime import date
from importlib.util import find_spec

from itool_data.chat_template import ChatTemplate, template_source
from itool_data.config import Config, ModelSettings
from itool_data.dialects import OWN
from itool_data.errors import ItoolError
from itool_data.kinds import Engine, SearchKind
from itool_data.native import open_native
from itool_data.policy.base import Policy
from itool_data.policy.limits import ROWS
from itool_data.policy.load import Adapter, BaseModel, choose_device, find_model, load_tokenizer, policy_id, stop_ids
from itool_data.policy.vllm import load_vllm_policy
from itool_data.prompt import Prompter
from itool_data.sizing.device import this_device
from itool_data.sizing.policy import check_weights
from itool_data.sizing.shape import read_shape


def choose_engine(settings: ModelSettings) -> tuple[Engine, str]:
    """What runs the model, and why.

    Raises:
        ItoolError: if a GPU is asked for and there is none.
    """
    if settings.policy != "auto":
        return settings.policy, "model.policy asks for it"
    if find_spec("vllm") is None:  # asked first: torch takes seconds to import
        return "transformers", "vLLM is not installed"
    if choose_device(settings) == "cpu":
        return "transformers", "there is no GPU"
    return "vllm", "there is a GPU, and vLLM is installed"


def describe_engine(settings: ModelSettings) -> str:
    """What runs the model and why, and what becomes of the engine's arguments."""
    engine, reason = choose_engine(settings)
    if not settings.engine:
        return f"{engine}: {reason}"
    if engine != "vllm":
        kept = "kept, and not used by it"
    elif find_spec("vllm") is None:
        kept = "kept, and not checked: vLLM is not installed"
    else:
        kept = "checked when the engine starts"
    return f"{engine}: {reason}; model.engine ({', '.join(settings.engine)}) is {kept}"


def open_policy(settings: ModelSettings, base: BaseModel, adapter: Adapter | None) -> Policy:
    """Load the policy of a base model and an adapter (None: the base model itself)."""
    engine, _ = choose_engine(settings)
    if engine == "openai":
        from itool_data.policy.openai import open_server_policy

        return open_server_policy(settings, base, adapter)
    device = choose_device(settings)
    rows = settings.rows or ROWS[device]
    if engine == "vllm":  # which sizes itself, over as many GPUs as it is told
        return load_vllm_policy(base, adapter, device, rows, settings.engine)
    check_weights(settings.name, read_shape(base.path), this_device(device))
    from itool_data.policy.transformers import load_policy

    return load_policy(base.path, policy_id(base, adapter), adapter.path if adapter else None, device, rows)


def other_judge(config: Config, search: SearchKind) -> ModelSettings | None:
    """The model that judges in a search; None where the policy does, or nobody: at weight 0, and in a walk."""
    if not config.reward.weight or search == "walk" or config.reward.judge == "policy":
        return None
    model = config.model.model_copy(update={"name": config.reward.judge, "served_name": ""})
    if choose_engine(model)[0] == "vllm":  # it runs one engine a process
        model = model.model_copy(update={"policy": "transformers"})
    return model


def open_prompter(settings: ModelSettings, base: BaseModel) -> Prompter:
    """The prompter with a base model's tokenizer.

    Raises:
        ItoolError: if the tokenizer cannot be loaded or used, or a form is asked for that it does not have.
    """
    prompter, _ = choose_form(settings, base)
    return prompter


def prompter_if_here(settings: ModelSettings) -> Prompter | None:
    """The prompter of the settings' model; None where that is not here, or has no such form. Nothing is downloaded."""
    try:
        return open_prompter(settings, find_model(settings, download=False))
    except ItoolError:
        return None


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
