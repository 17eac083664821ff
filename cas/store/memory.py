"""The reference store: dictionaries in memory, for tests and for reading the contract."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from cas.errors import ConflictError, CorruptedError
from cas.hashing import Bytes, Hashes, split_hashes
from cas.store.contract import TABLES, Laid, Lease, Run, T, single_runs


class MemoryStore:
    """Keeps blobs and tables in dictionaries; gone with the process, otherwise true to the contract.

    One lock guards it: a view holds the lock too, so views are short, as the contract asks.
    """

    read_only = False

    def __init__(self) -> None:
        self._blobs: dict[bytes, bytes] = {}
        self._tables: dict[str, dict[bytes, bytes]] = {table: {} for table in TABLES}
        self._clock = 0
        self._lock = threading.RLock()
        self._writers: weakref.WeakSet[_MemoryLease] = weakref.WeakSet()
        self._readers: dict[bytes, weakref.WeakSet[_MemoryLease]] = {}

    @contextmanager
    def read(self) -> Iterator[_MemoryView]:
        with self._lock:
            yield _MemoryView(self._blobs, self._tables, self._clock)

    def write(self, change: Callable[[_MemoryTransaction], T]) -> T:
        with self._lock:
            blobs = dict(self._blobs)
            tables = {name: dict(table) for name, table in self._tables.items()}
            now = max(time.time_ns() // 1000, self._clock + 1)
            txn = _MemoryTransaction(blobs, tables, self._clock, now)
            result = change(txn)
            self._blobs, self._tables, self._clock = blobs, tables, txn.clock()
            return result

    def stored_bytes(self) -> int:
        with self._lock:
            values = sum(len(k) + len(v) for table in self._tables.values() for k, v in table.items())
            return values + sum(len(hash_) + len(blob) for hash_, blob in self._blobs.items())

    def lease_writing(self) -> Lease:
        with self._lock:
            return self._lease(self._writers)

    def lease_reading(self, version: bytes) -> Lease:
        with self._lock:
            return self._lease(self._readers.setdefault(version, weakref.WeakSet()))

    def _lease(self, holders: weakref.WeakSet[_MemoryLease]) -> Lease:
        lease = _MemoryLease(holders)
        holders.add(lease)
        return lease

    def is_read(self, version: bytes) -> bool:
        return len(self._readers.get(version, ())) > 0

    @contextmanager
    def collecting(self) -> Iterator[None]:
        with self._lock:
            if len(self._writers):
                raise ConflictError("others are writing to the store; try again when they are done")
            yield

    def reclaim(self, report: Callable[[int, int], None] | None = None) -> int:
        return 0

    def compact(self) -> int:
        return self.stored_bytes()

    def close(self) -> None:
        """Does nothing: a closed memory store opens again as it was."""


class _MemoryLease:
    def __init__(self, holders: weakref.WeakSet[_MemoryLease]) -> None:
        self._holders = holders

    def release(self) -> None:
        self._holders.discard(self)


class _MemoryView:
    def __init__(self, blobs: dict[bytes, bytes], tables: dict[str, dict[bytes, bytes]], clock: int) -> None:
        self._blobs = blobs
        self._tables = tables
        self._clock = clock

    def clock(self) -> int:
        return self._clock

    def blobs(self, hashes: Sequence[bytes]) -> list[Bytes | None]:
        return [self._blobs.get(hash_) for hash_ in hashes]

    def runs(self, hashes: Hashes) -> Iterator[Run]:
        return single_runs(self.blobs(split_hashes(hashes)))

    def sizes(self, hashes: Sequence[bytes]) -> list[int | None]:
        return [None if blob is None else len(blob) for blob in self.blobs(hashes)]

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._tables[table].get(key)

    def hashes(self, after: bytes, count: int) -> list[bytes]:
        return sorted(hash_ for hash_ in self._blobs if hash_ > after)[:count]

    def scan(self, table: str, prefix: bytes = b"", *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        rows = self._tables[table]
        for key in sorted((key for key in rows if key.startswith(prefix)), reverse=reverse):
            yield key, rows[key]

    def scan_damaged(self, table: str) -> Iterator[tuple[bytes, bytes | CorruptedError]]:
        return self.scan(table)


class _MemoryTransaction(_MemoryView):
    def __init__(self, blobs: dict[bytes, bytes], tables: dict[str, dict[bytes, bytes]], clock: int, now: int) -> None:
        super().__init__(blobs, tables, clock)
        self._now = now

    def put_blobs(self, blobs: Sequence[tuple[bytes, Bytes]]) -> None:
        for hash_, blob in blobs:
            self._blobs.setdefault(bytes(hash_), bytes(blob))

    def put_laid(self, laid: Sequence[Laid]) -> None:
        for some in laid:
            self.put_blobs(list(some.blobs()))

    def remove_blobs(self, hashes: Sequence[bytes]) -> None:
        for hash_ in hashes:
            self._blobs.pop(hash_, None)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self._tables[table][bytes(key)] = bytes(value)

    def remove(self, table: str, key: bytes) -> None:
        self._tables[table].pop(key, None)

    def timestamp(self) -> int:
        self._clock = self._now
        return self._now
