"""Icechunk with Zarr: https://icechunk.io. It syncs nothing; rows cannot be inserted, so those behind are rewritten."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import icechunk
import numpy as np
import zarr

from systems.contract import Array, Batch, Column, Ints, System, Tensors

CHUNK_BYTES = 1 << 19
icechunk.set_logs_filter("error")
warnings.simplefilter("ignore")


def _chunk_rows(column: Column) -> int:
    return max(1, CHUNK_BYTES // (column.items * np.dtype(column.dtype).itemsize))


class Icechunk(System):
    """An array a column, in chunks of half a MiB; a checkpoint is a group of arrays and a version."""

    module = "icechunk"
    _repo: Any = None
    _arrays: Any = None

    def close(self) -> None:
        self._repo = self._arrays = None

    def _create(self) -> None:
        self._repo = icechunk.Repository.create(icechunk.local_filesystem_storage(str(self.place)))

    def ingest(self, batches: Iterable[Batch], *, plain: bool = False) -> None:
        """Writes batches, where each one begins and ends in chunks that may be rewritten by the next."""
        self._create()
        session = self._repo.writable_session("main")
        group = zarr.group(store=session.store)
        arrays = {
            name: group.create_array(
                name,
                shape=(0, *column.shape),
                chunks=(_chunk_rows(column), *column.shape),
                dtype=column.dtype,
                compressors=None if plain else "auto",
            )
            for name, column in self.columns.items()
        }
        for batch in batches:
            for name, array in arrays.items():
                array.append(batch[name])
        session.commit("ingested")

    def open(self) -> int:
        self._repo = icechunk.Repository.open(icechunk.local_filesystem_storage(str(self.place)))
        self._read()
        return int(self._arrays[next(iter(self.columns))].shape[0])

    def _read(self) -> None:
        self._arrays = zarr.open_group(self._repo.readonly_session("main").store, mode="r")

    def _session(self) -> tuple[Any, Any]:
        session = self._repo.writable_session("main")
        return session, zarr.open_group(session.store, mode="a")

    def append(self, batch: Batch) -> None:
        session, group = self._session()
        for name in self.columns:
            group[name].append(batch[name])
        session.commit("appended")

    def update(self, column: str, numbers: Ints, values: Array) -> None:
        session, group = self._session()
        group[column].oindex[numbers] = values
        session.commit("updated")
        self._read()

    def insert(self, at: int, batch: Batch) -> None:
        session, group = self._session()
        for name in self.columns:
            array = group[name]
            moved = np.concatenate([batch[name], array[at:]])
            array.resize((at + len(moved), *array.shape[1:]))
            array[at:] = moved
        session.commit("inserted")
        self._read()

    def row(self, column: str, number: int) -> Any:
        return self._arrays[column][number]

    def rows(self, column: str, numbers: Ints) -> Any:
        return self._arrays[column].oindex[numbers]

    def scan(self, column: str, size: int) -> Iterator[Any]:
        array = self._arrays[column]
        for start in range(0, array.shape[0], size):
            yield array[start : start + size]

    def whole(self, column: str) -> Any:
        return self._arrays[column][:]

    def versions(self) -> list[Any]:
        return [version.id for version in self._repo.ancestry(branch="main")][::-1]

    def row_at(self, version: Any, column: str, number: int) -> Any:
        return zarr.open_group(self._repo.readonly_session(snapshot_id=version).store, mode="r")[column][number]

    def tag(self, name: str) -> None:
        self._repo.create_tag(name, snapshot_id=self._repo.lookup_branch("main"))

    def tagged(self, name: str) -> int:
        store = self._repo.readonly_session(tag=name).store
        return int(zarr.open_group(store, mode="r")[next(iter(self.columns))].shape[0])

    def tags(self) -> list[str]:
        return list(self._repo.list_tags())

    def set(self, key: str, value: Any) -> None:
        """Sets an attribute and commits."""
        session, group = self._session()
        group.attrs[key] = value
        session.commit("set")

    def get(self, key: str) -> Any:
        return self._arrays.attrs[key]

    def save(self, name: str, tensors: Tensors) -> None:
        if self._repo is None:
            self._create()
        session, root = self._session()
        group = root.create_group(name)
        for key, tensor in tensors.items():
            group.create_array(key, data=np.asarray(tensor))
        session.commit("saved")

    def load(self, name: str) -> dict[str, Array]:
        self._repo = icechunk.Repository.open(icechunk.local_filesystem_storage(str(self.place)))
        group: Any = zarr.open_group(self._repo.readonly_session("main").store, mode="r")[name]
        return {key: array[:] for key, array in group.arrays()}
