"""Points in time to counts of a unit since 1970-01-01 UTC and back, exactly or not at all."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas.codec.given import items_of, refused
from cas.codec.numbers import fixed_rows
from cas.codec.rows import Rows
from cas.errors import CorruptedError, InvalidInputError, InvalidTypeError, shown

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_NOT_A_TIME: Final = -(2**63)
# Of the units of NumPy that count a fixed time, in attoseconds.
_ATTOSECONDS: Final = {
    "W": 604_800 * 10**18,
    "D": 86_400 * 10**18,
    "h": 3_600 * 10**18,
    "m": 60 * 10**18,
    "s": 10**18,
    "ms": 10**15,
    "us": 10**12,
    "ns": 10**9,
    "ps": 10**6,
    "fs": 10**3,
    "as": 1,
}
_FIRST_SECOND: Final = -62_135_596_800  # 0001-01-01
_END_SECOND: Final = 253_402_300_800  # 10000-01-01


def encode_times(unit: str, values: object, column: str) -> Rows:
    """Returns a fixed row of 8 bytes for each aware datetime or datetime64."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        counts = _counts_of(items_of(values, column), unit, column)
    else:
        listed = [_count_of(value, unit, column, row) for row, value in enumerate(items_of(values, column))]
        counts = np.array(listed, np.int64)
    outside = _outside(counts, unit)
    if outside.any():
        row = int(np.argmax(outside))
        # Unit ns has no count outside, but the one that stands for NaT.
        raise refused(InvalidInputError, column, row, f"{shown(values[row])} is outside of the years 1 to 9999")  # type: ignore[index]
    return fixed_rows(counts.astype("<i8"), 8)


def decode_times(unit: str, data: Rows) -> NDArray[Any]:
    """Returns an array of datetime64; a count outside of the unit's range raises ``CorruptedError``."""
    counts = np.frombuffer(data.flat, "<i8").astype(np.int64)
    outside = _outside(counts, unit)
    if outside.any():
        raise CorruptedError(f"a row of type datetime[{unit}] holds {counts[outside][0]}, which is no time")
    return counts.view(f"M8[{unit}]")


def single_times(unit: str, times: NDArray[Any]) -> list[Any]:
    """Returns each time as an aware datetime in UTC, which for nanoseconds would not be exact: as a datetime64."""
    if unit == "ns":
        return list(times)
    return [time.replace(tzinfo=dt.UTC) for time in times.astype("M8[us]").tolist()]


def _outside(counts: NDArray[np.int64], unit: str) -> NDArray[np.bool_]:
    if unit == "ns":
        return np.asarray(counts == _NOT_A_TIME)
    second = 10**18 // _ATTOSECONDS[unit]
    return np.asarray((counts < _FIRST_SECOND * second) | (counts >= _END_SECOND * second))


def _count_of(value: object, unit: str, column: str, row: int) -> int:
    """The count for one time."""
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind == "M":
        value = value[()]
    if isinstance(value, dt.datetime):
        if value.tzinfo is None or value.utcoffset() is None:
            raise refused(
                InvalidInputError,
                column,
                row,
                f"{shown(value)} has no time zone; say which one is meant, as in value.replace(tzinfo=datetime.UTC)",
            )
        if not hasattr(value, "to_datetime64"):
            return _exactly((value - _EPOCH) // _MICROSECOND, "us", unit, value, column, row)
        # A time of pandas, which has nanoseconds.
        value = value.to_datetime64()
    if isinstance(value, np.datetime64):
        try:
            return int(_counts_of(np.array([value]), unit, column)[0])
        except InvalidInputError as error:
            raise refused(type(error), column, row, error.reason or str(error)) from None
    raise refused(
        InvalidTypeError,
        column,
        row,
        f"{shown(value)} is not a time; expected a datetime with a time zone, or a np.datetime64",
    )


def _exactly(count: int, source: str, unit: str, value: object, column: str, row: int) -> int:
    """A count of another unit, for one that is a whole number of it."""
    exact, rest = divmod(count * _ATTOSECONDS[source], _ATTOSECONDS[unit])
    if rest:
        raise refused(InvalidInputError, column, row, f"{shown(value)} is not a whole number of the unit {unit}")
    if not _NOT_A_TIME < exact < 2**63:
        raise refused(InvalidInputError, column, row, f"{shown(value)} is outside of what the unit {unit} counts")
    return exact


def _counts_of(times: Any, unit: str, column: str) -> NDArray[np.int64]:
    """The counts for an array of datetime64."""
    if times.ndim != 1:
        raise InvalidInputError(
            f"column {column!r} takes one time a row, the values have shape {times.shape}", column=column
        )
    missing = np.isnat(times)
    if missing.any():
        row = int(np.argmax(missing))
        raise refused(
            InvalidInputError, column, row, "NaT is no point in time; a nullable column takes it as a missing value"
        )
    source, step = np.datetime_data(times.dtype)
    if source in ("Y", "M"):
        # Of the calendar; NumPy counts months without limits, and wraps around where days end.
        days = times.astype("M8[D]")
        wrapped = days.astype(times.dtype) != times
        if wrapped.any():
            row = int(np.argmax(wrapped))
            raise refused(InvalidInputError, column, row, f"{times[row]} is outside of what the unit {unit} counts")
        return _counts_of(days, unit, column)
    if source == "generic":
        raise InvalidInputError(f"the times for column {column!r} have no unit; give one, as datetime64[us]")
    counts: NDArray[np.int64] = times.astype(times.dtype.newbyteorder("=")).view(np.int64)
    numerator, denominator = step * _ATTOSECONDS[source], _ATTOSECONDS[unit]
    common = math.gcd(numerator, denominator)
    factor, divisor = numerator // common, denominator // common
    whole, rest = np.divmod(counts, divisor)
    bad = (rest != 0) | (np.abs(whole) > (2**63 - 1) // factor)
    if bad.any():
        row = int(np.argmax(bad))
        _exactly(int(counts[row]) * step, source, unit, times[row], column, row)
    # A larger factor leaves nothing but zeros.
    return whole * min(factor, 2**63 - 1)
