"""Rows as users give them, to rows of streams for every column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cas.codec.rows import Ints
from cas.codec.values import Streams, decode_values, encode_values, is_one_value
from cas.dataset.bridges import encode_foreign, encode_foreign_column
from cas.dataset.draft import Encoded
from cas.dataset.indexing import choose_columns, select
from cas.dataset.readable import Readable
from cas.dataset.rows import RowRangeView
from cas.dataset.state import ColumnState, State
from cas.errors import InvalidInputError, InvalidTypeError, shown
from cas.types import Type


@dataclass(frozen=True, slots=True)
class FrozenRows:
    """Rows of a dataset as they were at one moment: read without its lock, and whatever becomes of it."""

    state: State
    numbers: range | Ints


Columns = Mapping[str, Any]
Batch = Columns | Sequence[Mapping[str, Any]] | Readable | RowRangeView | FrozenRows | Iterable[Any]
_COPY_BYTES: Final = 8 << 20


def freeze(rows: Any) -> Any:
    """Returns a dataset, or rows of one, as they are now; anything else as it is.

    Called before another handle's lock is taken: two that append each other's rows would wait for each other.
    Raises :class:`~cas.errors.RowNotFoundError` for rows that are no longer there.
    """
    if isinstance(rows, Readable):
        state = rows._frozen()
        return FrozenRows(state, range(state.rows))
    if isinstance(rows, RowRangeView):
        state = rows.dataset._frozen()
        numbers = select(rows.numbers, state.rows)
        assert not isinstance(numbers, int)
        if rows.columns is not None:
            state.columns = {name: state.columns[name] for name in choose_columns(state.columns, rows.columns)}
        return FrozenRows(state, numbers)
    return rows


def encode_batches(columns: Mapping[str, ColumnState], rows: Batch) -> Iterator[tuple[Encoded, int]]:
    """Yields the rows of every column's streams and their count, batch by batch.

    ``rows`` is a dict of columns with as many values each; a list of dicts, one a row; a dataset or some rows of one;
    a table of Arrow or pandas; or an iterator of any of these. Columns left out must be nullable. Raises
    :class:`~cas.errors.InvalidInputError`, naming column and row.
    """
    if not columns:
        raise InvalidInputError("the dataset has no columns; add some with add_column first")
    rows = freeze(rows)
    if isinstance(rows, FrozenRows):
        yield from _encode_frozen(columns, rows)
    elif isinstance(rows, Mapping):
        yield _encode_columns(columns, rows)
    elif isinstance(rows, (list, tuple)):
        yield _encode_columns(columns, _as_columns(columns, rows), len(rows))
    elif (tables := encode_foreign({name: column.type for name, column in columns.items()}, rows)) is not None:
        for encoded, count in tables:
            yield _with_missing(columns, encoded, count), count
    elif isinstance(rows, Iterator):
        for batch in rows:
            yield from encode_batches(columns, batch)
    else:
        raise InvalidTypeError(
            f"{type(rows).__name__} cannot be appended; expected a dict of columns, a list of dicts (one a row), a "
            f"dataset, a table of Arrow, pandas or polars, or a generator of such batches"
        )


def encode_batch(columns: Mapping[str, ColumnState], rows: Batch) -> tuple[Encoded, int]:
    """Returns the rows of every column's streams for one batch, and their count."""
    if isinstance(rows, Iterator):
        raise InvalidTypeError("one batch was expected, not a generator of batches")
    found = list(encode_batches(columns, rows))
    if len(found) > 1:
        raise InvalidInputError("so many rows cannot be put in at once; append or insert them")
    return found[0] if found else _encode_columns(columns, {name: [] for name in columns})


def _encode_columns(columns: Mapping[str, ColumnState], table: Columns, rows: int | None = None) -> tuple[Encoded, int]:
    unknown = sorted(set(table) - set(columns), key=str)
    if unknown:
        raise InvalidInputError(f"there is no column {unknown[0]!r}; the columns are {list(columns)}")
    encoded = {name: _encode(columns[name].type, values, name) for name, values in table.items()}
    counts = {name: next(iter(streams.values())).count for name, streams in encoded.items()}
    if len(set(counts.values())) > 1:
        raise InvalidInputError(f"the columns have different numbers of values: {counts}")
    count = next(iter(counts.values()), rows or 0)
    return _with_missing(columns, encoded, count), count


def _encode(type_: Type, values: object, column: str) -> Streams:
    if is_one_value(type_, values):
        raise InvalidTypeError(
            f"column {column!r} is given one value, {shown(values)}, not a list of them; one row is given as a list of "
            f"dicts, [{{{column!r}: ...}}], also by a generator",
            column=column,
        )
    return encode_given(type_, values, column)


def encode_given(type_: Type, values: object, column: str) -> Streams:
    """Returns the rows of each stream for the values of a column: a list, an array, or a column of another library."""
    foreign = encode_foreign_column(type_, values, column)
    if foreign is not None:
        return foreign
    if isinstance(values, Iterable) and not hasattr(values, "__len__"):
        values = list(values)
    return encode_values(type_, values, column)


def _with_missing(columns: Mapping[str, ColumnState], encoded: Encoded, count: int) -> Encoded:
    """Adds the columns that were left out, in the order of the dataset."""
    for name, column in columns.items():
        if name not in encoded:
            if count and not column.type.nullable:
                raise InvalidInputError(f"column {name!r} has no values, and is not nullable", column=name)
            encoded[name] = encode_values(column.type, [None] * count, name)
    return {name: encoded[name] for name in columns}


def _as_columns(columns: Mapping[str, ColumnState], rows: Sequence[Mapping[str, Any]]) -> Columns:
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InvalidTypeError(f"row {number} is {type(row).__name__}; expected a dict of columns", row=number)
        unknown = [name for name in row if name not in columns]
        if unknown:
            raise InvalidInputError(
                f"row {number} has {unknown[0]!r}, which is no column; the columns are {list(columns)}", row=number
            )
    names = dict.fromkeys(name for row in rows for name in row)
    for number, row in enumerate(rows):
        for name in names:
            column = columns.get(name)
            if name not in row and not (column and column.type.nullable):
                raise InvalidInputError(f"row {number} has no value for column {name!r}", row=number)
    return {name: [row.get(name) for row in rows] for name in names}


def _encode_frozen(columns: Mapping[str, ColumnState], rows: FrozenRows) -> Iterator[tuple[Encoded, int]]:
    """Takes rows over from a dataset: as they are stored where the types are equal, otherwise value by value."""
    source = rows.state
    unknown = sorted(set(source.columns) - set(columns))
    if unknown:
        raise InvalidInputError(
            f"there is no column {unknown[0]!r} here, which the other dataset has; the columns are {list(columns)}",
            column=unknown[0],
        )
    step = max(1, _COPY_BYTES // max(1, source.mean_row_bytes))
    for start in range(0, len(rows.numbers), step):
        numbers = rows.numbers[start : start + step]
        encoded: Encoded = {}
        for name, column in source.columns.items():
            streams = column.read_numbers(numbers)
            if column.type != columns[name].type:
                streams = encode_values(columns[name].type, decode_values(column.type, streams), name)
            encoded[name] = streams
        yield _with_missing(columns, encoded, len(numbers)), len(numbers)
