"""Stored rows of a column to an Arrow array, whose buffers are those rows where both lay values out alike.

So it is for numbers, times, classes and arrays, and for the bytes of text, images and byte strings, also where rows are
missing; offsets and the bits that tell what is missing are made anew. Copied are booleans, which Arrow packs into bits,
sequences and dicts.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas import types
from cas.codec.labels import check_codes
from cas.codec.numbers import check_bools
from cas.codec.rows import Ints, Rows
from cas.codec.sequences import unframe_items
from cas.codec.times import decode_times
from cas.codec.values import decode_values
from cas.errors import CorruptedError
from cas.integrations.arrow.dicts import dict_to_json
from cas.integrations.arrow.fields import arrow_type, element_type, is_tensor
from cas.integrations.arrow.library import pa
from cas.types import DATA, MASK, ML_DTYPES, SHAPE, Type
from cas.types.dtypes import plane_bytes

_WORD: Final = 8
# Of an axis: beyond all arrays but those without elements, whose sizes could be anything and would overflow in a sum.
_MAX_SIZE: Final = 2**40


def arrow_array(type_: Type, streams: Mapping[str, Rows], *, tensors: bool = False) -> Any:
    """Returns the Arrow array, of :func:`~cas.integrations.arrow.fields.arrow_type`, for the rows of a column.

    Raises :class:`~cas.errors.CorruptedError` for rows that no value has.
    """
    present = None
    if isinstance(type_, types.Nullable):
        check_bools(streams[MASK])
        present = streams[MASK].flat.astype(np.bool_)
        type_, present = type_.of, None if present.all() else present
    match type_:
        case types.Scalar() | types.DateTime() | types.ClassLabel():
            return _single(type_, streams, present)
        case types.Text() | types.Bytes():
            return _varying(type_, streams[DATA], present)
        case types.Image() if not type_.raw:
            return _varying(type_, streams[DATA], present)
        case types.Dict():
            return _texts_of_dicts(streams, present)
        case types.Sequence():
            return _sequences(type_, streams, present)
        case types.Array() | types.Embedding() | types.BoundingBox() if None not in type_.row_shape:
            return _arrays(type_, streams[DATA], present, tensors=tensors)
        case types.BoundingBox():
            return _boxes(type_, streams[DATA], present)
        case types.Array() if None not in type_.shape[1:]:
            return _lists(type_, streams, present)
        case _:
            return _shaped(type_, streams, present)


def _validity(present: NDArray[np.bool_] | None) -> Any:
    return None if present is None else _bits(present)


def _bits(flags: NDArray[Any]) -> Any:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def _buffer(flat: NDArray[Any], alignment: int = _WORD) -> Any:
    """A buffer of the memory of an array, which others must not write into; a copy only where it is not aligned."""
    if flat.ctypes.data % alignment:
        flat = flat.copy()
    return pa.py_buffer(flat.data.toreadonly())


def _native(rows: Rows, dtype: str) -> NDArray[Any]:
    """The elements as the machine has them: the rows themselves, but on machines that count from the big end."""
    size = plane_bytes(dtype)
    if sys.byteorder == "little" or size == 1:
        return rows.flat
    return rows.flat.view(f"u{size}").byteswap().view(np.uint8)


def _elements(dtype: str, rows: Rows, count: int, present: NDArray[np.bool_] | None = None) -> Any:
    """An array of so many elements of a dtype, all those in the rows."""
    type_ = element_type(dtype)
    flat = _native(rows, dtype)
    if dtype == "bool":
        check_bools(rows)
        return pa.Array.from_buffers(type_, count, [_validity(present), _bits(flat)])
    if dtype.startswith("complex"):
        parts = type_.value_type
        child = pa.Array.from_buffers(parts, 2 * count, [None, _buffer(flat, parts.byte_width)])
        return pa.Array.from_buffers(type_, count, [_validity(present)], children=[child])
    size = types.element_bytes(dtype)
    return pa.Array.from_buffers(type_, count, [_validity(present), _buffer(flat, 1 if dtype in ML_DTYPES else size)])


def _single(type_: Any, streams: Mapping[str, Rows], present: NDArray[np.bool_] | None) -> Any:
    """One number, time or class a row."""
    rows = streams[DATA]
    if isinstance(type_, types.Scalar):
        return _elements(type_.dtype, rows, rows.count, present)
    if isinstance(type_, types.DateTime):
        decode_times(type_.unit, rows)  # refuses counts that are no time
        buffers = [_validity(present), _buffer(_native(rows, "int64"))]
        return pa.Array.from_buffers(arrow_type(type_), rows.count, buffers)
    dtype = str(type_.dtype)
    flat = _native(rows, dtype)
    check_codes(type_, flat.view(dtype))
    buffers = [_validity(present), _buffer(flat, types.element_bytes(dtype))]
    names = pa.array(type_.names, pa.large_string())
    return pa.DictionaryArray.from_buffers(arrow_type(type_), rows.count, buffers, names)


def _offsets(ends: Ints) -> Any:
    offsets = np.zeros(len(ends) + 1, np.int64)
    offsets[1:] = ends
    return pa.py_buffer(offsets)


def _varying(type_: Type, rows: Rows, present: NDArray[np.bool_] | None) -> Any:
    buffers = [_validity(present), _offsets(rows.row_ends()), _buffer(rows.flat, 1)]
    array = pa.Array.from_buffers(arrow_type(type_), rows.count, buffers)
    if isinstance(type_, types.Text):
        try:
            array.validate(full=True)
        except pa.ArrowInvalid as error:
            raise CorruptedError(f"a row of text is not UTF-8: {error}") from None
    return array


def _texts_of_dicts(streams: Mapping[str, Rows], present: NDArray[np.bool_] | None) -> Any:
    rows = streams[DATA] if present is None else streams[DATA].take(np.flatnonzero(present))
    texts = iter([dict_to_json(value) for value in decode_values(types.Dict(), {DATA: rows})])
    there = np.ones(rows.count, np.bool_) if present is None else present
    return pa.array([next(texts) if is_there else None for is_there in there.tolist()], pa.large_string())


def _list_array(type_: Any, counts: Ints, items: Any, present: NDArray[np.bool_] | None = None) -> Any:
    buffers = [_validity(present), _offsets(np.cumsum(counts, dtype=np.int64))]
    return pa.Array.from_buffers(type_, len(counts), buffers, children=[items])


def _sequences(type_: types.Sequence, streams: Mapping[str, Rows], present: NDArray[np.bool_] | None) -> Any:
    """Lists of what an array of the items holds."""
    there = None if present is None else np.flatnonzero(present)
    items: dict[str, Rows] = {}
    counts: list[Ints] = []
    for name, layout in type_.of.layouts().items():
        rows = streams[type_.stream(name)]
        items[name], found = unframe_items(rows if there is None else rows.take(there), layout.row_bytes)
        counts.append(found)
    if not all(np.array_equal(counts[0], others) for others in counts):
        raise CorruptedError(f"the streams of a row of type {type_} have different numbers of items")
    return _list_array(arrow_type(type_), _spread(counts[0], present), arrow_array(type_.of, items), present)


def _spread(counts: Ints, present: NDArray[np.bool_] | None) -> Ints:
    """The counts of all rows: 0 for those that are missing."""
    if present is None:
        return counts
    spread = np.zeros(len(present), np.int64)
    spread[present] = counts
    return spread


def _nested(dtype: str, shape: Sequence[int], rows: Rows, count: int, present: NDArray[np.bool_] | None = None) -> Any:
    """An array of so many fixed-size lists in each other."""
    array = _elements(dtype, rows, count * math.prod(shape), None if shape else present)
    for axis in reversed(range(len(shape))):
        type_ = pa.list_(pa.field("item", array.type, nullable=False), shape[axis])
        length = count * math.prod(shape[:axis])
        validity = None if axis else _validity(present)
        array = pa.Array.from_buffers(type_, length, [validity], children=[array])
    return array


def _arrays(type_: Any, rows: Rows, present: NDArray[np.bool_] | None, *, tensors: bool) -> Any:
    shape = type_.row_shape
    if not tensors or not is_tensor(type_):
        return _nested(type_.dtype, shape, rows, rows.count, present)
    extension = arrow_type(type_, tensors=True)
    elements = _elements(type_.dtype, rows, rows.count * math.prod(shape))
    storage = pa.Array.from_buffers(extension.storage_type, rows.count, [_validity(present)], children=[elements])
    return pa.ExtensionArray.from_storage(extension, storage)


def _boxes(type_: types.BoundingBox, rows: Rows, present: NDArray[np.bool_] | None) -> Any:
    counts, rest = np.divmod(rows.lengths(), 4 * types.element_bytes(type_.dtype))
    if rest.any():
        raise CorruptedError(f"a row of type {type_} holds no whole number of boxes")
    items = _nested(type_.dtype, (4,), rows, int(counts.sum()))
    return _list_array(arrow_type(type_), counts, items, present)


def _shapes(type_: Any, streams: Mapping[str, Rows], present: NDArray[np.bool_] | None) -> Ints:
    """The stored shapes, an int64 array of shape (rows, axes), checked against the bytes of the rows."""
    rows = streams[DATA]
    if type_.numpy_dtype == np.bool_:
        check_bools(rows)
    axes = len(type_.shape) if isinstance(type_, types.Array) else 3
    shapes = streams[SHAPE].flat.view("<u8").reshape(rows.count, axes)
    there: Any = slice(None)
    if present is not None:
        there, shapes = present, np.where(present[:, np.newaxis], shapes, 0)
        if rows.lengths()[~present].any():
            raise CorruptedError(f"a row of type {type_} is missing, and has bytes")
    sizes, wrong = shapes, np.zeros(rows.count, np.bool_)
    if isinstance(type_, types.Array):
        for axis, size in enumerate(type_.shape):
            wrong |= (shapes[:, axis] != size) if size is not None else (shapes[:, axis] >= _MAX_SIZE)
    else:
        sizes = np.maximum(shapes, (0, 0, 1))  # two axes are marked by 0 channels
    # As floats, for what a stranger wrote may be of any size; up to 2**53 they are exact.
    wrong |= sizes.astype(np.float64).prod(axis=1) * types.element_bytes(type_.dtype) != rows.lengths()
    if wrong[there].any():
        raise CorruptedError(f"a row of type {type_} does not have its stored shape")
    return shapes.astype(np.int64)


def _lists(type_: types.Array, streams: Mapping[str, Rows], present: NDArray[np.bool_] | None) -> Any:
    """Arrays of which only the first size is free."""
    counts = _shapes(type_, streams, present)[:, 0]
    inner = [size or 0 for size in type_.shape[1:]]
    total = int(counts.sum())
    return _list_array(arrow_type(type_), counts, _nested(type_.dtype, inner, streams[DATA], total), present)


def _shaped(type_: Any, streams: Mapping[str, Rows], present: NDArray[np.bool_] | None) -> Any:
    """Arrays of any shape: their elements in C order, and their shapes."""
    shapes = _shapes(type_, streams, present)
    struct = arrow_type(type_)
    rows = streams[DATA]
    size = types.element_bytes(type_.dtype)
    elements = _elements(type_.dtype, rows, rows.nbytes // size)
    data = _list_array(struct.field("data").type, rows.lengths() // size, elements)
    kept = np.ones(shapes.shape, np.bool_)
    if not isinstance(type_, types.Array):
        kept[:, 2] = shapes[:, 2] > 0
    shape = _list_array(struct.field("shape").type, kept.sum(axis=1), pa.array(shapes[kept]))
    return pa.Array.from_buffers(struct, rows.count, [_validity(present)], children=[data, shape])
