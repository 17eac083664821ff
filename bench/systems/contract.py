"""What a system is asked to do. A system has the verbs that it can do; a workload that needs another one leaves it out.

Rows are given and taken as NumPy arrays of shape (rows, *row_shape), files as lists of byte strings. What a verb has
done is on disk when it returns where the system is ``durable``; elsewhere the benchmark adds an fsync of all files
that changed, within the time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

Batch = Mapping[str, Any]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Array = np.ndarray[Any, np.dtype[Any]]
Tensors = Mapping[str, np.ndarray[Any, np.dtype[Any]]]

FILE = "file"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: arrays of a dtype and row shape, or encoded image files where the dtype is ``FILE``."""

    dtype: str
    shape: tuple[int, ...] = ()

    @property
    def items(self) -> int:
        """The numbers a row."""
        return int(np.prod(self.shape, dtype=np.int64))


Columns = Mapping[str, Column]


class System:
    """Keeps one table, or checkpoints by name, at a place of its own.

    ``module`` is what users import; ``durable`` says that the system syncs by itself; a ``limit`` is no peer, but what
    the machine allows; ``files`` says that columns of files can be kept.
    """

    module: ClassVar[str]
    durable: ClassVar[bool] = False
    limit: ClassVar[bool] = False
    files: ClassVar[bool] = False

    def __init__(self, place: Path, columns: Columns) -> None:
        self.place = place
        self.columns = columns

    def close(self) -> None:
        """Lets go of what is open, so that the place can be opened anew."""


class Verbs(Protocol):
    """All verbs; none is obligatory."""

    place: Path
    columns: Columns

    def close(self) -> None: ...

    def ingest(self, batches: Iterable[Batch], *, plain: bool = False) -> None:
        """Makes the table, fills and commits it; ``plain`` without compression, otherwise as it comes."""

    def open(self) -> int:
        """Opens the table that stands at the place, for reading and writing, and returns its number of rows."""

    def append(self, batch: Batch) -> None:
        """Adds rows as a version of their own."""

    def update(self, column: str, numbers: Ints, values: Array) -> None:
        """Replaces values of rows as a version of its own."""

    def insert(self, at: int, batch: Batch) -> None:
        """Puts rows in front of row ``at``, as a version of their own."""

    def row(self, column: str, number: int) -> Any:
        """Reads a value."""

    def rows(self, column: str, numbers: Ints) -> Any:
        """Reads values of rows that are scattered, in the order asked for."""

    def scan(self, column: str, size: int) -> Iterator[Any]:
        """Reads all rows in order, so many at a time."""

    def whole(self, column: str) -> Any:
        """Reads a column as one array that owns its memory: no view of a cache or of a mapped file."""

    def versions(self) -> Sequence[Any]:
        """Lists the versions, oldest first."""

    def row_at(self, version: Any, column: str, number: int) -> Any:
        """Opens a version and reads a value of it."""

    def tag(self, name: str) -> None:
        """Gives the present version a name."""

    def tagged(self, name: str) -> int:
        """Opens the version of a name and returns its number of rows."""

    def tags(self) -> Sequence[str]:
        """Lists the names."""

    def set(self, key: str, value: Any) -> None:
        """Sets metadata."""

    def get(self, key: str) -> Any:
        """Reads metadata."""

    def changed_rows(self, column: str) -> Ints:
        """The rows in which the last version differs from the one before."""

    def save(self, name: str, tensors: Tensors) -> None:
        """Saves a checkpoint."""

    def load(self, name: str) -> dict[str, Array]:
        """Loads a checkpoint, into memory of its own."""


def can(system: type[System], verbs: Iterable[str], columns: Columns) -> bool:
    """Whether a system has verbs, and can keep columns."""
    fits = system.files or all(column.dtype != FILE for column in columns.values())
    return fits and all(hasattr(system, verb) for verb in verbs)


def file_sizes(place: Path) -> dict[str, tuple[int, int, int]]:
    """Size on disk, time of change and inode of all files below a place."""
    found: dict[str, tuple[int, int, int]] = {}
    pending = [str(place)] if place.is_dir() else []
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    continue
                with suppress(FileNotFoundError):  # a lock that was let go
                    status = entry.stat(follow_symlinks=False)
                    found[entry.path] = (status.st_blocks * 512, status.st_mtime_ns, status.st_ino)
    return found
