"""Datasets, rows of them and columns, as they are at one moment, to Arrow tables and streams of record batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final

from cas.dataset.column import ReadOnlyColumn
from cas.dataset.readable import Readable
from cas.dataset.rows import RowRangeView
from cas.errors import InvalidInputError
from cas.integrations.arrow.arrays import arrow_array
from cas.integrations.arrow.dicts import dict_to_json
from cas.integrations.arrow.fields import KEY, arrow_field
from cas.integrations.arrow.library import pa
from cas.integrations.selected import Selected, select_columns

_CHUNK_BYTES: Final = 64 << 20


def to_table(rows: Readable | RowRangeView, columns: Iterable[str] | None = None, *, tensors: bool = True) -> Any:
    """Returns a :class:`pyarrow.Table`; see :meth:`cas.Dataset.to_arrow`."""
    selected = select_columns(rows, columns)
    schema = schema_of(selected, tensors=tensors)
    return pa.Table.from_arrays([_chunked(selected, name, tensors=tensors) for name in selected.columns], schema=schema)


def to_reader(
    rows: Readable | RowRangeView, columns: Iterable[str] | None = None, *, batch_rows: int | None = None
) -> Any:
    """Returns a :class:`pyarrow.RecordBatchReader`; see :meth:`cas.Dataset.to_arrow_batches`."""
    if batch_rows is not None and (isinstance(batch_rows, bool) or not isinstance(batch_rows, int) or batch_rows < 1):
        raise InvalidInputError(f"batch_rows={batch_rows!r} is not valid; expected an int of 1 or more")
    selected = select_columns(rows, columns)
    schema = schema_of(selected)
    return pa.RecordBatchReader.from_batches(schema, _batches(selected, schema, batch_rows))


def _batches(selected: Selected, schema: Any, batch_rows: int | None) -> Iterator[Any]:
    for start, stop in selected.steps(selected.columns, batch_rows):
        arrays = [selected.read(name, arrow_array, start, stop) for name in selected.columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def to_chunked(column: ReadOnlyColumn, *, tensors: bool = True) -> Any:
    """Returns a :class:`pyarrow.ChunkedArray` of the values of a column."""
    selected = select_columns(column._dataset, [column.name])
    return _chunked(selected, column.name, tensors=tensors)


def _chunked(selected: Selected, name: str, *, tensors: bool) -> Any:
    """All values of a column: of rows of one length in one array, so that they are one NumPy array too."""
    type_ = selected.type(name)
    field = arrow_field(name, type_, tensors=tensors)
    fixed = all(layout.row_bytes is not None for layout in type_.layouts().values())
    steps = [(0, len(selected))] if fixed else selected.steps([name], batch_bytes=_CHUNK_BYTES)
    chunks = [selected.read(name, partial(arrow_array, tensors=tensors), *step) for step in steps]
    return pa.chunked_array(chunks, field.type)


def schema_of(selected: Selected, *, tensors: bool = False) -> Any:
    """Returns the Arrow schema, with the metadata of the columns in their fields, that of the dataset beside them."""
    fields = []
    for name in selected.columns:
        metadata = selected.dataset._metadata(name).to_dict()
        fields.append(arrow_field(name, selected.type(name), metadata, tensors=tensors))
    metadata = selected.dataset._metadata(None).to_dict()
    return pa.schema(fields, metadata={KEY: dict_to_json({"metadata": metadata})} if metadata else None)


def export_stream(rows: Readable | RowRangeView, requested_schema: object = None) -> object:
    """Returns a capsule of an Arrow C stream, which reads as it is asked for the next batch."""
    return to_reader(rows).__arrow_c_stream__(requested_schema)


def export_schema(rows: Readable | RowRangeView) -> object:
    """Returns a capsule of an Arrow C schema."""
    return schema_of(select_columns(rows)).__arrow_c_schema__()


def export_column(column: ReadOnlyColumn, requested_schema: object = None) -> object:
    """Returns a capsule of an Arrow C stream of the values of a column."""
    return to_chunked(column, tensors=False).__arrow_c_stream__(requested_schema)
