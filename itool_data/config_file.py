"""Settings from a YAML file, which may extend another, with `key.path=value` overrides (`--set`) on top.

The files of `configs/` are installed too, and are meant by their names: `laptop`, `paper/llama-3.1-8b`. Left out: the
settings themselves (`config.py`).
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from itool_data.config import Config
from itool_data.errors import ItoolError

# Settings that there once were, by section: a run made with them is read as before.
RETIRED = {"warmup": ("micro_batch",)}

# libyaml's parser, which PyYAML's wheels have, is seven times as fast; a study reads its runs' settings 150 times.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text: str) -> Any:
    """What a YAML text says; plain values alone, no objects."""
    return yaml.load(text, _LOADER)


def load_config(path: Path | None, overrides: list[str]) -> Config:
    """Read settings from a YAML file, or one of ours by its name, and apply `key.path=value` overrides.

    A file may begin with `extends: OTHER`, a path beside it, whose settings hold where it says nothing itself.

    Raises:
        ItoolError: naming the file, the key, the value and what was expected.
    """
    where = str(path) if path else "defaults"
    data = _read(path) if path else {}
    if overrides:
        where = f"{where} + --set"
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key.strip():
            raise ItoolError(f"--set {override}: expected key=value, such as mcts.width=4")
        _assign(data, key.strip(), value)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ItoolError(_one_line(where, error)) from None


def _read(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A file's settings on top of those that it extends; `below` are the files that led here."""
    if not path.is_file():
        path = _own().get(path.as_posix(), path)
    try:
        data = parse_yaml(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ItoolError(f"{path}: no such config file; give a YAML file, or one of ours, such as laptop") from None
    except OSError as error:
        raise ItoolError(f"{path}: cannot read the config: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ItoolError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ItoolError(f"{path}: a config is a mapping of sections, got {type(data).__name__}")
    # A section whose every line is commented out is the defaults.
    data = {key: value for key, value in data.items() if value is not None}
    for section, names in RETIRED.items():
        if isinstance(data.get(section), dict):
            data[section] = {key: value for key, value in data[section].items() if key not in names}
    other = data.pop("extends", None)
    if other is None:
        return data
    if not isinstance(other, str):
        raise ItoolError(f"{path}: extends must be the path of a config file, got {other!r}")
    below = (*below, path.resolve())
    base = path.parent / other
    if base.resolve() in below:
        raise ItoolError(f"{path}: extends {other}, which extends this file")
    settings = _read(base, below)
    for key, value in data.items():
        inherited = settings.get(key)
        settings[key] = inherited | value if isinstance(inherited, dict) and isinstance(value, dict) else value
    return settings


def _own() -> dict[str, Path]:
    """The configs that come with the package, by their names."""
    spec = find_spec("itool_configs")
    folders = [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or ()]
    found = {file.relative_to(folder).with_suffix(""): file for folder in folders for file in folder.rglob("*.yaml")}
    return {name.as_posix(): file for name, file in sorted(found.items())}


def _assign(data: dict[str, Any], key: str, text: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise ItoolError(f"--set {key}: {section} is a value, not a section")
    try:
        data[name] = parse_yaml(text)
    except yaml.YAMLError:
        raise ItoolError(f"--set {key}={text}: not a YAML value") from None


def _one_line(where: str, error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    wanted = first["msg"].replace("Input should be", "must be")
    if first["type"] == "extra_forbidden":
        return f"{where}: {key} is not a setting; `itool config show` lists them"
    if first["type"] == "url":
        return f"{where}: {key} {wanted}"
    if first["type"] == "model_type":
        wanted = "must be a mapping of settings"
    return f"{where}: {key} {wanted[0].lower() + wanted[1:]}, got {first['input']!r}"
