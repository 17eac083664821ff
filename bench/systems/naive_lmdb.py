"""What one writes in an afternoon: LMDB, a blob a row under its BLAKE3 hash, and a table of rows; no versions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import lmdb
import numpy as np
from blake3 import blake3

from systems.contract import FILE, Batch, Column, Ints, System

MAP_BYTES = 1 << 40


def _row_bytes(values: Any, column: Column) -> list[bytes]:
    if column.dtype == FILE:
        return list(values)
    return [row.tobytes() for row in values]


class NaiveLmdb(System):
    """Equal rows are stored once; no compression, no checks on reading."""

    module = "lmdb, blake3"
    files = True
    durable = True
    _env: Any = None

    def _open(self) -> Any:
        if self._env is None:
            self.place.mkdir(parents=True, exist_ok=True)
            self._env = lmdb.open(str(self.place), map_size=MAP_BYTES, max_dbs=3)
            self._blobs, self._rows = self._env.open_db(b"blobs"), self._env.open_db(b"rows")
        return self._env

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._env = None

    def ingest(self, batches: Iterable[Batch], *, plain: bool = False) -> None:
        """Puts all in one transaction."""
        with self._open().begin(write=True) as txn:
            start = 0
            for batch in batches:
                for name, column in self.columns.items():
                    self._put(txn, name, start, _row_bytes(batch[name], column))
                start += len(batch[next(iter(self.columns))])

    def _put(self, txn: Any, name: str, start: int, rows: list[bytes]) -> None:
        for number, row in enumerate(rows, start):
            digest = blake3(row).digest()
            txn.put(digest, row, db=self._blobs, overwrite=False)
            txn.put(name.encode() + number.to_bytes(8, "big"), digest, db=self._rows)

    def open(self) -> int:
        self.close()
        with self._open().begin() as txn:
            return int(txn.stat(self._rows)["entries"]) // len(self.columns)

    def row(self, column: str, number: int) -> Any:
        with self._env.begin() as txn:
            found = txn.get(txn.get(column.encode() + number.to_bytes(8, "big"), db=self._rows), db=self._blobs)
        kind = self.columns[column]
        return found if kind.dtype == FILE else np.frombuffer(found, kind.dtype).reshape(kind.shape)

    def rows(self, column: str, numbers: Ints) -> Any:
        found = [self.row(column, int(number)) for number in numbers]
        return found if self.columns[column].dtype == FILE else np.stack(found)
