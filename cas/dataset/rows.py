"""Rows of a dataset as mappings from column names to values, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from cas.dataset.indexing import Selection, select

if TYPE_CHECKING:
    from cas.dataset.readable import Readable


class Row(Mapping[str, Any]):
    """One row: ``row["column"]`` reads the value; ``dict(row)`` reads all."""

    __slots__ = ("_dataset", "_row")

    def __init__(self, dataset: Readable, row: int) -> None:
        self._dataset = dataset
        self._row = row

    def __getitem__(self, column: str) -> Any:
        return self._dataset[column][self._row]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dataset.schema)

    def __len__(self) -> int:
        return len(self._dataset.schema)

    @property
    def number(self) -> int:
        """The number of the row."""
        return self._row

    def __repr__(self) -> str:
        return f"<Row {self._row} of {self._dataset!r}>"


class RowsView(Sequence[Row]):
    """Several rows: ``rows["column"]`` reads their values at once, ``rows[i]`` is one of them."""

    __slots__ = ("_dataset", "_numbers")

    def __init__(self, dataset: Readable, selected: Selection) -> None:
        self._dataset = dataset
        self._numbers: Any = selected

    @overload
    def __getitem__(self, index: str) -> Any: ...
    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> RowsView: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            numbers = self._numbers
            if isinstance(numbers, range) and numbers.step == 1:
                return self._dataset[index][numbers.start : numbers.stop]
            return self._dataset[index][np.asarray(numbers, np.int64)]
        selected = select(index, len(self))
        if isinstance(selected, int):
            return Row(self._dataset, int(self._numbers[selected]))
        return RowsView(self._dataset, np.asarray(self._numbers, np.int64)[np.asarray(selected, np.int64)])

    def __len__(self) -> int:
        return len(self._numbers)

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {self._dataset!r}>"
