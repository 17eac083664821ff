"""Leases: locks on places of the file that marks a store.

The system gives them back when a process ends, however it ends. They are locks of the open file (F_OFD_SETLK of Linux),
so two handles of one process are two holders, and a forked child shares what its parent holds. Nothing has to be
cleaned up after a crash, and no clock or process id is trusted.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import Final

from cas.errors import StoreError, UnsupportedError

MARKER: Final = "cas-store"
_FLOCK: Final = struct.Struct("hhqqi4x")
_SUPPORTED: Final = hasattr(fcntl, "F_OFD_SETLK")
# Offsets far beyond the end of the file, which locks may have.
OPEN: Final = 1 << 40
WRITING: Final = OPEN + 1
_VERSIONS: Final = 1 << 62
_VERSION_BITS: Final = 61


def place_of(version: bytes) -> int:
    """Returns the place that stands for a version; two may share one, which keeps both."""
    return _VERSIONS + (int.from_bytes(version[:8], "big") >> (64 - _VERSION_BITS))


class NoLease:
    """A lease where there is nothing to be kept."""

    def release(self) -> None:
        """Does nothing."""


class FileLease:
    """A shared lock on one place of a file, held until it is released or dropped."""

    _descriptor = -1
    # At the end of the interpreter modules may be gone before the last handles, as where PyTorch was imported.
    _close = staticmethod(os.close)

    def __init__(self, path: str | Path, place: int) -> None:
        self._descriptor = _open(path, os.O_RDONLY)
        _lock(self._descriptor, fcntl.F_RDLCK, place, wait=True)

    def release(self) -> None:
        """Ends the lease. In a forked child this leaves it to the parent."""
        if self._descriptor >= 0:
            self._close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.release()


class ExclusiveLease(FileLease):
    """A lock on one place that nobody else holds; raises ``BlockingIOError`` where somebody does."""

    def __init__(self, path: str | Path, place: int) -> None:
        if not _SUPPORTED:
            raise UnsupportedError("locks of open files, which collecting needs, are there on Linux only")
        self._descriptor = _open(path, os.O_RDWR)
        try:
            _lock(self._descriptor, fcntl.F_WRLCK, place, wait=False)
        except BaseException:
            self.release()
            raise


def is_held(path: str | Path, place: int) -> bool:
    """Whether somebody holds a lock on a place."""
    if not _SUPPORTED:
        return False
    descriptor = _open(path, os.O_RDONLY)
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0))
        return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)


def _open(path: str | Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error


def _lock(descriptor: int, kind: int, place: int, *, wait: bool) -> None:
    if not _SUPPORTED:
        return
    command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
    try:
        fcntl.fcntl(descriptor, command, _FLOCK.pack(kind, os.SEEK_SET, place, 1, 0))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise BlockingIOError(error.errno, "somebody holds the lock") from error
        raise StoreError(f"the store cannot be locked: {error.strerror}") from error
