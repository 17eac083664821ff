"""What may stand between brackets: ints, slices, lists, NumPy integers and boolean masks; lists of column names."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from cas.codec.rows import Ints
from cas.errors import ColumnNotFoundError, InvalidInputError, InvalidTypeError, RowNotFoundError, shown

Selection = int | range | Ints


def select(index: Any, rows: int) -> Selection:
    """Returns what an index selects of ``rows`` rows: one row, a range of rows, or row numbers (int64).

    Raises :class:`~cas.errors.RowNotFoundError` outside of the rows, ``InvalidTypeError`` for what is no index.
    """
    if type(index) is int:
        return check_row(index, rows)
    if isinstance(index, slice):
        try:
            return range(rows)[index]
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"{index} is not a valid slice: {error}") from None
    if isinstance(index, range):
        return _select_range(index, rows)
    if isinstance(index, list) or (isinstance(index, np.ndarray) and index.ndim):
        try:
            numbers = np.asarray(index)
        except ValueError:
            raise InvalidTypeError("a nested list selects no rows; expected one dimension") from None
        return _select_many(numbers, rows)
    if isinstance(index, tuple):
        raise InvalidTypeError("rows are selected by one index; select within a row afterwards, as in column[i][...]")
    if isinstance(index, (bool, np.bool_)):
        raise InvalidTypeError("a single bool selects no row; expected an int, slice, list or array")
    try:
        row = operator.index(index)
    except TypeError:
        raise InvalidTypeError(
            f"{type(index).__name__} {index!r} selects no row; expected an int, slice, list or array"
        ) from None
    return check_row(row, rows)


def _select_range(index: range, rows: int) -> range | Ints:
    """Checks the ends before any number is made, for a range can be longer than the memory."""
    ends = (index[0], index[-1]) if index else ()
    for row in ends:
        check_row(row, rows)
    return index if min(ends, default=0) >= 0 else _select_many(np.asarray(index), rows)


def check_row(row: int, rows: int) -> int:
    """Returns a row number counted from the front."""
    if not -rows <= row < rows:
        raise RowNotFoundError(f"row {row} is out of range: there are {rows} rows", name=row)
    return row + rows if row < 0 else row


def _select_many(index: np.ndarray[Any, Any], rows: int) -> Ints:
    if index.size == 0 and index.dtype.kind != "b":
        return np.empty(0, np.int64)
    if index.ndim != 1:
        raise InvalidTypeError(f"an index of shape {index.shape} selects no rows; expected one dimension")
    if index.dtype.kind == "b":
        if len(index) != rows:
            raise InvalidInputError(f"a mask of {len(index)} values cannot select from {rows} rows")
        return np.flatnonzero(index).astype(np.int64)
    if index.dtype.kind not in "iu":
        raise InvalidTypeError(f"an index of dtype {index.dtype} selects no rows; expected integers or a mask")
    outside = (index >= rows) | (index < -rows) if index.dtype.kind == "i" else index >= rows
    if outside.any():
        row = int(index[outside][0])
        raise RowNotFoundError(f"row {row} is out of range: there are {rows} rows", name=row)
    numbers = index.astype(np.int64)
    return np.where(numbers < 0, numbers + rows, numbers)


def is_columns(index: object) -> bool:
    """Tells whether what stands between brackets chooses columns: a list of names."""
    return isinstance(index, list) and bool(index) and all(isinstance(name, str) for name in index)


def choose_columns(known: Collection[str], names: Iterable[str]) -> tuple[str, ...]:
    """Returns names of columns, each of which must be known and given once."""
    names = tuple(names)
    for name in names:
        if name not in known:
            raise no_column(known, name)
    if len(set(names)) < len(names):
        raise InvalidInputError(f"the columns {shown(list(names))} hold a name twice; give each once")
    return names


def no_column(known: Iterable[str], name: object) -> ColumnNotFoundError:
    """Returns the error for a name that is none of the columns."""
    listed = ", ".join(map(repr, known)) or "none"
    return ColumnNotFoundError(f"there is no column {shown(name)}; the columns are: {listed}", name=name)
