"""NumPy arrays by column: of datasets, and datasets of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cas.codec.values import decode_values
from cas.dataset.column import ReadOnlyColumn
from cas.dataset.dataset import Dataset
from cas.dataset.readable import Readable
from cas.dataset.rows import RowRangeView
from cas.errors import InvalidTypeError
from cas.integrations.inference import type_of_values
from cas.integrations.making import Plan, given_types, make_dataset
from cas.integrations.selected import select_columns
from cas.repo.location import Url


def to_numpy(rows: Readable | RowRangeView, columns: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
    """Returns an array for each column; see :meth:`cas.Dataset.to_numpy`."""
    selected = select_columns(rows, columns)
    return {name: as_array(selected.read(name, decode_values)) for name in selected.columns}


def as_array(values: Any) -> NDArray[Any]:
    """Returns values of a column as an array with an entry a row, of objects where they are not of one dtype."""
    return values if isinstance(values, np.ndarray) else as_objects(values)


def as_objects(values: Any) -> NDArray[Any]:
    """Returns values as an array of objects with one axis, whatever they are."""
    return np.fromiter(values, object, len(values))


def column_array(column: ReadOnlyColumn, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
    """Returns the values of a column as an array, as :func:`numpy.asarray` asks for them."""
    if copy is False:
        raise ValueError("the values of a column are read when they are asked for, so they are always a copy")
    array = as_array(column[:])
    return array if dtype is None else array.astype(dtype, copy=False)


def from_numpy(
    url: Url,
    arrays: Mapping[str, Any] | NDArray[Any],
    message: str | None,
    *,
    schema: Mapping[str, Any] | None,
    compress: bool,
) -> Dataset:
    """Creates a dataset of arrays and commits its rows; see :func:`cas.from_numpy`."""
    columns = _columns(arrays)
    given = given_types(schema, list(columns))
    types = {name: given[name] if name in given else type_of_values(columns[name], name) for name in columns}
    return make_dataset(url, Plan(types), columns, "Rows from NumPy" if message is None else message, compress=compress)


def _columns(arrays: Any) -> dict[str, Any]:
    if isinstance(arrays, np.ndarray) and arrays.dtype.names and arrays.ndim == 1:
        return {name: arrays[name] for name in arrays.dtype.names}
    if not isinstance(arrays, Mapping):
        what = f"an array of shape {arrays.shape}" if isinstance(arrays, np.ndarray) else type(arrays).__name__
        raise InvalidTypeError(f"{what} has no columns; expected a dict of arrays, or a structured array")
    return {name: np.asarray(values) if hasattr(values, "__array__") else values for name, values in arrays.items()}
