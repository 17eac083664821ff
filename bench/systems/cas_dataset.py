"""The package itself, through its public interface, as its README shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

import cas
from cas import (  # noqa: F401  # their import is not to be timed
    create,
    errors,
    init,
    load_tensors,
    open,  # noqa: A004
    open_read_only,
    save_tensors,
    types,
)
from systems.contract import FILE, Array, Batch, Column, Ints, System, Tensors


def _type(column: Column) -> Any:
    if column.dtype == FILE:
        return types.Image()
    return types.Array(column.dtype, column.shape) if column.shape else column.dtype


class Cas(System):
    """One dataset in a store of its own; checkpoints are datasets of a store of many."""

    module = "cas"
    files = True
    durable = True
    _ds: cas.Dataset | None = None

    @property
    def ds(self) -> cas.Dataset:
        """The dataset, opened where it was not."""
        if self._ds is None:
            self._ds = cas.open(self.place)
        return self._ds

    def close(self) -> None:
        if self._ds is not None:
            self._ds.close()
        self._ds = None

    def ingest(self, batches: Iterable[Batch], *, plain: bool = False) -> None:
        schema = {name: _type(column) for name, column in self.columns.items()}
        self._ds = cas.create(self.place, schema=schema, compress=not plain)
        for batch in batches:
            self._ds.append(batch)
        self._ds.commit("ingested")

    def open(self) -> int:
        self.close()
        return len(self.ds)

    def append(self, batch: Batch) -> None:
        self.ds.append(batch)
        self.ds.commit("appended")

    def update(self, column: str, numbers: Ints, values: Array) -> None:
        self.ds[column][numbers] = values
        self.ds.commit("updated")

    def insert(self, at: int, batch: Batch) -> None:
        self.ds.insert(at, batch)
        self.ds.commit("inserted")

    def row(self, column: str, number: int) -> Any:
        return self.ds[column][number]

    def rows(self, column: str, numbers: Ints) -> Any:
        return self.ds[column][numbers]

    def scan(self, column: str, size: int) -> Iterator[Any]:
        for batch in self.ds.batches(size):
            yield batch[column]

    def whole(self, column: str) -> Any:
        if self.columns[column].dtype == FILE:
            return [file for batch in self.ds[column].bytes_batches() for file in batch]
        return self.ds[column][:]

    def versions(self) -> list[str]:
        return [version.id for version in self.ds.history]

    def row_at(self, version: str, column: str, number: int) -> Any:
        with cas.open_read_only(self.place, version) as old:
            return old[column][number]

    def tag(self, name: str) -> None:
        self.ds.tag(name)

    def tagged(self, name: str) -> int:
        return len(self.ds.tags[name].open())

    def tags(self) -> list[str]:
        return self.ds.tags.names()

    def set(self, key: str, value: Any) -> None:
        self.ds.metadata[key] = value

    def get(self, key: str) -> Any:
        return self.ds.metadata[key]

    def changed_rows(self, column: str) -> Ints:
        changes = self.ds.diff("main~1").updated[column]
        return np.array([change.row for change in changes])

    def save(self, name: str, tensors: Tensors) -> None:
        if not self.place.exists():
            cas.init(self.place)
        cas.save_tensors(self.place / name, tensors)

    def load(self, name: str) -> dict[str, Array]:
        return cas.load_tensors(self.place / name)
