"""Files below one folder, reached without following links, so that no path leads out of it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cas.errors import InvalidInputError
from cas.hashing import Bytes
from cas.integrations.folder.scan import OWN_PREFIX

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_TEMPORARY: Final = ".cas-writing-"


class UnsafePathError(InvalidInputError):
    """A stored path that would lead out of the folder, or that no file can have."""


def split_path(path: str) -> tuple[list[str], str]:
    """Returns the directories of a stored path and its last part.

    Raises :class:`UnsafePathError` for a path that is absolute, or has a part that is empty, ``.``, ``..``, longer than
    255 bytes, or reserved for what a checkout keeps in the folder.
    """
    parts = path.split("/")
    for part in parts:
        if part in ("", ".", "..") or "\0" in part or len(part.encode()) > 255:
            raise UnsafePathError(f"path {path!r} is not safe to write: a part of it is {part[:40]!r}")
    if any(part.startswith(os.fsdecode(OWN_PREFIX)) for part in parts):
        raise UnsafePathError(f"path {path!r} is not safe to write: names with .cas- are kept for the checkout itself")
    return parts[:-1], parts[-1]


class ConfinedFolder:
    """A folder whose files are named by paths of ``/`` parts; directories on the way must be real ones."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        """Gives the folder back."""
        os.close(self._root)

    @contextmanager
    def _directory(self, parts: list[str], *, make: bool = False) -> Iterator[int]:
        """Opens the directory below, part by part; a link on the way raises ``OSError``."""
        descriptor = os.dup(self._root)
        try:
            for part in parts:
                try:
                    below = os.open(part, _DIRECTORY, dir_fd=descriptor)
                except FileNotFoundError:
                    if not make:
                        raise
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=descriptor)
                    below = os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def status(self, path: str) -> os.stat_result | None:
        """Returns what is at a path, links not followed; None where there is nothing.

        A link, or a file, in place of a directory on the way is returned as what is there.
        """
        parts, name = split_path(path)
        try:
            with self._directory(parts) as directory:
                return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if not parts or error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            return self.status("/".join(parts))

    def read(self, path: str, block_bytes: int) -> Iterator[bytes]:
        """Yields the bytes of a regular file in blocks; one empty block where it is empty."""
        parts, name = split_path(path)
        with self._directory(parts) as directory:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        with open(descriptor, "rb") as file:
            yield file.read(block_bytes)
            while block := file.read(block_bytes):
                yield block

    def write(self, path: str, blocks: Iterable[Bytes]) -> os.stat_result:
        """Writes a file whole or not at all, in place of a file or link of that name; makes directories on the way."""
        parts, name = split_path(path)
        temporary = _TEMPORARY + secrets.token_hex(8)
        with self._directory(parts, make=True) as directory:
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=directory
            )
            try:
                with open(descriptor, "wb") as file:
                    for block in blocks:
                        file.write(block)
                    file.flush()
                    status = os.fstat(descriptor)
                os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                os.unlink(temporary, dir_fd=directory)
                raise
        return status

    def remove_temporaries(self, paths: Iterable[str]) -> None:
        """Removes what an interrupted :meth:`write` of one of the paths has left beside it."""
        for parts in {tuple(split_path(path)[0]) for path in paths}:
            # A directory that is gone, or a link now, holds nothing of ours.
            with contextlib.suppress(OSError), self._directory(list(parts)) as directory:
                for name in os.listdir(directory):
                    if name.startswith(_TEMPORARY):
                        os.unlink(name, dir_fd=directory)

    def clear(self, path: str) -> None:
        """Removes a file or link in place of a directory on the way, and a directory tree in place of the file."""
        parts, name = split_path(path)
        for depth in range(len(parts) + 1):
            with self._directory(parts[:depth]) as directory:
                part = [*parts, name][depth]
                try:
                    status = os.stat(part, dir_fd=directory, follow_symlinks=False)
                except FileNotFoundError:
                    return
                if stat.S_ISDIR(status.st_mode) == (depth < len(parts)):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    os.rmdir(part, dir_fd=directory)
                else:
                    os.unlink(part, dir_fd=directory)

    def remove(self, path: str) -> None:
        """Removes a file, and the directories above it that are empty then."""
        parts, name = split_path(path)
        with self._directory(parts) as directory:
            os.unlink(name, dir_fd=directory)
        for depth in range(len(parts), 0, -1):
            with self._directory(parts[: depth - 1]) as directory:
                try:
                    os.rmdir(parts[depth - 1], dir_fd=directory)
                except OSError as error:
                    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                        return
                    raise
