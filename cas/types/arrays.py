"""Types with an array a row: of one or of varying shape, vectors, boxes."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import InitVar, dataclass
from typing import Any, ClassVar, Final

import numpy as np

from cas.errors import InvalidInputError, InvalidTypeError, shown
from cas.types.base import Type
from cas.types.dtypes import dtype_name, element_bytes, element_kind, native_dtype, plane_bytes
from cas.types.layout import DATA, SHAPE, Layout
from cas.types.plain import Scalar, check_dedup

_MAX_ELEMENTS: Final = 2**48
# What every NumPy can hold, with one axis more for the rows.
_MAX_AXES: Final = 31
_BOX_FORMATS: Final = {
    "ltrb": ("ltrb", "xyxy", "tlbr"),
    "ltwh": ("ltwh", "xywh", "tlwh"),
    "ccwh": ("ccwh", "cxcywh"),
}
_BOX_TYPES: Final = ("pixel", "fractional")


def _size(size: object) -> int | None:
    try:
        if isinstance(size, (bool, np.bool_)):
            raise TypeError
        return None if size is None else operator.index(size)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidTypeError(f"{shown(size)} is not a size; expected an int, or None where it is free") from None


def checked_dtype(dtype: object, kinds: str, what: str) -> str:
    """Returns the name of a dtype, given in any way; refuses one whose kind of elements is not among ``kinds``."""
    name = dtype_name(dtype.dtype if isinstance(dtype, Scalar) else dtype)
    if element_kind(name) not in kinds:
        raise InvalidInputError(f"dtype {name} does not fit {what}; expected {_KINDS[kinds]}")
    return name


_KINDS: Final = {
    "f": "a float dtype, such as float32",
    "iuf": "a dtype of integers or floats, such as float32",
    "iu": "an integer dtype, such as uint8",
    "biufc": "a dtype",
    "biuf": "a dtype of integers, floats or bool, such as uint8",
}


@dataclass(frozen=True, slots=True)
class Array(Type):
    """An array a row, of dtype ``dtype`` and shape ``shape``, in which None stands for a free size.

    ``dimensions=3`` says that there are three axes of any size, as ``shape=(None, None, None)`` does. ``dedup="row"``
    makes every row a chunk, whatever its size. Rows of one shape read as one array of shape (rows, *shape), others as
    a list of arrays.

    >>> from cas import types
    >>> str(types.Array("uint8", (28, 28))), str(types.Array(types.Float32(), dimensions=2))
    ('uint8[28, 28]', 'float32[?, ?]')

    Raises :class:`~cas.errors.InvalidInputError` for a shape that cannot be.
    """

    dtype: str
    shape: tuple[int | None, ...] = None  # type: ignore[assignment]
    dimensions: InitVar[int | None] = None
    dedup: str | None = None
    name: ClassVar[str] = "array"

    def __post_init__(self, dimensions: int | None) -> None:
        check_dedup(self.dedup)
        object.__setattr__(self, "shape", _shape(self.shape, dimensions))
        object.__setattr__(self, "dtype", checked_dtype(self.dtype, "biufc", "an array"))

    @property
    def fixed(self) -> bool:
        """Whether all rows have one shape."""
        return None not in self.shape

    def layouts(self) -> dict[str, Layout]:
        size = element_bytes(self.dtype)
        planes = plane_bytes(self.dtype)
        alone = self.dedup == "row"
        if self.fixed:
            for length in self.shape:
                size *= length or 0
            return {DATA: Layout(size, alone=alone, element_bytes=planes)}
        return {
            DATA: Layout(None, alone=alone, element_bytes=planes),
            SHAPE: Layout(8 * len(self.shape), element_bytes=8),
        }

    def to_record(self) -> dict[str, Any]:
        record: dict[str, Any] = {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}
        return record | ({"dedup": self.dedup} if self.dedup else {})

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return native_dtype(self.dtype)

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        return self.shape

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype}[{sizes}]"


# An argument, and what it was afterwards; the class body has room for one of the two.
Array.dimensions = property(lambda self: len(self.shape))  # type: ignore[attr-defined]


def _shape(given: object, dimensions: object) -> tuple[int | None, ...]:
    axes = _size(dimensions)
    if axes is not None and not 0 <= axes <= _MAX_AXES:
        raise InvalidInputError(f"dimensions={axes} is not valid; expected 0 to {_MAX_AXES}")
    if given is None:
        if axes is None:
            raise InvalidTypeError("an array needs a shape, such as (28, 28), or a number of dimensions")
        return (None,) * axes
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise InvalidTypeError(f"shape {shown(given)} is not valid; expected a tuple of sizes, such as (28, 28)")
    shape = tuple(_size(size) for size in given)
    if axes is not None and axes != len(shape):
        raise InvalidInputError(f"shape {shape} has {len(shape)} dimensions, not {axes}; give one of the two")
    if len(shape) > _MAX_AXES:
        raise InvalidInputError(f"a shape of {len(shape)} dimensions is not valid; expected at most {_MAX_AXES}")
    sizes = [size for size in shape if size is not None]
    if any(size < 0 for size in sizes):
        raise InvalidInputError(f"shape {shape} holds a negative size; expected 0 and more, or None where free")
    if math.prod(max(size, 1) for size in sizes) > _MAX_ELEMENTS:
        raise InvalidInputError(f"shape {shape} has more than 2**48 elements a row; make rows smaller")
    return shape


@dataclass(frozen=True, slots=True)
class Embedding(Type):
    """A vector of ``size`` floats a row; reads as an array of shape (rows, size).

    >>> from cas import types
    >>> str(types.Embedding(768, "bfloat16"))
    'embedding[bfloat16, 768]'
    """

    size: int
    dtype: str = "float32"
    name: ClassVar[str] = "embedding"

    def __post_init__(self) -> None:
        size = _size(self.size)
        if size is None or not 1 <= size <= _MAX_ELEMENTS:
            raise InvalidInputError(f"an embedding of size {shown(self.size)} cannot be; expected 1 or more")
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "dtype", checked_dtype(self.dtype, "f", "an embedding"))

    def layouts(self) -> dict[str, Layout]:
        size = element_bytes(self.dtype)
        return {DATA: Layout(size * self.size, element_bytes=size)}

    def to_record(self) -> dict[str, Any]:
        return {"name": self.name, "size": self.size, "dtype": self.dtype}

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return native_dtype(self.dtype)

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        return (self.size,)

    def __str__(self) -> str:
        return f"{self.name}[{self.dtype}, {self.size}]"


@dataclass(frozen=True, slots=True)
class BoundingBox(Type):
    """Any number of boxes a row: an array of shape (boxes, 4).

    ``format`` says what the four numbers are: ``"ltrb"`` left, top, right, bottom; ``"ltwh"`` left, top, width,
    height; ``"ccwh"`` centre x and y, width, height; also by the names xyxy, xywh, cxcywh, tlbr and tlwh.
    ``bbox_type`` says whether they count pixels (``"pixel"``) or are parts of the image's size (``"fractional"``).
    Both are kept for whoever reads the boxes; numbers are stored as they are. Reads as a list of arrays.

    >>> from cas import types
    >>> str(types.BoundingBox("float32", "xywh"))
    'bounding_box[float32, ltwh]'
    """

    dtype: str = "float32"
    format: str | None = None
    bbox_type: str | None = None
    name: ClassVar[str] = "bounding_box"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", checked_dtype(self.dtype, "iuf", "bounding boxes"))
        object.__setattr__(self, "format", _box_format(self.format))
        bbox_type = self.bbox_type.lower() if isinstance(self.bbox_type, str) else self.bbox_type
        if bbox_type is not None and bbox_type not in _BOX_TYPES:
            raise InvalidInputError(f"bbox_type {shown(bbox_type)} is unknown; expected one of {_BOX_TYPES}, or None")
        object.__setattr__(self, "bbox_type", bbox_type)

    def layouts(self) -> dict[str, Layout]:
        return {DATA: Layout(None, element_bytes=element_bytes(self.dtype))}

    def to_record(self) -> dict[str, Any]:
        optional = {"format": self.format, "bbox_type": self.bbox_type}
        given = {field: value for field, value in optional.items() if value is not None}
        return {"name": self.name, "dtype": self.dtype, **given}

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return native_dtype(self.dtype)

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        return (None, 4)

    def __str__(self) -> str:
        words = [word for word in (self.dtype, self.format, self.bbox_type) if word is not None]
        return f"{self.name}[{', '.join(words)}]"


def _box_format(given: object) -> str | None:
    if given is None:
        return None
    for format_, names in _BOX_FORMATS.items():
        if isinstance(given, str) and given.lower() in names:
            return format_
    known = ", ".join(name for names in _BOX_FORMATS.values() for name in names)
    raise InvalidInputError(f"the format {shown(given)} of bounding boxes is unknown; expected one of {known}, or None")
