"""HDF5 by ``h5py``: one file, written in place. There are no versions, and it syncs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import h5py
import numpy as np

from systems.contract import Array, Batch, Ints, System, Tensors

CHUNK_BYTES = 1 << 19


class Hdf5(System):
    """A dataset a column, in chunks of half a MiB; a checkpoint is a file."""

    module = "h5py"
    _file: Any = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def ingest(self, batches: Iterable[Batch], *, plain: bool = False) -> None:
        """Adds batch by batch; there is no compression unless it is asked for."""
        self.place.mkdir(parents=True)
        self._file = h5py.File(self.place / "table.h5", "w")
        for name, column in self.columns.items():
            rows = max(1, CHUNK_BYTES // (column.items * np.dtype(column.dtype).itemsize))
            shape, chunks = (None, *column.shape), (rows, *column.shape)
            self._file.create_dataset(name, (0, *column.shape), column.dtype, maxshape=shape, chunks=chunks)
        for batch in batches:
            self._add(batch)
        self._file.flush()

    def _add(self, batch: Batch) -> None:
        for name in self.columns:
            target = self._file[name]
            rows = len(target)
            target.resize(rows + len(batch[name]), axis=0)
            target[rows:] = batch[name]

    def open(self) -> int:
        self.close()
        self._file = h5py.File(self.place / "table.h5", "r+")
        return len(self._file[next(iter(self.columns))])

    def append(self, batch: Batch) -> None:
        self._add(batch)
        self._file.flush()

    def update(self, column: str, numbers: Ints, values: Array) -> None:
        self._file[column][numbers] = values
        self._file.flush()

    def row(self, column: str, number: int) -> Any:
        return self._file[column][number]

    def rows(self, column: str, numbers: Ints) -> Any:
        """Reads each row once, in order, as h5py demands, and spreads them."""
        distinct, inverse = np.unique(numbers, return_inverse=True)
        return self._file[column][distinct][inverse]

    def scan(self, column: str, size: int) -> Iterator[Any]:
        for start in range(0, len(self._file[column]), size):
            yield self._file[column][start : start + size]

    def whole(self, column: str) -> Any:
        return self._file[column][:]

    def set(self, key: str, value: Any) -> None:
        """Sets an attribute; a dict is kept as its values by key."""
        self._file.require_group(f"metadata/{key}").attrs.update(value)
        self._file.flush()

    def get(self, key: str) -> Any:
        return dict(self._file[f"metadata/{key}"].attrs)

    def save(self, name: str, tensors: Tensors) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        with h5py.File(self.place / f"{name}.h5", "w") as file:
            for key, tensor in tensors.items():
                file.create_dataset(key, data=tensor)

    def load(self, name: str) -> dict[str, Array]:
        with h5py.File(self.place / f"{name}.h5", "r") as file:
            return {key: file[key][:] for key in file}
