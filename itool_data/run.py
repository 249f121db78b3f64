"""A run folder: its settings, its tables (or the object store that they are on), its lock, its adapters.

Settings may change until something was made with them: a stage's commit fixes the sections it used, and a later
command with other values there is refused, naming each difference, unless it is forced. Left out: what the stages do.
"""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from itool_data.config import Config
from itool_data.config_file import load_config, parse_yaml
from itool_data.errors import ItoolError
from itool_data.policy.load import Adapter, BaseModel, find_adapter
from itool_data.sample import JSON, canonical_json
from itool_data.store.tables import Commit, Store

# The sections of the settings that each operation's results depend on.
DEPENDS = {
    "import": (),
    "overlap": ("data",),
    "abstain": ("data",),
    "warmup": ("model", "data", "validation", "warmup"),
    "perplexity": ("model", "data", "replay"),
    "pass-rate": ("model", "data", "replay", "mcts", "walk"),
    "mine": ("model", "data", "replay", "mcts", "walk", "reward", "pairs"),
    "borrow": ("model",),
    "preference": ("model", "validation", "preference"),
    "eval": ("model", "eval"),
    "stage": (),
}
# Settings that say where, how fast and how much, not what.
FREE = {
    ("model", "policy"),
    ("model", "engine"),
    ("model", "device"),
    ("model", "rows"),
    ("model", "base_url"),
    ("model", "served_name"),
    ("model", "timeout"),
    ("model", "patience"),
    ("eval", "fragments"),
    ("eval", "trials"),
    *product(
        ("warmup", "preference"),
        (
            "attn_implementation",
            "batching",
            "checkpoint_seconds",
            "gradient_checkpointing",
            "micro_tokens",
            "report_to",
            "spread",
        ),
    ),
}
# Settings of the form in which a model is asked.
FORM = tuple(
    f"model.{key}:" for key in ("format", "tools", "system", "chat_template", "template_kwargs", "dialect", "date")
)


@dataclass(frozen=True)
class Run:
    """An open run folder."""

    folder: Path
    config: Config
    store: Store

    @property
    def has_adapter(self) -> bool:
        """Whether the warm-up or a round has trained one."""
        return standing(self.store.log()) is not None

    def adapter(self, base: BaseModel, round_: int | None = None) -> Adapter | None:
        """The adapter that a round starts from (`standing`).

        Args:
            base: its base model.
            round_: of the loop; None: after all of them.

        Returns:
            None before any.

        Raises:
            ItoolError: if it is gone, or belongs to another base model.
        """
        commit = standing(self.store.log(), round_)
        return find_adapter(self.folder / commit.info["adapter"], base) if commit else None

    def trained(self, operation: str, round_: int = 0) -> Commit | None:
        """The newest commit of a round's finished training, its adapter kept or refused; None before it."""
        for commit in reversed(self.store.log()):
            of_round = (commit.operation, commit.info.get("round", 0)) == (operation, round_)
            if of_round and ("adapter" in commit.info or "refused" in commit.info):
                return commit
        return None


def standing(log: Sequence[Commit], round_: int | None = None) -> Commit | None:
    """The training whose adapter a round starts from: the newest one of the warm-up or an earlier round.

    Where that one's adapter was refused, it is what that one started from; so an adapter that the same round had kept
    before, in an earlier attempt, is not gone on from.

    Args:
        log: the run's.
        round_: of the loop; None: after all of them.
    """
    for commit in reversed(log):
        of = commit.info.get("round", 0)
        if round_ is not None and of >= round_:
            continue
        if "refused" in commit.info:
            round_ = of
        elif "adapter" in commit.info:
            return commit
    return None


def open_run(folder: Path, config: Path | None = None, overrides: list[str] | None = None) -> Run:
    """Open a run for reading; its tables refuse a commit.

    Raises:
        ItoolError: if there is no such run.
    """
    if not (folder / "config.yaml").is_file():
        raise ItoolError(f"{folder}: no run here; make one with `itool data import SOURCE --run {folder}`")
    settings = load_config(config, overrides or []) if config else _own_settings(folder, overrides or [])
    return Run(folder, settings, _store(folder, settings, writable=False))


@contextmanager
def write_run(folder: Path, config: Path | None, overrides: list[str], force: bool = False) -> Iterator[Run]:
    """Open a run for writing, creating it where there is none; nobody else writes meanwhile.

    What a killed writer left behind is rolled back, and the resolved settings are written to `config.yaml`.

    Raises:
        ItoolError: if another process holds the run (says which), the settings differ where results depend on them,
            or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ItoolError(f"{folder}: cannot make the run folder: {error.strerror}") from None
    lock, holder = FileLock(folder / ".lock", timeout=0), folder / ".holder.json"
    try:
        held = lock.acquire()
    except Timeout:
        raise ItoolError(f"{folder}: in use by {_describe(holder)}; wait for it, or stop it") from None
    except OSError as error:
        raise ItoolError(f"{folder}: cannot lock the run: {error.strerror}") from None
    with held:
        # Settings first: a key that a command line holds by mistake is refused before the command is written down.
        own = folder / "config.yaml"
        made = own.is_file()
        settings = load_config(config, overrides) if config or not made else _own_settings(folder, overrides)
        before = _own_settings(folder, []) if made else settings
        me = {"pid": os.getpid(), "host": socket.gethostname(), "command": " ".join(sys.argv[1:]), "since": _now()}
        _write(holder, json.dumps(me))
        store = _store(folder, before)
        store.recover()
        _refuse_changes(folder, before, settings, store, force)
        if settings.tables != before.tables:
            store = _store(folder, settings)
            store.recover()
        _write(own, settings.to_yaml())
        yield Run(folder, settings, store)


def _own_settings(folder: Path, overrides: list[str]) -> Config:
    """A run's own settings; one from before there was `model.format` has the form that there was then."""
    path = folder / "config.yaml"
    settings = load_config(path, overrides)  # says what is wrong with the file
    model = (parse_yaml(path.read_text(encoding="utf-8")) or {}).get("model") or {}
    # A run writes its settings whole; where only some are there, a person wrote them.
    if "format" in model or not {"name", "policy", "device", "rows", "tools"} <= model.keys():
        return settings
    return load_config(path, ["model.format=own", *overrides])


def _store(folder: Path, settings: Config, writable: bool = True) -> Store:
    return Store(settings.tables.rstrip("/") or folder / "tables", writable)


def differences(old: Config, new: Config, sections: set[str]) -> list[str]:
    """The settings that differ in the given sections, as `key: old -> new`, but for where, how fast and how much."""
    before, after = old.model_dump(), new.model_dump()
    found = [] if old.seed == new.seed or not sections else [f"seed: {old.seed} -> {new.seed}"]
    for section in sorted(sections):
        for key, value in before[section].items():
            if (section, key) not in FREE and after[section][key] != value:
                found.append(f"{section}.{key}: {value} -> {after[section][key]}")
    return found


def identity(config: Config, *sections: str, **beside: JSON) -> str:
    """12 hex digits over the seed, what is beside, and sections of settings but for where, how fast and how much."""
    data = config.model_dump()
    chosen = {name: {k: v for k, v in data[name].items() if (name, k) not in FREE} for name in sections}
    return hashlib.sha256(canonical_json({"seed": config.seed, **chosen, **beside}).encode()).hexdigest()[:12]


def _refuse_changes(folder: Path, old: Config, new: Config, store: Store, force: bool) -> None:
    log = store.log()
    # A training that stopped left nothing that depends on its settings, and is to be done again with others.
    used = {section for commit in log if "stopped" not in commit.info for section in DEPENDS[commit.operation]}
    changed = differences(old, new, used)
    if force:
        # What was measured and searched in one form would be taken for the other's.
        changed = [change for change in changed if change.startswith(FORM)]
        if not changed:
            return
        raise ItoolError(
            f"{folder}: made in another form ({'; '.join(changed)}), which --force cannot change; use a new run folder"
        )
    if log and old.tables != new.tables:
        changed.append(f"tables: {old.tables or folder / 'tables'} -> {new.tables or folder / 'tables'}")
    if changed:
        raise ItoolError(
            f"{folder}: made with other settings ({'; '.join(changed)}); use a new run folder, or --force to go on"
        )


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ItoolError(f"{path}: cannot write: {error.strerror}") from None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _describe(holder: Path) -> str:
    try:
        who: dict[str, Any] = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {who['pid']} on {who['host']} (itool {who['command']}, since {who['since']})"
    except (OSError, ValueError, KeyError):
        return "another process"
