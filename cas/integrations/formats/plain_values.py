"""Values of columns as JSON and text have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cas import types
from cas.errors import UnsupportedError
from cas.integrations.values import plain_type
from cas.types import Type


def to_plain(type_: Type, value: Any) -> Any:
    """Returns a value in terms of JSON: classes by name, times in ISO 8601, arrays as nested lists.

    Raises :class:`~cas.errors.UnsupportedError` for a type that has none, such as images and bytes.
    """
    match type_:
        case types.Nullable():
            return None if value is None else to_plain(type_.of, value)
        case types.Sequence():
            return [to_plain(type_.of, item) for item in value]
        case types.ClassLabel():
            return type_.int2str(int(value))
        case types.DateTime():
            return _iso(value)
        case types.Text() | types.Dict():
            return value
        case types.Scalar() if not type_.dtype.startswith("complex"):
            return value.item()
        case types.Array() | types.Embedding() | types.BoundingBox() if not type_.dtype.startswith("complex"):
            return value.tolist()
    raise UnsupportedError(f"values of type {type_} have no form in text")


def check_plain(schema: Mapping[str, Type], format_: str, *, flat: bool = False) -> None:
    """Refuses columns that text cannot hold; with ``flat`` also those of several values a row."""
    for name, type_ in schema.items():
        inner = plain_type(type_)
        single = isinstance(inner, types.Scalar | types.Text | types.ClassLabel | types.DateTime)
        if not is_plain(type_) or (flat and not single):
            raise UnsupportedError(
                f"{format_} cannot hold column {name!r} of type {type_}; name the columns to write with --column, or "
                f"choose another format"
            )


def is_plain(type_: Type) -> bool:
    """Whether :func:`to_plain` takes the values of a type."""
    if isinstance(type_, types.Nullable | types.Sequence):
        return is_plain(type_.of)
    if isinstance(type_, types.Bytes | types.Image | types.SegmentMask | types.BinaryMask):
        return False
    return not str(getattr(type_, "dtype", "")).startswith("complex")


def _iso(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return f"{np.datetime_as_string(value)}Z"
    text: str = value.isoformat()
    return text.removesuffix("+00:00") + "Z"
