"""A store that ends the process at one of its operations: a fuse counts them, and burns at the one it is set to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from cas.hashing import Bytes
from cas.store import lmdb
from cas.store.contract import Store, T, Transaction, View

DIED = 86


class Fuse:
    """Counts operations; the process ends, at once and without any cleaning up, at operation ``at``, from 1."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.count = 0
        self.paused = False

    def step(self) -> None:
        if not self.paused:
            self.count += 1
            if self.count == self.at:
                os._exit(DIED)


class FaultyStore:
    """Wraps a store: each read and write, what a write does, and its commit, before and after, is an operation."""

    def __init__(self, store: Store, fuse: Fuse) -> None:
        self._store = store
        self._fuse = fuse

    @property
    def read_only(self) -> bool:
        return self._store.read_only

    @contextmanager
    def read(self) -> Iterator[View]:
        self._fuse.step()
        with self._store.read() as view:
            yield view

    def write(self, change: Callable[[Transaction], T]) -> T:
        def watched(txn: Transaction) -> T:
            result = change(FaultyTransaction(txn, self._fuse))
            self._fuse.step()
            return result

        self._fuse.step()
        result = self._store.write(watched)
        self._fuse.step()
        return result

    def stored_bytes(self) -> int:
        return self._store.stored_bytes()

    def close(self) -> None:
        self._store.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)  # leases, and what collects: no steps of their own


class FaultyTransaction:
    """Wraps a transaction."""

    def __init__(self, txn: Transaction, fuse: Fuse) -> None:
        self._txn = txn
        self._fuse = fuse
        self.get, self.scan, self.blobs, self.sizes = txn.get, txn.scan, txn.blobs, txn.sizes
        self.clock, self.hashes, self.remove_blobs = txn.clock, txn.hashes, txn.remove_blobs

    def put_blobs(self, blobs: Sequence[tuple[bytes, Bytes]]) -> None:
        self._fuse.step()
        self._txn.put_blobs(blobs)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self._fuse.step()
        self._txn.put(table, key, value)

    def remove(self, table: str, key: bytes) -> None:
        self._fuse.step()
        self._txn.remove(table, key)

    def timestamp(self) -> int:
        self._fuse.step()
        return self._txn.timestamp()


@contextmanager
def faulty_stores(fuse: Fuse) -> Iterator[None]:
    """Makes every store that is opened or made within the block a faulty one; making one has operations of its own."""
    real, sync = lmdb.LmdbStore, lmdb.sync_directory

    def opened(path: Path, **options: Any) -> FaultyStore:
        fuse.step()
        return FaultyStore(real(path, **options), fuse)

    def synced(path: Path) -> None:
        fuse.step()
        sync(path)

    with (
        mock.patch.object(lmdb, "LmdbStore", opened),
        mock.patch("cas.repo.repository.LmdbStore", opened),
        mock.patch.object(lmdb, "sync_directory", synced),
    ):
        yield
