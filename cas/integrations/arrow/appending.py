"""Tables of whatever speaks Arrow to rows of a dataset, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cas.codec.values import Streams
from cas.dataset.bridges import is_of
from cas.errors import InvalidTypeError
from cas.integrations.arrow.encoding import encode_array, encode_chunks
from cas.integrations.arrow.library import pa
from cas.integrations.piecewise import PIECE_BYTES, Pieces, check_known, check_names, encode_pieces
from cas.types import Type


def reader_of(table: Any) -> Any:
    """Returns a :class:`pyarrow.RecordBatchReader` over anything that speaks Arrow's C interface.

    Raises :class:`~cas.errors.InvalidTypeError` for what is no table, such as a single column.
    """
    if isinstance(table, pa.RecordBatchReader):
        return table
    if is_of("polars", "DataFrame", table):
        _check_objects(table)
    if is_of("pandas", "DataFrame", table):
        raise InvalidTypeError("a data frame of pandas has an index too; give it to cas.from_pandas")
    stream = hasattr(table, "__arrow_c_stream__")
    if not stream and not hasattr(table, "__arrow_c_array__"):
        raise InvalidTypeError(
            f"{type(table).__name__} does not speak Arrow; expected a table, a record batch or reader, a data frame, "
            f"or anything else that has __arrow_c_stream__"
        )
    try:
        if stream:
            return pa.RecordBatchReader.from_stream(table)
        batch = pa.record_batch(table)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError) as error:
        raise InvalidTypeError(
            f"{type(table).__name__} is no table of columns to Arrow ({error}); one column is given as {{name: values}}"
        ) from error
    return pa.RecordBatchReader.from_batches(batch.schema, [batch])


def _check_objects(frame: Any) -> None:
    """Refuses objects of Python, which polars gives to others as addresses."""
    for name, dtype in frame.schema.items():
        if str(dtype) == "Object":
            raise InvalidTypeError(f"column {name!r} holds objects of Python; cast it to a type of polars", column=name)


def encode_table(types: Mapping[str, Type], table: Any) -> Pieces:
    """Yields the rows of every column's streams and their count, some 16 MiB at a time.

    Raises :class:`~cas.errors.InvalidInputError`, naming column and row of the table, for a value that does not fit.
    """
    reader = reader_of(table)
    names = reader.schema.names
    check_names(names)
    check_known(names, types)
    return encode_pieces(
        _slices(reader),
        lambda batch: ({name: encode_array(types[name], batch[name], name) for name in names}, batch.num_rows),
    )


def _slices(reader: Any) -> Iterator[Any]:
    """The batches, large ones in slices."""
    for batch in reader:
        step = max(1, PIECE_BYTES * batch.num_rows // max(1, batch.nbytes))
        for start in range(0, batch.num_rows, step):
            yield batch.slice(start, step)


def encode_column(type_: Type, values: Any, column: str) -> Streams:
    """Returns the rows of each stream for a column of anything that speaks Arrow's C interface."""
    try:
        array = pa.chunked_array(values) if hasattr(values, "__arrow_c_stream__") else pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError) as error:
        raise InvalidTypeError(f"{type(values).__name__} is no column to Arrow: {error}", column=column) from error
    return encode_chunks(type_, array, column)
