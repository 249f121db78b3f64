"""Which of a server's models is meant, and the run's adapter on it: found, loaded or refused.

A server's models are known by name only, so an adapter is served under a name that carries its content's hash. vLLM
takes such a name at its start (`--lora-modules`), or by request where VLLM_ALLOW_RUNTIME_LORA_UPDATING is set; a merged
model may bear it too. Left out: the requests to the model (`openai.py`, `itool_eval.server_chat`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itool_data.errors import ItoolError
from itool_data.policy.load import Adapter, adapter_hash
from itool_data.policy.server import OPENING_PATIENCE, Ask, FailingError, Refused, Server


@dataclass(frozen=True)
class Served:
    """A model of a server.

    Attributes:
        name: what requests call it.
        root: where the server has it from, "" if it does not say.
        parent: the base model's name of an adapter, "" for a base model.
        context: most tokens of prompt and reply together, 0 if the server does not say.
    """

    name: str
    root: str
    parent: str
    context: int


@dataclass(frozen=True)
class Models:
    """A server's models as far as it lists them.

    Attributes:
        listed: none where it does not say.
        instead: what it says in place of a list, "" where there is one.
    """

    listed: tuple[Served, ...]
    instead: str = ""

    def __str__(self) -> str:
        """The models' names for an error message."""
        names = ", ".join(model.name for model in self.listed)
        return names or "no model that it lists" + (f" ({self.instead})" if self.instead else "")


def served_models(server: Server) -> Models:
    """The models that a server lists; many list none, and can be asked all the same by who knows a name.

    Raises:
        ItoolError: it cannot be reached.
    """
    try:
        answer = server.ask(Ask("/models", None, _read_models), OPENING_PATIENCE)
    except FailingError as error:
        if not error.refused.status:
            raise
        answer = error.refused
    return Models((), answer.reason) if isinstance(answer, Refused) else Models(answer)


def _read_models(answer: Any) -> tuple[Served, ...]:
    """The models of a list that may be bare, and may hold entries that are none."""
    models = answer["data"] if isinstance(answer, dict) else answer
    return tuple(_served(model) for model in models if isinstance(model, dict) and model.get("id"))


def _served(model: dict[str, Any]) -> Served:
    context = model.get("max_model_len")
    return Served(
        str(model["id"]),
        str(model.get("root") or ""),
        str(model.get("parent") or ""),
        context if isinstance(context, int) else 0,
    )


def adapter_name(adapter: Adapter) -> str:
    """What a server calls an adapter."""
    return f"itool-{adapter.content}"


def serve_adapter(server: Server, adapter: Adapter, models: Models) -> str:
    """See to it that the server serves an adapter; returns its name there.

    Args:
        server: the server.
        adapter: the adapter.
        models: what it lists.

    Raises:
        ItoolError: it serves something else under the adapter's name, or does not serve the adapter and cannot be
            made to.
    """
    name, path = adapter_name(adapter), adapter.path.resolve()
    server.adapter = (name, str(path))
    known = next((model for model in models.listed if model.name == name), None)
    if known is None:
        refused = server.load_adapter()
        if refused is not None:
            raise ItoolError(
                f"{server.base_url}: does not serve this run's adapter and does not load it ({refused.reason}); start "
                f"vLLM with --enable-lora --lora-modules {name}={path}"
            )
        now = served_models(server).listed
        if now and name not in {model.name for model in now}:
            raise ItoolError(f"{server.base_url}: said that it loaded the adapter {name}, but does not list it")
    elif (Path(known.root) / "adapter_model.safetensors").is_file() and adapter_hash(
        Path(known.root)
    ) != adapter.content:
        raise ItoolError(
            f"{server.base_url}: serves {known.root} as {name}, but this run's adapter is {path}; start it again with "
            f"--lora-modules {name}={path}"
        )
    return name
