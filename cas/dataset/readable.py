"""What datasets for writing and for reading have in common: schema, columns, rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, overload

from cas.codec.rows import Ints
from cas.codec.values import Streams
from cas.dataset.column import ReadOnlyColumn
from cas.dataset.indexing import select
from cas.dataset.rows import Row, RowsView
from cas.dataset.state import ColumnState, State
from cas.errors import ColumnNotFoundError, InvalidInputError
from cas.types import Type

if TYPE_CHECKING:
    from cas.dataset.metadata import Metadata, ReadOnlyMetadata


class Readable:
    """A table of named columns."""

    _column_class: type[ReadOnlyColumn] = ReadOnlyColumn

    def __init__(self, state: State) -> None:
        self._state = state
        self._lock = threading.RLock()

    @property
    def schema(self) -> dict[str, Type]:
        """The types of the columns, by name, in column order."""
        return {name: column.type for name, column in self._state.columns.items()}

    def __len__(self) -> int:
        return self._state.rows

    @overload
    def __getitem__(self, index: str) -> Any: ...
    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: Any) -> Any: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            self._column_state(index)
            return self._column_class(self, index)
        selected = select(index, len(self))
        return Row(self, selected) if isinstance(selected, int) else RowsView(self, selected)

    def __getattr__(self, name: str) -> Any:
        state: State | None = self.__dict__.get("_state")
        if state is not None and name in state.columns:
            return self[name]
        raise AttributeError(f"{type(self).__name__!r} has no attribute and no column {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise InvalidInputError(
                f"{name!r} cannot be set on a dataset; assign the values of a column with ds[{name!r}][:] = ...",
                column=name,
            )
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[Row]:
        for row in range(len(self)):
            yield Row(self, row)

    def __contains__(self, name: object) -> bool:
        return name in self._state.columns

    def batches(self, size: int) -> Iterator[RowsView]:
        """Yields all rows in order, ``size`` rows at a time."""
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InvalidInputError(f"a batch size of {size!r} is not valid; expected an int of 1 or more")
        for start in range(0, len(self), size):
            yield RowsView(self, range(start, min(start + size, len(self))))

    def _column_state(self, name: str) -> ColumnState:
        column = self._state.columns.get(name)
        if column is None:
            names = ", ".join(map(repr, self._state.columns)) or "none"
            raise ColumnNotFoundError(f"there is no column {name!r}; the columns are: {names}", name=name)
        return column

    def _read_rows(self, name: str, start: int, stop: int) -> Streams:
        with self._lock:
            return self._column_state(name).read(start, stop)

    def _take_rows(self, name: str, rows: Ints) -> Streams:
        with self._lock:
            return self._column_state(name).take(rows)

    def _metadata(self, column: str | None) -> Metadata | ReadOnlyMetadata:
        raise NotImplementedError
