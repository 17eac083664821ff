"""Sequences as rows: the items of all rows as one run of rows of their own, and back (FORMAT section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas.codec.given import Decode, Encode, is_single, items_of, refused, refused_again
from cas.codec.masked import is_masked
from cas.codec.rows import Flat, Ints, Rows
from cas.errors import CorruptedError, InvalidInputError, InvalidTypeError, shown
from cas.types import DATA, Sequence, Type

_WORD: Final = 8
# From this average length on, copying row by row is faster than by a mask of all bytes.
_LARGE_ROW: Final = 256


def encode_sequences(type_: Sequence, values: object, column: str, encode: Encode) -> dict[str, Rows]:
    """Returns the streams of sequences; ``encode`` encodes the items of all rows at once."""
    rows = items_of(values, column)
    for row, value in enumerate(rows):
        if not _is_sequence(value):
            reason = f"{shown(value)} is not a sequence; expected a list or array of {type_.of}"
            raise refused(InvalidTypeError, column, row, reason)
    counts = np.fromiter(map(len, rows), np.int64, len(rows))
    kinds = _alike(rows)
    parts = [_encode_items(type_.of, [rows[row] for row in numbers], numbers, column, encode) for numbers in kinds]
    # The rows were taken kind by kind; each item goes back to its place.
    order = np.concatenate([np.empty(0, np.int64), *(_item_numbers(counts, numbers) for numbers in kinds)])
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    streams = {}
    for name, layout in type_.of.layouts().items():
        items = Rows.concat([part[name] for part in parts], layout.row_bytes)
        streams[type_.stream(name)] = frame_items(items if len(parts) < 2 else items.take(place), counts)
    return streams


def decode_sequences(type_: Sequence, streams: Mapping[str, Rows], decode: Decode) -> list[Any]:
    """Returns for each row what a slice of a column of the item type gives; ``decode`` decodes all items at once.

    Rows that are no sequences of such items raise :class:`~cas.errors.CorruptedError`.
    """
    framed = {
        name: unframe_items(streams[type_.stream(name)], layout.row_bytes)
        for name, layout in type_.of.layouts().items()
    }
    _, counts = framed[DATA]
    if not all(np.array_equal(counts, others) for _, others in framed.values()):
        raise CorruptedError(f"the streams of a row of type {type_} have different numbers of items")
    values = decode(type_.of, {name: items for name, (items, _) in framed.items()})
    pieces = [values[start:stop] for start, stop in pairwise([0, *np.cumsum(counts).tolist()])]
    # Each row owns its memory, so that one that is kept does not keep the others.
    return [piece.copy() for piece in pieces] if isinstance(values, np.ndarray) else pieces


def _is_sequence(value: object) -> bool:
    return isinstance(value, (list, tuple, range)) or (
        isinstance(value, np.ndarray) and not is_single(value) and not is_masked(value)
    )


def _alike(rows: Any) -> list[Ints]:
    """The numbers of rows that can be joined: arrays of one dtype and shape of items, and everything else."""
    if isinstance(rows, np.ndarray) and rows.dtype.kind != "O":
        return [np.arange(len(rows), dtype=np.int64)] if len(rows) else []
    kinds: dict[Any, list[int]] = {}
    for number, row in enumerate(rows):
        # Joined with others, an array of wider numbers would be taken for Python's, which are rounded.
        array = isinstance(row, np.ndarray) and row.dtype.kind != "O"
        kinds.setdefault((row.dtype, row.shape[1:]) if array else None, []).append(number)
    return [np.array(numbers, np.int64) for numbers in kinds.values()]


def _item_numbers(counts: Ints, rows: Ints) -> Ints:
    """The numbers of the items of some rows."""
    lengths = counts[rows]
    starts = (np.cumsum(counts) - counts)[rows]
    shifts: Ints = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return np.arange(lengths.sum(), dtype=np.int64) + shifts


def _encode_items(type_: Type, rows: list[Any], numbers: Ints, column: str, encode: Encode) -> dict[str, Rows]:
    """Encodes the items of rows that are alike; errors name the row, by its number among all."""
    if isinstance(rows[0], np.ndarray) and rows[0].dtype.kind != "O":
        items: Any = np.concatenate(rows)
    else:
        items = list(chain.from_iterable(rows))
    try:
        return encode(type_, items, column)
    except InvalidInputError as error:
        if error.row is not None:
            ends = np.cumsum([len(row) for row in rows])
            row = int(np.searchsorted(ends, error.row, side="right"))
            item = error.row - (int(ends[row - 1]) if row else 0)
            raise refused_again(error, column, int(numbers[row]), f"item {item}: ") from None
        for row, value in enumerate(rows):
            try:
                encode(type_, value, column)
            except InvalidInputError as inner:
                raise refused_again(inner, column, int(numbers[row])) from None
        raise


def frame_items(items: Rows, counts: Ints) -> Rows:
    """Returns a row for each sequence: its number of items, where they end if they vary, and their bytes."""
    offsets = np.concatenate((np.zeros(1, np.int64), items.row_ends()))
    last = np.cumsum(counts)
    first = last - counts
    begins = offsets[first]
    bodies = offsets[last] - begins
    if items.row_bytes is not None:
        return _interleave(counts.astype("<u8"), np.full(len(counts), _WORD), items.flat, bodies)
    words = np.empty(len(counts) + len(items), "<u8")
    is_count = np.zeros(len(words), np.bool_)
    is_count[first + np.arange(len(counts))] = True
    words[is_count] = counts
    words[~is_count] = items.row_ends() - np.repeat(begins, counts)
    return _interleave(words, _WORD * (1 + counts), items.flat, bodies)


def unframe_items(rows: Rows, row_bytes: int | None) -> tuple[Rows, Ints]:
    """Returns the items of all sequences as rows, and the number of items of each.

    Rows that :func:`frame_items` would not have made raise :class:`~cas.errors.CorruptedError`. Memory: that of the
    rows, whatever they say.
    """
    lengths = rows.lengths()
    if (lengths < _WORD).any():
        raise CorruptedError(f"a sequence of {int(lengths.min())} bytes is too short for its number of items")
    starts = np.cumsum(lengths) - lengths
    counts = rows.flat[starts[:, np.newaxis] + np.arange(_WORD)].reshape(-1).view("<u8")
    least = _WORD if row_bytes is None else max(row_bytes, 1)
    if row_bytes != 0 and (counts > ((lengths - _WORD) // least).astype(np.uint64)).any():
        raise CorruptedError("a sequence is too short for the items that it declares")
    if row_bytes is not None:
        return _unframe_fixed(rows, counts, row_bytes)
    numbers = counts.astype(np.int64)
    heads = _WORD * (1 + numbers)
    words, body = _split(rows.flat, heads, lengths - heads)
    is_end = np.ones(len(words) // _WORD, np.bool_)
    is_end[np.cumsum(numbers) - numbers + np.arange(rows.count)] = False
    ends = words.view("<u8")[is_end]
    bodies = lengths - heads
    begins = np.cumsum(bodies) - bodies
    absolute = ends.astype(np.int64) + np.repeat(begins, numbers)
    # Items end in order, the last one with the row, so none ends outside of it; a row without items has no body.
    if (np.diff(absolute, prepend=0) < 0).any() or not _ends_meet(absolute, numbers, begins + bodies, begins):
        raise CorruptedError("the items of a sequence do not fit its bytes")
    return Rows.varying(body, absolute), numbers


def _unframe_fixed(rows: Rows, counts: NDArray[np.uint64], row_bytes: int) -> tuple[Rows, Ints]:
    lengths = rows.lengths()
    if (counts >= 2**32).any():
        raise CorruptedError("a sequence declares more than 2**32 items")
    numbers = counts.astype(np.int64)
    if (numbers * row_bytes != lengths - _WORD).any():
        raise CorruptedError(f"a sequence of items of {row_bytes} bytes does not fit its number of items")
    body = _split(rows.flat, np.full(rows.count, _WORD), lengths - _WORD)[1]
    return Rows.fixed(body, int(numbers.sum()), row_bytes), numbers


def _ends_meet(absolute: Ints, numbers: Ints, ends: Ints, begins: Ints) -> bool:
    last = np.cumsum(numbers)
    some = numbers > 0
    return bool((absolute[last[some] - 1] == ends[some]).all() and (ends[~some] == begins[~some]).all())


def _interleave(heads: NDArray[Any], head_bytes: Ints, bodies: Flat, body_bytes: Ints) -> Rows:
    """Returns rows of a head and a body each."""
    ends = np.cumsum(head_bytes + body_bytes, dtype=np.int64)
    if len(heads) * _WORD + len(bodies) >= _LARGE_ROW * len(ends) > 0:
        pairs = zip(_slices(heads.view(np.uint8), head_bytes), _slices(bodies, body_bytes), strict=True)
        return Rows.varying(np.concatenate(list(chain.from_iterable(pairs))), ends)
    is_head = _head_mask(head_bytes, body_bytes)
    flat = np.empty(len(is_head), np.uint8)
    flat[is_head] = heads.view(np.uint8)
    flat[~is_head] = bodies
    return Rows.varying(flat, ends)


def _split(flat: Flat, head_bytes: Ints, body_bytes: Ints) -> tuple[Flat, Flat]:
    """Returns the heads of rows one after the other, and their bodies."""
    if len(flat) >= _LARGE_ROW * len(head_bytes) > 0:
        parts = _slices(flat, np.stack((head_bytes, body_bytes), axis=1).reshape(-1))
        return np.concatenate(parts[::2]), np.concatenate(parts[1::2])
    is_head = _head_mask(head_bytes, body_bytes)
    return flat[is_head], flat[~is_head]


def _slices(flat: Flat, lengths: Ints) -> list[Flat]:
    return [flat[start:stop] for start, stop in pairwise([0, *np.cumsum(lengths).tolist()])]


def _head_mask(head_bytes: Ints, body_bytes: Ints) -> NDArray[np.bool_]:
    lengths = np.stack((head_bytes, body_bytes), axis=1).reshape(-1)
    return np.repeat(np.tile(np.array([True, False]), len(head_bytes)), lengths)
