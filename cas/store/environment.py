"""One LMDB environment per store and process, with its traps hidden (DESIGN section 5)."""

from __future__ import annotations

import errno
import gc
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import lmdb

with suppress(ImportError):
    import lmdb._envid  # else the first store that is opened waits for it

from cas.errors import CorruptedError, StoreError, StoreFullError, UnsupportedError
from cas.store.contract import TABLES
from cas.store.leases import MARKER, OPEN, FileLease
from cas.store.medium import network_file_system
from cas.store.places import SeenPlaces
from cas.store.tables import Seals

SEGMENTS: Final = "segments"
INDEX: Final = "index"
_DATABASES: Final = (SEGMENTS, INDEX, *TABLES)
_MAX_READERS: Final = 1024
_FORK_SECONDS: Final = 10.0
_QUIET_SECONDS: Final = 1.0
_LET_IN_SECONDS: Final = 0.01
_FIRST_MAP_BYTES: Final = 1 << 40
_LEAST_MAP_BYTES: Final = 1 << 26
_FULL_BYTES: Final = 1 << 18
_LOCK_BYTES: Final = 65_664  # of 1,024 readers
_LEAST_HOLE_BYTES: Final = 1 << 18
_HOLE_BYTES: Final = 1 << 20


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
        # Where the space ends in the middle of a write, LMDB only says that less was written.
        if code in (errno.ENOSPC, errno.EDQUOT) or (code == errno.EIO and _is_full(path)):
            raise full_error(path) from error
        if code == errno.ENOMEM:
            raise StoreError(
                f"the store {path} cannot be mapped: this process has not enough address space left (see ulimit -v)"
            ) from error
        raise StoreError(f"the store {path} cannot be used: {error}") from error


def _is_full(path: Path) -> bool:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize < _FULL_BYTES


def full_error(path: Path) -> StoreFullError:
    """Returns what to raise where the disk is full."""
    return StoreFullError(f"no space is left for the store {path}; it is as it was: free some space and try again")


class Environment:
    """An open LMDB environment that all handles of the process share.

    Counts the transactions under way, because the map may grow only while there are none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Names made once, as text: each step of a path takes ten times as long.
        self.marker = os.path.join(path, MARKER)
        self._data = os.path.join(path, "data.mdb")
        self._lock_file = os.path.join(path, "lock.mdb")
        self.network = network_file_system(path)
        writable = os.access(path, os.W_OK) and os.access(self._data, os.W_OK)
        self.read_only = not writable or self.network is not None
        self.users = 0
        self.write_lock = threading.Lock()
        self._places: SeenPlaces | None = None
        self._lock = threading.RLock()  # entered directly, for a condition takes several calls to do so
        self._idle = threading.Condition(self._lock)
        self._active: dict[int, int] = {}
        self._pauses = 0
        self._closing = False
        self._closed = False
        self._holders = 0
        self.lease = FileLease(self.marker, OPEN)
        self._env = self._open()
        self.databases: dict[str, Any] = {}
        self.seals = {name: Seals(name) for name in TABLES}
        try:
            with mapped_errors(path):
                self._page_bytes = int(self._env.stat()["psize"])
                self.complete()
                if not self.read_only:
                    self._env.reader_check()
                for name in _DATABASES:
                    self.databases[name] = self._database(name.encode())
        except BaseException:
            self.close()
            raise

    @property
    def places(self) -> SeenPlaces:
        """Where blobs lie, as this process has seen it: made for the first read of many, not when a store is opened.

        No lock is held for it, which a fork could leave behind: of two that are made at once one is forgotten.
        """
        if self._places is None:
            self._places = SeenPlaces()
        return self._places

    def complete(self) -> None:
        """Makes the file longer than the pages in use, since reading the map beyond its end would kill the process.

        LMDB does not write pages at the end that a transaction took and gave back: they are added, as a hole. In a file
        that was cut off the hole stands for what is lost; LMDB's checks and the hashes of the blobs find it. Behind the
        pages stays a hole that the 16 bits of an offset or length in a page do not reach across, if they are damaged.
        """
        if self.read_only:
            if self._missing_bytes() > 0:
                raise CorruptedError(
                    f"the database in {self.path} is cut off: {self._missing_bytes()} bytes of what is in use are "
                    f"missing; restore it from a copy",
                    blob=self._data,
                )
            return
        if self._missing_bytes() <= -_LEAST_HOLE_BYTES:
            return
        # Within a transaction no other process makes the file longer meanwhile.
        with self.transaction(write=True) as txn:
            missing = self._missing_bytes() + _HOLE_BYTES
            if missing > 0:
                self._lengthen(missing)
            txn.abort()

    def _lengthen(self, size_bytes: int) -> None:
        try:
            os.truncate(self._data, os.stat(self._data).st_size + size_bytes)
        except OSError as error:
            raise StoreError(f"{self._data} cannot be made {size_bytes} bytes longer: {error.strerror}") from error

    def _missing_bytes(self) -> int:
        with self._calling():
            pages = int(self._env.info()["last_pgno"]) + 1
        return pages * self._page_bytes - os.stat(self._data).st_size

    def _database(self, name: bytes) -> Any:
        try:
            # Opening without `create` takes no write lock, so it does not wait for writers.
            return self._env.open_db(name, create=False)
        except (lmdb.NotFoundError, lmdb.ReadonlyError):
            # Only a store that is being made, whose marker is empty yet, lacks tables. In any other one the name is
            # damaged, and an empty table in its place would say that there are no rows.
            if self.read_only or os.stat(self.marker).st_size:
                raise CorruptedError(
                    f"the database in {self.path} has no table {name.decode()!r}; it is no complete store",
                    blob=str(self.path),
                ) from None
            return self._env.open_db(name, create=True)

    def _open(self) -> lmdb.Environment:
        size = _FIRST_MAP_BYTES
        while True:
            try:
                with mapped_errors(self.path):
                    return self._open_with(size)
            except lmdb.MapResizedError as error:
                raise CorruptedError(
                    f"the database in {self.path} claims to be larger than {size} bytes, which are all that can be "
                    f"mapped; it is damaged, or this process needs more address space (ulimit -v)",
                    blob=str(self.path),
                ) from error
            except StoreError as error:
                code = getattr(error.__cause__, "code", 0)
                if code not in (errno.ENOMEM, errno.EINVAL, errno.EFBIG) or size <= _LEAST_MAP_BYTES:
                    raise
                size //= 2

    def _open_with(self, map_bytes: int) -> lmdb.Environment:
        # Without a lock file that can be written, reading is safe on media that nobody writes to.
        lock = not self.read_only or (self.network is None and os.access(self._lock_file, os.W_OK))
        if not self.read_only:
            self._make_lock_file()
        return lmdb.open(
            os.fsencode(self.path),  # as text it must be UTF-8
            map_size=map_bytes,
            max_dbs=len(_DATABASES),
            max_readers=_MAX_READERS,
            readonly=self.read_only,
            lock=lock,
            create=False,
            readahead=False,
            lib_version=0,
        )

    def _make_lock_file(self) -> None:
        """Makes the lock file with all its space: it is written through a map, where a full disk kills the process."""
        try:
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError:
            return
        try:
            os.posix_fallocate(descriptor, 0, _LOCK_BYTES)
        except OSError as error:
            os.unlink(self._lock_file)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise full_error(self.path) from error
        finally:
            os.close(descriptor)

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[lmdb.Transaction[Any]]:
        """Opens a transaction that gives out buffers; commits or aborts it at the end."""
        txn = self._begin(write)
        if txn is None:
            raise self._closed_error()
        try:
            with mapped_errors(self.path), txn:
                yield txn
        finally:
            self._end()

    def _begin(self, write: bool) -> lmdb.Transaction[Any] | None:
        while self._enter():
            try:
                if write:
                    # A reader that was killed would keep all pages that were freed since from being used again.
                    self._env.reader_check()
                return self._env.begin(write=write, buffers=True)
            except lmdb.MapResizedError:
                self._end()
                self._adopt()
            except lmdb.Error as error:
                self._end()
                with mapped_errors(self.path):
                    raise error
            except BaseException:
                self._end()
                raise
        return None

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Counts a call outside of transactions as one: a fork in the middle of it would leave the child waiting for
        its end when it closes the environment."""
        if not self._enter():
            raise self._closed_error()
        try:
            yield
        finally:
            self._end()

    def _closed_error(self) -> StoreError:
        return StoreError(f"the store {self.path} was closed by another thread")

    def begin_reading(self) -> lmdb.Transaction[Any] | None:
        """Begins a transaction for :meth:`end_reading`; None where another thread has closed the environment."""
        return self._begin(write=False)

    def end_reading(self, txn: lmdb.Transaction[Any], error: BaseException | None) -> None:
        """Ends a transaction; an error of LMDB that ended it is raised as one of the package."""
        try:
            txn.abort()
        finally:
            self._end()
        if isinstance(error, lmdb.Error):
            with mapped_errors(self.path):
                raise error

    def _enter(self) -> bool:
        thread = threading.get_ident()
        with self._lock:
            # A thread that is in already goes on: who waits, waits for it to come out.
            if self._pauses and thread not in self._active:
                self._idle.wait_for(lambda: not self._pauses)
            if self._closed:
                return False
            self._active[thread] = self._active.get(thread, 0) + 1
            return True

    def _end(self) -> None:
        thread = threading.get_ident()
        with self._lock:
            count = self._active.pop(thread) - 1
            if count:
                self._active[thread] = count
            if self._pauses:
                self._idle.notify_all()
            last = self._closing and self._is_idle()
        if last:
            close_idle(self)

    def hold(self) -> bool:
        """Keeps the environment open until :meth:`let_go`; False where another thread has closed it."""
        with self._lock:
            self._holders += not self._closed
            return not self._closed

    def let_go(self) -> None:
        """Ends what :meth:`hold` began."""
        with self._lock:
            self._holders -= 1
            last = self._closing and self._is_idle()
        if last:
            close_idle(self)

    def _is_idle(self) -> bool:
        return not self._active and not self._holders

    def grow(self) -> None:
        """Doubles the map, once no transaction of this process is under way."""
        with self._quiet(), mapped_errors(self.path):
            size = int(self._env.info()["map_size"])
            try:
                self._env.set_mapsize(2 * size)
            except lmdb.Error:
                # LMDB has given the old map away by now, and would crash without one.
                self._env.set_mapsize(size)
                raise

    def _adopt(self) -> None:
        """Takes over the map size that another process has set."""
        with self._quiet(), mapped_errors(self.path):
            self._env.set_mapsize(0)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Waits until no transaction of this process is under way, and keeps others from beginning meanwhile."""
        with self._lock:
            if threading.get_ident() in self._active:
                raise StoreError(f"the store {self.path} has grown while this thread was reading it; try again")
            self._pauses += 1
            try:
                while not self._idle.wait_for(lambda: not self._active, _QUIET_SECONDS):
                    self._let_in()
                yield
            finally:
                self._pauses -= 1
                self._idle.notify_all()

    def _let_in(self) -> None:
        """Lets transactions begin for a moment: one that goes on may wait for a thread that would begin another."""
        self._pauses -= 1
        self._idle.notify_all()
        self._idle.wait(_LET_IN_SECONDS)
        self._pauses += 1

    def copy_compacted(self, path: Path) -> None:
        """Writes what is alive to a new file, durably."""
        with mapped_errors(self.path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                os.fchmod(descriptor, os.stat(self._data).st_mode & 0o7777)
                with self._calling():
                    self._env.copyfd(descriptor, compact=True)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Closes the environment; transactions must have ended."""
        self._closed = True
        self._env.close()
        self.lease.release()

    def close_if_idle(self) -> bool:
        """Closes the environment if it is not in use; otherwise the last one that is done will ask again."""
        with self._lock:
            self._closing = True
            if self._is_idle() and not self._closed:
                self.close()
            return self._closed

    def keep_open(self) -> None:
        """Takes back a wish to close."""
        with self._lock:
            self._closing = False

    def pause(self) -> bool:
        """Keeps transactions from beginning and waits until there are none; False if some go on."""
        with self._lock:
            self._pauses += 1
            mine = threading.get_ident()
            return self._idle.wait_for(lambda: set(self._active) <= {mine}, _FORK_SECONDS) and not self._active

    def go_on(self) -> None:
        """Lets transactions begin again."""
        with self._lock:
            self._pauses -= 1
            self._idle.notify_all()

    def leak(self) -> None:
        """Makes sure, in a forked child, that nothing ever closes what is still in use in the parent."""
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._env))


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
        status = os.stat(os.path.join(path, "data.mdb"))
        key = (status.st_dev, status.st_ino)
        shared = _registry.get(key)
        if shared is None:
            shared = _registry[key] = Environment(path)
        shared.users += 1
        shared.keep_open()
        return shared


def release(shared: Environment) -> None:
    """Gives an environment back; the last user closes it, once nobody reads from it."""
    with _registry_lock:
        shared.users -= 1
        close_idle(shared)


def close_idle(shared: Environment) -> None:
    """Closes an environment that has no users and no transactions."""
    with _registry_lock:
        if shared.users == 0 and shared.close_if_idle():
            for key, value in list(_registry.items()):
                if value is shared:
                    del _registry[key]


def abandon(shared: Environment, pid: int) -> None:
    """Notes that a handle is gone without having been closed.

    Called by the garbage collector, at any moment, so it only takes a note; the next :func:`acquire` acts on it.
    """
    if pid == os.getpid():
        _abandoned.append(shared)


def _release_abandoned() -> None:
    while _abandoned:
        release(_abandoned.popleft())


def release_dropped() -> None:
    """Releases what handles have that nobody uses any more, also those that the garbage collector has not met yet."""
    gc.collect()
    with _registry_lock:
        _release_abandoned()


_in_use_at_fork: list[Environment] = []


def _before_fork() -> None:
    """Waits for transactions to end, so that no snapshot is open in both processes.

    A reader's place in the lock file belongs to the parent; a child that closed its copy would give it away.
    """
    _registry_lock.acquire()
    _in_use_at_fork[:] = [shared for shared in _registry.values() if not shared.pause()]


def _after_fork_in_parent() -> None:
    for shared in _registry.values():
        shared.go_on()
    _registry_lock.release()


def _after_fork_in_child() -> None:
    """Closes what belongs to the parent; handles open it again when they need it."""
    global _registry_lock
    _registry_lock = threading.RLock()
    _abandoned.clear()
    for shared in _registry.values():
        if shared in _in_use_at_fork:
            shared.leak()
        else:
            shared.close()
    _registry.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
