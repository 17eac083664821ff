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


def is_one_value(type_: Type, value: object) -> bool:
    """Whether a value can only be meant as one value of the type, not as a sequence of them."""
    if isinstance(type_, types.Nullable):
        return value is None or is_one_value(type_.of, value)
    if isinstance(type_, types.Scalar):
        return (
            np.ndim(value) == 0
            if isinstance(value, np.ndarray)
            else isinstance(value, (int, float, complex, np.generic))
        )
    return isinstance(value, (str, bytes))


def decode_values(type_: Type, streams: Mapping[str, Rows]) -> Any:
    """Returns the values of rows: an array for scalars and fixed shapes, otherwise a list with an item per row."""
    data = streams[DATA]
    match type_:
        case types.Nullable():
            _check_bools(streams[MASK])
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

    Python floats have no dtype of their own and are rounded to the nearest value of a float dtype; arrays of a wider
    dtype must fit exactly. Raises :class:`~cas.errors.InvalidInputError`, naming the row.
    """
    target = types.numpy_dtype(dtype)
    if isinstance(values, np.ma.MaskedArray):
        raise InvalidTypeError(f"column {column!r} takes no masked arrays; use a nullable column", column=column)
    if isinstance(values, (np.ndarray, np.generic)) and values.dtype.kind != "O":
        return _convert(np.asarray(values), target, column)
    if isinstance(values, (list, tuple)) and values and all(isinstance(value, np.ndarray) for value in values):
        arrays = [_inner_array(value, dtype, column, row) for row, value in enumerate(values)]
        if len({array.shape for array in arrays}) > 1:
            raise InvalidInputError(f"the values for column {column!r} have different shapes", column=column)
        return np.stack(arrays)
    return _from_objects(values, target, column)


def _inner_array(value: object, dtype: str, column: str, row: int) -> NDArray[Any]:
    """Converts the value of one row, which errors then name."""
    try:
        return exact_array(value, dtype, column)
    except InvalidInputError as error:
        raise refused(type(error), column, row, error.reason or str(error)) from None


def refused(kind: type[InvalidInputError], column: str, row: int, reason: str) -> InvalidInputError:
    """Returns the error for a value that does not fit, with column and row."""
    error = kind(f"column {column!r}, row {row} of the values: {reason}", column=column, row=row)
    error.reason = reason
    return error


def _convert(array: NDArray[Any], target: np.dtype[Any], column: str) -> NDArray[Any]:
    """Converts an array where every element fits exactly."""
    if array.dtype == target:
        return array.astype(target, copy=False)
    kinds = {"b": "b", "i": "iuf", "u": "iuf", "f": "iuf", "c": "iufc"}[target.kind]
    if array.dtype.kind not in kinds:
        raise InvalidTypeError(
            f"column {column!r} takes {target.name}, the values are of dtype {array.dtype}", column=column
        )
    with np.errstate(all="ignore"):
        converted = array.astype(target)
        fits = _fits(array, converted)
    if not fits.all():
        row = int(np.argmin(fits.reshape(len(array), -1).all(axis=1))) if array.ndim else 0
        bad = array[row] if array.ndim else array
        shown = bad if np.ndim(bad) == 0 else "a value"
        raise refused(InvalidInputError, column, row, f"{shown} does not fit {target.name} exactly")
    return converted


def _fits(array: NDArray[Any], converted: NDArray[Any]) -> NDArray[np.bool_]:
    """Tells which elements were converted exactly."""
    source, target = array.dtype.kind, converted.dtype.kind
    if target in "iu":
        info = np.iinfo(converted.dtype)
        if source == "f":
            # Both bounds are powers of two (or 0), so they are exact as floats.
            inside = (array >= float(info.min)) & (array < float(info.max + 1))
            return np.asarray(inside & (array == np.trunc(array)))
        limits = np.iinfo(array.dtype)
        low, high = max(info.min, limits.min), min(info.max, limits.max)
        return np.asarray((array >= low) & (array <= high))
    if source == "c":
        return _same_floats(array.real, converted.real) & _same_floats(array.imag, converted.imag)
    if source == "f":
        return _same_floats(array, converted.real)
    real: NDArray[np.float64] = converted.real.astype(np.float64)
    limits = np.iinfo(array.dtype)
    inside = (real >= float(limits.min)) & (real < float(limits.max + 1))
    return np.asarray(inside & (np.where(inside, real, 0).astype(array.dtype) == array))


def _same_floats(array: NDArray[Any], converted: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((converted == array) | ((converted != converted) & (array != array)))


_PYTHON_KINDS: Mapping[str, tuple[type, ...]] = {
    "b": (bool, np.bool_),
    "i": (int, np.integer),
    "u": (int, np.integer),
    "f": (int, float, np.integer, np.floating),
    "c": (int, float, complex, np.number),
}


def _from_objects(values: Any, target: np.dtype[Any], column: str) -> NDArray[Any]:
    """Converts Python numbers, one by one where they are not all of the column's own kind."""
    if isinstance(values, (str, bytes, bytearray, Mapping, set, frozenset)):
        raise InvalidTypeError(
            f"the values for column {column!r} are {type(values).__name__}; expected a list or array", column=column
        )
    try:
        objects = np.array(values, dtype=object)
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"the values for column {column!r} form no array: {error}", column=column) from None
    flat = objects.reshape(-1).tolist()
    kinds = set(map(type, flat))
    if (kinds == {int} and target.kind in "iu") or (kinds == {bool} and target.kind == "b"):
        try:
            return np.array(flat, target).reshape(objects.shape)
        except OverflowError:
            pass  # found again below, with its row
    width = max(1, len(flat) // max(1, len(objects))) if objects.ndim else 1
    converted = [_element(value, target, column, number // width) for number, value in enumerate(flat)]
    return np.array(converted, target).reshape(objects.shape)


def _element(value: Any, target: np.dtype[Any], column: str, row: int) -> Any:
    """Returns one number if it fits; Python floats are rounded, but not to infinity."""
    if not isinstance(value, _PYTHON_KINDS[target.kind]) or (isinstance(value, bool) and target.kind != "b"):
        raise refused(InvalidTypeError, column, row, f"{_shown(value)} does not fit {target.name}")
    try:
        with np.errstate(over="ignore"):
            element: Any
            if isinstance(value, (bool, np.bool_)):
                element, good = bool(value), True
            elif isinstance(value, (int, np.integer)):
                element = target.type(int(value))
                good = bool(np.isfinite(element)) and int(element.real) == int(value)
            elif isinstance(value, (float, complex)):
                element = target.type(value)
                good = bool(np.isfinite(element) or not np.isfinite(value))
            else:
                element = np.asarray(value).astype(target)
                good = bool(_fits(np.asarray(value), element).all())
    except OverflowError:
        good = False
    if not good:
        raise refused(InvalidInputError, column, row, f"{_shown(value)} does not fit {target.name} exactly")
    return element


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _as_native(data: Rows, dtype: str, shape: tuple[Any, ...]) -> NDArray[Any]:
    # Rows decoded from a store own their bytes, but as read-only memory of one chunk: callers get an array of their
    # own.
    if dtype == "bool":
        _check_bools(data)
    array = np.frombuffer(data.flat, types.numpy_dtype(dtype)) if data.nbytes else np.empty(0, dtype)
    array = array.reshape(shape)
    return array.astype(array.dtype.newbyteorder("="), copy=True)


def _check_bools(data: Rows) -> None:
    if data.nbytes and int(data.flat.max()) > 1:
        raise CorruptedError("a row that is true or false holds neither 1 nor 0")


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
        array = _inner_array(value, type_.dtype, column, row)
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
            raise refused(type(error), column, row, str(error)) from None
    return Rows.from_list(rows)


def _items(values: object, column: str) -> Sequence[Any]:
    if isinstance(values, (str, bytes, bytearray, Mapping)) or not hasattr(values, "__len__") or _is_single(values):
        raise InvalidTypeError(
            f"the values for column {column!r} are {type(values).__name__}; expected a list or array, one item per row",
            column=column,
        )
    return values  # type: ignore[return-value]


def _is_single(values: object) -> bool:
    return isinstance(values, (np.ndarray, np.generic)) and values.ndim == 0


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
    return value.tobytes() if isinstance(value, memoryview) else value


def _decode_text(row: memoryview) -> str:
    try:
        return str(row, "utf-8")
    except UnicodeDecodeError as error:
        raise CorruptedError(f"a row of text is not UTF-8: {error}") from None


def _encode_nullable(type_: types.Nullable, values: object, column: str) -> Streams:
    if isinstance(values, np.ndarray) and values.dtype.kind != "O" and values.ndim:
        present = np.ones(len(values), np.uint8)
        streams = encode_values(type_.of, values, column)
    else:
        items = list(_items(values, column))
        present = np.array([item is not None for item in items], np.uint8)
        try:
            streams = encode_values(type_.of, [item for item in items if item is not None], column)
        except InvalidInputError as error:
            if error.row is None:
                raise
            # The row was counted among those that have a value.
            row = int(np.flatnonzero(present)[error.row])
            raise refused(type(error), column, row, error.reason or str(error)) from None
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
