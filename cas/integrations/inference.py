"""The column type that fits values which say it themselves: NumPy arrays and Python objects."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from cas import types
from cas.codec.given import refused, refused_again
from cas.codec.images import is_pillow_image
from cas.errors import InvalidInputError, InvalidTypeError, shown
from cas.types import DTYPES, Type, as_type

_PYTHON: Final = (bool, int, float, complex, str, bytes, dict)


def type_of_values(values: Any, column: str) -> Type:
    """Returns the column type for an array with a row each, or for a sequence of objects, None where one is missing.

    Numbers of several kinds take the widest: ints and floats are float64. Raises
    :class:`~cas.errors.InvalidTypeError`, naming column and row, where no type fits all values.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind != "O":
        return _type_of_array(values, column)
    there = {row: value for row, value in enumerate(values) if not is_missing(value)}
    if not there:
        what = "has no values" if not len(values) else "has only missing values"
        raise InvalidTypeError(
            f"column {column!r} {what}, so its type is not known; give it, as in schema={{{column!r}: 'text'}}",
            column=column,
        )
    type_ = _type_of_objects(there, column)
    return type_ if len(there) == len(values) else types.Nullable(type_)


def is_missing(value: object) -> bool:
    """Tells what stands for a missing value among objects: None, NaT, and the NA of pandas."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or _is_nat(value)


def _is_nat(value: object) -> bool:
    return isinstance(value, (np.datetime64, np.timedelta64)) and bool(np.isnat(value))


def _type_of_array(values: np.ndarray[Any, Any], column: str) -> Type:
    try:
        type_ = as_type(np.dtype((values.dtype, values.shape[1:])))
    except InvalidInputError as error:
        raise InvalidTypeError(f"column {column!r}: {error}", column=column) from None
    if isinstance(type_, types.DateTime) and np.isnat(values).any():
        return types.Nullable(type_)
    return type_


def _type_of_objects(values: dict[int, Any], column: str) -> Type:
    """The type of values by row, none of which is missing."""
    kinds: dict[object, int] = {}
    for row, value in values.items():
        kinds.setdefault(_kind(value, column, row), row)
    if len(kinds) > 1:
        numbers = [kind for kind in kinds if kind in (int, float, complex) or isinstance(kind, np.dtype)]
        if len(numbers) < len(kinds):
            (first, _), (other, row) = list(kinds.items())[:2]
            reason = f"{shown(values[row])} is of another kind than those before: {_named(other)}, not {_named(first)}"
            raise refused(InvalidTypeError, column, row, reason)
        return types.Scalar(np.result_type(*(np.dtype(kind) for kind in numbers)).name)
    (kind,) = kinds
    if kind == "array":
        return _type_of_arrays(list(values.values()), column)
    if kind == "sequence":
        return _type_of_sequences(values, column)
    return types.Image() if kind == "image" else as_type(kind)


def _named(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _kind(value: Any, column: str, row: int) -> object:
    """What a value is: a Python type, a dtype, or the word for what has a shape or items."""
    if isinstance(value, np.generic):
        return value.dtype
    if isinstance(value, np.ndarray):
        return "array" if value.ndim and value.dtype.name in DTYPES else "sequence"
    if isinstance(value, dt.datetime):
        return dt.datetime
    if isinstance(value, (list, tuple)):
        return "sequence"
    if is_pillow_image(value):
        return "image"
    kind = next((kind for kind in _PYTHON if isinstance(value, kind)), None)
    if kind is None:
        raise refused(
            InvalidTypeError, column, row, f"{shown(value)} of type {type(value).__name__} has no column type"
        )
    return kind


def _type_of_arrays(arrays: Sequence[np.ndarray[Any, Any]], column: str) -> Type:
    dtype = np.result_type(*{array.dtype for array in arrays}).name
    shapes = {array.shape for array in arrays}
    if len(shapes) == 1:
        return types.Array(dtype, shapes.pop())
    axes = {len(shape) for shape in shapes}
    if len(axes) > 1:
        row = next(row for row, array in enumerate(arrays) if array.ndim != arrays[0].ndim)
        reason = f"its shape is {arrays[row].shape}, that of the first row {arrays[0].shape}"
        raise refused(InvalidTypeError, column, row, reason)
    sizes = zip(*shapes, strict=True)
    return types.Array(dtype, tuple(size[0] if len(set(size)) == 1 else None for size in sizes))


def _type_of_sequences(values: dict[int, Any], column: str) -> Type:
    items = list(chain.from_iterable(values.values()))
    try:
        return types.Sequence(type_of_values(items, column))
    except InvalidInputError as error:
        if error.row is None:
            raise
        ends = np.cumsum([len(value) for value in values.values()])
        number = int(np.searchsorted(ends, error.row, side="right"))
        raise refused_again(error, column, list(values)[number], "an item: ") from None
