"""Data frames of pandas: of datasets, and datasets of these.

Frames are made of the values as they are stored, not by way of Arrow: integers that may be missing stay integers,
classes become categories with their codes, times stay in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas import types
from cas.codec.nullable import encode_nullable
from cas.codec.numbers import check_bools
from cas.codec.rows import Rows
from cas.codec.values import Streams, decode_values, encode_values
from cas.dataset.column import ReadOnlyColumn
from cas.dataset.dataset import Dataset
from cas.dataset.readable import Readable
from cas.dataset.rows import RowRangeView
from cas.errors import InvalidInputError, InvalidTypeError, UnsupportedError
from cas.integrations.inference import is_missing, type_of_values
from cas.integrations.making import Plan, given_types, make_dataset
from cas.integrations.numpy import as_objects
from cas.integrations.piecewise import PIECE_BYTES, Pieces, check_known, check_names, encode_pieces, missing_value
from cas.integrations.selected import select_columns
from cas.integrations.values import plain_type
from cas.repo.location import Url
from cas.types import MASK, Type, element_kind

try:
    import pandas as pd
except ImportError:
    raise UnsupportedError(
        "data frames of pandas need the package pandas; install it with: pip install 'tensor-cas[pandas]'"
    ) from None

# What pandas has of numbers that may be missing.
_MASKED: Final = {
    "bool": pd.arrays.BooleanArray,
    **{f"{sign}int{bits}": pd.arrays.IntegerArray for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": pd.arrays.FloatingArray for bits in (32, 64)},
}


def to_pandas(rows: Readable | RowRangeView, columns: Iterable[str] | None = None, index: str | None = None) -> Any:
    """Returns a :class:`pandas.DataFrame`; see :meth:`cas.Dataset.to_pandas`."""
    selected = select_columns(rows, columns)
    series = {name: selected.read(name, _series) for name in selected.columns}
    frame = pd.DataFrame(series, index=pd.RangeIndex(len(selected)), copy=False)
    if index is None:
        return frame
    if index not in series:
        raise InvalidInputError(f"the index {index!r} is not among the columns {list(series)}", column=index)
    return frame.set_index(index)


def to_series(column: ReadOnlyColumn) -> Any:
    """Returns a :class:`pandas.Series` of the values of a column."""
    selected = select_columns(column._dataset, [column.name])
    return selected.read(column.name, _series).rename(column.name)


def _series(type_: Type, streams: Mapping[str, Rows]) -> Any:
    """The values in what pandas has for them, otherwise as objects."""
    of = plain_type(type_)
    missing = None
    if isinstance(type_, types.Nullable):
        check_bools(streams[MASK])
        missing = streams[MASK].flat == 0
    if isinstance(of, types.DateTime):
        times = decode_values(of, streams)
        if missing is not None:
            times[missing] = np.array("NaT", times.dtype)
        return pd.Series(times).dt.tz_localize("UTC")
    if isinstance(of, types.ClassLabel):
        codes = decode_values(of, streams)
        if missing is not None:
            codes = np.where(missing, -1, codes.astype(np.int64))
        return pd.Series(pd.Categorical.from_codes(codes, list(of.names)))
    if isinstance(of, types.Scalar) and missing is None:
        return pd.Series(decode_values(of, streams), copy=False)
    if isinstance(of, types.Scalar) and of.dtype in _MASKED:
        return pd.Series(_MASKED[of.dtype](decode_values(of, streams), missing))
    values = decode_values(_with_bytes(type_), streams)
    return pd.Series(values if isinstance(of, types.Text) and len(values) else as_objects(values))


def _with_bytes(type_: Type) -> Type:
    """The type with encoded images read as the bytes that they are."""
    if isinstance(type_, (types.Nullable, types.Sequence)):
        return type(type_)(_with_bytes(type_.of))
    return types.Bytes() if isinstance(type_, types.Image) and not type_.raw else type_


def from_pandas(
    url: Url, frame: Any, message: str | None, *, index: bool | None, schema: Mapping[str, Any] | None, compress: bool
) -> Dataset:
    """Creates a dataset of a data frame and commits its rows; see :func:`cas.from_pandas`."""
    if not isinstance(frame, pd.DataFrame):
        raise InvalidTypeError(f"a {type(frame).__name__} is no data frame of pandas; expected a pandas.DataFrame")
    frame = _with_index(frame, index)
    given = given_types(schema, list(frame.columns))
    types_ = {name: given[name] if name in given else _type_of(frame[name], name) for name in frame.columns}
    rows = frame.reset_index(drop=True)
    return make_dataset(url, Plan(types_), rows, "Rows from pandas" if message is None else message, compress=compress)


def encode_frame(types_: Mapping[str, Type], frame: Any) -> Pieces:
    """Yields the rows of every column's streams and their count, some 16 MiB at a time."""
    frame = _with_index(frame, None)
    check_known(list(frame.columns), types_)
    step = max(1, PIECE_BYTES * len(frame) // max(1, int(frame.memory_usage(index=False, deep=True).sum())))
    pieces = (frame.iloc[start : start + step] for start in range(0, len(frame), step))
    return encode_pieces(
        pieces, lambda piece: ({name: encode_series(types_[name], piece[name], name) for name in piece}, len(piece))
    )


def _with_index(frame: Any, index: bool | None) -> Any:
    """The frame with what of its index is to be kept among its columns."""
    if frame.columns.nlevels > 1:
        raise InvalidInputError("the columns of the data frame have several levels; join their names first")
    named = [name for name in frame.index.names if name is not None]
    if index is None and not named and not pd.api.types.is_integer_dtype(frame.index.dtype):
        raise InvalidInputError(
            "the index of the data frame has no name, and is more than row numbers; name it, as with "
            "frame.rename_axis('id'), to keep it as a column, or drop it with frame.reset_index(drop=True)"
        )
    if index or (index is None and named):
        taken = [name for name in named if name in frame.columns]
        if taken:
            raise InvalidInputError(f"the index and a column are both called {taken[0]!r}; rename one", column=taken[0])
        frame = frame.reset_index()
    check_names(list(frame.columns))
    return frame


def _type_of(series: Any, column: str) -> Type:
    """The column type that fits the values of a series."""
    if isinstance(series.dtype, pd.ArrowDtype):
        from cas.integrations.arrow.types import type_of_array

        return type_of_array(series.array.__arrow_array__(), column)
    if isinstance(series.dtype, pd.CategoricalDtype):
        names = list(series.cat.categories)
        if names and all(isinstance(name, str) and name for name in names):
            classes = types.ClassLabel(tuple(names))
            return types.Nullable(classes) if series.isna().any() else classes
    values, missing = _values(series)
    if missing is None or not missing.any():
        return type_of_values(values, column)
    if values.dtype.kind == "O":
        values[missing] = None
        return type_of_values(values, column)
    return types.Nullable(type_of_values(values[~missing], column))


def encode_series(type_: Type, series: Any, column: str) -> Streams:
    """Returns the rows of each stream for the values of a series.

    Raises :class:`~cas.errors.InvalidInputError`, naming column and row, for a value that does not fit exactly.
    """
    if isinstance(series.dtype, pd.ArrowDtype):
        from cas.integrations.arrow.encoding import encode_chunks

        return encode_chunks(type_, series.array.__arrow_array__(), column)
    values, missing = _values(series)
    if missing is None and type_.nullable and values.dtype.kind == "f" and not _takes_nan(type_):
        missing = np.isnan(values)
    if missing is None or not missing.any():
        return encode_values(type_, values, column)
    if not isinstance(type_, types.Nullable):
        raise missing_value(type_, column, int(np.argmax(missing)))
    marks = [None if is_missing_ else True for is_missing_ in missing.tolist()]
    return encode_nullable(type_, marks, column, lambda of, _, name: encode_values(of, values[~missing], name))


def _takes_nan(type_: Type) -> bool:
    return type_.numpy_dtype is not None and element_kind(type_.numpy_dtype.name) in "fc"


def _values(series: Any) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The values as an array, of objects where pandas has no other, and which of them are missing, if any may be."""
    dtype = series.dtype
    if isinstance(dtype, pd.SparseDtype):
        return _values(series.sparse.to_dense())
    if isinstance(dtype, pd.DatetimeTZDtype):
        return series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), series.isna().to_numpy()
    if isinstance(series.array, pd.api.extensions.ExtensionArray) and hasattr(dtype, "numpy_dtype"):
        return series.array.to_numpy(dtype.numpy_dtype, na_value=0), series.isna().to_numpy()
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        values = series.to_numpy()
        return values, np.isnat(values) if dtype.kind in "mM" else None
    objects = as_objects(series)
    if isinstance(dtype, pd.CategoricalDtype):
        return objects, series.isna().to_numpy()
    return objects, _missing_objects(objects)


def _missing_objects(objects: NDArray[Any]) -> NDArray[np.bool_]:
    """Which objects stand for missing values; NaN does where the others are no numbers."""
    missing = np.fromiter(map(is_missing, objects), np.bool_, len(objects))
    nan = np.fromiter((isinstance(value, float) and value != value for value in objects), np.bool_, len(objects))
    rest = objects[~(missing | nan)]
    numbers = len(rest) == 0 or all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in rest)
    return missing if numbers else missing | nan
