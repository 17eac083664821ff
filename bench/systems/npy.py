"""A ``.npy`` file a column, written and synced: what the disk allows. Read through a map."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from systems.contract import FILE, Array, Batch, Ints, System, Tensors


class Npy(System):
    """Plain files; they are rewritten in place, so that there are no versions."""

    limit = True
    _maps: dict[str, Any]
    _counts: dict[str, int]

    def ingest(self, batches: Iterable[Batch], *, plain: bool = False) -> None:
        """Writes batches one after the other, and then the headers, which have the number of rows."""
        self.place.mkdir(parents=True)
        for name in self.columns:
            self._write_header(name, 0)
        self._counts = dict.fromkeys(self.columns, 0)
        self._write(batches)

    def _write(self, batches: Iterable[Batch]) -> None:
        with ExitStack() as stack:
            files = {name: stack.enter_context(open(self._path(name), "ab")) for name in self.columns}
            for batch in batches:
                for name, file in files.items():
                    self._counts[name] += self._write_rows(file, batch[name])
        for name, count in self._counts.items():
            self._write_header(name, count)

    @staticmethod
    def _write_rows(file: Any, values: Any) -> int:
        """Writes rows, or files one after the other, and returns how many numbers along the first axis that is."""
        if isinstance(values, list):
            return sum(map(file.write, values))
        np.ascontiguousarray(values).tofile(file)
        return len(values)

    def _path(self, name: str) -> Path:
        return self.place / f"{name}.npy"

    def _write_header(self, name: str, count: int) -> None:
        column = self.columns[name]
        dtype = "uint8" if column.dtype == FILE else column.dtype
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (count, *column.shape)}
        with open(self._path(name), "r+b" if count else "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)

    def open(self) -> int:
        self._maps = {name: np.load(self._path(name), mmap_mode="r") for name in self.columns}
        self._counts = {name: len(values) for name, values in self._maps.items()}
        return min(self._counts.values())

    def append(self, batch: Batch) -> None:
        self._write([batch])

    def set(self, key: str, value: Any) -> None:
        """Adds a line to a file."""
        with open(self.place / "metadata.jsonl", "a") as file:
            file.write(json.dumps([key, value]) + "\n")

    def get(self, key: str) -> Any:
        lines = (self.place / "metadata.jsonl").read_text().splitlines()
        return dict(map(json.loads, lines))[key]

    def row(self, column: str, number: int) -> Any:
        return np.array(self._maps[column][number])

    def rows(self, column: str, numbers: Ints) -> Any:
        return np.asarray(self._maps[column])[numbers]

    def scan(self, column: str, size: int) -> Iterator[Any]:
        whole = np.asarray(self._maps[column])
        for start in range(0, len(whole), size):
            yield whole[start : start + size].copy()

    def whole(self, column: str) -> Any:
        return np.array(self._maps[column])

    def save(self, name: str, tensors: Tensors) -> None:
        """Writes all of them to one file."""
        self.place.mkdir(parents=True, exist_ok=True)
        with open(self._path(name), "wb") as file:
            np.save(file, np.array(list(tensors)))
            for tensor in tensors.values():
                np.save(file, tensor)

    def load(self, name: str) -> dict[str, Array]:
        with open(self._path(name), "rb") as file:
            return {str(key): np.load(file) for key in np.load(file)}
