"""Rows as Arrow arrays and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from systems.contract import FILE, Column, Columns


def schema(columns: Columns) -> Any:
    """The Arrow schema of columns."""
    return pa.schema([(name, _type(column)) for name, column in columns.items()])


def _type(column: Column) -> Any:
    if column.dtype == FILE:
        return pa.large_binary()
    number = pa.from_numpy_dtype(np.dtype(column.dtype))
    return pa.list_(number, column.items) if column.shape else number


def to_arrow(values: Any, column: Column) -> Any:
    """An Arrow array of rows; their numbers lie in lists of fixed size."""
    if column.dtype == FILE or not column.shape:
        return pa.array(values, _type(column))
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), column.items)


def to_numpy(values: Any, column: Column) -> Any:
    """The rows of an Arrow array, without a copy where they lie in one piece."""
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()
    if column.dtype == FILE:
        return values.to_pylist()
    flat = values.flatten() if column.shape else values
    return flat.to_numpy(zero_copy_only=False).reshape(-1, *column.shape)
