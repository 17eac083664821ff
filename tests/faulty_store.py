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
from cas.store.contract import Laid, Store, T, Transaction, View
from cas.store.environment import Environment
from cas.store.segments import Report, reclaim

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

    def reclaim(self, report: Report | None = None) -> int:
        return reclaim(
            self._store._environment(),  # type: ignore[attr-defined]
            lambda change: self.write(lambda txn: change(RawTransaction(txn._txn._txn, self._fuse))),  # type: ignore[attr-defined]
            report,
        )

    def stored_bytes(self) -> int:
        return self._store.stored_bytes()

    def close(self) -> None:
        self._store.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)  # leases, which are no steps of their own, and compact: see below


class FaultyTransaction:
    """Wraps a transaction."""

    def __init__(self, txn: Transaction, fuse: Fuse) -> None:
        self._txn = txn
        self._fuse = fuse
        self.get, self.scan, self.blobs, self.sizes = txn.get, txn.scan, txn.blobs, txn.sizes
        self.clock, self.hashes = txn.clock, txn.hashes

    def put_blobs(self, blobs: Sequence[tuple[bytes, Bytes]]) -> None:
        self._fuse.step()
        self._txn.put_blobs(blobs)

    def put_laid(self, laid: Sequence[Laid]) -> None:
        self._fuse.step()
        self._txn.put_laid(laid)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self._fuse.step()
        self._txn.put(table, key, value)

    def remove(self, table: str, key: bytes) -> None:
        self._fuse.step()
        self._txn.remove(table, key)

    def remove_blobs(self, hashes: Sequence[bytes]) -> None:
        self._fuse.step()
        self._txn.remove_blobs(hashes)

    def timestamp(self) -> int:
        self._fuse.step()
        return self._txn.timestamp()


class RawTransaction:
    """Wraps a transaction of LMDB, in which segments are moved."""

    def __init__(self, txn: Any, fuse: Fuse) -> None:
        self._fuse = fuse
        self._txn = txn
        self.get, self.cursor = txn.get, txn.cursor

    def put(self, *arguments: Any, **options: Any) -> None:
        self._fuse.step()
        self._txn.put(*arguments, **options)

    def delete(self, *arguments: Any, **options: Any) -> None:
        self._fuse.step()
        self._txn.delete(*arguments, **options)


@contextmanager
def faulty_stores(fuse: Fuse) -> Iterator[None]:
    """Makes every store that is opened or made within the block a faulty one; making one has operations of its own."""
    real, sync, copy, replace = lmdb.LmdbStore, lmdb.sync_directory, Environment.copy_compacted, os.replace

    def opened(path: Path, **options: Any) -> FaultyStore:
        fuse.step()
        return FaultyStore(real(path, **options), fuse)

    def synced(path: Path) -> None:
        fuse.step()
        sync(path)

    def copied(shared: Environment, path: Path) -> None:
        path.write_bytes(b"")
        fuse.step()
        path.unlink()
        copy(shared, path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        fuse.step()
        path.write_bytes(whole)
        fuse.step()

    def replaced(old: Path, new: Path) -> None:
        fuse.step()
        replace(old, new)
        fuse.step()

    with (
        mock.patch.object(Environment, "copy_compacted", copied),
        mock.patch.object(os, "replace", replaced),
        mock.patch.object(lmdb, "LmdbStore", opened),
        mock.patch("cas.repo.repository.LmdbStore", opened),
        mock.patch.object(lmdb, "sync_directory", synced),
    ):
        yield
