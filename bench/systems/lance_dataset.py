"""Lance (``pylance``): https://lance.org. It syncs nothing; rows cannot be inserted, so the table is written anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from systems import arrow
from systems.contract import Array, Batch, Ints, System, Tensors

NUMBER = "number"


class Lance(System):
    """One table; checkpoints are tables side by side.

    Updated rows move to another place in the table. A number for each row, kept where rows are large, tells which they
    are, and is asked for once rows have moved.
    """

    module = "lance"
    files = True
    _ds: Any = None
    _moved = False

    @property
    def _numbered(self) -> bool:
        return any(column.shape for column in self.columns.values())

    @property
    def _schema(self) -> Any:
        schema = arrow.schema(self.columns)
        return schema.append(pa.field(NUMBER, pa.int64())) if self._numbered else schema

    def _record_batches(self, batches: Iterable[Batch], start: int) -> Iterator[Any]:
        for batch in batches:
            arrays = [arrow.to_arrow(batch[name], column) for name, column in self.columns.items()]
            stop = start + len(arrays[0])
            numbers = [pa.array(np.arange(start, stop))] if self._numbered else []
            yield pa.RecordBatch.from_arrays([*arrays, *numbers], schema=self._schema)
            start = stop

    def _write(self, batches: Iterable[Batch], mode: str, start: int = 0) -> None:
        reader = pa.RecordBatchReader.from_batches(self._schema, self._record_batches(batches, start))
        self._ds = lance.write_dataset(reader, str(self.place), mode=mode)

    def close(self) -> None:
        self._ds = None

    def ingest(self, batches: Iterable[Batch], *, plain: bool = False) -> None:
        """Writes a stream of batches; there is no switch for compression."""
        self._write(batches, "create")

    def open(self) -> int:
        self._ds = lance.dataset(str(self.place))
        return int(self._ds.count_rows())

    def append(self, batch: Batch) -> None:
        self._write([batch], "append", self._ds.count_rows())

    def update(self, column: str, numbers: Ints, values: Array) -> None:
        if not self._numbered:
            self._update_numbers(column, numbers, values)
            return
        others = [name for name in self.columns if name != column]
        rest = self._ds.take(numbers.tolist(), columns=others).combine_chunks()
        given = {column: arrow.to_arrow(values, self.columns[column]), NUMBER: pa.array(numbers)}
        table = pa.table({name: given[name] if name in given else rest[name] for name in [*self.columns, NUMBER]})
        self._ds.merge_insert(NUMBER).when_matched_update_all().execute(table.cast(self._schema))
        self._moved = True

    def _update_numbers(self, column: str, numbers: Ints, values: Array) -> None:
        """Updates a few rows by their ids, which are their places as long as nothing was deleted."""
        ids = self._ds.take(numbers.tolist(), columns=["_rowid"])["_rowid"].to_pylist()
        for value in np.unique(values):
            chosen = ", ".join(str(id_) for id_, found in zip(ids, values, strict=True) if found == value)
            self._ds.update({column: str(value)}, where=f"_rowid in ({chosen})")

    def insert(self, at: int, batch: Batch) -> None:
        old = self._ds
        names = list(self.columns)

        def batches() -> Iterator[Batch]:
            yield from self._as_batches(old.to_batches(columns=names, limit=at))
            yield batch
            yield from self._as_batches(old.to_batches(columns=names, offset=at))

        self._write(batches(), "overwrite")

    def _as_batches(self, found: Iterable[Any]) -> Iterator[Batch]:
        for part in found:
            yield {name: arrow.to_numpy(part[name], column) for name, column in self.columns.items()}

    def row(self, column: str, number: int) -> Any:
        return arrow.to_numpy(self._ds.take([number], columns=[column])[column], self.columns[column])[0]

    def rows(self, column: str, numbers: Ints) -> Any:
        if self._moved:
            return self._by_number(column)[numbers]
        return arrow.to_numpy(self._ds.take(numbers.tolist(), columns=[column])[column], self.columns[column])

    def _by_number(self, column: str) -> Any:
        table = self._ds.to_table(columns=[column, NUMBER])
        return arrow.to_numpy(table[column], self.columns[column])[np.argsort(table[NUMBER].to_numpy())]

    def scan(self, column: str, size: int) -> Iterator[Any]:
        for batch in self._ds.to_batches(columns=[column], batch_size=size):
            yield arrow.to_numpy(batch[column], self.columns[column])

    def whole(self, column: str) -> Any:
        if self._moved:
            return self._by_number(column)
        return arrow.to_numpy(self._ds.to_table(columns=[column])[column], self.columns[column])

    def versions(self) -> list[Any]:
        return [version["version"] for version in self._ds.versions()]

    def row_at(self, version: Any, column: str, number: int) -> Any:
        found = lance.dataset(str(self.place), version=version).take([number], columns=[column])
        return arrow.to_numpy(found[column], self.columns[column])[0]

    def tag(self, name: str) -> None:
        self._ds.tags.create(name, self._ds.version)

    def tagged(self, name: str) -> int:
        return int(lance.dataset(str(self.place), version=name).count_rows())

    def tags(self) -> list[str]:
        return list(self._ds.tags.list())

    def save(self, name: str, tensors: Tensors) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        data = pa.array([tensor.ravel() for tensor in tensors.values()], pa.list_(pa.float32()))
        shapes = pa.array([list(tensor.shape) for tensor in tensors.values()])
        lance.write_dataset(pa.table({"name": list(tensors), "shape": shapes, "data": data}), str(self.place / name))

    def load(self, name: str) -> dict[str, Array]:
        table = lance.dataset(str(self.place / name)).to_table()
        columns = zip(table["name"].to_pylist(), table["shape"].to_pylist(), table["data"], strict=True)
        return {key: np.array(data.values.to_numpy()).reshape(shape) for key, shape, data in columns}
