"""TensorStore with Zarr 3 on files, which it syncs: https://google.github.io/tensorstore. There are no versions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorstore as ts

from systems.contract import Array, Batch, Ints, System, Tensors

CHUNK_BYTES = 1 << 19


class TensorStore(System):
    """An array a column, or a tensor, in chunks of half a MiB."""

    module = "tensorstore"
    durable = True
    _arrays: dict[str, Any]

    def _spec(self, name: str) -> dict[str, Any]:
        return {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{self.place / name}/"}}

    def _create(self, name: str, shape: tuple[int, ...], dtype: str, plain: bool) -> Any:
        rest = int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(dtype).itemsize
        rows = max(1, CHUNK_BYTES // rest)
        chunks = [rows if not shape[0] else min(rows, shape[0]), *shape[1:]]
        metadata: dict[str, Any] = {
            "shape": list(shape),
            "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
            "codecs": [{"name": "bytes"}] if plain else self._codecs(dtype),
        }
        return ts.open(self._spec(name) | {"metadata": metadata}, create=True).result()

    @staticmethod
    def _codecs(dtype: str) -> list[dict[str, Any]]:
        size = np.dtype(dtype).itemsize
        kind = {"cname": "zstd", "clevel": 1, "shuffle": "shuffle" if size > 1 else "noshuffle", "typesize": size}
        order = {"configuration": {"endian": "little"}} if size > 1 else {}
        return [{"name": "bytes", **order}, {"name": "blosc", "configuration": kind | {"blocksize": 0}}]

    def ingest(self, batches: Iterable[Batch], *, plain: bool = False) -> None:
        self._arrays = {
            name: self._create(name, (0, *column.shape), column.dtype, plain) for name, column in self.columns.items()
        }
        for batch in batches:
            self.append(batch)

    def open(self) -> int:
        opening = {name: ts.open(self._spec(name)) for name in self.columns}
        self._arrays = {name: future.result() for name, future in opening.items()}
        return min(int(array.shape[0]) for array in self._arrays.values())

    def append(self, batch: Batch) -> None:
        writes = []
        for name, array in self._arrays.items():
            rows = int(array.shape[0])
            grown = array.resize(exclusive_max=[rows + len(batch[name]), *array.shape[1:]]).result()
            writes.append(grown[rows:].write(batch[name]))
            self._arrays[name] = grown
        for write in writes:
            write.result()

    def update(self, column: str, numbers: Ints, values: Array) -> None:
        self._arrays[column][numbers].write(values).result()

    def insert(self, at: int, batch: Batch) -> None:
        """Writes the rows behind anew."""
        tails = {name: np.array(array[at:].read().result()) for name, array in self._arrays.items()}
        for name, array in self._arrays.items():
            grown = array.resize(exclusive_max=[int(array.shape[0]) + len(batch[name]), *array.shape[1:]]).result()
            grown[at:].write(np.concatenate([batch[name], tails[name]])).result()

    def row(self, column: str, number: int) -> Any:
        return self._arrays[column][number].read().result()

    def rows(self, column: str, numbers: Ints) -> Any:
        return self._arrays[column][numbers].read().result()

    def scan(self, column: str, size: int) -> Iterator[Any]:
        array = self._arrays[column]
        for start in range(0, int(array.shape[0]), size):
            yield array[start : min(start + size, int(array.shape[0]))].read().result()

    def whole(self, column: str) -> Any:
        return self._arrays[column].read().result()

    def save(self, name: str, tensors: Tensors) -> None:
        writes = [
            self._create(f"{name}/{key}", tensor.shape, "float32", False).write(tensor)
            for key, tensor in tensors.items()
        ]
        for write in writes:
            write.result()
        (self.place / f"{name}.json").write_text(json.dumps(list(tensors)))

    def load(self, name: str) -> dict[str, Array]:
        keys = json.loads((self.place / f"{name}.json").read_text())
        opening = {key: ts.open(self._spec(f"{name}/{key}")) for key in keys}
        reading = {key: future.result().read() for key, future in opening.items()}
        return {key: future.result() for key, future in reading.items()}
