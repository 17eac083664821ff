"""Hugging Face ``datasets``: Arrow files that are mapped. There are no versions, and no compression."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.arrow_writer import ArrowWriter

from systems import arrow
from systems.contract import Batch, Ints, System

datasets.disable_progress_bars()


class HuggingFace(System):
    """One dataset, an Arrow file; rows are lists of a fixed length."""

    module = "datasets"
    files = True
    _ds: Any = None

    def close(self) -> None:
        self._ds = None

    def ingest(self, batches: Iterable[Batch], *, plain: bool = False) -> None:
        """Writes batch by batch to the file that is mapped then."""
        schema = arrow.schema(self.columns)
        self.place.mkdir(parents=True)
        with ArrowWriter(schema=schema, path=str(self._path)) as writer:
            for batch in batches:
                arrays = [arrow.to_arrow(batch[name], column) for name, column in self.columns.items()]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            writer.finalize()

    @property
    def _path(self) -> Path:
        return self.place / "data.arrow"

    def open(self) -> int:
        self._ds = datasets.Dataset.from_file(str(self._path)).with_format("arrow")
        return len(self._ds)

    def row(self, column: str, number: int) -> Any:
        return arrow.to_numpy(self._ds[number][column], self.columns[column])[0]

    def rows(self, column: str, numbers: Ints) -> Any:
        return arrow.to_numpy(self._ds[numbers.tolist()][column], self.columns[column])

    def scan(self, column: str, size: int) -> Iterator[Any]:
        for batch in self._ds.iter(size):
            yield arrow.to_numpy(batch[column], self.columns[column])

    def whole(self, column: str) -> Any:
        """Joining the record batches of the file copies them; one alone is a view of it."""
        found = self._ds[:][column]
        values = arrow.to_numpy(found, self.columns[column])
        return values if found.num_chunks > 1 else values.copy()
