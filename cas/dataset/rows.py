"""Rows of a dataset as mappings from column names to values, read when they are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from cas.codec.rows import Ints
from cas.dataset.bridges import TableBridges
from cas.dataset.indexing import choose_columns, is_columns, select

if TYPE_CHECKING:
    from cas.dataset.dataset import Dataset
    from cas.dataset.readable import Readable


Columns = tuple[str, ...] | None
"""The columns that were chosen, or None for all that the dataset has."""


def _names(dataset: Readable, columns: Columns) -> Collection[str]:
    return dataset.schema.keys() if columns is None else columns


def _column(dataset: Readable, columns: Columns, name: str) -> Any:
    if columns is not None:
        choose_columns(columns, [name])
    return dataset._column(name)


class RowView(Mapping[str, Any]):
    """One row: ``row["column"]`` reads the value; ``dict(row)`` reads all. Equal as the same row of the same handle."""

    __slots__ = ("_columns", "_dataset", "_number")

    def __init__(self, dataset: Readable, number: int, columns: Columns = None) -> None:
        self._dataset = dataset
        self._number = number
        self._columns = columns

    def __getitem__(self, column: str) -> Any:
        return _column(self._dataset, self._columns, column)[self._number]

    def __iter__(self) -> Iterator[str]:
        return iter(_names(self._dataset, self._columns))

    def __len__(self) -> int:
        return len(_names(self._dataset, self._columns))

    @property
    def number(self) -> int:
        """The number of the row."""
        return self._number

    def to_dict(self) -> dict[str, Any]:
        """Returns the values of all columns."""
        return dict(self)

    def __eq__(self, other: object) -> bool:
        # The same row, not equal values: these may be arrays, which do not compare as a whole.
        return isinstance(other, RowView) and (self._dataset, self._number) == (other._dataset, other._number)

    def __hash__(self) -> int:
        return hash((self._dataset, self._number))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._number}: {', '.join(self)}>"


class Row(RowView):
    """One row of a dataset that is open for writing: ``row["column"] = value`` stages a new value."""

    __slots__ = ()
    _dataset: Dataset

    def __setitem__(self, column: str, value: Any) -> None:
        _column(self._dataset, self._columns, column)[self._number] = value


class RowRangeView(Sequence[RowView], TableBridges):
    """Several rows: ``rows["column"]`` reads their values at once, ``rows[i]`` is one of them.

    They have all columns that the dataset has, or those that were chosen, as with ``ds[["image", "label"]]``.
    """

    __slots__ = ("_columns", "_dataset", "_numbers")
    _row_class: type[RowView] = RowView

    def __init__(self, dataset: Readable, numbers: range | Ints, columns: Columns = None) -> None:
        self._dataset = dataset
        self._numbers = numbers
        self._columns = columns

    @property
    def dataset(self) -> Readable:
        """The dataset they are rows of."""
        return self._dataset

    @property
    def numbers(self) -> range | Ints:
        """The numbers of the rows: a range, or an int64 array of shape (rows,)."""
        return self._numbers

    @property
    def columns(self) -> Columns:
        """The names of the columns that were chosen, or None where the rows have all that the dataset has."""
        return self._columns

    @overload
    def __getitem__(self, index: str) -> Any: ...
    @overload
    def __getitem__(self, index: int) -> RowView: ...
    @overload
    def __getitem__(self, index: slice) -> RowRangeView: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return _column(self._dataset, self._columns, index)[self._numbers]
        if is_columns(index):
            return type(self)(self._dataset, self._numbers, choose_columns(self.keys(), index))
        selected = select(index, len(self))
        if isinstance(selected, int):
            return self._row_class(self._dataset, int(self._numbers[selected]), self._columns)
        if isinstance(selected, range):
            return type(self)(self._dataset, self._numbers[index], self._columns)
        return type(self)(self._dataset, np.asarray(self._numbers, np.int64)[selected], self._columns)

    def __len__(self) -> int:
        return len(self._numbers)

    def keys(self) -> list[str]:
        """Returns the names of the columns, so that ``dict(rows)`` and ``**rows`` give the values by column."""
        return list(_names(self._dataset, self._columns))

    def to_dict(self) -> dict[str, Any]:
        """Returns the values of all columns, by column."""
        return {name: self[name] for name in self.keys()}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} rows: {', '.join(self.keys())}>"


class RowRange(RowRangeView):
    """Several rows of a dataset open for writing: ``rows["column"] = values`` stages new values, one for each row."""

    __slots__ = ()
    _row_class = Row
    _dataset: Dataset

    def __setitem__(self, column: str, values: Any) -> None:
        _column(self._dataset, self._columns, column)[self._numbers] = values
