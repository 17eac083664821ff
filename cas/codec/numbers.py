"""Numbers to arrays of a dtype of the format, exactly or not at all, and rows of numbers back to arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas import types
from cas.codec.given import refuse_masked, refused, refused_again
from cas.codec.rows import Rows
from cas.errors import CorruptedError, InvalidInputError, InvalidTypeError, shown
from cas.types import ML_DTYPES


def exact_array(values: object, dtype: str, column: str) -> NDArray[Any]:
    """Returns values as a little-endian array of a dtype; refuses what does not fit exactly.

    Python floats have no dtype of their own and are rounded to the nearest value of a float dtype; arrays of a wider
    dtype must fit exactly. Raises :class:`~cas.errors.InvalidInputError`, naming the row.
    """
    target = types.numpy_dtype(dtype)
    refuse_masked(values, column)
    if isinstance(values, (np.ndarray, np.generic)) and values.dtype.kind != "O":
        return _convert(np.asarray(values), target, column)
    if isinstance(values, (list, tuple)) and any(isinstance(value, np.ndarray) for value in values):
        arrays = [exact_row(value, dtype, column, row) for row, value in enumerate(values)]
        other = next((row for row, array in enumerate(arrays) if array.shape != arrays[0].shape), None)
        if other is not None:
            raise refused(
                InvalidInputError,
                column,
                other,
                f"its shape is {arrays[other].shape}, that of the first row {arrays[0].shape}",
            )
        return np.stack(arrays)
    return _from_objects(values, target, column)


def exact_row(value: object, dtype: str, column: str, row: int) -> NDArray[Any]:
    """Converts the value of one row, which errors then name."""
    try:
        return exact_array(value, dtype, column)
    except InvalidInputError as error:
        raise refused_again(error, column, row) from None


def scalar_rows(values: object, dtype: str, column: str) -> Rows:
    """Returns fixed rows of one number each."""
    array = exact_array(values, dtype, column)
    if array.ndim != 1:
        raise InvalidInputError(
            f"column {column!r} takes one {dtype} a row, the values have shape {array.shape}", column=column
        )
    return fixed_rows(array, array.dtype.itemsize)


def fixed_rows(array: NDArray[Any], row_bytes: int) -> Rows:
    """Returns the rows of an array along its first axis, of that many bytes each."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return Rows.fixed(flat, len(array), row_bytes)


def native_array(data: Rows, dtype: str, shape: tuple[Any, ...]) -> NDArray[Any]:
    """Returns the elements of rows as an array of the machine's byte order, which owns its memory."""
    if dtype == "bool":
        check_bools(data)
    array = (
        np.frombuffer(data.flat, types.numpy_dtype(dtype)) if data.nbytes else np.empty(0, types.native_dtype(dtype))
    )
    return array.reshape(shape).astype(types.native_dtype(dtype), copy=not data.own)


def check_bools(data: Rows) -> None:
    """Raises :class:`~cas.errors.CorruptedError` for rows of bytes that are neither 1 nor 0."""
    if data.nbytes and int(data.flat.max()) > 1:
        raise CorruptedError("a row that is true or false holds neither 1 nor 0")


_SCALES: Final = "float8_e8m0fnu"
_KIND_NAMES: Final = {"b": "b", "i": "iuf", "u": "iuf", "f": "iuf", "c": "iufc"}


def _kind(dtype: np.dtype[Any]) -> str:
    return "f" if dtype.name in ML_DTYPES else dtype.kind


def _convert(array: NDArray[Any], target: np.dtype[Any], column: str) -> NDArray[Any]:
    """Converts an array where every element fits exactly."""
    if array.dtype == target:
        return array.astype(target, copy=False)
    if _kind(array.dtype) not in _KIND_NAMES[_kind(target)]:
        raise InvalidTypeError(
            f"column {column!r} takes {target.name}, the values are of dtype {array.dtype}", column=column
        )
    if array.dtype.name == target.name:
        return array.astype(target)
    with np.errstate(all="ignore"):
        converted, fits = _converted(array, target)
    if not fits.all():
        row = int(np.argmin(fits.reshape(len(array), -1).all(axis=1))) if array.ndim else 0
        value = array[~fits].reshape(-1)[0]
        # Rounding is the writer's to decide; a value out of range is not.
        rounds = array.dtype.kind == target.kind == "f" and np.isfinite(converted[~fits].reshape(-1)[0])
        help_ = f"; to round it, give values.astype(np.{target.name})" if rounds else ""
        reason = f"{value} of dtype {array.dtype} does not fit {target.name} exactly{help_}"
        raise refused(InvalidInputError, column, row, reason)
    return converted


def _converted(array: NDArray[Any], target: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """An array in another dtype, and which elements were converted exactly."""
    if array.dtype.name in ML_DTYPES:
        return _converted(array.astype(np.float64), target)
    if target.name not in ML_DTYPES:
        converted = array.astype(target)
        return converted, _fits(array, converted)
    # Every value of these dtypes is one of float64, and so is every value that can come back.
    wide = array.astype(np.float64)
    converted = wide.astype(target)
    back = converted.astype(np.float64)
    same = ((back == wide) & (np.signbit(back) == np.signbit(wide))) | (np.isnan(back) & np.isnan(wide))
    return converted, same & _fits(array, wide)


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
    if kinds == {float} and target.kind == "f" and target.name not in ML_DTYPES:
        wide = np.array(flat, np.float64)
        with np.errstate(over="ignore"):
            rounded = wide.astype(target)
        if (np.isfinite(rounded) == np.isfinite(wide)).all():
            return rounded.reshape(objects.shape)
    width = max(1, len(flat) // max(1, len(objects))) if objects.ndim else 1
    if target.name in ML_DTYPES:
        return _ml_floats(flat, target, column, width).reshape(objects.shape)
    converted = [_element(value, target, column, number // width) for number, value in enumerate(flat)]
    return np.array(converted, target).reshape(objects.shape)


def _check_kind(value: Any, target: np.dtype[Any], column: str, row: int) -> None:
    kind = _kind(target)
    if isinstance(value, (list, tuple)):
        raise refused(
            InvalidTypeError, column, row, f"{shown(value)} stands in place of a number; lists must be nested evenly"
        )
    known = isinstance(value, _PYTHON_KINDS[kind]) or (kind in "fc" and _is_ml_float(value))
    if not known or (isinstance(value, bool) and kind != "b"):
        raise refused(InvalidTypeError, column, row, f"{shown(value)} does not fit {target.name}")


def _is_ml_float(value: object) -> bool:
    return isinstance(value, np.generic) and value.dtype.name in ML_DTYPES


def _element(value: Any, target: np.dtype[Any], column: str, row: int) -> Any:
    """Returns one number if it fits; Python floats are rounded, but not to infinity."""
    _check_kind(value, target, column, row)
    try:
        with np.errstate(over="ignore"):
            element: Any
            if isinstance(value, (bool, np.bool_)):
                element, good = bool(value), True
            elif isinstance(value, (int, np.integer)):
                element = target.type(int(value))
                good = bool(np.isfinite(element)) and int(element.real) == int(value)
            elif isinstance(value, (float, complex)) and not isinstance(value, np.generic):
                element = target.type(value)
                good = bool(np.isfinite(element) or not np.isfinite(value))
            else:
                element, fits = _converted(np.asarray(value), target)
                good = bool(fits.all())
    except OverflowError:
        good = False
    if not good:
        raise refused(InvalidInputError, column, row, f"{shown(value)} does not fit {target.name} exactly")
    return element


def _ml_floats(flat: list[Any], target: np.dtype[Any], column: str, width: int) -> NDArray[Any]:
    """Converts numbers to a dtype of ml_dtypes: Python floats are rounded, others must fit exactly."""
    wide = np.array([_wide(value, target, column, number // width) for number, value in enumerate(flat)], np.float64)
    rounded = np.array([isinstance(value, float) and not isinstance(value, np.generic) for value in flat], np.bool_)
    with np.errstate(all="ignore"):
        converted = _rounded_to_odd(_above_smallest(wide) if target.name == _SCALES else wide).astype(target)
        back = converted.astype(np.float64)
        # Without infinity, zero, a sign of zero or negative numbers, a dtype gives NaN or another number instead.
        good = (np.isinf(back) <= np.isinf(wide)) & (np.isnan(back) <= np.isnan(wide))
        good &= (wide != 0) | (np.signbit(back) == np.signbit(wide))
        good &= ~(np.abs(back) > 2 * np.abs(wide))
        good &= rounded | (back == wide) | np.isnan(wide)
    if not good.all():
        number = int(np.argmin(good))
        reason = f"{shown(flat[number])} does not fit {target.name}{'' if rounded[number] else ' exactly'}"
        raise refused(InvalidInputError, column, number // width, reason)
    return converted


def _wide(value: Any, target: np.dtype[Any], column: str, row: int) -> float:
    """A number as float64, which all numbers that fit a dtype of ml_dtypes do."""
    _check_kind(value, target, column, row)
    try:
        wide = float(value)
    except OverflowError:
        wide = np.nan
    if isinstance(value, (int, np.integer)) and wide != int(value):
        raise refused(InvalidInputError, column, row, f"{shown(value)} does not fit {target.name} exactly")
    return wide


def _above_smallest(wide: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounds what is below the second of the powers of two, which ml_dtypes 0.5 and 0.6 round up, always."""
    second = 2.0**-126
    return np.where((wide > 0) & (wide < second), np.where(wide < 0.75 * second, second / 2, second), wide)


def _rounded_to_odd(wide: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rounds to float32 so that rounding again, to a narrower dtype, gives the nearest value.

    Of the two neighbours of an inexact value it takes the one whose last bit is 1 (Boldo and Melquiond, "When double
    rounding is odd", 2005). ml_dtypes goes from float64 through float32, and would round twice.
    """
    near = wide.astype(np.float32)
    even = (near.view(np.uint32) & 1) == 0
    toward = np.where(wide > near, np.float32(np.inf), np.float32(-np.inf))
    other: NDArray[np.float32] = np.nextafter(near, toward)
    return np.where(even & (near != wide) & ~np.isnan(wide), other, near)
