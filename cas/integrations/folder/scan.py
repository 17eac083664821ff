"""The files of a folder in bytewise path order, in bounded memory."""

from __future__ import annotations

import heapq
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from cas.store.lmdb import is_store

OWN_PREFIX: Final = b".cas-"
"""Names that a checkout keeps for its own files, in any folder that it writes to."""
_NAMES_IN_MEMORY: Final = 400_000
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file: its path below the folder, ``/`` between the parts, and what ``stat`` said of it."""

    path: str
    size_bytes: int
    identity: tuple[int, int, int, int, int]
    """Device, inode, size, modification and change time in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was left out, and why; ``path`` is printable."""

    path: str
    reason: str
    unknown: bool = False
    """Whether what is there could not be told, so that rows of it are kept as they are."""


def identity_of(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Returns what changes when a file is replaced or written to."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def scan_folder(folder: Path) -> Iterator[FoundFile | Skipped]:
    """Yields the regular files below a folder in bytewise order of their paths, and what is none.

    Links are not followed. Cost: one ``stat`` a file; memory for the names of one directory, at most 400,000 of them.
    """
    yield from _scan(os.fsencode(folder), b"")


def _scan(root: bytes, below: bytes) -> Iterator[FoundFile | Skipped]:
    try:
        for name in _sorted_names(os.path.join(root, below)):
            yield from _look_at(root, below + name)
    except OSError as error:
        yield Skipped(_printable(below or b"."), f"the directory cannot be read: {error.strerror}", unknown=True)


def _look_at(root: bytes, path: bytes) -> Iterator[FoundFile | Skipped]:
    is_directory = path.endswith(b"/")
    try:
        text = path.decode()
    except UnicodeDecodeError:
        what = "directory" if is_directory else "file"
        yield Skipped(_printable(path), f"the name of the {what} is not UTF-8; rename it")
        return
    if is_directory:
        if is_store(Path(os.fsdecode(os.path.join(root, path)))):
            yield Skipped(text, "the directory is a cas store")
        else:
            yield from _scan(root, path)
        return
    try:
        status = os.lstat(os.path.join(root, path))
    except OSError as error:
        yield Skipped(text, f"the file cannot be read: {error.strerror}", unknown=True)
        return
    if stat.S_ISREG(status.st_mode):
        yield FoundFile(text, status.st_size, identity_of(status))
    elif stat.S_ISLNK(status.st_mode):
        yield Skipped(text, "it is a symbolic link, which is not followed")
    else:
        yield Skipped(text, "it is not a regular file")


def _printable(path: bytes) -> str:
    return path.decode(errors="backslashreplace")


def _sorted_names(directory: bytes) -> Iterator[bytes]:
    """Yields names so that whole paths are in bytewise order: those of directories end in ``/``."""
    names: list[bytes] = []
    runs: list[Iterator[bytes]] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(OWN_PREFIX):
                continue
            names.append(entry.name + b"/" if entry.is_dir(follow_symlinks=False) else entry.name)
            if len(names) >= _NAMES_IN_MEMORY:
                runs.append(_spill(sorted(names)))
                names = []
    names.sort()
    yield from heapq.merge(*runs, names) if runs else names


def _spill(names: list[bytes]) -> Iterator[bytes]:
    """Keeps a sorted run in a temporary file, names ending in a zero byte, and yields it from there."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the iterator
    file.write(b"\0".join(names) + b"\0")
    file.seek(0)
    return _read_names(file)


def _read_names(file: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    with file:
        while block := file.read(_READ_BYTES):
            *names, rest = (rest + block).split(b"\0")
            yield from names
