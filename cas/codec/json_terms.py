"""Stored values in terms of JSON, for people and other programs; some types are lost on the way."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def to_json(value: Any) -> Any:
    """Returns a stored value in terms of JSON.

    Bytes become hexadecimal digits, times ISO 8601, complex numbers pairs; numbers that JSON lacks become text.

    >>> to_json({"hash": b"\\x3f", "values": np.array([1.5, np.inf])})
    {'hash': '3f', 'values': [1.5, 'inf']}
    """
    match value:
        case np.datetime64():
            return _format_datetime64(value)
        case np.ndarray() if value.dtype.kind == "M":
            return [to_json(item) for item in value]
        case np.ndarray() | np.generic():
            return to_json(value.tolist())
        case Mapping():
            return {str(key): to_json(item) for key, item in value.items()}
        case list() | tuple():
            return [to_json(item) for item in value]
        case bytes():
            return value.hex()
        case dt.datetime():
            return value.isoformat()
        case complex():
            return [to_json(value.real), to_json(value.imag)]
        case float() if not math.isfinite(value):
            return str(value)
    return value


def _format_datetime64(time: np.datetime64) -> str:
    """A time in UTC as ISO 8601, as an aware datetime gives it; with nanoseconds where it has them."""
    if np.datetime_data(time.dtype)[0] == "ns":
        return f"{np.datetime_as_string(time)}+00:00"
    moment: dt.datetime = time.astype("M8[us]").item()
    return moment.replace(tzinfo=dt.UTC).isoformat()
