"""What the fields of a decoded record must be, before anything is done with them."""

from __future__ import annotations

from typing import Final, TypeGuard

from cas.hashing import HASH_BYTES

MOST: Final = 2**53
"""The greatest count of rows, bytes or versions."""
_FIRST_TIME: Final = -62_135_596_800_000_000  # 0001-01-01, in microseconds since 1970
END_TIME: Final = 253_402_300_800_000_000  # 10000-01-01


def is_hash(value: object) -> TypeGuard[bytes]:
    """Tells whether a field is a hash."""
    return isinstance(value, bytes) and len(value) == HASH_BYTES


def is_id(value: object) -> TypeGuard[bytes]:
    """Tells whether a field is the id of a dataset, ref or session."""
    return isinstance(value, bytes) and len(value) == 16


def is_count(value: object) -> TypeGuard[int]:
    """Tells whether a field is a count, from 0 to 2**53."""
    return type(value) is int and 0 <= value <= MOST


def is_time(value: object) -> TypeGuard[int]:
    """Tells whether a field is a time of the years 1 to 9999, in microseconds since 1970."""
    return type(value) is int and _FIRST_TIME <= value < END_TIME
