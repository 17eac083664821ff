"""Rows that may be missing: the rows of another type, and a mask (FORMAT section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cas.codec.given import Decode, Encode, items_of, refused_again
from cas.codec.numbers import check_bools
from cas.codec.rows import Rows
from cas.errors import InvalidInputError
from cas.types import MASK, DateTime, Nullable, Type


def encode_nullable(type_: Nullable, values: object, column: str, encode: Encode) -> dict[str, Rows]:
    """Returns the streams of values, None where a row is missing; ``encode`` encodes those that are there."""
    if isinstance(values, np.ndarray) and values.dtype.kind not in "OM" and values.ndim:
        present = np.ones(len(values), np.uint8)
        streams = encode(type_.of, values, column)
    else:
        items = items_of(values, column)
        present = np.array([not _is_missing(type_.of, item) for item in items], np.uint8)
        if isinstance(items, np.ndarray):
            given: Any = items[present == 1]
        else:
            given = [item for item, there in zip(items, present, strict=True) if there]
        try:
            streams = encode(type_.of, given, column)
        except InvalidInputError as error:
            if error.row is None:
                raise
            # The row was counted among those that have a value.
            raise refused_again(error, column, int(np.flatnonzero(present)[error.row])) from None
        if not present.all():
            streams = {name: _spread(rows, present) for name, rows in streams.items()}
    return {**streams, MASK: Rows.fixed(present, len(present), 1)}


def decode_nullable(type_: Nullable, streams: Mapping[str, Rows], decode: Decode) -> list[Any]:
    """Returns the values of rows, None where one is missing; ``decode`` gives one for each that is there."""
    check_bools(streams[MASK])
    present = streams[MASK].flat
    there = np.flatnonzero(present)
    found = iter(decode(type_.of, {name: streams[name].take(there) for name in type_.of.layouts()}))
    return [next(found) if is_there else None for is_there in present.tolist()]


def _is_missing(type_: Type, value: object) -> bool:
    """Tells what stands for a missing row: None, and for times NaT."""
    if value is None:
        return True
    return isinstance(type_, DateTime) and isinstance(value, np.datetime64) and bool(np.isnat(value))


def _spread(rows: Rows, present: NDArray[np.uint8]) -> Rows:
    """Puts empty or zero rows where values are missing."""
    if rows.row_bytes is not None:
        table = np.zeros((len(present), rows.row_bytes), np.uint8)
        table[present == 1] = rows.flat.reshape(rows.count, rows.row_bytes)
        return Rows.fixed(table.reshape(-1), len(present), rows.row_bytes)
    lengths = np.zeros(len(present), np.int64)
    lengths[present == 1] = rows.lengths()
    return Rows.varying(rows.flat, np.cumsum(lengths))
