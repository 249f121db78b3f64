"""What a folder or a repository lacks of a set of files, by content; and writing the files to a folder.

A file that is there under another name counts as renamed: the Hub keeps large files by their SHA-256, so it is not sent
again. Left out: the Hub itself (`hub.py`).
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from itool_data.errors import ItoolError


class LocalFile:
    """A file to publish, and its hashes.

    Args:
        path: where it lies; it must not change any more.
    """

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """Of its content: the name of a large file."""
        return sha256(self.path)

    @cached_property
    def blob_id(self) -> str:
        """Git's name of its content: a small file's."""
        return hashlib.sha1(b"blob %d\0" % self.size + self.path.read_bytes(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Entry:
    """What a target says of a file it holds; one of the two hashes is known."""

    sha256: str = ""
    blob_id: str = ""

    def holds(self, file: LocalFile) -> bool:
        """Whether the content is the file's."""
        return file.sha256 == self.sha256 if self.sha256 else file.blob_id == self.blob_id


@dataclass(frozen=True)
class Difference:
    """Files by what has to be done with them; keys are paths in the target."""

    sent: dict[str, LocalFile]
    renamed: dict[str, LocalFile]
    same: dict[str, LocalFile]
    gone: list[str]

    def __bool__(self) -> bool:
        """Whether anything has to be done."""
        return bool(self.sent or self.renamed or self.gone)


def compare(
    files: Mapping[str, LocalFile], listing: Mapping[str, Entry], owned: Callable[[str], bool] = lambda path: False
) -> Difference:
    """Compare files with what a target holds.

    Args:
        files: what the target should hold, by path.
        listing: what it holds.
        owned: whether a path is ours, so that a file there which is not among the files has to go.
    """
    held = {entry.sha256 for entry in listing.values() if entry.sha256}
    found = Difference({}, {}, {}, [path for path in listing if owned(path) and path not in files])
    for path, file in files.items():
        if path in listing and listing[path].holds(file):
            found.same[path] = file
        elif file.sha256 in held:
            found.renamed[path] = file
        else:
            found.sent[path] = file
    return found


def list_folder(folder: Path) -> dict[str, Entry]:
    """What a folder holds; nothing if there is none.

    Raises:
        ItoolError: it cannot be read.
    """
    try:
        files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        return {path.relative_to(folder).as_posix(): Entry(sha256=sha256(path)) for path in files}
    except OSError as error:
        raise ItoolError(f"{error.filename or folder}: cannot read: {error.strerror}") from None


def write_folder(difference: Difference, folder: Path) -> None:
    """Bring a folder to what was compared with it; every file appears whole or not at all.

    Raises:
        ItoolError: the folder cannot be written.
    """
    try:
        for path, file in (difference.sent | difference.renamed).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_name(f"{target.name}.new")
            shutil.copyfile(file.path, unfinished)
            unfinished.replace(target)
        for path in difference.gone:
            (folder / path).unlink()
    except OSError as error:
        raise ItoolError(f"{folder}: cannot write: {error.strerror or error}; the same command goes on") from None


def sha256(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
