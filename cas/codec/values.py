"""Values of a column to the rows of its streams and back, exactly or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cas import types
from cas.codec.images import decode_image, encode_image
from cas.codec.rows import Rows
from cas.errors import CorruptedError, InvalidInputError, InvalidTypeError
from cas.types import DATA, MASK, SHAPE, Type

Streams = dict[str, Rows]


def encode_values(type_: Type, values: object, column: str) -> Streams:
    """Returns the rows of each stream for a sequence of values, all with the same count.

    Raises :class:`~cas.errors.InvalidInputError`, naming column and row, for a value that does not fit exactly.
    """
    match type_:
        case types.Nullable():
            return _encode_nullable(type_, values, column)
        case types.Scalar():
            array = exact_array(values, type_.dtype, column)
            if array.ndim != 1:
                raise InvalidInputError(
                    f"column {column!r} takes one {type_.dtype} a row, the values have shape {array.shape}",
                    column=column,
                )
            return {DATA: _fixed_rows(array, len(array))}
        case types.Array() if type_.fixed:
            return {DATA: _encode_fixed(type_, values, column)}
        case types.Array():
            return _encode_varying(type_, values, column)
        case types.Text():
            return {DATA: _encode_each(values, column, _encode_text)}
        case types.Bytes():
            return {DATA: _encode_each(values, column, _encode_bytes)}
        case types.Image():
            return {DATA: _encode_each(values, column, encode_image)}
    raise InvalidTypeError(f"column {column!r} has the type {type_}, which takes no values")


def decode_values(type_: Type, streams: Mapping[str, Rows]) -> Any:
    """Returns the values of rows: an array for scalars and fixed shapes, otherwise a list with an item per row."""
    data = streams[DATA]
    match type_:
        case types.Nullable():
            present = streams[MASK].flat.tolist()
            values = decode_values(type_.of, _only_present(type_.of, streams))
            found = iter(values)
            return [next(found) if there else None for there in present]
        case types.Scalar():
            return _as_native(data, type_.dtype, (data.count,))
        case types.Array() if type_.fixed:
            return _as_native(data, type_.dtype, (data.count, *type_.shape))
        case types.Array():
            return _decode_varying(type_, streams)
        case types.Text():
            return [_decode_text(row) for row in data]
        case types.Bytes():
            return [bytes(row) for row in data]
        case types.Image():
            return [decode_image(row) for row in data]
    raise InvalidTypeError(f"the type {type_} has no values")


def exact_array(values: object, dtype: str, column: str) -> NDArray[Any]:
    """Returns values as a little-endian array of a dtype; refuses what does not fit exactly.

    Python floats are rounded to the nearest value of a float dtype; arrays of a wider float dtype must fit exactly.
    """
    target = types.numpy_dtype(dtype)
    given = isinstance(values, (np.ndarray, np.generic))
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"the values for column {column!r} do not form an array of {dtype}: {error}", column=column
        ) from None
    if array.dtype == target:
        return array.astype(target, copy=False)
    if array.size == 0 and not given:
        return array.astype(target)
    if array.dtype.kind == "O" or (not given and target.kind in "iu" and array.dtype.kind == "f"):
        array = _from_objects(values, target, column)
    if array.dtype.kind not in "biufc" or (target.kind == "b") != (array.dtype.kind == "b"):
        raise InvalidTypeError(f"column {column!r} takes {dtype}, the values are of dtype {array.dtype}", column=column)
    with np.errstate(all="ignore"):
        converted = array.astype(target)
        rounded = not given and array.dtype.kind == "f" and target.kind in "fc"
        same = _fits_rounded(array, converted) if rounded else _fits(array, converted)
    if not same.all():
        row = int(np.argmin(same.reshape(len(array), -1).all(axis=1))) if array.ndim else 0
        bad = array[row] if array.ndim else array
        shown = bad if bad.ndim == 0 else "a value"
        raise InvalidInputError(
            f"column {column!r}, row {row} of the values: {shown} does not fit {dtype} exactly", column=column, row=row
        )
    return converted


def _fits(array: NDArray[Any], converted: NDArray[Any]) -> NDArray[np.bool_]:
    if array.dtype.kind in "iu" and converted.dtype.kind in "iu":
        # Compared across signs NumPy would go through floats; compare value and sign instead.
        same: NDArray[np.bool_] = (converted.astype(array.dtype) == array) & ((converted < 0) == (array < 0))
        return same
    back = converted.astype(array.dtype)
    same = (back == array) | ((back != back) & (array != array))
    if array.dtype.kind == "f" and converted.dtype.kind in "iu":
        same &= np.isfinite(array) & (np.abs(array) < 2.0**63)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        # The greatest integers round up to a float that converts back by wrapping or clamping.
        same &= np.abs(converted.real.astype(np.float64)) < 2.0**63
    return same


def _fits_rounded(array: NDArray[Any], converted: NDArray[Any]) -> NDArray[np.bool_]:
    kept: NDArray[np.bool_] = np.isfinite(converted) | ~np.isfinite(array)
    return kept


def _from_objects(values: Any, target: np.dtype[Any], column: str) -> NDArray[Any]:
    """Converts Python numbers that NumPy has no common dtype for, such as 2**63 beside -1."""
    flat = list(values)
    for row, value in enumerate(flat):
        if target.kind in "iu" and isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            info = np.iinfo(target)
            if info.min <= value <= info.max:
                continue
        elif (target.kind in "fc" and isinstance(value, (int, float, np.floating))) or (
            target.kind in "iu" and isinstance(value, list)
        ):
            continue
        raise InvalidInputError(
            f"column {column!r}, row {row} of the values: {value!r} does not fit {target.name} exactly",
            column=column,
            row=row,
        )
    return np.array(flat, target)


def _as_native(data: Rows, dtype: str, shape: tuple[Any, ...]) -> NDArray[Any]:
    # Rows decoded from a store own their bytes, but as read-only memory of one chunk: callers get an array of their
    # own.
    array = np.frombuffer(data.flat, types.numpy_dtype(dtype)) if data.nbytes else np.empty(0, dtype)
    array = array.reshape(shape)
    return array.astype(array.dtype.newbyteorder("="), copy=True)


def _fixed_rows(array: NDArray[Any], count: int) -> Rows:
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return Rows.fixed(flat, count, len(flat) // count if count else array.dtype.itemsize)


def _encode_fixed(type_: types.Array, values: object, column: str) -> Rows:
    array = exact_array(values, type_.dtype, column)
    if array.size == 0 and array.shape[:1] == (0,):
        array = array.reshape(0, *type_.shape)
    if array.ndim == 0 or array.shape[1:] != type_.shape:
        raise InvalidInputError(
            f"column {column!r} takes rows of shape {type_.shape}, the values have rows of shape {array.shape[1:]}",
            column=column,
        )
    size = type_.layouts()[DATA].row_bytes or 0
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return Rows.fixed(flat, len(array), size)


def _encode_varying(type_: types.Array, values: object, column: str) -> Streams:
    rows: list[bytes] = []
    shapes: list[tuple[int, ...]] = []
    for row, value in enumerate(_items(values, column)):
        array = exact_array(value, type_.dtype, column)
        sizes = array.shape
        if len(sizes) != len(type_.shape) or any(
            want is not None and want != size for want, size in zip(type_.shape, sizes, strict=True)
        ):
            raise InvalidInputError(
                f"column {column!r}, row {row} of the values: shape {sizes} does not fit {type_}",
                column=column,
                row=row,
            )
        rows.append(array.tobytes())
        shapes.append(sizes)
    table = np.array(shapes, "<u8").reshape(len(shapes), len(type_.shape))
    shape_bytes = 8 * len(type_.shape)
    return {DATA: Rows.from_list(rows), SHAPE: Rows.fixed(table.reshape(-1).view(np.uint8), len(shapes), shape_bytes)}


def _decode_varying(type_: types.Array, streams: Mapping[str, Rows]) -> list[NDArray[Any]]:
    data = streams[DATA]
    dtype = types.numpy_dtype(type_.dtype)
    shapes = streams[SHAPE].flat.view("<u8").reshape(data.count, len(type_.shape)).tolist()
    arrays = []
    for row, shape in zip(data, shapes, strict=True):
        try:
            array = np.frombuffer(row, dtype).reshape(shape)
        except (ValueError, OverflowError):
            raise CorruptedError(f"a row of {len(row)} bytes does not have its stored shape {shape}") from None
        arrays.append(array.astype(dtype.newbyteorder("="), copy=True))
    return arrays


def _encode_each(values: object, column: str, encode: Callable[[Any], Any]) -> Rows:
    rows = []
    for row, value in enumerate(_items(values, column)):
        try:
            rows.append(encode(value))
        except InvalidInputError as error:
            raise type(error)(f"column {column!r}, row {row} of the values: {error}", column=column, row=row) from None
    return Rows.from_list(rows)


def _items(values: object, column: str) -> Sequence[Any]:
    if isinstance(values, (str, bytes, bytearray, Mapping)) or not hasattr(values, "__len__"):
        raise InvalidTypeError(
            f"the values for column {column!r} are {type(values).__name__}; expected a list or array, one item per row",
            column=column,
        )
    return values  # type: ignore[return-value]


def _encode_text(value: object) -> bytes:
    if not isinstance(value, str):
        raise InvalidTypeError(f"{value!r} is not text")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{value!r} cannot be stored as UTF-8: {error.reason}") from None


def _encode_bytes(value: object) -> bytes | bytearray | memoryview:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise InvalidTypeError(f"{value!r} is not a byte string")
    return value.cast("B") if isinstance(value, memoryview) else value


def _decode_text(row: memoryview) -> str:
    try:
        return str(row, "utf-8")
    except UnicodeDecodeError as error:
        raise CorruptedError(f"a row of text is not UTF-8: {error}") from None


def _encode_nullable(type_: types.Nullable, values: object, column: str) -> Streams:
    if isinstance(values, np.ndarray) and values.dtype.kind != "O":
        present = np.ones(len(values), np.uint8)
        streams = encode_values(type_.of, values, column)
    else:
        items = list(_items(values, column))
        present = np.array([item is not None for item in items], np.uint8)
        streams = encode_values(type_.of, [item for item in items if item is not None], column)
        if not present.all():
            streams = {name: _spread(rows, present) for name, rows in streams.items()}
    return {**streams, MASK: Rows.fixed(present, len(present), 1)}


def _spread(rows: Rows, present: NDArray[np.uint8]) -> Rows:
    """Puts empty or zero rows where values are missing."""
    if rows.row_bytes is not None:
        table = np.zeros((len(present), rows.row_bytes), np.uint8)
        table[present == 1] = rows.flat.reshape(rows.count, rows.row_bytes)
        return Rows.fixed(table.reshape(-1), len(present), rows.row_bytes)
    lengths = np.zeros(len(present), np.int64)
    lengths[present == 1] = rows.lengths()
    return Rows.varying(rows.flat, np.cumsum(lengths))


def _only_present(type_: Type, streams: Mapping[str, Rows]) -> Streams:
    there = np.flatnonzero(streams[MASK].flat)
    return {name: streams[name].take(there) for name in type_.layouts()}
