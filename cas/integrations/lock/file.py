"""The lock file on disk: read, and changed as a whole under a lock."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cas.errors import InvalidInputError, NotFoundError, StoreError
from cas.integrations.lock.toml import Entries, Entry, format_lock, parse_lock
from cas.integrations.whole_file import whole_file
from cas.repo.location import local_path

LOCK_NAME: Final = "cas.lock"
_MOST_BYTES: Final = 16 << 20


class LockFileNotFoundError(NotFoundError):
    """There is no lock file at the path."""


class EntryNotFoundError(NotFoundError):
    """The lock file pins no dataset of that name."""


@dataclass(frozen=True, slots=True)
class LockFile:
    """A lock file as it was read: where it stands, and its entries by name, sorted."""

    path: Path
    entries: Entries

    def entry(self, name: str) -> Entry:
        """Returns the entry of that name; raises :class:`EntryNotFoundError`, which lists the names there are."""
        found = self.entries.get(name)
        if found is None:
            names = ", ".join(map(repr, self.entries)) or "none"
            raise EntryNotFoundError(f"{self.path} pins no dataset {name!r}; it has: {names}", name=name)
        return found

    def selected(self, names: tuple[str, ...] = ()) -> dict[str, Entry]:
        """Returns the entries of these names, or all."""
        return {name: self.entry(name) for name in names or self.entries}

    def url(self, name: str) -> str:
        """Returns where the dataset of an entry lies: relative urls begin at the folder of the lock file."""
        url = self.entry(name).url
        return url if url.startswith("~") or "://" in url else os.path.join(self.path.parent, url)


def read_lock(path: str | os.PathLike[str]) -> LockFile:
    """Reads a lock file.

    Raises :class:`LockFileNotFoundError`, or :class:`~cas.integrations.lock.toml.LockFileError`, with the line, for
    what is none.
    """
    place = _place(path)
    data = _read(place)
    if data is None:
        raise LockFileNotFoundError(
            f"there is no lock file {place}; 'cas lock add NAME URL' makes one", name=str(place)
        )
    return _lock_of(place, parse_lock(data, place))


def _lock_of(path: Path, entries: Entries) -> LockFile:
    return LockFile(path, MappingProxyType(dict(sorted(entries.items()))))


def _place(path: str | os.PathLike[str]) -> Path:
    """The file itself, links followed: it is replaced where it stands."""
    return Path(os.path.realpath(local_path(path, "lock file")))


def _read(path: Path) -> bytes | None:
    """The content of the file, or None where there is none."""
    try:
        with open(path, "rb", opener=_open_waiting_for_nobody) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
                raise InvalidInputError(f"{path} is not a lock file, but something else")
            return file.read(_MOST_BYTES)
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise InvalidInputError(f"{path} is a folder; expected a lock file, such as {path / LOCK_NAME}") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error


def _open_waiting_for_nobody(path: str, flags: int) -> int:
    # A pipe would have us wait for who writes to it.
    return os.open(path, flags | os.O_NONBLOCK)


@contextmanager
def editing(path: str | os.PathLike[str]) -> Iterator[tuple[Path, dict[str, Entry]]]:
    """Gives the place and the entries of a lock file, none where there is no file; writes them when the block ends.

    Whoever else edits a lock file of that folder waits, so nothing is lost. The file is replaced whole and durably, or,
    where the block raises or changes nothing, left as it is.
    """
    place = _place(path)
    if not place.parent.is_dir():
        raise InvalidInputError(f"there is no folder {place.parent} for the lock file {place.name}; make it first")
    with _locked(place.parent):
        data = _read(place)
        before = {} if data is None else parse_lock(data, place)
        entries = dict(before)
        yield place, entries
        if entries != before:
            _replace(place, format_lock(entries).encode())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # The folder stands in for the file, which is another one after each change. The lock ends with the process.
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StoreError(f"the folder {folder} cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise StoreError(f"the folder {folder} cannot be locked: {error.strerror}") from error
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    try:
        with whole_file(path) as file:
            file.write(data)
    except OSError as error:
        raise StoreError(f"{path} cannot be written, and is as it was: {error.strerror}") from error
