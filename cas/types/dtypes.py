"""The dtypes of elements: names, kinds and sizes, and the NumPy dtypes behind them.

The floats of machine learning come from the optional package ml_dtypes, which is imported only where values are met:
names, sizes and layouts stand in a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Final

import numpy as np

from cas.errors import InvalidTypeError, UnsupportedError, shown

NUMPY_DTYPES: Final = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
# Sizes in bytes, as NumPy does not know these dtypes by itself.
ML_DTYPES: Final[Mapping[str, int]] = {
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
}
DTYPES: Final = [*NUMPY_DTYPES, *ML_DTYPES]


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """Returns the little-endian NumPy dtype for a dtype name of the format.

    >>> numpy_dtype("uint16") == np.dtype("<u2")
    True

    Raises :class:`~cas.errors.UnsupportedError` for unknown names, and for the dtypes of ml_dtypes where that package
    is not installed.
    """
    return native_dtype(name).newbyteorder("<")


@cache
def native_dtype(name: str) -> np.dtype[Any]:
    """Returns the NumPy dtype for a dtype name of the format, in the byte order of the machine."""
    if name in ML_DTYPES:
        return _ml_dtype(name)
    if name not in NUMPY_DTYPES:
        raise UnsupportedError(f"dtype {name!r} is unknown; expected one of {', '.join(DTYPES)}")
    return np.dtype(name)


def _ml_dtype(name: str) -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ImportError:
        raise UnsupportedError(
            f"values of dtype {name} need the package ml_dtypes; install it with: pip install 'tensor-cas[dtypes]'"
        ) from None
    if not hasattr(ml_dtypes, name):
        raise UnsupportedError(
            f"values of dtype {name} need ml_dtypes 0.5 or newer; install it with: pip install 'tensor-cas[dtypes]'"
        )
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype


def dtype_name(dtype: object) -> str:
    """Returns the format's name of a dtype, given as that or as anything that NumPy takes.

    >>> dtype_name(np.float32), dtype_name("bfloat16"), dtype_name(int)
    ('float32', 'bfloat16', 'int64')

    Raises :class:`~cas.errors.InvalidTypeError` for a dtype that the format does not have.
    """
    if isinstance(dtype, str) and dtype in DTYPES:
        return dtype
    name: object = dtype
    with suppress(TypeError, ValueError):
        # NumPy reads None as float64.
        name = dtype if dtype is None else np.dtype(dtype).name  # type: ignore[call-overload]
    if name not in DTYPES:
        raise InvalidTypeError(f"{shown(name, 80)} is no dtype of a column; expected one of {', '.join(DTYPES)}")
    return str(name)


def element_kind(name: str) -> str:
    """Returns what elements of a dtype are: ``b`` booleans, ``i`` and ``u`` integers, ``f`` floats, ``c`` complex."""
    return "f" if name in ML_DTYPES else native_dtype(name).kind


def element_bytes(name: str) -> int:
    """Returns the size of one element of a dtype."""
    return ML_DTYPES[name] if name in ML_DTYPES else native_dtype(name).itemsize


def plane_bytes(name: str) -> int:
    """Returns the element size for the byte-plane filter: of one real number, for complex ones too."""
    size = element_bytes(name)
    return size // 2 if name.startswith("complex") else size
