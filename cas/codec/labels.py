"""Classes, given by name or by code, to codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from cas.codec.given import items_of, refused
from cas.codec.numbers import exact_array, fixed_rows
from cas.codec.rows import Rows
from cas.errors import CorruptedError, InvalidInputError
from cas.types import ClassLabel


def encode_labels(type_: ClassLabel, values: object, column: str) -> Rows:
    """Returns a fixed row for each name or code of a class."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iub":
        given: Any = values
    else:
        codes = type_.codes()
        given = list(items_of(values, column))
        for row, value in enumerate(given):
            if isinstance(value, str):
                if value not in codes:
                    raise refused(InvalidInputError, column, row, type_.unknown_name(value))
                given[row] = codes[value]
    array = exact_array(given, "int64", column)
    if array.ndim != 1:
        raise InvalidInputError(
            f"column {column!r} takes one class a row, the values have shape {array.shape}", column=column
        )
    unknown = (array < 0) | (array >= type_.num_classes)
    if unknown.any():
        row = int(np.argmax(unknown))
        raise refused(InvalidInputError, column, row, type_.unknown_code(array[row]))
    stored = array.astype(type_.numpy_dtype.newbyteorder("<"))
    return fixed_rows(stored, stored.dtype.itemsize)


def check_codes(type_: ClassLabel, codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns stored codes; one that names no class raises ``CorruptedError``."""
    if codes.size and int(codes.max()) >= type_.num_classes:
        raise CorruptedError(f"a row of type {type_} holds {int(codes.max())}: {type_.unknown_code(int(codes.max()))}")
    return codes
