"""Values of a column to the rows of its streams and back, exactly or not at all."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cas import types
from cas.codec import arrays, cbor, labels, numbers, times
from cas.codec.given import convert_each, encode_each
from cas.codec.images import decode_image, encode_image, is_pillow_image, pixels_of
from cas.codec.nullable import decode_nullable, encode_nullable
from cas.codec.rows import Rows
from cas.codec.sequences import decode_sequences, encode_sequences
from cas.errors import CorruptedError, InvalidInputError, InvalidTypeError
from cas.types import DATA, DTYPES, Type

Streams = dict[str, Rows]


def encode_values(type_: Type, values: object, column: str) -> Streams:
    """Returns the rows of each stream for a sequence of values, all with the same count.

    Raises :class:`~cas.errors.InvalidInputError`, naming column and row, for a value that does not fit exactly.
    """
    codec = _CODECS.get(type(type_))
    if codec is None:
        raise InvalidTypeError(f"column {column!r} has the type {type_}, which takes no values")
    if isinstance(values, np.ndarray) and values.dtype.kind == "O" and values.ndim == 1:
        values = list(values)
    rows = codec.encode(type_, values, column)
    return {DATA: rows} if isinstance(rows, Rows) else rows


def decode_values(type_: Type, streams: Mapping[str, Rows]) -> Any:
    """Returns the values of rows: an array for numbers and fixed shapes, otherwise a list with an item per row.

    Raises :class:`~cas.errors.CorruptedError` for rows that no value has, and
    :class:`~cas.errors.UnsupportedError` where an optional package is missing.
    """
    codec = _CODECS.get(type(type_))
    if codec is None:
        raise InvalidTypeError(f"the type {type_} has no values")
    return codec.decode(type_, streams)


def single_values(type_: Type, values: Any) -> Any:
    """Returns decoded values one by one, as a single row reads: times as aware datetimes, others as they are."""
    return times.single_times(type_.unit, values) if isinstance(type_, types.DateTime) else values


def is_one_value(type_: Type, value: object) -> bool:
    """Tells whether a value can only be meant as one value of a type, not as a sequence of values, one per row.

    False where it may be either, such as for lists, and for three-dimensional arrays in a column of images.

    >>> is_one_value(types.Int32, 5), is_one_value(types.Int32, [5]), is_one_value(types.Text(), "all")
    (True, False, True)
    """
    codec = _CODECS.get(type(type_))
    return codec is not None and codec.is_one(type_, value)


@dataclass(frozen=True, slots=True)
class _Codec:
    """How the values of one kind of type become rows, of ``data`` or of several streams, and back."""

    encode: Callable[[Any, object, str], Rows | Streams]
    decode: Callable[[Any, Mapping[str, Rows]], Any]
    is_one: Callable[[Any, object], bool]


def _is_number(value: object) -> bool:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.ndim == 0 and value.dtype.name in DTYPES
    return isinstance(value, (bool, int, float, complex))


def _encode_text(value: object) -> bytes:
    if not isinstance(value, str):
        raise InvalidTypeError(f"{value!r} is not text")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{value!r} cannot be stored as UTF-8: {error.reason}") from None


def _decode_text(row: memoryview) -> str:
    try:
        return str(row, "utf-8")
    except UnicodeDecodeError as error:
        raise CorruptedError(f"a row of text is not UTF-8: {error}") from None


def _encode_bytes(value: object) -> bytes | bytearray | memoryview:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise InvalidTypeError(f"{value!r} is not a byte string")
    return value.tobytes() if isinstance(value, memoryview) else value


def _encode_dict(value: object) -> bytes:
    if not isinstance(value, dict):
        raise InvalidTypeError(f"{value!r} is not a dict")
    return cbor.encode_value(value)


def _decode_dict(row: memoryview) -> dict[str, Any]:
    value = cbor.decode_value(bytes(row), what="a row of type dict")
    if not isinstance(value, dict):
        raise CorruptedError(f"a row of type dict holds {type(value).__name__}")
    return value


def _is_bytes(value: object) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview))


def _is_time(value: object) -> bool:
    in_numpy = isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "M" and value.ndim == 0
    return in_numpy or isinstance(value, dt.datetime)


def _is_class(value: object) -> bool:
    return isinstance(value, str) or (_is_number(value) and not isinstance(value, (bool, float, complex)))


def _is_plane(value: object) -> bool:
    """Tells an array that is an image or mask for sure: with three axes it may be several of two."""
    return isinstance(value, np.ndarray) and value.dtype.kind != "O" and value.ndim == 2


def _is_row(type_: Type, value: object) -> bool:
    axes = len(type_.row_shape)
    if not axes:
        return _is_number(value)
    # An array of objects holds a value for each row.
    return isinstance(value, np.ndarray) and value.dtype.kind != "O" and value.ndim == axes


def _encode_images(type_: types.Image, values: object, column: str) -> Rows | Streams:
    if type_.sample_compression is None:
        plain = isinstance(values, np.ndarray) and values.dtype.kind != "O"
        pixels = values if plain else convert_each(values, column, pixels_of)
        return arrays.encode_pixels(type_.dtype, pixels, column)
    compression = type_.sample_compression
    return encode_each(values, column, lambda value: encode_image(value, compression))


def _decode_images(type_: types.Image, streams: Mapping[str, Rows]) -> list[Any]:
    if type_.raw:
        return arrays.decode_pixels(type_.dtype, streams)
    return [decode_image(row) for row in streams[DATA]]


def _decode_labels(type_: types.ClassLabel, streams: Mapping[str, Rows]) -> Any:
    data = streams[DATA]
    return labels.check_codes(type_, numbers.native_array(data, str(type_.dtype), (data.count,)))


def _decode_some(type_: Type, streams: Mapping[str, Rows]) -> Any:
    """Values for a list in which others are missing."""
    return single_values(type_, decode_values(type_, streams))


def _row_by_row(
    encode: Callable[[Any], Any], decode: Callable[[memoryview], Any], is_one: Callable[[object], bool]
) -> _Codec:
    """The codec of a type whose values become varying rows one by one."""
    return _Codec(
        lambda _, values, column: encode_each(values, column, encode),
        lambda _, streams: [decode(row) for row in streams[DATA]],
        lambda _, value: is_one(value),
    )


_MASKS: Final = _Codec(
    lambda type_, values, column: arrays.encode_pixels(type_.dtype, values, column),
    lambda type_, streams: arrays.decode_pixels(type_.dtype, streams),
    lambda _, value: _is_plane(value),
)
_CODECS: Final[Mapping[type[Type], _Codec]] = {
    types.Scalar: _Codec(
        lambda type_, values, column: numbers.scalar_rows(values, type_.dtype, column),
        lambda type_, streams: numbers.native_array(streams[DATA], type_.dtype, (streams[DATA].count,)),
        lambda _, value: _is_number(value),
    ),
    types.Text: _row_by_row(_encode_text, _decode_text, lambda value: isinstance(value, str)),
    types.Bytes: _row_by_row(_encode_bytes, bytes, _is_bytes),
    types.Dict: _row_by_row(_encode_dict, _decode_dict, lambda value: isinstance(value, dict)),
    types.DateTime: _Codec(
        lambda type_, values, column: times.encode_times(type_.unit, values, column),
        lambda type_, streams: times.decode_times(type_.unit, streams[DATA]),
        lambda _, value: _is_time(value),
    ),
    types.ClassLabel: _Codec(labels.encode_labels, _decode_labels, lambda _, value: _is_class(value)),
    types.Array: _Codec(arrays.encode_array, arrays.decode_array, _is_row),
    types.Embedding: _Codec(
        lambda type_, values, column: arrays.encode_fixed(type_.dtype, (type_.size,), values, column),
        lambda type_, streams: numbers.native_array(streams[DATA], type_.dtype, (streams[DATA].count, type_.size)),
        _is_row,
    ),
    types.BoundingBox: _Codec(
        arrays.encode_boxes, lambda type_, streams: arrays.decode_boxes(type_, streams[DATA]), _is_row
    ),
    types.SegmentMask: _MASKS,
    types.BinaryMask: _MASKS,
    types.Image: _Codec(
        _encode_images,
        _decode_images,
        lambda type_, value: _is_plane(value) or is_pillow_image(value) or (not type_.raw and _is_bytes(value)),
    ),
    types.Sequence: _Codec(
        lambda type_, values, column: encode_sequences(type_, values, column, encode_values),
        lambda type_, streams: decode_sequences(type_, streams, decode_values),
        lambda _, value: False,
    ),
    types.Nullable: _Codec(
        lambda type_, values, column: encode_nullable(type_, values, column, encode_values),
        lambda type_, streams: decode_nullable(type_, streams, _decode_some),
        lambda type_, value: value is None or is_one_value(type_.of, value),
    ),
}
