"""One LMDB environment per store and process, with its traps hidden (DESIGN section 5)."""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import lmdb

from cas.errors import CorruptedError, StoreError, StoreFullError, UnsupportedError
from cas.store.contract import TABLES

SEGMENTS: Final = "segments"
INDEX: Final = "index"
_DATABASES: Final = (SEGMENTS, INDEX, *TABLES)
_MAX_READERS: Final = 1024
_MAX_MISSING_PAGES: Final = 16
_FIRST_MAP_BYTES: Final = 1 << 40
_LEAST_MAP_BYTES: Final = 1 << 26


@contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """Turns LMDB's errors into this package's, here and nowhere else."""
    try:
        yield
    except (lmdb.MapFullError, lmdb.MapResizedError):
        raise
    except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.PanicError) as error:
        raise CorruptedError(f"the database in {path} is damaged: {error}", blob=str(path)) from error
    except lmdb.VersionMismatchError as error:
        raise UnsupportedError(f"the database in {path} has another LMDB file format: {error}") from error
    except lmdb.ReadersFullError as error:
        raise StoreError(f"more than {_MAX_READERS} readers use the store {path}; close some") from error
    except lmdb.Error as error:
        code = getattr(error, "code", 0)
        if code in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFullError(
                f"no space is left for the store {path}; it is as it was: free some space and try again"
            ) from error
        raise StoreError(f"the store {path} cannot be used: {error}") from error


class Environment:
    """An open LMDB environment that all handles of the process share.

    Counts the transactions under way, because the map may grow only while there are none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read_only = not (os.access(path, os.W_OK) and os.access(path / "data.mdb", os.W_OK))
        self.users = 0
        self.write_lock = threading.Lock()
        self._idle = threading.Condition()
        self._active = 0
        self._env = self._open()
        self.databases: dict[str, Any] = {}
        try:
            with mapped_errors(path):
                self._check_length()
                if not self.read_only:
                    self._env.reader_check()
                for name in _DATABASES:
                    self.databases[name] = self._database(name.encode())
        except BaseException:
            self.close()
            raise

    def _check_length(self) -> None:
        """Refuses a file that is cut off: reading its map beyond the end would kill the process.

        LMDB itself may leave out a few unused pages at the end; they are added, as a hole.
        """
        page = int(self._env.stat()["psize"])
        expected = (int(self._env.info()["last_pgno"]) + 1) * page
        found = os.stat(self.path / "data.mdb").st_size
        if found >= expected:
            return
        if self.read_only or expected - found > _MAX_MISSING_PAGES * page:
            raise CorruptedError(
                f"the database in {self.path} is cut off: it has {found} bytes where {expected} are in use; "
                f"restore it from a copy",
                blob=str(self.path / "data.mdb"),
            )
        os.truncate(self.path / "data.mdb", expected)

    def _database(self, name: bytes) -> Any:
        try:
            # Opening without `create` takes no write lock, so it does not wait for writers.
            return self._env.open_db(name, create=False)
        except (lmdb.NotFoundError, lmdb.ReadonlyError):
            if self.read_only:
                raise CorruptedError(
                    f"the database in {self.path} has no table {name.decode()!r}; it is no complete store",
                    blob=str(self.path),
                ) from None
            return self._env.open_db(name, create=True)

    def _open(self) -> lmdb.Environment:
        # Without a lock file that can be written, reading is safe on media that nobody writes to.
        lock = not self.read_only or os.access(self.path / "lock.mdb", os.W_OK)
        size = _FIRST_MAP_BYTES
        while True:
            try:
                with mapped_errors(self.path):
                    return lmdb.open(
                        str(self.path),
                        map_size=size,
                        max_dbs=len(_DATABASES),
                        max_readers=_MAX_READERS,
                        readonly=self.read_only,
                        lock=lock,
                        create=False,
                        readahead=False,
                        lib_version=0,
                    )
            except (StoreError, lmdb.MapFullError) as error:
                code = getattr(error.__cause__, "code", 0)
                if code not in (errno.ENOMEM, errno.EINVAL, errno.EFBIG) or size <= _LEAST_MAP_BYTES:
                    raise
                size //= 2

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[lmdb.Transaction[Any]]:
        """Opens a transaction that gives out buffers; commits or aborts it at the end."""
        txn = self._begin(write)
        try:
            with mapped_errors(self.path), txn:
                yield txn
        finally:
            self._end()

    def _begin(self, write: bool) -> lmdb.Transaction[Any]:
        while True:
            with self._idle:
                self._active += 1
            try:
                with mapped_errors(self.path):
                    return self._env.begin(write=write, buffers=True)
            except lmdb.MapResizedError:
                self._end()
                self._adopt()
            except BaseException:
                self._end()
                raise

    def _end(self) -> None:
        with self._idle:
            self._active -= 1
            self._idle.notify_all()

    def grow(self) -> None:
        """Doubles the map, once no transaction of this process is under way."""
        with self._idle:
            self._idle.wait_for(lambda: self._active == 0)
            self._env.set_mapsize(2 * int(self._env.info()["map_size"]))

    def _adopt(self) -> None:
        """Takes over the map size that another process has set."""
        with self._idle:
            self._idle.wait_for(lambda: self._active == 0)
            self._env.set_mapsize(0)

    def close(self) -> None:
        """Closes the environment; buffers and transactions must be gone."""
        self._env.close()


_registry: dict[tuple[int, int], Environment] = {}
_registry_lock = threading.RLock()
_abandoned: deque[Environment] = deque()


def acquire(path: Path) -> Environment:
    """Returns the process's environment for the store in ``path``, opened once; pair with :func:`release`.

    It is opened for writing where the directory allows that, since LMDB wants one environment a process for readers
    and writers.
    """
    with _registry_lock:
        _release_abandoned()
        status = os.stat(path / "data.mdb")
        key = (status.st_dev, status.st_ino)
        shared = _registry.get(key)
        if shared is None:
            shared = _registry[key] = Environment(path)
        shared.users += 1
        return shared


def release(shared: Environment) -> None:
    """Gives an environment back; the last user closes it."""
    with _registry_lock:
        shared.users -= 1
        if shared.users == 0:
            for key, value in list(_registry.items()):
                if value is shared:
                    del _registry[key]
            shared.close()


def abandon(shared: Environment, pid: int) -> None:
    """Notes that a handle is gone without having been closed.

    Called by the garbage collector, at any moment, so it only takes a note; the next :func:`acquire` acts on it.
    """
    if pid == os.getpid():
        _abandoned.append(shared)


def _release_abandoned() -> None:
    while _abandoned:
        release(_abandoned.popleft())


def _forget_inherited() -> None:
    """Closes, in a forked child, what belongs to the parent; handles open it again when they need it."""
    global _registry_lock
    _registry_lock = threading.RLock()
    _abandoned.clear()
    for shared in _registry.values():
        shared.close()
    _registry.clear()


os.register_at_fork(after_in_child=_forget_inherited)
