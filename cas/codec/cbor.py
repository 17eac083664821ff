"""Deterministic CBOR: one encoding per value, and nothing else accepted (FORMAT section 5)."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import cbor2
import numpy as np

from cas.codec.masked import is_masked
from cas.errors import CorruptedError, InvalidInputError, InvalidTypeError
from cas.types import DTYPES, numpy_dtype

MAX_DEPTH: Final = 64
MAX_INTEGER_BYTES: Final = 1024
"""What an integer may have, without its sign; Python shows those of up to 1,785 bytes."""
_FOREIGN_TAGS: Final = (0, 1, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
_OBJECT_TAG: Final = 27
_EPOCH: Final = dt.datetime(1970, 1, 1)
_UTC_EPOCH: Final = _EPOCH.replace(tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def _refuse(value: object, immutable: bool) -> None:
    raise ValueError("a tag is not part of the format")


def _positive(value: object, immutable: bool) -> int:
    if not isinstance(value, bytes) or len(value) > MAX_INTEGER_BYTES:
        raise ValueError(f"an integer has more than {MAX_INTEGER_BYTES} bytes")
    return int.from_bytes(value)


def _negative(value: object, immutable: bool) -> int:
    return -1 - _positive(value, immutable)


# What cbor2 would make objects of: times, fractions, regular expressions, references, ... Nothing of a stranger is run.
_TAGS: Final = {**dict.fromkeys(_FOREIGN_TAGS, _refuse), 2: _positive, 3: _negative}


def encode(value: Any) -> bytes:
    """Encodes plain data (None, bool, int, float, str, bytes, list, dict with str keys)."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, *, what: str) -> Any:
    """Decodes plain data that must be in deterministic form; ``what`` names it in the error.

    Raises :class:`~cas.errors.CorruptedError` for anything that :func:`encode` would not have written.
    """
    try:
        value = cbor2.loads(
            data,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            semantic_decoders=_TAGS,
        )
        canonical = cbor2.dumps(value, canonical=True) == data
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise CorruptedError(f"{what} is not a valid record: {error}", blob=what) from error
    if not canonical:
        raise CorruptedError(f"{what} is not in deterministic form", blob=what)
    return value


def encode_value(value: object) -> bytes:
    """Encodes a metadata value; see the README for the kinds that are taken.

    Raises :class:`~cas.errors.InvalidTypeError` for anything else, before anything is written.
    """
    return encode(_to_plain(value, 0))


def decode_value(data: bytes, *, what: str) -> Any:
    """Decodes what :func:`encode_value` wrote, to an equal value of the same type."""
    return from_plain(decode(data, what=what), what)


def to_plain(value: object) -> Any:
    """Returns a metadata value as plain data with tags, ready for :func:`encode`."""
    return _to_plain(value, 0)


def _to_plain(value: object, depth: int) -> Any:
    if depth > MAX_DEPTH - 8:
        raise InvalidInputError(f"the value is nested more than {MAX_DEPTH - 8} deep; flatten it")
    if value is None or isinstance(value, (bool, bytes)):
        return value
    if isinstance(value, str):
        return checked_text(value)
    if isinstance(value, np.generic):
        return _tagged("scalar", _dtype_name(value.dtype), _little_endian(np.asarray(value)))
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, np.ndarray) and not is_masked(value):
        name = _dtype_name(value.dtype)
        return _tagged("array", name, list(value.shape), _little_endian(value))
    if isinstance(value, dt.datetime):
        return _datetime_to_plain(value)
    if isinstance(value, (list, tuple)):
        return [_to_plain(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_key(key): _to_plain(item, depth + 1) for key, item in value.items()}
    raise InvalidTypeError(
        f"a value of type {type(value).__name__} cannot be stored; expected None, bool, int, float, str, "
        f"bytes, list, tuple, dict with str keys, datetime, or a NumPy scalar or array"
    )


def _number(value: int | float) -> int | float:
    if isinstance(value, float):
        return float(value)
    if value.bit_length() > 8 * MAX_INTEGER_BYTES:
        raise InvalidInputError(f"an integer of {value.bit_length()} bits cannot be stored; at most 8,192 are taken")
    return int(value)


def _tagged(*items: object) -> cbor2.CBORTag:
    return cbor2.CBORTag(_OBJECT_TAG, list(items))


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise InvalidTypeError(f"a dict key is {key!r}; expected str keys only")
    return checked_text(key)


def checked_text(text: str) -> str:
    """Returns text as a plain str; refuses what UTF-8 does not take."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"text {text!r} cannot be stored as UTF-8: {error.reason}") from None
    return str.__str__(text)


def _dtype_name(dtype: np.dtype[Any]) -> str:
    if dtype.name not in DTYPES:
        raise InvalidTypeError(f"NumPy dtype {dtype} cannot be stored; expected a number or bool dtype")
    return dtype.name


def _little_endian(array: np.ndarray[Any, Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes("C")


def _datetime_to_plain(value: dt.datetime) -> cbor2.CBORTag:
    offset = value.utcoffset()
    if offset is None:
        return _tagged("datetime", (value - _EPOCH) // _MICROSECOND, None)
    if offset % dt.timedelta(seconds=1):
        raise InvalidInputError(f"the UTC offset of {value!r} is not a whole number of seconds")
    try:
        micros = (value - _UTC_EPOCH) // _MICROSECOND
        (_UTC_EPOCH + micros * _MICROSECOND).astimezone(value.tzinfo)
    except OverflowError:
        raise InvalidInputError(f"{value!r} is too near the end of time to be stored in UTC") from None
    return _tagged("datetime", micros, offset // dt.timedelta(seconds=1))


def from_plain(value: Any, what: str) -> Any:
    """Turns plain data with tags back into values; ``what`` names it in the error."""
    if isinstance(value, list):
        return [from_plain(item, what) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise CorruptedError(f"{what} holds a map whose keys are not text", blob=what)
        return {key: from_plain(item, what) for key, item in value.items()}
    if isinstance(value, cbor2.CBORTag):
        try:
            return _from_tag(value)
        except (ValueError, TypeError, IndexError, OverflowError, LookupError) as error:
            raise CorruptedError(f"{what} holds a value that cannot be read: {error}", blob=what) from error
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    raise CorruptedError(f"{what} holds a value of unknown kind {type(value).__name__}", blob=what)


def _from_tag(tag: cbor2.CBORTag) -> Any:
    if tag.tag != _OBJECT_TAG or not isinstance(tag.value, (list, tuple)):
        raise ValueError(f"tag {tag.tag} is not part of the format")
    kind, *items = tag.value
    if kind == "datetime":
        micros, offset = items
        if offset is None:
            return _EPOCH + micros * _MICROSECOND
        zone = dt.UTC if offset == 0 else dt.timezone(dt.timedelta(seconds=offset))
        return (_UTC_EPOCH + micros * _MICROSECOND).astimezone(zone)
    if kind == "array":
        name, shape, data = items
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"shape {shape} is not valid")
        array = np.frombuffer(data, numpy_dtype(name)).reshape(tuple(shape))
        return array.astype(array.dtype.newbyteorder("="))
    if kind == "scalar":
        name, data = items
        (scalar,) = np.frombuffer(data, numpy_dtype(name))
        return scalar.astype(scalar.dtype.newbyteorder("="))
    raise ValueError(f"{kind!r} is not a kind of value")
