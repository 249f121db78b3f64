"""From settings to a model on disk, its tokenizer and its adapter; names who made what.

An adapter is a PEFT folder; beside it `itool_adapter.json` says which base model it belongs to, because PEFT's own
record is a path of the machine that trained it. Left out: the policy over them (`open.py`) and training adapters
(`itool_train.warmup`).
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itool_data.assets import SMOLLM2, embedded_model, kept
from itool_data.config import ModelSettings
from itool_data.errors import ItoolError, first_line
from itool_data.policy.base import PolicyId

IDENTITY = "itool_adapter.json"


@dataclass(frozen=True)
class BaseModel:
    """A base model on disk: where, and under which name and revision its rows are recorded."""

    path: Path
    name: str
    revision: str


@dataclass(frozen=True)
class Adapter:
    """An adapter on disk and the hash of its content."""

    path: Path
    content: str


def policy_id(base: BaseModel, adapter: Adapter | None) -> PolicyId:
    """How rows name the policy of a base model and an adapter."""
    return PolicyId(base.name, base.revision, adapter.content if adapter else "")


def find_model(settings: ModelSettings, download: bool = True) -> BaseModel:
    """Find the base model: the embedded one, a folder, or a Hub name.

    Args:
        settings: which one.
        download: fetch it where it is not here.

    Raises:
        ItoolError: if there is no such model.
    """
    if settings.name == "embedded":
        if not download and not kept()["embedded model"]:
            raise ItoolError("model.name: the embedded model is not fetched yet")
        return BaseModel(embedded_model(), "SmolLM2-135M-Instruct", f"{SMOLLM2.name}-{SMOLLM2.version}")
    folder = Path(settings.name).expanduser()
    if folder.is_dir():
        config = folder / "config.json"
        if not config.is_file():
            raise ItoolError(f"model.name: {folder} holds no config.json; give a folder made by save_pretrained")
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise ItoolError(f"model.name: {folder} holds no *.safetensors; pickled weights are never loaded")
        return BaseModel(folder, folder.resolve().name, _hash_files([config, *weights]))
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        path = Path(
            snapshot_download(
                settings.name,
                revision=settings.revision,
                local_files_only=not download,
                allow_patterns=["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"],
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ItoolError(
            f"model.name: no model {settings.name!r} here or on the Hub ({type(error).__name__}); "
            "use `embedded`, a folder, or a name such as meta-llama/Llama-3.1-8B-Instruct"
        ) from None
    return BaseModel(path, settings.name, path.name[:12])


def find_adapter(path: Path, base: BaseModel) -> Adapter:
    """Check that an adapter exists and belongs to the base model.

    Raises:
        ItoolError: naming the adapter and both base models.
    """
    config = path / "adapter_config.json"
    weights = path / "adapter_model.safetensors"
    if not config.is_file() or not weights.is_file():
        raise ItoolError(f"{path}: no adapter here (adapter_config.json and adapter_model.safetensors are needed)")
    try:
        identity = path / IDENTITY
        record = json.loads((identity if identity.is_file() else config).read_text(encoding="utf-8"))
        made_for = record["base"] if identity.is_file() else record["base_model_name_or_path"]
        revision = record.get("revision", base.revision)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ItoolError(f"{path}: the adapter's JSON cannot be read ({error}); train or copy it again") from None
    own_names = {base.name, str(base.path), base.path.name}
    if made_for not in own_names or (identity.is_file() and revision != base.revision):
        raise ItoolError(
            f"{path}: an adapter for {made_for}@{revision}, but the base model is {base.name}@{base.revision}; "
            "set model.name to the adapter's base"
        )
    return Adapter(path, adapter_hash(path))


def adapter_hash(path: Path) -> str:
    """12 hex digits over an adapter's weights and the settings that shape them; equal content, equal name."""
    config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    shape = {key: config.get(key) for key in ("r", "lora_alpha", "use_rslora", "use_dora")}
    return _hash_files([path / "adapter_model.safetensors"], json.dumps(shape, sort_keys=True))


def write_identity(path: Path, base: BaseModel) -> None:
    """Record beside an adapter which base model it belongs to."""
    (path / IDENTITY).write_text(json.dumps({"base": base.name, "revision": base.revision}), encoding="utf-8")


def load_tokenizer(base: BaseModel, chat_template: str | None = None) -> Any:
    """The base model's tokenizer.

    Args:
        base: the model.
        chat_template: that stands in for its own, which it need not have then.

    Raises:
        ItoolError: if it cannot be loaded, or has no chat template or no end-of-turn token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base.path)
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise ItoolError(f"{base.name}: its tokenizer in {base.path} cannot be loaded: {reason}") from None
    if not tokenizer.chat_template and chat_template is None:
        raise ItoolError(
            f"{base.name}: its tokenizer has no chat template; use an instruction-tuned model, or set "
            "model.chat_template to a file or to one of TRL's, such as qwen2_5"
        )
    if tokenizer.eos_token_id is None:
        raise ItoolError(f"{base.name}: its tokenizer has no end-of-turn token (eos_token)")
    return tokenizer


def load_weights(base: Path, **options: Any) -> Any:
    """A transformers causal model as its folder holds it.

    Args:
        base: the folder (safetensors).
        options: of `from_pretrained`.

    Raises:
        ItoolError: if the weights cannot be read.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        return AutoModelForCausalLM.from_pretrained(base, **options)
    except (SafetensorError, OSError) as error:
        reason = first_line(error)
        raise ItoolError(f"{base}: its weights cannot be read ({reason}); fetch the model again") from None


def load_model(base: Path, adapter: Path | None, **options: Any) -> Any:
    """A transformers causal model in evaluation mode, with an adapter merged into it.

    The merged model differs from the adapted one by rounding only and runs at the bare model's speed.

    Args:
        base: the model's folder (safetensors).
        adapter: a PEFT folder; None for the base model itself.
        options: of `from_pretrained`, such as the dtype; never 4 bits, into which a merge is corrupt on a CPU.

    Raises:
        ItoolError: as `load_weights`.
    """
    model = load_weights(base, **options)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return model.eval()


def stop_ids(base: Path) -> frozenset[int]:
    """The token ids that end a response: the tokenizer's end-of-turn and what the generation config adds to it."""
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    try:
        ends = GenerationConfig.from_pretrained(base).eos_token_id
    except OSError:  # it has no generation config
        ends = getattr(AutoConfig.from_pretrained(base), "eos_token_id", None)
    tokenizer = AutoTokenizer.from_pretrained(base)
    return frozenset({tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None})


def context_of(base: BaseModel) -> int:
    """The most tokens that a model takes, by its config."""
    return int(_text_config(base).max_position_embeddings)


def vocabulary_of(base: BaseModel) -> int:
    """How many token ids a model knows, by its config."""
    return int(_text_config(base).vocab_size)


def _text_config(base: BaseModel) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(base.path).get_text_config()


def choose_device(settings: ModelSettings) -> str:
    """`cpu` or `cuda`.

    Raises:
        ItoolError: if a GPU is asked for and there is none.
    """
    import torch

    available = torch.cuda.is_available()
    if settings.device == "cuda" and not available:
        raise ItoolError("model.device is cuda, but torch sees no GPU here; set it to auto or cpu")
    return "cuda" if available and settings.device != "cpu" else "cpu"


def _hash_files(files: list[Path], extra: str = "") -> str:
    digest = hashlib.sha256(extra.encode())
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:12]
