"""Deep Lake 4: https://docs.deeplake.ai. It syncs nothing; rows cannot be inserted, so those behind are rewritten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import deeplake
import numpy as np

from systems.contract import FILE, Array, Batch, Column, Ints, System, Tensors


def _type(column: Column) -> Any:
    if column.dtype == FILE:
        return deeplake.types.Bytes()
    return deeplake.types.Array(column.dtype, shape=list(column.shape)) if column.shape else column.dtype


class DeepLake(System):
    """One dataset; checkpoints are datasets side by side."""

    module = "deeplake"
    files = True
    _ds: Any = None

    def close(self) -> None:
        self._ds = None

    def ingest(self, batches: Iterable[Batch], *, plain: bool = False) -> None:
        """Appends batch by batch; arrays are not compressed either way."""
        self._ds = deeplake.create(str(self.place))
        for name, column in self.columns.items():
            self._ds.add_column(name, _type(column))
        for batch in batches:
            self._ds.append(dict(batch))
        self._ds.commit("ingested")

    def open(self) -> int:
        self._ds = deeplake.open(str(self.place))
        return len(self._ds)

    def append(self, batch: Batch) -> None:
        self._ds.append(dict(batch))
        self._ds.commit("appended")

    def update(self, column: str, numbers: Ints, values: Array) -> None:
        self._assign(column, numbers, values)
        self._ds.commit("updated")

    def _assign(self, column: str, numbers: Ints, values: Array) -> None:
        target = self._ds[column]
        for number, value in zip(numbers.tolist(), values, strict=True):
            target[number] = value

    def insert(self, at: int, batch: Batch) -> None:
        """Moves the rows behind: new values for the last ones, the others appended."""
        count, rows = len(next(iter(batch.values()))), len(self._ds)
        moved = {name: np.concatenate([values, self._ds[name][at:rows]]) for name, values in batch.items()}
        for name, values in moved.items():
            self._ds[name][at:rows] = values[: rows - at]
        self._ds.append({name: values[-count:] for name, values in moved.items()})
        self._ds.commit("inserted")

    def row(self, column: str, number: int) -> Any:
        return self._ds[column][number]

    def rows(self, column: str, numbers: Ints) -> Any:
        return self._ds[column][numbers.tolist()]

    def scan(self, column: str, size: int) -> Iterator[Any]:
        for start in range(0, len(self._ds), size):
            yield self._ds[column][start : min(start + size, len(self._ds))]

    def whole(self, column: str) -> Any:
        """It is a new array where rows are in several chunks; a small table in one chunk is a view of its cache."""
        if self.columns[column].dtype == FILE:
            return [bytes(file) for file in self._ds[column][:]]
        return self._ds[column][:]

    def versions(self) -> list[Any]:
        return [version.id for version in self._ds.history]

    def row_at(self, version: Any, column: str, number: int) -> Any:
        old = self._ds.history[version].open()
        return old[column][number]

    def tag(self, name: str) -> None:
        self._ds.tag(name)

    def tagged(self, name: str) -> int:
        return len(self._ds.tags[name].open())

    def tags(self) -> list[str]:
        return list(self._ds.tags.names())

    def set(self, key: str, value: Any) -> None:
        """Sets it and commits: without that it reaches no file."""
        self._ds.metadata[key] = value
        self._ds.commit("set")

    def get(self, key: str) -> Any:
        return self._ds.metadata[key]

    def save(self, name: str, tensors: Tensors) -> None:
        ds = deeplake.create(str(self.place / name))
        ds.add_column("name", deeplake.types.Text())
        ds.add_column("shape", deeplake.types.Array("int64", 1))
        ds.add_column("data", deeplake.types.Array("float32", 1))
        shapes = [np.array(tensor.shape) for tensor in tensors.values()]
        ds.append({"name": list(tensors), "shape": shapes, "data": [tensor.ravel() for tensor in tensors.values()]})
        ds.commit("saved")

    def load(self, name: str) -> dict[str, Array]:
        ds: Any = deeplake.open(str(self.place / name))
        columns = zip(ds["name"][:], ds["shape"][:], ds["data"][:], strict=True)
        return {str(key): np.array(data).reshape(shape) for key, shape, data in columns}
