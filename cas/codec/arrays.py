"""Arrays as rows: of one shape, of varying shape, boxes, and pixels (FORMAT section 6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cas import types
from cas.codec.given import items_of, refused
from cas.codec.numbers import check_bools, exact_array, exact_row, fixed_rows, native_array
from cas.codec.rows import Rows
from cas.errors import CorruptedError, InvalidInputError
from cas.types import DATA, SHAPE

Shape = tuple[int, ...]


def encode_fixed(dtype: str, shape: Shape, values: object, column: str) -> Rows:
    """Returns fixed rows of arrays of one shape."""
    try:
        array = exact_array(values, dtype, column)
    except InvalidInputError:
        _blame_row(dtype, shape, values, column)
        raise
    if array.size == 0 and array.shape[:1] == (0,):
        array = array.reshape(0, *shape)
    if array.ndim == 0 or array.shape[1:] != shape:
        if array.ndim and len(array):
            raise _misshapen(array.shape[1:], shape, column, 0)
        raise InvalidInputError(
            f"column {column!r} takes rows of shape {shape}, the values have the shape {array.shape}", column=column
        )
    return fixed_rows(array, array.dtype.itemsize * math.prod(shape))


def _blame_row(dtype: str, shape: Shape, values: object, column: str) -> None:
    """Raises for the first row that is no array of the shape: of uneven lists NumPy tells only that they are."""
    if isinstance(values, (list, tuple)):
        for row, value in enumerate(values):
            given = exact_row(value, dtype, column, row).shape
            if given != shape:
                raise _misshapen(given, shape, column, row)


def _misshapen(given: Shape, expected: object, column: str, row: int) -> InvalidInputError:
    return refused(InvalidInputError, column, row, f"shape {given} does not fit; expected shape {expected}")


def _encode_free(
    dtype: str, values: object, column: str, fit: Callable[[NDArray[Any]], NDArray[Any] | None], expected: str
) -> tuple[Rows, list[Shape]]:
    """Returns varying rows in C order, and their shapes; ``fit`` gives None for an array whose shape does not fit."""
    rows: list[bytes] = []
    shapes: list[Shape] = []
    for row, value in enumerate(items_of(values, column)):
        given = exact_row(value, dtype, column, row)
        array = fit(given)
        if array is None:
            raise _misshapen(given.shape, expected, column, row)
        rows.append(array.tobytes())
        shapes.append(array.shape)
    return Rows.from_list(rows), shapes


def _shape_rows(shapes: list[Shape], axes: int) -> Rows:
    table = np.array(shapes, "<u8").reshape(len(shapes), axes)
    return Rows.fixed(table.reshape(-1).view(np.uint8), len(shapes), 8 * axes)


def encode_array(type_: types.Array, values: object, column: str) -> dict[str, Rows]:
    """Returns the streams of arrays."""
    if None in type_.shape:
        return encode_varying(type_, values, column)
    return {DATA: encode_fixed(type_.dtype, tuple(size or 0 for size in type_.shape), values, column)}


def decode_array(type_: types.Array, streams: Mapping[str, Rows]) -> Any:
    """Returns one array for rows of one shape, otherwise a list of arrays."""
    if None in type_.shape:
        return decode_varying(type_, streams)
    return native_array(streams[DATA], type_.dtype, (streams[DATA].count, *type_.shape))


def encode_varying(type_: types.Array, values: object, column: str) -> dict[str, Rows]:
    """Returns the streams of arrays whose shape has free sizes."""

    def fit(array: NDArray[Any]) -> NDArray[Any] | None:
        if array.ndim != len(type_.shape):
            return None
        pairs = zip(type_.shape, array.shape, strict=True)
        return array if all(want is None or want == size for want, size in pairs) else None

    expected = f"({', '.join('free' if size is None else str(size) for size in type_.shape)})"
    data, shapes = _encode_free(type_.dtype, values, column, fit, expected)
    return {DATA: data, SHAPE: _shape_rows(shapes, len(type_.shape))}


def decode_varying(type_: types.Array, streams: Mapping[str, Rows]) -> list[NDArray[Any]]:
    """Returns the arrays of rows; a shape that does not fit its bytes raises ``CorruptedError``."""
    axes = len(type_.shape)
    shapes = streams[SHAPE].flat.view("<u8").reshape(streams[DATA].count, axes).tolist()
    for shape in shapes:
        if any(want is not None and want != size for want, size in zip(type_.shape, shape, strict=True)):
            raise CorruptedError(f"a row of type {type_} has the stored shape {shape}")
    return _shaped(streams[DATA], type_.dtype, shapes)


def encode_boxes(type_: types.BoundingBox, values: object, column: str) -> Rows:
    """Returns varying rows of boxes, four numbers each; a row may have none."""

    def fit(array: NDArray[Any]) -> NDArray[Any] | None:
        if array.shape == (0,):
            return array.reshape(0, 4)
        return array if array.ndim == 2 and array.shape[1] == 4 else None

    return _encode_free(type_.dtype, values, column, fit, "(boxes, 4)")[0]


def decode_boxes(type_: types.BoundingBox, data: Rows) -> list[NDArray[Any]]:
    """Returns an array of shape (boxes, 4) for each row."""
    box_bytes = 4 * types.element_bytes(type_.dtype)
    return _shaped(data, type_.dtype, [[size // box_bytes, 4] for size in data.lengths().tolist()])


def encode_pixels(dtype: str, values: object, column: str) -> dict[str, Rows]:
    """Returns the streams of arrays of shape (height, width) or (height, width, channels)."""

    def fit(array: NDArray[Any]) -> NDArray[Any] | None:
        return array if array.ndim == 2 or (array.ndim == 3 and array.shape[2]) else None

    expected = "(height, width) or (height, width, channels)"
    data, shapes = _encode_free(dtype, values, column, fit, expected)
    # Two axes are marked by 0 channels.
    return {DATA: data, SHAPE: _shape_rows([shape if len(shape) == 3 else (*shape, 0) for shape in shapes], 3)}


def decode_pixels(dtype: str, streams: Mapping[str, Rows]) -> list[NDArray[Any]]:
    """Returns the arrays of rows; a shape that does not fit its bytes raises ``CorruptedError``."""
    if dtype == "bool":
        check_bools(streams[DATA])
    shapes = streams[SHAPE].flat.view("<u8").reshape(streams[DATA].count, 3).tolist()
    return _shaped(streams[DATA], dtype, [shape if shape[2] else shape[:2] for shape in shapes])


def _shaped(data: Rows, dtype: str, shapes: list[list[int]]) -> list[NDArray[Any]]:
    stored, native = types.numpy_dtype(dtype), types.native_dtype(dtype)
    arrays = []
    for row, shape in zip(data, shapes, strict=True):
        try:
            array = np.frombuffer(row, stored).reshape(shape)
        except (ValueError, OverflowError):
            raise CorruptedError(f"a row of {len(row)} bytes does not have its stored shape {shape}") from None
        arrays.append(array.astype(native, copy=True))
    return arrays
