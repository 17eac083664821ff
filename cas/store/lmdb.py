"""The store of one machine: blobs in segments inside one LMDB environment (FORMAT section 7)."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

import lmdb
import numpy as np

from cas.errors import ConflictError, CorruptedError, ReadOnlyError, StoreError, StoreExistsError, StoreNotFoundError
from cas.hashing import Bytes, Hashes, split_hashes
from cas.store import environment
from cas.store.contract import STORE, Laid, Lease, Run, T, single_runs
from cas.store.environment import INDEX, SEGMENTS, Environment
from cas.store.forks import renewed_in_children
from cas.store.leases import MARKER, OPEN, WRITING, ExclusiveLease, FileLease, NoLease, is_held, place_of
from cas.store.medium import ALLOWED, network_file_system
from cas.store.places import OFFSET_BITS, OFFSET_MASK, PLACE, PLACES, Places, index_order
from cas.store.prefetch import ReadAhead
from cas.store.segments import SEGMENT_KEY, Report, lay_segments, reclaim
from cas.store.tables import Table
from cas.store.threads import short_calls

_MARKER_BEGIN: Final = b"cas store"
MARKER_TEXT: Final = _MARKER_BEGIN + b", format 1\n"
NEW_FILE: Final = "data.mdb.new"
_CLOCK: Final = struct.Struct("<Q")


def is_store(path: Path) -> bool:
    """Whether the directory is a store, complete with its marker."""
    try:
        if not _is_file(os.path.join(path, "data.mdb")):
            return False
        with open(os.path.join(path, MARKER), "rb", buffering=0) as marker:
            return marker.read(len(_MARKER_BEGIN)) == _MARKER_BEGIN
    except (OSError, ValueError):
        return False


def _is_file(path: str) -> bool:
    """Whether there is a file; unlike ``os.path.isfile`` it raises where that cannot be told."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def create_files(path: Path, initialise: Callable[[LmdbTransaction], None]) -> LmdbStore:
    """Makes a new store in a directory that is missing or empty, and runs ``initialise`` in its first transaction.

    The marker file is written last, so a crash leaves either a store or a directory that is none.
    """
    made = [path, *(above for above in path.parents if not above.exists())]
    with _begun(path) as marker:
        store = LmdbStore(path)
        try:
            store.write(initialise)
            os.write(marker, MARKER_TEXT)
            os.fsync(marker)
        except BaseException as error:
            store.close()
            remove_files(path)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise environment.full_error(path) from error
            raise
    # Each holds the name of the one before it.
    for directory in (*made, made[-1].parent):
        sync_directory(directory)
    return store


@contextmanager
def _begun(path: Path) -> Iterator[int]:
    """Makes the files of a store that is being made, and gives the marker, empty, and locked until it is finished.

    What a process that died has left is taken over; what one that lives is making is not.
    """
    try:
        begun = is_begun(path)
        if not begun and path.exists() and (not path.is_dir() or _names(path) - {ALLOWED}):
            raise StoreExistsError(
                f"{path} exists already and is not an empty directory; choose another path", name=str(path)
            )
        path.mkdir(parents=True, exist_ok=True)
        network = network_file_system(path)
        if network is not None:
            raise _on_network(path, network)
        marker = os.open(path / MARKER, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StoreError(f"no store can be made at {str(path)[:200]}: {error.strerror}") from error
    try:
        _lock_or_refuse(path, marker)
        os.truncate(marker, 0)
        for name in ("data.mdb", "lock.mdb"):
            (path / name).unlink(missing_ok=True)
        (path / "data.mdb").touch()
        yield marker
    finally:
        os.close(marker)


def _lock_or_refuse(path: Path, marker: int) -> None:
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreExistsError(f"another process is making a store at {path}", name=str(path)) from None
    except OSError:
        pass  # the file system has no such locks
    if os.stat(path / MARKER).st_ino != os.fstat(marker).st_ino or os.fstat(marker).st_size == len(MARKER_TEXT):
        raise StoreExistsError(f"another process has made a store at {path}", name=str(path))


def is_begun(path: Path) -> bool:
    """Whether the directory holds a store that somebody began to make, and nothing else: its marker is not complete."""
    try:
        text = (path / MARKER).read_bytes()
        known = {MARKER, "data.mdb", "lock.mdb", ALLOWED}
        return len(text) < len(MARKER_TEXT) and MARKER_TEXT.startswith(text) and _names(path) <= known
    except OSError:
        return False


def _names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


def _on_network(path: Path, kind: str) -> StoreError:
    return StoreError(
        f"{path} is on the network file system {kind}, across which LMDB cannot keep its promises: a store there may "
        f"be read, but not written. If only one computer ever uses it, answer for that with: touch {path / ALLOWED}"
    )


def remove_files(path: Path) -> None:
    """Removes the files of a store, the marker first, and the directory if nothing else is in it."""
    for name in (MARKER, "data.mdb", "lock.mdb", NEW_FILE):
        (path / name).unlink(missing_ok=True)
    with suppress(OSError):
        path.rmdir()


def sync_directory(path: Path) -> None:
    """Makes names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LmdbStore:
    """A store in a directory. Handles are cheap: all of a process share one environment, also across threads.

    A handle survives ``fork`` and pickling: it opens the environment again where it is used.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        # Names made once: every write looks at both files.
        self._data, self._marker = os.path.join(path, "data.mdb"), os.path.join(path, MARKER)
        self._read_only = read_only
        self._shared: Environment | None = None
        self._pid = 0
        self._file: tuple[int, int] | None = None
        self._finalizer: weakref.finalize[[Environment, int], LmdbStore]
        self._lock = renewed_in_children(self, threading.RLock)

    @property
    def read_only(self) -> bool:
        return self._read_only

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self._read_only)

    def _environment(self) -> Environment:
        with self._lock:
            if self._shared is None or self._pid != os.getpid():
                if not _is_file(self._data):
                    raise StoreNotFoundError(f"there is no store at {self.path}", name=str(self.path))
                self._check_file()
                shared = environment.acquire(self.path)
                if shared.network is not None and not self._read_only:
                    network = shared.network
                    environment.release(shared)
                    raise _on_network(self.path, network)
                self._shared = shared
                self._pid = os.getpid()
                self._finalizer = weakref.finalize(self, environment.abandon, self._shared, self._pid)
                self._finalizer.atexit = False
            return self._shared

    @contextmanager
    def _in_use(self) -> Iterator[Environment]:
        """The environment, which no other thread closes within the block; one that was closed is opened again."""
        while not (shared := self._environment()).hold():
            pass
        try:
            yield shared
        finally:
            shared.let_go()

    def read(self) -> _OpenView:
        return _OpenView(self)

    def write(self, change: Callable[[LmdbTransaction], T]) -> T:
        if self._read_only:
            raise ReadOnlyError(f"the store {self.path} is open for reading only; open it for writing")
        with self._in_use() as shared:
            if shared.read_only:
                raise ReadOnlyError(f"the store {self.path} cannot be written: its files are read-only for this user")
            self._check_file()
            with shared.write_lock:
                return self._write(shared, change)

    def _write(self, shared: Environment, change: Callable[[LmdbTransaction], T]) -> T:
        while True:
            try:
                with shared.transaction(write=True) as txn:
                    result = change(LmdbTransaction(shared, txn))
            except lmdb.MapFullError:
                shared.grow()
                continue
            # What was written is durable by now, so an error here must not say that it is not; the next one tries again
            with suppress(StoreError):
                shared.complete()
            return result

    def _check_file(self) -> None:
        """Refuses a store that was deleted, or that another one has taken the place of, since the handle was opened."""
        try:
            status = os.stat(self._data)
            os.stat(self._marker)
        except FileNotFoundError as error:
            gone = os.path.basename(error.filename)
            raise StoreNotFoundError(
                f"the store {self.path} was deleted: {gone} is gone", name=str(self.path)
            ) from None
        found = (status.st_dev, status.st_ino)
        if self._file not in (None, found):
            raise StoreNotFoundError(f"the store {self.path} was replaced by another one; open it again")
        self._file = found

    def stored_bytes(self) -> int:
        return sum(entry.stat().st_blocks * 512 for entry in self.path.iterdir() if entry.is_file())

    def lease_writing(self) -> FileLease:
        self._check_file()
        return FileLease(self._marker, WRITING)

    def lease_reading(self, version: bytes) -> Lease:
        try:
            os.stat(self._marker)
        except FileNotFoundError:
            return NoLease()  # the store was deleted: whatever needs it will say so
        return FileLease(self._marker, place_of(version))

    def is_read(self, version: bytes) -> bool:
        return is_held(self._marker, place_of(version))

    @contextmanager
    def collecting(self) -> Iterator[None]:
        try:
            lease = ExclusiveLease(self._marker, WRITING)
        except BlockingIOError:
            raise ConflictError(f"others are writing to the store {self.path}; try again when they are done") from None
        try:
            yield
        finally:
            lease.release()

    def reclaim(self, report: Report | None = None) -> int:
        return reclaim(self._environment(), lambda change: self.write(lambda txn: change(txn._txn)), report)

    def compact(self) -> int:
        shared = self._environment()
        if shared.read_only or self._read_only:
            raise ReadOnlyError(f"the store {self.path} cannot be compacted: it is open for reading only")
        with self._alone(shared), shared.write_lock:
            new = self.path / NEW_FILE
            new.unlink(missing_ok=True)
            shared.copy_compacted(new)
            self.close()
            os.replace(new, self.path / "data.mdb")
            sync_directory(self.path)
            self._file = None
        return self.stored_bytes()

    @contextmanager
    def _alone(self, shared: Environment) -> Iterator[None]:
        """Keeps everybody else from opening the store; refused where somebody has it open."""
        if shared.users > 1:
            environment.release_dropped()
        where = "another handle of this process" if shared.users > 1 else "another process"
        try:
            if shared.users > 1:
                raise BlockingIOError
            shared.lease.release()
            lease = ExclusiveLease(self._marker, OPEN)
        except BlockingIOError:
            shared.lease = FileLease(self._marker, OPEN)
            raise ConflictError(f"the store {self.path} is open in {where}; close it there to compact it") from None
        try:
            yield
        finally:
            lease.release()

    def close(self) -> None:
        with self._lock:
            if self._shared is not None and self._pid == os.getpid():
                self._finalizer.detach()
                environment.release(self._shared)
            self._shared = None


class _OpenView:
    """A view as a context; a class of its own, for a generator would take as long as the transaction."""

    __slots__ = ("_shared", "_store", "_txn")

    def __init__(self, store: LmdbStore) -> None:
        self._store = store

    def __enter__(self) -> LmdbReadView:
        txn = None
        while txn is None:
            self._shared = self._store._environment()
            txn = self._shared.begin_reading()
        self._txn = txn
        return LmdbReadView(self._shared, txn)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._shared.end_reading(self._txn, error)


def _reopen(path: Path, read_only: bool) -> LmdbStore:
    return LmdbStore(path, read_only=read_only)


class LmdbView:
    """One state of the store: blobs are slices of the map, valid until the view closes."""

    def __init__(self, shared: Environment, txn: Any) -> None:
        self._shared = shared
        self._txn = txn
        self._segment_number = 0
        self._segment: Bytes = b""
        self._tables: dict[str, Table] = {}

    def blobs(self, hashes: Sequence[bytes]) -> list[Bytes | None]:
        if len(hashes) == 1:
            value = self._txn.get(hashes[0], db=self._shared.databases[INDEX])
            return [None if value is None else self._slice(hashes[0], self._place(hashes[0], value))]
        places = self._places(hashes)
        return [self._slice(hash_, places.get(hash_)) for hash_ in hashes]

    def runs(self, hashes: Hashes) -> Iterator[Run]:
        places = self._places_of(hashes) if len(hashes) > 1 else None
        if places is None:
            yield from single_runs(self.blobs(split_hashes(hashes)))
            return
        at, sizes = places["at"].astype(np.int64), places["length"].astype(np.int64)
        together = (at[1:] == at[:-1] + sizes[:-1]) & (at[1:] >> OFFSET_BITS == at[:-1] >> OFFSET_BITS)
        starts = np.concatenate(([0], np.flatnonzero(~together) + 1))
        lengths, wholes = sizes.tolist(), np.add.reduceat(sizes, starts).tolist()
        bounds = starts.tolist()
        ahead = ReadAhead()
        for start, stop, first, whole in zip(
            bounds, [*bounds[1:], len(hashes)], at[starts].tolist(), wholes, strict=True
        ):
            data = self._within_segment(first, whole)
            if data is None:
                # Raises for the blob that is lost, which may be a later one.
                self.blobs(split_hashes(hashes[start:stop]))
                raise self._lost(hashes[start].tobytes(), first)
            ahead.follow(data)
            yield Run(start, stop, data, lengths[start:stop])

    def _places_of(self, hashes: Hashes) -> Places | None:
        """The rows of the index for hashes, in their order; None where one is missing or damaged."""
        return self._look_up(hashes)

    def _look_up(self, hashes: Hashes) -> Places | None:
        get, index = self._txn.get, self._shared.databases[INDEX]
        order = index_order(hashes)
        rows = [get(key, b"", index) for key in split_hashes(hashes[order])]
        found = b"".join(rows)
        if len(found) != len(hashes) * PLACES.itemsize or any(len(row) != PLACES.itemsize for row in rows):
            return None
        places = np.empty(len(hashes), PLACES)
        places[order] = np.frombuffer(found, PLACES)
        return places

    def sizes(self, hashes: Sequence[bytes]) -> list[int | None]:
        places = self._places(hashes)
        return [places[hash_][1] if hash_ in places else None for hash_ in hashes]

    def _places(self, hashes: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
        index = self._shared.databases[INDEX]
        with self._txn.cursor(index) as cursor:
            found = cursor.getmulti(sorted(hashes))
            return {bytes(key): self._place(key, value) for key, value in found}

    def _place(self, hash_: Bytes, value: Bytes) -> tuple[int, int]:
        if len(value) != PLACE.size:
            raise CorruptedError(f"the index row of blob {bytes(hash_).hex()} is damaged", blob=bytes(hash_).hex())
        at, length = PLACE.unpack(value)
        return at, length

    def _slice(self, hash_: bytes, place: tuple[int, int] | None) -> Bytes | None:
        if place is None:
            return None
        blob = self._within_segment(*place)
        if blob is None:
            raise self._lost(hash_, place[0])
        return blob

    def _within_segment(self, at: int, length: int) -> Bytes | None:
        """Bytes of a segment; None where it does not have them."""
        number, offset = at >> OFFSET_BITS, at & OFFSET_MASK
        if number < 0:  # as a number with a sign: no segment comes so far
            return None
        if number != self._segment_number:
            self._segment = self._txn.get(SEGMENT_KEY.pack(number), b"", self._shared.databases[SEGMENTS])
            self._segment_number = number
        blob = self._segment[offset : offset + length]
        return blob if len(blob) == length else None

    @staticmethod
    def _lost(hash_: bytes, at: int) -> CorruptedError:
        return CorruptedError(f"blob {hash_.hex()} is missing from its segment {at >> OFFSET_BITS}", blob=hash_.hex())

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._table(table).get(key)

    def clock(self) -> int:
        stored = self.get(STORE, b"clock")
        if stored is not None and len(stored) != _CLOCK.size:
            raise CorruptedError(f"the clock of the store {self._shared.path} is damaged", blob="clock")
        return int(_CLOCK.unpack(stored)[0]) if stored else 0

    def hashes(self, after: bytes, count: int) -> list[bytes]:
        with self._txn.cursor(self._shared.databases[INDEX]) as cursor:
            if not cursor.set_range(after):
                return []
            found = [bytes(key) for key in islice(cursor.iternext(keys=True, values=False), count + 1)]
        return [hash_ for hash_ in found if hash_ > after][:count]

    def scan(self, table: str, prefix: bytes = b"", *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return self._table(table).scan(prefix, reverse=reverse)

    def scan_damaged(self, table: str) -> Iterator[tuple[bytes, bytes | CorruptedError]]:
        return self._table(table).scan_damaged()

    def _table(self, name: str) -> Table:
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = Table(self._txn, self._shared.databases[name], name, self._shared.seals[name])
        return table


class LmdbReadView(LmdbView):
    """A view that only reads: where blobs lie does not change while it is open."""

    def _places_of(self, hashes: Hashes) -> Places | None:
        state, seen = self._txn.id(), self._shared.places
        places, known = seen.find(hashes, state)
        unknown = np.flatnonzero(~known)
        if not len(unknown):
            return places
        others = self._look_up(hashes[unknown])
        if others is None:
            return None
        seen.add(hashes[unknown], others, state)
        places[unknown] = others
        return places


class LmdbTransaction(LmdbView):
    """A view that writes: blobs are laid into segments under a growing number."""

    def __init__(self, shared: Environment, txn: Any) -> None:
        super().__init__(shared, txn)
        self._now: int | None = None

    def put_blobs(self, blobs: Sequence[tuple[bytes, Bytes]]) -> None:
        self.put_laid([Laid.one(*item) for item in blobs])

    def put_laid(self, laid: Sequence[Laid]) -> None:
        if laid:
            with short_calls():
                lay_segments(self._shared, self._txn, laid)

    def remove_blobs(self, hashes: Sequence[bytes]) -> None:
        index = self._shared.databases[INDEX]
        for hash_ in sorted(hashes):
            self._txn.delete(hash_, db=index)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self._table(table).put(key, value)

    def remove(self, table: str, key: bytes) -> None:
        self._txn.delete(key, db=self._shared.databases[table])

    def timestamp(self) -> int:
        if self._now is None:
            self._now = max(_file_system_time(self._shared.marker), self.clock() + 1)
            self.put(STORE, b"clock", _CLOCK.pack(self._now))
        return self._now


def _file_system_time(marker: str) -> int:
    """Touches the marker and returns the time that its file system gave it, in microseconds."""
    try:
        os.utime(marker)
        return os.stat(marker).st_mtime_ns // 1000
    except OSError as error:
        raise StoreError(f"the storage clock {marker} cannot be touched: {error}") from error
