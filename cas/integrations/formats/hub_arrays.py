"""Arrow arrays as Hugging Face's library has them, to values of columns and from rows of columns.

Beyond :mod:`cas.integrations.arrow`, which does the rest: images are structs of ``bytes`` and ``path``, of pixels
structs of ``shape`` and ``data``; a class is its code, and -1 where it is missing; decimals become text, times of day
and durations the counts of their unit.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cas import types
from cas.codec.given import refused
from cas.codec.rows import Ints
from cas.errors import InvalidInputError, UnsupportedError
from cas.integrations.arrow.dicts import TAGGED
from cas.integrations.arrow.encoding import item_counts, refused_item, shape_without_elements, values_of
from cas.integrations.arrow.fields import arrow_type, element_type
from cas.integrations.arrow.library import pa, pc
from cas.integrations.arrow.types import has_items, is_bytes, is_text, list_array, stored
from cas.integrations.formats.source import ReadFile
from cas.integrations.piecewise import missing_value
from cas.integrations.values import plain_type
from cas.types import Type

_BYTES: Final = "bytes"
_PATH: Final = "path"
_SHAPE: Final = "shape"
_DATA: Final = "data"


def is_image_struct(arrow: Any) -> bool:
    """Whether a type is that of encoded images with their paths."""
    if not pa.types.is_struct(arrow) or {field.name for field in arrow} != {_BYTES, _PATH}:
        return False
    return is_bytes(arrow.field(_BYTES).type) and is_text(arrow.field(_PATH).type)


def image_there(images: Any) -> NDArray[np.bool_]:
    """Returns which images of an array are there, be it as bytes or as a path, a boolean array of shape (rows,)."""
    content, path = (images.field(name).is_valid().to_numpy(zero_copy_only=False) for name in (_BYTES, _PATH))
    there: NDArray[np.bool_] = images.is_valid().to_numpy(zero_copy_only=False) & (content | path)
    return there


def image_paths(images: Any) -> Any:
    """Returns the paths beside the images of an array."""
    return pc.struct_field(images, _PATH)


def counted_type(arrow: Any) -> Any:
    """Returns an Arrow type with decimals as text, times of day and durations as counts; lists keep their form."""
    kinds = pa.types
    if has_items(arrow):
        item = arrow.value_field.with_type(counted_type(arrow.value_type))
        return pa.list_(item, arrow.list_size) if kinds.is_fixed_size_list(arrow) else pa.large_list(item)
    if kinds.is_decimal(arrow) or kinds.is_null(arrow):
        return pa.string()
    if kinds.is_time32(arrow):
        return pa.int32()
    return pa.int64() if kinds.is_time64(arrow) or kinds.is_duration(arrow) else arrow


# Arrays to values


def hub_values(array: Any, type_: Type, column: str, read_file: ReadFile | None = None) -> Any:
    """Returns the values of an Arrow array as ``append`` takes them for a column of a type: as an array, if no images.

    Images are bytes; of one that is only a path, ``read_file`` gives what stands for it. Raises
    :class:`~cas.errors.InvalidInputError`, with column and row, for an image that is missing or has not its shape.
    """
    array = stored(array)
    if not _has_images(type_):
        return _plain_array(array, type_)
    if isinstance(type_, types.Nullable):
        present = image_there(array) if is_image_struct(array.type) else array.is_valid()
        there = iter(hub_values(array.filter(pa.array(present)), type_.of, column, read_file))
        return [next(there) if is_there else None for is_there in np.asarray(present).tolist()]
    if array.null_count:
        raise missing_value(type_, column, int(np.argmin(array.is_valid())))
    if isinstance(type_, types.Sequence):
        items = hub_values(array.flatten(), type_.of, column, read_file)
        return [items[start:stop] for start, stop in pairwise([0, *np.cumsum(item_counts(array)).tolist()])]
    return _pixels(array, type_, column) if _is_pixels(type_) else _images(array, read_file)


def _is_pixels(type_: Type) -> bool:
    return isinstance(type_, types.SegmentMask | types.BinaryMask) or (isinstance(type_, types.Image) and type_.raw)


def _has_images(type_: Type) -> bool:
    if isinstance(type_, types.Nullable | types.Sequence):
        return _has_images(type_.of)
    return isinstance(type_, types.Image) or _is_pixels(type_)


def _plain_array(array: Any, type_: Type) -> Any:
    """An array as :mod:`cas.integrations.arrow` takes it for a column type."""
    array = stored(array)
    counted = counted_type(array.type)
    if array.type != counted:
        array = array.cast(counted)
    of = plain_type(type_)
    if isinstance(of, types.Sequence) and has_items(array.type):
        return list_array(array, _plain_array(array.flatten(), of.of))
    if isinstance(of, types.ClassLabel) and pa.types.is_integer(array.type):
        return pc.if_else(pc.less(array, 0), None, array)
    return array


def _images(array: Any, read_file: ReadFile | None) -> list[Any]:
    if not is_image_struct(array.type):
        return list(array.to_pylist())
    contents = array.field(_BYTES).to_pylist()
    if read_file is None or None not in contents:
        return list(contents)
    paths = array.field(_PATH).to_pylist()
    return [
        read_file(path) if content is None and path is not None else content
        for content, path in zip(contents, paths, strict=True)
    ]


def _pixels(array: Any, type_: Any, column: str) -> list[Any]:
    pixels = []
    for row, (shape, data) in enumerate(zip(*(array.field(n).to_pylist() for n in (_SHAPE, _DATA)), strict=True)):
        try:
            pixels.append(np.frombuffer(data, types.numpy_dtype(str(type_.dtype))).reshape(shape))
        except (ValueError, TypeError) as error:
            raise refused(InvalidInputError, column, row, f"it does not have its shape {shape}: {error}") from None
    return pixels


# Rows to arrays


def hub_type(type_: Type) -> Any:
    """Returns the Arrow type of a column in a file for Hugging Face.

    Raises :class:`~cas.errors.UnsupportedError` for complex numbers and the floats of ml_dtypes.
    """
    match type_:
        case types.Nullable():
            return hub_type(type_.of)
        case types.Sequence():
            return pa.list_(hub_type(type_.of))
        case types.ClassLabel():
            return pa.int64()
        case types.Text() | types.Dict():
            return pa.string()
        case types.Bytes():
            return pa.binary()
        case types.DateTime():
            return arrow_type(type_)
        case types.Image(raw=False):
            return pa.struct({_BYTES: pa.binary(), _PATH: pa.string()})
    return pa.struct({_SHAPE: pa.list_(pa.int64()), _DATA: pa.binary()}) if _is_pixels(type_) else _number_type(type_)


def _number_type(type_: Any) -> Any:
    if type_.dtype in types.ML_DTYPES or type_.dtype.startswith("complex"):
        raise UnsupportedError(f"numbers of dtype {type_.dtype} have no type in files for Hugging Face")
    inner = element_type(type_.dtype)
    for size in () if isinstance(type_, types.Scalar) else type_.row_shape[::-1]:
        # Fixed-size lists of size 0 are written to parquet, but cannot be read from it.
        inner = pa.list_(inner, size) if size else pa.list_(inner)
    return inner


def hub_array(type_: Type, array: Any, column: str, paths: Any = None) -> Any:
    """Returns an array of :func:`hub_type` for one of :func:`~cas.integrations.arrow.arrays.arrow_array`.

    ``paths``, an array too, go beside the bytes of images. Raises :class:`~cas.errors.InvalidInputError` for a dict
    that has no JSON, and for arrays without elements whose shape nested lists do not tell.
    """
    match type_:
        case types.Nullable():
            return hub_array(type_.of, array, column, paths)
        case types.Sequence():
            return _hub_lists(type_, array, column)
        case types.ClassLabel():
            return array.indices.cast(pa.int64())
        case types.Dict():
            _check_exact(array, column)
        case types.Image(raw=False):
            beside = pa.nulls(len(array), pa.string()) if paths is None else paths.cast(pa.string())
            return _struct({_BYTES: array.cast(pa.binary()), _PATH: beside}, array)
        case types.Array() if None in type_.row_shape[1:]:
            return pa.array(_nested_lists(type_, array, column), hub_type(type_))
    return _hub_pixels(array) if _is_pixels(type_) else array.cast(hub_type(type_))


def _struct(parts: dict[str, Any], array: Any) -> Any:
    """A struct of some arrays, missing where an array is."""
    return pa.StructArray.from_arrays(list(parts.values()), list(parts), mask=array.is_null())


def _hub_lists(type_: types.Sequence, array: Any, column: str) -> Any:
    try:
        items = hub_array(type_.of, array.values, column)
    except InvalidInputError as error:
        raise refused_item(error, item_counts(array), column) from None
    return list_array(array, items).cast(hub_type(type_))


def _check_exact(array: Any, column: str) -> None:
    tagged = pc.index(pc.match_substring(array, TAGGED), True).as_py()
    if tagged >= 0:
        reason = "the dict has no exact JSON, as with bytes, times, arrays and infinity"
        raise refused(InvalidInputError, column, tagged, reason)


def _nested_lists(type_: types.Array, array: Any, column: str) -> list[Any]:
    rows = []
    parts = zip(values_of(array.field(_DATA)), array.field(_SHAPE).to_pylist(), array.is_valid().tolist(), strict=True)
    for row, (elements, shape, there) in enumerate(parts):
        if there and not len(elements) and tuple(shape) != shape_without_elements(type_, shape[0]):
            reason = f"an array of shape {tuple(shape)} has no elements that lists could hold"
            raise refused(InvalidInputError, column, row, reason)
        rows.append(np.asarray(elements).reshape(shape).tolist() if there else None)
    return rows


def _hub_pixels(array: Any) -> Any:
    """Elements to their bytes, those of each row together."""
    elements = array.field(_DATA)
    flat = elements.values.to_numpy(zero_copy_only=False)
    flat = flat.astype(flat.dtype.newbyteorder("<"), copy=False)
    offsets: Ints = elements.offsets.to_numpy() * flat.itemsize
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(flat.tobytes())]
    data = pa.Array.from_buffers(pa.large_binary(), len(array), buffers)
    return _struct({_SHAPE: array.field(_SHAPE).cast(pa.list_(pa.int64())), _DATA: data.cast(pa.binary())}, array)
