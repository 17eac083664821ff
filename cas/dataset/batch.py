"""Rows as users give them, to rows of streams for every column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cas.codec.values import Streams, encode_values
from cas.dataset.state import ColumnState
from cas.errors import InvalidInputError, InvalidTypeError

Batch = Mapping[str, Any] | Sequence[Mapping[str, Any]]


def encode_batch(columns: Mapping[str, ColumnState], rows: Batch) -> tuple[dict[str, Streams], int]:
    """Returns the rows of every column's streams and their count.

    ``rows`` is a dict of columns with as many values each, or a list of dicts, one a row. Columns left out must be
    nullable. Raises :class:`~cas.errors.InvalidInputError`, naming column and row.
    """
    if not columns:
        raise InvalidInputError("the dataset has no columns; add some with add_column first")
    table = _as_columns(columns, rows)
    unknown = sorted(set(table) - set(columns), key=str)
    if unknown:
        raise InvalidInputError(f"there is no column {unknown[0]!r}; the columns are {list(columns)}")
    encoded = {name: encode_values(columns[name].type, values, name) for name, values in table.items()}
    counts = {name: next(iter(streams.values())).count for name, streams in encoded.items()}
    if len(set(counts.values())) > 1:
        raise InvalidInputError(f"the columns have different numbers of values: {counts}")
    count = next(iter(counts.values()), 0)
    for name, column in columns.items():
        if name not in encoded:
            if count and not column.type.nullable:
                raise InvalidInputError(f"column {name!r} has no values, and is not nullable", column=name)
            encoded[name] = encode_values(column.type, [None] * count, name)
    return encoded, count


def _as_columns(columns: Mapping[str, ColumnState], rows: Batch) -> Mapping[str, Any]:
    if isinstance(rows, Mapping):
        return rows
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, Mapping) for row in rows):
        raise InvalidTypeError(
            f"{type(rows).__name__} cannot be appended; expected a dict of columns or a list of dicts, one a row"
        )
    names = dict.fromkeys(name for row in rows for name in row)
    for number, row in enumerate(rows):
        for name in names:
            column = columns.get(name)
            if name not in row and not (column and column.type.nullable):
                raise InvalidInputError(f"row {number} has no value for column {name!r}", row=number)
    return {name: [row.get(name) for row in rows] for name in names}
