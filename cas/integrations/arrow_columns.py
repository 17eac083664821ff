"""Columns of Arrow to columns of datasets and back: types, and arrays to the values that ``append`` takes.

What Arrow says is kept in value: integers and floats by width, times by unit (in UTC), lists as sequences or, of one
length, as arrays. Dates become times at midnight; times of day and durations their counts, decimals text, dictionaries
their values, structs dicts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from cas import types
from cas.codec.given import convert_each, refused_again
from cas.errors import InvalidInputError, UnsupportedError
from cas.types import Type

Levels = tuple[bool, ...]
"""Whether there are missing values: among the rows, among the items of their lists, and so on inwards."""

_PATH: Final = "path"
_BYTES: Final = "bytes"
_SHAPE: Final = "shape"
_DATA: Final = "data"
_ALIASES: Final = {"class_label": "int64", "text": "string", "dict": "string", "bytes": "binary"}
_NUMBERS: Final = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)


def pyarrow() -> Any:
    """Returns the library; raises :class:`~cas.errors.UnsupportedError` where it is not installed."""
    try:
        import pyarrow
    except ImportError:
        raise UnsupportedError(
            "reading and writing Arrow needs pyarrow; install it with: pip install 'tensor-cas[arrow]'"
        ) from None
    return pyarrow


# What there is


def missing_levels(array: Any) -> Levels:
    """Returns at which depths of nested lists an array has missing values. Cost: their counts, no values."""
    array = plain_array(array)
    some = array.null_count > 0
    return (some, *missing_levels(array.flatten())) if is_list(array.type) else (some,)


def merged_levels(one: Levels, other: Levels) -> Levels:
    """Returns where either of two parts of a column has missing values."""
    return tuple(left or right for left, right in zip(one, other, strict=True))


def plain_array(array: Any) -> Any:
    """Returns an array in one piece, without extension types and dictionaries."""
    pa = pyarrow()
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def plain_type(arrow: Any) -> Any:
    """Returns a type without its extension or dictionary."""
    pa = pyarrow()
    if isinstance(arrow, pa.BaseExtensionType):
        arrow = arrow.storage_type
    return arrow.value_type if pa.types.is_dictionary(arrow) else arrow


def is_list(arrow: Any) -> bool:
    """Whether a type is one of lists."""
    of = pyarrow().types
    return any(test(arrow) for test in (of.is_list, of.is_large_list, of.is_fixed_size_list))


def is_image_struct(arrow: Any) -> bool:
    """Whether a type is that of encoded images with their paths, as Hugging Face has them."""
    of = pyarrow().types
    if not of.is_struct(arrow) or {arrow.field(i).name for i in range(arrow.num_fields)} != {_BYTES, _PATH}:
        return False
    data, path = arrow.field(_BYTES).type, arrow.field(_PATH).type
    tests = ((of.is_binary, of.is_large_binary), (of.is_string, of.is_large_string))
    return all(any(test(type_) for test in any_of) for any_of, type_ in zip(tests, (data, path), strict=True))


# Types


def column_type(arrow: Any, levels: Levels) -> Type:
    """Returns the type of a column for an Arrow type and what is missing in it.

    Raises :class:`~cas.errors.UnsupportedError` for types that have no counterpart, such as maps and unions.
    """
    inner = _present_type(plain_type(arrow), levels[1:])
    return types.Nullable(inner) if levels[0] else inner


def _present_type(arrow: Any, levels: Levels) -> Type:
    of = pyarrow().types
    if of.is_fixed_size_list(arrow) and not any(levels):
        item = _present_type(plain_type(arrow.value_type), levels[1:])
        if isinstance(item, types.Scalar):
            return types.Array(item.dtype, (arrow.list_size,))
        if isinstance(item, types.Array) and item.fixed:
            return types.Array(item.dtype, (arrow.list_size, *item.shape))
    if is_list(arrow):
        return types.Sequence(column_type(arrow.value_type, levels))
    if of.is_timestamp(arrow):
        return types.DateTime(arrow.unit)
    for test, type_ in _plain_types(of):
        if test(arrow):
            return type_
    name = {"halffloat": "float16", "float": "float32", "double": "float64"}.get(str(arrow), str(arrow))
    if name in _NUMBERS:
        return types.Scalar(name)
    raise UnsupportedError(f"the Arrow type {arrow} has no column type; convert the column, or leave it out")


def _plain_types(of: Any) -> list[tuple[Callable[[Any], bool], Type]]:
    return [
        (lambda arrow: of.is_string(arrow) or of.is_large_string(arrow) or of.is_string_view(arrow), types.Text()),
        (lambda arrow: of.is_decimal(arrow) or of.is_null(arrow), types.Text()),
        (lambda arrow: of.is_binary(arrow) or of.is_large_binary(arrow) or of.is_binary_view(arrow), types.Bytes()),
        (of.is_fixed_size_binary, types.Bytes()),
        (of.is_date32, types.DateTime("s")),
        (of.is_date64, types.DateTime("ms")),
        (lambda arrow: of.is_time(arrow) or of.is_duration(arrow), types.Int64),
        (of.is_struct, types.Dict()),
    ]


def arrow_type(type_: Type) -> Any:
    """Returns the Arrow type that holds the values of a column type.

    Images are structs of ``bytes`` and ``path``; dicts are JSON text; raw images and masks are structs of ``shape`` and
    ``data``. Raises :class:`~cas.errors.UnsupportedError` for complex numbers and the floats of ml_dtypes.
    """
    pa = pyarrow()
    match type_:
        case types.Nullable() | types.Sequence():
            inner = arrow_type(type_.of)
            return inner if isinstance(type_, types.Nullable) else pa.list_(inner)
        case types.Scalar():
            return _number_type(type_.dtype)
        case types.DateTime():
            return pa.timestamp(type_.unit, "UTC")
        case types.ClassLabel() | types.Text() | types.Dict() | types.Bytes():
            return pa.type_for_alias(_ALIASES[type_.name])
        case types.Image(raw=False):
            return pa.struct({_BYTES: pa.binary(), _PATH: pa.string()})
        case types.Image() | types.SegmentMask() | types.BinaryMask():
            return pa.struct({_SHAPE: pa.list_(pa.int64()), _DATA: pa.binary()})
        case types.Array() | types.Embedding() | types.BoundingBox():
            inner = _number_type(type_.dtype)
            for size in type_.row_shape[::-1]:
                inner = pa.list_(inner) if size is None else pa.list_(inner, size)
            return inner
    raise UnsupportedError(f"columns of type {type_} have no Arrow type")


def _number_type(dtype: str) -> Any:
    if dtype not in _NUMBERS:
        raise UnsupportedError(f"numbers of dtype {dtype} have no Arrow type")
    pa = pyarrow()
    return pa.bool_() if dtype == "bool" else pa.from_numpy_dtype(np.dtype(dtype))


# Arrow to values


def to_values(array: Any, type_: Type, read_file: Callable[[str], Any] | None = None) -> Any:
    """Returns the values of an Arrow array as ``append`` takes them for a column of a type.

    The type is one that :func:`column_type` gave, or the one whose :func:`arrow_type` the array has. Images are bytes;
    of one that is only a path, ``read_file`` gives what stands for it.
    """
    array = plain_array(array)
    if isinstance(type_, types.Nullable):
        return _nullable_values(array, type_.of, read_file)
    _check_none_missing(array)
    match type_:
        case types.Sequence():
            return _sequence_values(array, type_.of, read_file)
        case types.Image(raw=False):
            return _images(array, read_file)
    return _plain_values(array, type_)


def _plain_values(array: Any, type_: Type) -> Any:
    match type_:
        case types.DateTime():
            return _times(array, type_.unit)
        case types.Scalar(dtype=dtype):
            return _numbers(array, dtype)
        case types.ClassLabel():
            return _numbers(array, "int64")
        case types.Image() | types.SegmentMask() | types.BinaryMask():
            return [_shaped(item, str(type_.dtype)) for item in array.to_pylist()]
        case types.Array() | types.Embedding() | types.BoundingBox():
            return _arrays(array, type_.dtype, type_.row_shape)
        case types.Dict() if pyarrow().types.is_string(array.type):
            return [json.loads(text) for text in array.to_pylist()]
        case types.Text() if pyarrow().types.is_decimal(array.type):
            return array.cast(pyarrow().string()).to_pylist()
    return array.to_pylist()


def _check_none_missing(array: Any) -> None:
    if array.null_count:
        # What says that there are none, statistics or metadata of a file, may be wrong.
        raise InvalidInputError("a value is missing in a column of which it was said that none is")


def _nullable_values(array: Any, of: Type, read_file: Callable[[str], Any] | None) -> Any:
    if isinstance(of, types.DateTime):
        # Missing ones are NaT, which a nullable column takes.
        return _times(array, of.unit)
    present = _present(array, of)
    found = to_values(array.filter(pyarrow().array(present)), of, read_file)
    there = iter(found.tolist() if isinstance(found, np.ndarray) and found.ndim == 1 else found)
    return [next(there) if is_there else None for is_there in present.tolist()]


def _present(array: Any, of: Type) -> np.ndarray[Any, Any]:
    present = np.asarray(array.is_valid())
    if isinstance(of, types.ClassLabel):
        # Hugging Face marks what has no label by -1.
        present &= np.asarray(array.fill_null(0)) >= 0
    elif is_image_struct(array.type):
        present &= np.asarray(array.field(_BYTES).is_valid()) | np.asarray(array.field(_PATH).is_valid())
    return present


def _sequence_values(array: Any, of: Type, read_file: Callable[[str], Any] | None) -> list[Any]:
    items = to_values(array.flatten(), of, read_file)
    ends = np.cumsum(np.asarray(pyarrow().compute.list_value_length(array)), dtype=np.int64).tolist()
    return [items[start:stop] for start, stop in zip([0, *ends[:-1]], ends, strict=True)] if ends else []


def _times(array: Any, unit: str) -> Any:
    pa = pyarrow()
    counts = array.cast(pa.timestamp(unit)) if pa.types.is_date(array.type) else array
    missing = ~np.asarray(array.is_valid())
    times = np.asarray(counts.cast(pa.int64()).fill_null(0)).astype(np.int64).view(f"M8[{unit}]")
    times[missing] = np.datetime64("NaT")
    return times


def _numbers(array: Any, dtype: str) -> Any:
    pa = pyarrow()
    _check_none_missing(array)
    if pa.types.is_time32(array.type):
        array = array.cast(pa.int32())
    elif pa.types.is_time64(array.type) or pa.types.is_duration(array.type):
        array = array.cast(pa.int64())
    return array.to_numpy(zero_copy_only=False).astype(dtype, copy=False)


def _images(array: Any, read_file: Callable[[str], Any] | None) -> list[Any]:
    if not is_image_struct(array.type):
        return list(array.to_pylist())
    contents = array.field(_BYTES).to_pylist()
    if read_file is not None and None in contents:
        paths = array.field(_PATH).to_pylist()
        return [
            read_file(path) if content is None and path is not None else content
            for content, path in zip(contents, paths, strict=True)
        ]
    return list(contents)


def _shaped(item: dict[str, Any], dtype: str) -> Any:
    try:
        return np.frombuffer(item[_DATA], types.numpy_dtype(dtype)).reshape(item[_SHAPE])
    except ValueError as error:
        raise InvalidInputError(f"an array does not have the shape {item[_SHAPE]} that it declares: {error}") from None


def _arrays(array: Any, dtype: str, shape: tuple[int | None, ...]) -> Any:
    if None not in shape:
        rows = len(array)
        for _ in shape:
            array = plain_array(array.flatten())
        return _numbers(array, dtype).reshape(rows, *shape)
    return [_from_nested(row, dtype, shape) for row in array.to_pylist()]


def _from_nested(row: list[Any], dtype: str, shape: tuple[int | None, ...]) -> Any:
    array = np.array(row, dtype)
    # Of an array without elements the nested lists do not tell all sizes.
    if array.size:
        return array
    return array.reshape(tuple(size or 0 if axis else len(row) for axis, size in enumerate(shape)))


# Values to Arrow


def encoded_type(type_: Type) -> Type:
    """Returns a type whose values are those of another one with images as the bytes of their files."""
    match type_:
        case types.Image(raw=False):
            return types.Bytes()
        case types.Nullable():
            return types.Nullable(encoded_type(type_.of))
        case types.Sequence():
            return types.Sequence(encoded_type(type_.of))
    return type_


def to_array(type_: Type, values: Any, column: str, paths: Sequence[str | None] | None = None) -> Any:
    """Returns an array of :func:`arrow_type` with the values of a column, of its :func:`encoded_type`.

    ``paths`` go beside the bytes of images. Raises :class:`~cas.errors.InvalidInputError` for a dict that has no JSON,
    and for arrays without elements whose shape nested lists do not tell.
    """
    pa = pyarrow()
    match type_:
        case types.Nullable():
            return _nullable_array(type_.of, values, column, paths)
        case types.Sequence():
            ends = np.cumsum([0, *map(len, values)], dtype=np.int32)
            return pa.ListArray.from_arrays(ends, to_array(type_.of, _joined(values), column))
        case types.Image(raw=False):
            names = pa.array([None] * len(values) if paths is None else paths, pa.string())
            return pa.StructArray.from_arrays([pa.array(values, pa.binary()), names], [_BYTES, _PATH])
        case types.Scalar() | types.ClassLabel():
            return pa.array(np.asarray(values, type_.numpy_dtype), arrow_type(type_))
        case types.DateTime() if len(values) and isinstance(values[0], np.datetime64):
            return pa.array(np.asarray(values, type_.numpy_dtype).view(np.int64)).cast(arrow_type(type_))
        case types.Array() | types.Embedding() if None not in type_.row_shape:
            return _fixed_lists(np.asarray(values, type_.dtype), type_.row_shape)
    return pa.array(convert_each(values, column, lambda value: _plain_value(type_, value)), arrow_type(type_))


def _nullable_array(of: Type, values: Any, column: str, paths: Sequence[str | None] | None) -> Any:
    pa = pyarrow()
    missing = np.array([value is None for value in values], np.bool_)
    there = np.flatnonzero(~missing).tolist()
    try:
        found = to_array(of, [values[row] for row in there], column, paths and [paths[row] for row in there])
    except InvalidInputError as error:
        if error.row is None:
            raise
        # The row was counted among those that have a value.
        raise refused_again(error, column, there[error.row]) from None
    return found.take(pa.array(np.cumsum(~missing) - 1, mask=missing))


def _joined(rows: Any) -> Any:
    """The items of all rows."""
    if len(rows) and all(isinstance(row, np.ndarray) for row in rows):
        return np.concatenate(rows)
    return list(chain.from_iterable(rows))


def _fixed_lists(values: Any, shape: tuple[int | None, ...]) -> Any:
    pa = pyarrow()
    array = pa.array(values.reshape(-1))
    for size in shape[::-1]:
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def _plain_value(type_: Type, value: Any) -> Any:
    """What stands for one value in a list of Python."""
    match type_:
        case types.Image() | types.SegmentMask() | types.BinaryMask():
            return {_SHAPE: list(value.shape), _DATA: value.astype(value.dtype.newbyteorder("<")).tobytes()}
        case types.Dict():
            return to_json_text(value)
        case types.Array() | types.BoundingBox():
            if _from_nested(value.tolist(), type_.dtype, type_.row_shape).shape != value.shape:
                raise InvalidInputError(f"an array of shape {value.shape} has no elements that lists could hold")
            return value.tolist()
    return value


def to_json_text(value: Any) -> str:
    """Returns a dict as JSON; raises :class:`~cas.errors.InvalidInputError` for values that JSON does not have."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"a dict has no exact JSON: {error}") from None
