"""Tables of whatever speaks Arrow to rows of a dataset, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cas.codec.given import refused_again
from cas.codec.values import Streams
from cas.errors import InvalidInputError, InvalidTypeError
from cas.integrations.arrow.encoding import encode_array
from cas.integrations.arrow.library import pa
from cas.types import Type

_STEP_BYTES: Final = 16 << 20


def reader_of(table: Any) -> Any:
    """Returns a :class:`pyarrow.RecordBatchReader` over anything that speaks Arrow's C interface.

    Raises :class:`~cas.errors.InvalidTypeError` for what is no table, such as a single column.
    """
    try:
        if hasattr(table, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(table)
        batch = pa.record_batch(table)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError) as error:
        raise InvalidTypeError(
            f"{type(table).__name__} is no table of columns to Arrow ({error}); one column is given as {{name: values}}"
        ) from error
    return pa.RecordBatchReader.from_batches(batch.schema, [batch])


def encode_table(types: Mapping[str, Type], table: Any) -> Iterator[tuple[dict[str, Streams], int]]:
    """Yields the rows of every column's streams and their count, some 16 MiB at a time.

    Raises :class:`~cas.errors.InvalidInputError`, naming column and row of the table, for a value that does not fit.
    """
    reader = reader_of(table)
    names = check_names(reader.schema)
    unknown = sorted(set(names) - set(types))
    if unknown:
        raise InvalidInputError(f"there is no column {unknown[0]!r}; the columns are {list(types)}", column=unknown[0])
    done = 0
    for batch in _pieces(reader):
        try:
            yield {name: encode_array(types[name], batch[name], name) for name in names}, batch.num_rows
        except InvalidInputError as error:
            if error.row is None or error.column is None:
                raise
            raise refused_again(error, error.column, done + error.row) from None
        done += batch.num_rows


def check_names(schema: Any) -> list[str]:
    """Returns the names of the columns; refuses one that is there twice."""
    names: list[str] = schema.names
    for name in names:
        if names.count(name) > 1:
            raise InvalidInputError(f"the table has two columns of the name {name!r}; rename one", column=name)
    return names


def _pieces(reader: Any) -> Iterator[Any]:
    """The batches, large ones in slices."""
    for batch in reader:
        step = max(1, _STEP_BYTES * batch.num_rows // max(1, batch.nbytes))
        for start in range(0, batch.num_rows, step):
            yield batch.slice(start, step)
