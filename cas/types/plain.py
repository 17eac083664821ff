"""Types with one value a row: numbers, text, bytes, points in time and dicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np

from cas.errors import InvalidInputError, shown
from cas.types.base import Type
from cas.types.dtypes import dtype_name, element_bytes, native_dtype, plane_bytes
from cas.types.layout import DATA, Layout

TIME_UNITS: Final = ("s", "ms", "us", "ns")


def check_dedup(dedup: str | None) -> None:
    """Refuses what ``dedup`` cannot be."""
    if dedup not in (None, "row"):
        raise InvalidInputError(f"dedup={shown(dedup)} is unknown; expected None or 'row'")


@dataclass(frozen=True, slots=True)
class Scalar(Type):
    """One number or boolean a row; ``dtype`` is a dtype name, such as ``"int32"`` or ``"bfloat16"``.

    Takes numbers that fit exactly; Python floats are rounded to the nearest value of a float dtype. Reads as an array
    of the dtype. A scalar type may be called, which gives itself.

    >>> from cas import types
    >>> types.Int32 == types.Int32() == types.Scalar("int32")
    True
    """

    dtype: str
    name: ClassVar[str] = "scalar"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", dtype_name(self.dtype))

    def __call__(self) -> Self:
        return self

    def layouts(self) -> dict[str, Layout]:
        return {DATA: Layout(element_bytes(self.dtype), element_bytes=plane_bytes(self.dtype))}

    def to_record(self) -> dict[str, Any]:
        return {"name": self.dtype}

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return native_dtype(self.dtype)

    def __str__(self) -> str:
        return self.dtype


@dataclass(frozen=True, slots=True)
class Text(Type):
    """A Unicode string a row, of any length, stored as UTF-8; reads as a list of str."""

    name: ClassVar[str] = "text"

    def layouts(self) -> dict[str, Layout]:
        return {DATA: Layout(None)}


@dataclass(frozen=True, slots=True)
class Bytes(Type):
    """A byte string a row; ``dedup="row"`` makes every row a chunk, whatever its size. Reads as a list of bytes."""

    dedup: str | None = None
    name: ClassVar[str] = "bytes"

    def __post_init__(self) -> None:
        check_dedup(self.dedup)

    def layouts(self) -> dict[str, Layout]:
        return {DATA: Layout(None, alone=self.dedup == "row")}

    def to_record(self) -> dict[str, Any]:
        return {"name": self.name} | ({"dedup": self.dedup} if self.dedup else {})


@dataclass(frozen=True, slots=True)
class Dict(Type):
    """A dict with str keys a row, of the values that metadata takes, all types kept.

    That is None, bool, int of any size, float, str, bytes, list, dict, datetime, NumPy scalars and arrays; a tuple
    reads as a list. Reads as a list of dicts.

    >>> from cas import types
    >>> types.as_type(dict)
    Dict()
    """

    name: ClassVar[str] = "dict"

    def layouts(self) -> dict[str, Layout]:
        return {DATA: Layout(None)}


@dataclass(frozen=True, slots=True)
class DateTime(Type):
    """A point in time a row, counted in ``unit`` (``"s"``, ``"ms"``, ``"us"`` or ``"ns"``) since 1970-01-01 UTC.

    Takes aware :class:`datetime.datetime` of any time zone, and NumPy's datetime64, which is taken as UTC; both must be
    whole numbers of the unit, in the years 1 to 9999 (unit ns: 1677 to 2262). Naive datetimes are refused, and NaT,
    which a nullable column takes as missing. A slice reads as an array of datetime64[unit]; one row as an aware
    datetime in UTC, of unit ns as a np.datetime64.

    >>> from cas import types
    >>> str(types.DateTime()), str(types.as_type(np.dtype("datetime64[ms]")))
    ('datetime[us]', 'datetime[ms]')
    """

    unit: str = "us"
    name: ClassVar[str] = "datetime"

    def __post_init__(self) -> None:
        if self.unit not in TIME_UNITS:
            raise InvalidInputError(f"unit {shown(self.unit)} of a datetime is unknown; expected one of {TIME_UNITS}")

    def layouts(self) -> dict[str, Layout]:
        return {DATA: Layout(8, element_bytes=8)}

    def to_record(self) -> dict[str, Any]:
        return {"name": self.name, "unit": self.unit}

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return np.dtype(f"M8[{self.unit}]")

    def __str__(self) -> str:
        return f"{self.name}[{self.unit}]"
