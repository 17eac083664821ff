"""ArcticDB on LMDB: https://docs.arcticdb.io. Columns are series of numbers, those of a row one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import arcticdb
import numpy as np
import pandas as pd

from systems.contract import Array, Batch, Column, Ints, System, Tensors

WORD = np.dtype(np.uint64)


def _words(values: Array) -> Any:
    """Rows as a data frame of eight-byte words."""
    return np.ascontiguousarray(values).reshape(-1).view(WORD)


class Arctic(System):
    """A symbol a column; a row is so many words. Adds to the end and reads ranges. LMDB syncs."""

    module = "arcticdb"
    durable = True
    _library: Any = None
    _arctic: Any = None

    def close(self) -> None:
        self._library = self._arctic = None

    def _open(self) -> Any:
        if self._library is None:
            self.place.mkdir(parents=True, exist_ok=True)
            self._arctic = arcticdb.Arctic(f"lmdb://{self.place}?map_size=64GB")
            self._library = self._arctic.get_library("main", create_if_missing=True)
        return self._library

    def _words_a_row(self, column: str) -> int:
        kind: Column = self.columns[column]
        return kind.items * np.dtype(kind.dtype).itemsize // WORD.itemsize

    def _frame(self, column: str, values: Array, start: int) -> Any:
        words = _words(values)
        first = start * self._words_a_row(column)
        return pd.DataFrame({"words": words}, index=pd.RangeIndex(first, first + len(words)))

    def ingest(self, batches: Iterable[Batch], *, plain: bool = False) -> None:
        """Writes the first batch and adds the others; there is no switch for compression."""
        library, start = self._open(), 0
        for batch in batches:
            for name in self.columns:
                library.append(name, self._frame(name, batch[name], start))
            start += len(batch[next(iter(self.columns))])

    def open(self) -> int:
        self.close()
        name = next(iter(self.columns))
        return int(self._open().get_description(name).row_count) // self._words_a_row(name)

    def append(self, batch: Batch) -> None:
        start = self.open_rows()
        for name in self.columns:
            self._library.append(name, self._frame(name, batch[name], start))

    def open_rows(self) -> int:
        """The number of rows now."""
        name = next(iter(self.columns))
        return int(self._library.get_description(name).row_count) // self._words_a_row(name)

    def _read(self, column: str, start: int, stop: int) -> Array:
        words = self._words_a_row(column)
        frame = self._library.read(column, row_range=(start * words, stop * words)).data
        return self._as_rows(column, frame)

    def _as_rows(self, column: str, frame: Any) -> Array:
        kind = self.columns[column]
        found: Array = frame["words"].to_numpy().view(kind.dtype).reshape(-1, *kind.shape)
        return found

    def row(self, column: str, number: int) -> Any:
        return self._read(column, number, number + 1)[0]

    def rows(self, column: str, numbers: Ints) -> Any:
        return np.concatenate([self._read(column, number, number + 1) for number in numbers.tolist()])

    def scan(self, column: str, size: int) -> Iterator[Any]:
        rows = self.open_rows()
        for start in range(0, rows, size):
            yield self._read(column, start, min(start + size, rows))

    def whole(self, column: str) -> Any:
        return self._as_rows(column, self._library.read(column).data)

    def set(self, key: str, value: Any) -> None:
        self._library.write_metadata(key, value)

    def get(self, key: str) -> Any:
        return self._library.read_metadata(key).metadata

    def save(self, name: str, tensors: Tensors) -> None:
        library = self._open()
        library.write_batch([arcticdb.WritePayload(f"{name}/{key}", np.array(value)) for key, value in tensors.items()])

    def load(self, name: str) -> dict[str, Array]:
        library = self._open()
        symbols = library.list_symbols(regex=f"^{name}/")
        found = zip(symbols, library.read_batch(symbols), strict=True)
        return {symbol.partition("/")[2]: item.data for symbol, item in found}
