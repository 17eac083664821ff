"""Values as users give them: one item per row, and the errors that name column and row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from cas.codec.masked import is_masked
from cas.codec.rows import Rows
from cas.errors import InvalidInputError, InvalidTypeError
from cas.types import Type

Encode = Callable[[Type, object, str], dict[str, Rows]]
"""Encodes values of a type, for those that are made of others; the text names the column."""
Decode = Callable[[Type, Mapping[str, Rows]], Any]


def refused(kind: type[InvalidInputError], column: str, row: int, reason: str) -> InvalidInputError:
    """Returns the error for a value that does not fit, with column and row."""
    error = kind(f"column {column!r}, row {row} of the values: {reason}", column=column, row=row)
    error.reason = reason
    return error


def refused_again(error: InvalidInputError, column: str, row: int, prefix: str = "") -> InvalidInputError:
    """Returns an error of the same kind and reason for another row, as the one that the user knows."""
    return refused(type(error), column, row, prefix + (error.reason or str(error)))


def refuse_masked(values: object, column: str) -> None:
    """Refuses a masked array."""
    if is_masked(values):
        raise InvalidTypeError(f"column {column!r} takes no masked arrays; use a nullable column", column=column)


def items_of(values: object, column: str) -> Sequence[Any]:
    """Returns the values as a sequence with an item per row; refuses what is none."""
    refuse_masked(values, column)
    unordered = (str, bytes, bytearray, Mapping, Set)
    if isinstance(values, unordered) or not hasattr(values, "__len__") or is_single(values):
        raise InvalidTypeError(
            f"the values for column {column!r} are {type(values).__name__}; expected a list or array, one item per row",
            column=column,
        )
    return values  # type: ignore[return-value]


def is_single(values: object) -> bool:
    """Tells whether a value of NumPy has no axes."""
    return isinstance(values, (np.ndarray, np.generic)) and values.ndim == 0


def convert_each(values: object, column: str, convert: Callable[[Any], Any]) -> list[Any]:
    """Returns what a function makes of the value of each row; its errors then name column and row."""
    converted = []
    for row, value in enumerate(items_of(values, column)):
        try:
            converted.append(convert(value))
        except InvalidInputError as error:
            raise refused_again(error, column, row) from None
    return converted


def encode_each(values: object, column: str, encode: Callable[[Any], Any]) -> Rows:
    """Returns varying rows with the bytes that a function makes of the value of each."""
    return Rows.from_list(convert_each(values, column, encode))
