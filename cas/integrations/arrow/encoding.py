"""Values of an Arrow array to the rows of a column, exactly or not at all.

Numbers come as NumPy arrays over the Arrow buffers, text and byte strings as these buffers themselves; what
:mod:`cas.codec.values` takes is left to it, with its errors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas import types
from cas.codec.given import convert_each, refused, refused_again
from cas.codec.nullable import encode_nullable
from cas.codec.rows import Ints, Rows
from cas.codec.sequences import frame_items
from cas.codec.values import Streams, encode_values
from cas.errors import InvalidInputError, shown
from cas.integrations.arrow.dicts import dict_from_json
from cas.integrations.arrow.library import pa, pc
from cas.integrations.arrow.types import has_items, is_bytes, is_text, stored
from cas.integrations.piecewise import missing_value
from cas.types import DATA, ML_DTYPES, Type


def encode_array(type_: Type, array: Any, column: str) -> Streams:
    """Returns the rows of each stream for the values of an Arrow array.

    Raises :class:`~cas.errors.InvalidInputError`, naming column and row, for a value that does not fit exactly, and for
    an array that breaks the rules of Arrow, such as text that is no UTF-8.
    """
    _check_valid(array, column)
    return _encode(type_, array, column)


def _check_valid(array: Any, column: str) -> None:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        for row in range(len(array)):
            try:
                array.slice(row, 1).validate(full=True)
            except pa.ArrowInvalid as inner:
                raise refused(InvalidInputError, column, row, f"it is not valid Arrow: {inner}") from None
        raise InvalidInputError(f"column {column!r} is no valid Arrow array: {error}", column=column) from None


def _encode(type_: Type, array: Any, column: str) -> Streams:
    array = stored(array)
    present: NDArray[np.bool_] = array.is_valid().to_numpy(zero_copy_only=False)
    if isinstance(type_, types.Nullable):
        return _encode_nullable(type_, array, present, column)
    if not present.all():
        raise missing_value(type_, column, int(np.argmin(present)))
    if not len(array):
        return encode_values(type_, [], column)
    encode = _ENCODERS.get(type(type_))
    streams = encode(type_, array, column) if encode else None
    return encode_values(type_, values_of(array, type_), column) if streams is None else streams


def encode_chunks(type_: Type, array: Any, column: str) -> Streams:
    """Returns the rows of each stream for the values of an Arrow array or of a chunked one."""
    return encode_array(type_, array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array, column)


def values_of(array: Any, type_: Type | None = None) -> Any:
    """Returns values as the columns take them: NumPy arrays of numbers and times, lists, and lists of these.

    ``type_`` tells what elements are that Arrow has as bytes or as pairs of numbers.
    """
    array = stored(array)
    kinds = pa.types
    if isinstance(array, pa.FixedShapeTensorArray):
        return _tensors(array, type_)
    if kinds.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.null_count:
        return array.to_pylist()
    elements = _elements(array, getattr(type_, "dtype", None))
    if elements is not None:
        return elements
    if has_items(array.type):
        return _split(array, values_of(array.flatten(), type_))
    return array.to_pylist()


def _tensors(array: Any, type_: Type | None) -> Any:
    """Tensors as one array of shape (rows, *shape), where their elements are numbers."""
    values = values_of(array.storage, type_)
    if not isinstance(values, np.ndarray):
        return values
    values = values.reshape(len(array), *array.type.shape, *values.shape[2:])
    order = array.type.permutation or range(len(array.type.shape))
    return np.moveaxis(values, [1 + axis for axis in order], range(1, 1 + len(order)))


def _elements(array: Any, dtype: object) -> NDArray[Any] | None:
    """Single numbers and times, none of them missing, as an array; None for anything else."""
    kinds = pa.types
    given = array.type
    if dtype in ML_DTYPES and kinds.is_fixed_size_binary(given) and given.byte_width == ML_DTYPES[str(dtype)]:
        return _fixed_bytes(array).view(types.numpy_dtype(str(dtype)))
    if str(dtype).startswith("complex") and kinds.is_fixed_size_list(given) and given.list_size == 2:
        parts = array.flatten()
        if kinds.is_floating(given.value_type) and not parts.null_count:
            pairs = parts.to_numpy(zero_copy_only=False)
            return np.ascontiguousarray(pairs).view(np.result_type(pairs.dtype, np.complex64))
        return None
    if kinds.is_timestamp(given):
        return np.asarray(array.view(pa.int64()).to_numpy()).view(f"M8[{given.unit}]")
    if kinds.is_date32(given):
        return np.asarray(array.view(pa.int32()).to_numpy()).astype(np.int64).view("M8[D]")
    if kinds.is_date64(given):
        return np.asarray(array.view(pa.int64()).to_numpy()).view("M8[ms]")
    if kinds.is_boolean(given) or kinds.is_integer(given) or kinds.is_floating(given):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    return None


def _fixed_bytes(array: Any) -> NDArray[np.uint8]:
    width = array.type.byte_width
    if not len(array):
        return np.empty(0, np.uint8)
    flat: NDArray[np.uint8] = np.frombuffer(array.buffers()[1], np.uint8)
    return flat[array.offset * width : (array.offset + len(array)) * width]


def item_counts(array: Any) -> Ints:
    """Returns the number of items of each list."""
    return np.asarray(pc.list_value_length(array).to_numpy(zero_copy_only=False)).astype(np.int64)


def _split(array: Any, items: Any) -> Any:
    """The items of lists, list by list: as one array where Arrow knows that all are equally long."""
    if isinstance(items, np.ndarray) and pa.types.is_fixed_size_list(array.type):
        return items.reshape(len(array), array.type.list_size, *items.shape[1:])
    return [items[start:stop] for start, stop in pairwise([0, *np.cumsum(item_counts(array)).tolist()])]


def _encode_nullable(type_: types.Nullable, array: Any, present: NDArray[np.bool_], column: str) -> Streams:
    marks: Any = present if present.all() else [True if there else None for there in present.tolist()]
    return encode_nullable(type_, marks, column, lambda of, _, name: _encode(of, _drop_nulls(array), name))


def _drop_nulls(array: Any) -> Any:
    if isinstance(array, pa.FixedShapeTensorArray):
        return pa.ExtensionArray.from_storage(array.type, _drop_nulls(array.storage))
    if array.null_count and pa.types.is_nested(array.type):
        # Of a slice, pyarrow 26 takes other rows where fixed-size lists stand in each other; this makes it a whole.
        array = pa.concat_arrays([array, array.slice(0, 0)])
    return array.drop_null()


def _encode_sequences(type_: types.Sequence, array: Any, column: str) -> Streams | None:
    if not has_items(array.type):
        return None
    counts = item_counts(array)
    try:
        items = _encode(type_.of, array.flatten(), column)
    except InvalidInputError as error:
        raise refused_item(error, counts, column) from None
    return {type_.stream(name): frame_items(rows, counts) for name, rows in items.items()}


def refused_item(error: InvalidInputError, counts: Ints, column: str) -> InvalidInputError:
    """Returns the error for an item, counted through all rows, as one of the row it is in."""
    if error.row is None:
        return error
    ends = np.cumsum(counts)
    row = int(np.searchsorted(ends, error.row, side="right"))
    return refused_again(error, column, row, f"item {error.row - int(ends[row] - counts[row])}: ")


def _encode_bytes(type_: Type, array: Any, column: str) -> Streams | None:
    """The buffers of byte strings or of text as they are."""
    text = isinstance(type_, types.Text)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_fixed_size_binary(array.type) and not text:
        flat = _fixed_bytes(array)
        return {DATA: Rows.varying(flat, np.arange(1, len(array) + 1, dtype=np.int64) * array.type.byte_width)}
    if not (is_text if text else is_bytes)(array.type):
        return None
    array = array.cast(pa.large_string() if text else pa.large_binary())
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    flat = np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8)
    return {DATA: Rows.varying(flat[ends[0] : ends[-1]], ends[1:] - ends[0])}


def _encode_labels(type_: types.ClassLabel, array: Any, column: str) -> Streams | None:
    """Names to codes, each distinct name once."""
    if is_text(array.type):
        array = array.cast(pa.large_string()).dictionary_encode()
    if not pa.types.is_dictionary(array.type) or not is_text(array.type.value_type):
        return None
    known = type_.codes()
    names = array.dictionary.to_pylist()
    codes = np.array([known.get(name, -1) for name in names], np.int64)
    indices = array.indices.to_numpy(zero_copy_only=False)
    found = codes[indices]
    if len(found) and found.min() < 0:
        row = int(np.argmin(found))
        raise refused(InvalidInputError, column, row, type_.unknown_name(names[indices[row]]))
    return encode_values(type_, found, column)


def _encode_dicts(type_: types.Dict, array: Any, column: str) -> Streams | None:
    """Dicts of JSON text, of structs and of maps."""
    if is_text(array.type):
        return encode_values(type_, convert_each(array.to_pylist(), column, dict_from_json), column)
    return encode_values(type_, convert_each(list(array), column, _plain), column)


def _plain(scalar: Any) -> Any:
    try:
        return scalar.as_py(maps_as_pydicts="strict")
    except KeyError:
        raise InvalidInputError(f"{shown(scalar.as_py())} has a key twice") from None


def _encode_images(type_: types.Image, array: Any, column: str) -> Streams | None:
    """Raw images as other arrays; encoded ones also as Hugging Face has them, in a struct of bytes and path."""
    if pa.types.is_struct(array.type) and {field.name for field in array.type} == {"bytes", "path"}:
        return _encode(type_, array.flatten()[array.type.get_field_index("bytes")], column)
    return _encode_shaped(type_, array, column)


def _encode_arrays(type_: types.Array, array: Any, column: str) -> Streams | None:
    """Arrays as their elements and their shapes, or as lists in each other."""
    if type_.fixed or not has_items(array.type):
        return _encode_shaped(type_, array, column)
    return encode_values(type_, [_whole(type_, value) for value in values_of(array, type_)], column)


def _whole(type_: types.Array, value: Any) -> Any:
    shape = shape_without_elements(type_, len(value))
    return value if _has_elements(value) or 0 not in shape else np.zeros(shape, type_.numpy_dtype)


def _has_elements(value: Any) -> bool:
    return bool(value.size) if isinstance(value, np.ndarray) else any(map(_has_elements, value))


def shape_without_elements(type_: types.Array, length: int) -> tuple[int, ...]:
    """Returns the shape of an array that lists in each other stand for, where there is nothing in the innermost.

    They tell only how many there are of the outermost; other sizes are those of the type, and 0 where these are free.
    """
    return length, *(size or 0 for size in type_.shape[1:])


def _encode_shaped(type_: Any, array: Any, column: str) -> Streams | None:
    """Arrays that stand as their elements and their shapes."""
    if not pa.types.is_struct(array.type) or {field.name for field in array.type} != {"data", "shape"}:
        return None
    parts = dict(zip((field.name for field in array.type), array.flatten(), strict=True))
    arrays = []
    data, shapes = values_of(parts["data"], type_), values_of(parts["shape"])
    for row, (elements, shape) in enumerate(zip(data, shapes, strict=True)):
        try:
            sizes = tuple(map(operator.index, shape))
            if min(sizes, default=0) < 0:
                raise ValueError
            arrays.append(np.asarray(elements).reshape(sizes))
        except (ValueError, TypeError):
            reason = f"{len(elements)} elements do not have the shape {np.asarray(shape).tolist()}"
            raise refused(InvalidInputError, column, row, reason) from None
    return encode_values(type_, arrays, column)


_ENCODERS: Final[Mapping[type[Type], Callable[[Any, Any, str], Streams | None]]] = {
    types.Text: _encode_bytes,
    types.Bytes: _encode_bytes,
    types.ClassLabel: _encode_labels,
    types.Dict: _encode_dicts,
    types.Sequence: _encode_sequences,
    types.Array: _encode_arrays,
    types.Image: _encode_images,
    types.SegmentMask: _encode_shaped,
    types.BinaryMask: _encode_shaped,
}
