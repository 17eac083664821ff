"""A store's database under the knife: rows and bytes changed through LMDB itself, as a failing disk would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from cas.store.places import OFFSET_BITS, OFFSET_MASK, PLACE
from cas.store.segments import SEGMENT_KEY
from cas.store.tables import SEAL_BYTES, seal


def _seal_bytes(table: str) -> int:
    """How many bytes of the rows of a table are their seal."""
    return 0 if table in ("index", "segments") else SEAL_BYTES


class RawStore:
    """The rows of a store's tables; nobody in this process may have it open."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[Callable[[str], tuple[Any, Any]]]:
        with lmdb.open(str(self.path), max_dbs=16, map_size=1 << 30, create=False, lib_version=0, sync=False) as env:
            names = ("index", "segments", "versions", "datasets", "refs", "metadata", "reflog", "sessions", "cache")
            databases = {name: env.open_db(name.encode(), create=False) for name in (*names, "store")}
            with env.begin(write=write) as txn:
                yield lambda name: (txn, databases[name])

    def rows(self, table: str) -> dict[bytes, bytes]:
        """All rows of a table."""
        with self._transaction(write=False) as open_:
            txn, database = open_(table)
            return {key: value[: -_seal_bytes(table) or None] for key, value in txn.cursor(database).iternext()}

    def get(self, table: str, key: bytes) -> bytes:
        """The value of a row, which must be there."""
        with self._transaction(write=False) as open_:
            txn, database = open_(table)
            value = txn.get(key, db=database)
            assert value is not None
            return bytes(value)[: -_seal_bytes(table) or None]

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Sets a row, under a seal where it has one."""
        with self._transaction(write=True) as open_:
            txn, database = open_(table)
            txn.put(key, seal(table, key, value) if _seal_bytes(table) else value, db=database)

    def break_seal(self, table: str, key: bytes) -> None:
        """Changes the last byte of a row as it is stored."""
        with self._transaction(write=True) as open_:
            txn, database = open_(table)
            stored = bytes(txn.get(key, db=database))
            txn.put(key, stored[:-1] + bytes([stored[-1] ^ 1]), db=database)

    def remove(self, table: str, key: bytes) -> None:
        """Removes a row, which must be there."""
        with self._transaction(write=True) as open_:
            txn, database = open_(table)
            assert txn.delete(key, db=database)

    def change(self, table: str, key: bytes, change: Callable[[bytes], bytes]) -> None:
        """Changes the value of a row."""
        self.put(table, key, change(self.get(table, key)))

    def blob(self, hash_: bytes) -> bytes:
        """The bytes at rest."""
        at, length = PLACE.unpack(self.get("index", hash_))
        segment = self.get("segments", SEGMENT_KEY.pack(at >> OFFSET_BITS))
        return segment[at & OFFSET_MASK :][:length]

    def flip(self, hash_: bytes, byte: int = -1, bit: int = 0) -> None:
        """Flips a bit of a blob at rest, of its last byte where none is said."""
        at, length = PLACE.unpack(self.get("index", hash_))
        offset = (at & OFFSET_MASK) + byte % length

        def flipped(segment: bytes) -> bytes:
            return segment[:offset] + bytes([segment[offset] ^ 1 << bit]) + segment[offset + 1 :]

        self.change("segments", SEGMENT_KEY.pack(at >> OFFSET_BITS), flipped)

    def swap(self, one: bytes, other: bytes) -> None:
        """Lets two hashes lead to each other's blob."""
        places = self.get("index", one), self.get("index", other)
        self.put("index", one, places[1])
        self.put("index", other, places[0])
