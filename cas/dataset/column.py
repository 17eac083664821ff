"""A column: its values by row."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from cas.codec.rows import Ints
from cas.codec.values import single_values
from cas.dataset.bridges import ColumnBridges
from cas.dataset.decoding import decode_rows
from cas.dataset.indexing import check_row, select
from cas.dataset.state import ColumnState
from cas.errors import CorruptedError, InvalidInputError, InvalidTypeError
from cas.types import DATA, Type

if TYPE_CHECKING:
    from cas.dataset.dataset import Dataset
    from cas.dataset.metadata import Metadata, ReadOnlyMetadata
    from cas.dataset.readable import Readable


class ReadOnlyColumn(ColumnBridges):
    """A column of a dataset, for reading.

    ``column[i]`` gives a value, ``column[a:b]``, ``column[[i, j]]`` and ``column[mask]`` an array of shape (rows,
    *row_shape) where rows have one shape, otherwise a list. Cost: the chunks that hold the rows, each read once.
    """

    def __init__(self, dataset: Readable, name: str) -> None:
        self._dataset = dataset
        self._name = name

    @property
    def name(self) -> str:
        """The name of the column."""
        return self._name

    @property
    def type(self) -> Type:
        """The type of the column."""
        return self._dataset._column_state(self._name).type

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The NumPy dtype of the values, or None where they are no arrays of one dtype."""
        return self.type.numpy_dtype

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The rows, and the shape of a row with None where it is free."""
        return (len(self), *self.type.row_shape)

    @property
    def metadata(self) -> Metadata | ReadOnlyMetadata:
        """The metadata of the column."""
        return self._dataset._metadata(self._name)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: Any) -> Any:
        with self._dataset._lock:
            table = self._dataset._state
            selected = select(index, table.rows)
            numbers = range(selected, selected + 1) if isinstance(selected, int) else selected
            state = table.columns.get(self._name) or self._dataset._column_state(self._name)
            try:
                streams = state.read_numbers(numbers)
            except CorruptedError as error:
                raise self._told(error, state, numbers) from error
        try:
            values = decode_rows(state.type, streams)
        except (CorruptedError, InvalidInputError) as error:
            raise self._told(error, state, numbers) from error
        return single_values(state.type, values)[0] if isinstance(selected, int) else values

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), 256):
            yield from single_values(self.type, self[start : start + 256])

    def bytes(self, row: int) -> builtins.bytes:
        """Returns the stored bytes of a row: of an image the encoded file, of an array its elements in C order."""
        if isinstance(row, bool) or not isinstance(row, (int, np.integer)):
            raise InvalidTypeError(f"{row!r} is not a row number; expected an int")
        with self._dataset._lock:
            row = check_row(int(row), len(self))
            state = self._dataset._column_state(self._name)
            try:
                return state.streams[DATA].read(row, row + 1).row(0).tobytes()
            except CorruptedError as error:
                raise self._told(error, state, range(row, row + 1)) from error

    def bytes_batches(self, start: int = 0, stop: int | None = None) -> Iterator[list[builtins.bytes]]:
        """Yields the stored bytes of rows ``start`` to ``stop``, in lists of about 8 MiB; both count as in a slice."""
        selected = select(slice(start, stop), len(self))
        assert isinstance(selected, range)
        return self._bytes_batches(self._dataset._column_state(self._name), selected)

    def _bytes_batches(self, state: ColumnState, numbers: range) -> Iterator[list[builtins.bytes]]:
        done = numbers.start
        try:
            for rows in state.streams[DATA].batches(numbers.start, numbers.stop):
                done += rows.count
                yield [row.tobytes() for row in rows]
        except CorruptedError as error:
            raise self._told(error, state, range(done, numbers.stop)) from error

    @contextmanager
    def _telling(self, state: ColumnState, numbers: range | Ints) -> Iterator[None]:
        """Gives errors of reading and decoding rows at some numbers what they mean here: see :meth:`_told`."""
        try:
            yield
        except (CorruptedError, InvalidInputError) as error:
            raise self._told(error, state, numbers) from error

    def _told(
        self, error: CorruptedError | InvalidInputError, state: ColumnState, numbers: range | Ints
    ) -> CorruptedError | InvalidInputError:
        """The error with what it means here: which of the rows that were asked for cannot be read, or decoded."""
        if isinstance(error, InvalidInputError):
            row = None if error.row is None else int(numbers[error.row])
            where = "" if row is None else f", row {row}"
            return type(error)(f"column {self._name!r}{where}: {error}", column=self._name, row=row)
        rows = state.damaged_rows(error.blob, numbers)
        version = self._dataset.version.id
        runs = ", ".join(f"{start} to {stop - 1}" if stop - start > 1 else str(start) for start, stop in rows[:8])
        message = f"{error} (column {self._name!r}, rows {runs}{', ...' if len(rows) > 8 else ''}, version {version})"
        return CorruptedError(message, blob=error.blob, version=version, column=self._name, rows=rows)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r}: {self.type}, {len(self)} rows>"


class Column(ReadOnlyColumn):
    """A column of a dataset that is open for writing; assignments are staged until the next commit."""

    _dataset: Dataset

    def __setitem__(self, index: Any, value: Any) -> None:
        """Replaces the values of the selected rows, whole values only.

        One value for an int; a sequence of as many values as there are rows otherwise. Raises
        :class:`~cas.errors.InvalidInputError` for values that do not fit; nothing is changed then.
        """
        self._dataset._assign(self._name, index, value)
