"""From settings to the policy that generates: what `model.policy` names, over a base model and an adapter.

Whatever the policy is, only this file chooses it; every argument can be sent to another process, which then opens the
same policy for itself. Left out: finding models and adapters (`load.py`).
"""

from itool_data.config import ModelSettings
from itool_data.policy.base import Policy
from itool_data.policy.load import Adapter, BaseModel, choose_device, load_tokenizer, policy_id
from itool_data.policy.vllm import load_vllm_policy
from itool_data.prompt import Prompter

ROWS = {"cpu": 48, "cuda": 256}


def open_policy(settings: ModelSettings, base: BaseModel, adapter: Adapter | None) -> Policy:
    """Load the policy of a base model and an adapter (None: the base model itself)."""
    if settings.policy == "openai":
        from itool_data.policy.openai import open_server_policy

        return open_server_policy(settings, base, adapter)
    device = choose_device(settings)
    rows = settings.rows or ROWS[device]
    if settings.policy == "vllm":
        return load_vllm_policy(base, adapter, device, rows)
    from itool_data.policy.transformers import load_policy

    return load_policy(base.path, policy_id(base, adapter), adapter.path if adapter else None, device, rows)


def open_prompter(settings: ModelSettings, base: BaseModel) -> Prompter:
    """The prompter with a base model's tokenizer.

    Raises:
        ItoolError: if the tokenizer cannot be loaded or used.
    """
    return Prompter(load_tokenizer(base), settings.tools)
