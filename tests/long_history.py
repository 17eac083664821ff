"""Histories of thousands of versions in seconds, and the look-ups that using them takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

import cas
from cas.hashing import Kind
from cas.history.graph import new_entry
from cas.history.records import encode_version, write_payload
from cas.history.row_map import RowMap
from cas.repo.commit import move_ref
from cas.repo.repository import find_ref
from cas.store.contract import VERSIONS, Transaction
from cas.store.lmdb import LmdbTransaction, LmdbView
from cas.store.writer import BlobWriter


def extend(ds: cas.Dataset, count: int) -> list[str]:
    """Adds versions of equal content to ``main``, as commits write them but all in one transaction.

    Version ``i`` of these has the message ``version i`` and a storage time ``i`` + 1 microseconds after the head's.
    """
    repository, dataset, head = ds._repository, ds._dataset, ds._draft.base
    writer = BlobWriter(repository.store)
    same = write_payload(RowMap.from_runs([(len(ds), 0, 0)]).encode(), repository.nodes, writer)
    last = repository.version(head)
    records = []
    parent = head
    for number in range(count):
        record = dataclasses.replace(
            last, parents=(parent,), row_maps=(same,), message=f"version {number}", client_timestamp=number, details={}
        )
        parent = writer.add_record(Kind.VERSION, encode_version(record))
        records.append((parent, record.parents))
    writer.flush()

    def change(txn: Transaction) -> None:
        ref = find_ref(txn, dataset, "main")
        assert ref is not None
        assert ref.version == head
        began = ds.version._entry.timestamp + 1
        for number, (version, parents) in enumerate(records):
            txn.put(VERSIONS, version, new_entry(txn, parents, began + number).encode())
        move_ref(txn, dataset, "main", ref, dataclasses.replace(ref, version=parent), "commit", "many versions")

    repository.store.write(change)
    ds.refresh()
    return [version.hex() for version, _ in records]


@dataclass
class Counts:
    """Operations on a store."""

    gets: int = 0
    blobs: int = 0
    scanned: int = 0
    puts: int = 0

    @property
    def all(self) -> int:
        """All of them."""
        return self.gets + self.blobs + self.scanned + self.puts


@contextmanager
def counted() -> Iterator[Counts]:
    """Counts table look-ups, blobs asked for, table rows passed in scans, and table rows and blobs written."""
    counts = Counts()
    get, blobs, scan, put, put_blobs = (
        LmdbView.get, LmdbView.blobs, LmdbView.scan, LmdbTransaction.put, LmdbTransaction.put_blobs
    )  # fmt: skip

    def counting_get(self: LmdbView, table: str, key: bytes) -> bytes | None:
        counts.gets += 1
        return get(self, table, key)

    def counting_blobs(self: LmdbView, hashes: Sequence[bytes]) -> Any:
        counts.blobs += len(hashes)
        return blobs(self, hashes)

    def counting_scan(self: LmdbView, *args: Any, **kwargs: Any) -> Iterator[tuple[bytes, bytes]]:
        for item in scan(self, *args, **kwargs):
            counts.scanned += 1
            yield item

    def counting_put(self: LmdbTransaction, *args: Any) -> None:
        counts.puts += 1
        put(self, *args)

    def counting_put_blobs(self: LmdbTransaction, items: Sequence[Any]) -> None:
        counts.puts += len(items)
        put_blobs(self, items)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LmdbView, "get", counting_get)
        patch.setattr(LmdbView, "blobs", counting_blobs)
        patch.setattr(LmdbView, "scan", counting_scan)
        patch.setattr(LmdbTransaction, "put", counting_put)
        patch.setattr(LmdbTransaction, "put_blobs", counting_put_blobs)
        yield counts
