"""Column types: what a value is, how it is described in the schema, and how its rows are laid out.

A type is an immutable value. It knows the streams that hold its rows (FORMAT sections 3 and 6); turning
values into rows and back is the work of :mod:`cas.codec.values`.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from cas.errors import InvalidInputError, InvalidTypeError, UnsupportedError

DATA: Final = "data"
SHAPE: Final = "shape"
MASK: Final = "mask"
_MAX_ELEMENTS: Final = 2**48

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


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of one stream are cut into chunks and kept.

    ``row_bytes`` is the length of every row, or None where rows vary; ``alone`` makes each row a chunk;
    ``element_bytes`` is the size of one number, for the byte-plane filter; ``compress`` is False for
    bytes that are compressed already.
    """

    row_bytes: int | None
    alone: bool = False
    element_bytes: int = 1
    compress: bool = True


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Returns the little-endian NumPy dtype for a dtype name of the format."""
    if name not in NUMPY_DTYPES:
        raise UnsupportedError(f"dtype {name!r} is unknown; expected one of {', '.join(NUMPY_DTYPES)}")
    return np.dtype(name).newbyteorder("<")


def _size(size: object) -> int | None:
    try:
        return None if size is None else operator.index(size)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidTypeError(f"{size!r} is not a size; expected an int, or None where it is free") from None


def _dtype_name(dtype: object) -> str:
    """The format's name of a dtype, given as that or as anything that NumPy takes."""
    try:
        name = np.dtype(dtype).name  # type: ignore[call-overload]
    except TypeError:
        name = dtype
    numpy_dtype(name)
    return str(name)


def _plane_bytes(dtype: str) -> int:
    """The element size for the byte-plane filter: of one real number, for complex ones too."""
    size = numpy_dtype(dtype).itemsize
    return size // 2 if dtype.startswith("complex") else size


def _check_dedup(dedup: str | None) -> None:
    if dedup not in (None, "row"):
        raise InvalidInputError(f"dedup={dedup!r} is unknown; expected None or 'row'")


@dataclass(frozen=True, slots=True)
class Type:
    """The base of all column types."""

    name: ClassVar[str]

    def layouts(self) -> dict[str, Layout]:
        """Returns the layout of every stream of the type, by stream name."""
        raise NotImplementedError

    def to_record(self) -> dict[str, Any]:
        """Returns the map that stands for the type in the stored schema."""
        return {"name": self.name}

    @property
    def nullable(self) -> bool:
        """Whether a row may be missing (``None``)."""
        return False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Scalar(Type):
    """One number or boolean a row; ``dtype`` is a NumPy dtype name."""

    dtype: str
    name: ClassVar[str] = "scalar"

    def layouts(self) -> dict[str, Layout]:
        size = numpy_dtype(self.dtype).itemsize
        return {DATA: Layout(size, element_bytes=_plane_bytes(self.dtype))}

    def to_record(self) -> dict[str, Any]:
        return {"name": self.dtype}

    def __str__(self) -> str:
        return self.dtype


@dataclass(frozen=True, slots=True)
class Text(Type):
    """A Unicode string a row, of any length, stored as UTF-8."""

    name: ClassVar[str] = "text"

    def layouts(self) -> dict[str, Layout]:
        return {DATA: Layout(None)}


@dataclass(frozen=True, slots=True)
class Bytes(Type):
    """A byte string a row; ``dedup="row"`` makes every row a chunk, whatever its size."""

    dedup: str | None = None
    name: ClassVar[str] = "bytes"

    def __post_init__(self) -> None:
        _check_dedup(self.dedup)

    def layouts(self) -> dict[str, Layout]:
        return {DATA: Layout(None, alone=self.dedup == "row")}

    def to_record(self) -> dict[str, Any]:
        return {"name": self.name} | ({"dedup": self.dedup} if self.dedup else {})


@dataclass(frozen=True, slots=True)
class Array(Type):
    """An array a row, of dtype ``dtype`` and shape ``shape``, in which None stands for a free size."""

    dtype: str
    shape: tuple[int | None, ...]
    dedup: str | None = None
    name: ClassVar[str] = "array"

    def __post_init__(self) -> None:
        _check_dedup(self.dedup)
        if isinstance(self.shape, (str, bytes)) or not hasattr(self.shape, "__iter__"):
            raise InvalidTypeError(f"shape {self.shape!r} is not valid; expected a tuple of sizes, such as (28, 28)")
        object.__setattr__(self, "shape", tuple(_size(size) for size in self.shape))
        object.__setattr__(self, "dtype", _dtype_name(self.dtype))
        sizes = [size for size in self.shape if size is not None]
        if any(size < 0 for size in sizes):
            raise InvalidInputError(
                f"shape {self.shape} holds a negative size; expected 0 and more, or None where free"
            )
        if math.prod(max(size, 1) for size in sizes) > _MAX_ELEMENTS:
            raise InvalidInputError(f"shape {self.shape} has more than 2**48 elements a row; make rows smaller")

    @property
    def fixed(self) -> bool:
        """Whether all rows have one shape."""
        return None not in self.shape

    def layouts(self) -> dict[str, Layout]:
        size = numpy_dtype(self.dtype).itemsize
        planes = _plane_bytes(self.dtype)
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

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype}[{sizes}]"


@dataclass(frozen=True, slots=True)
class Image(Type):
    """An encoded image a row (PNG, JPEG, WebP, ...), its bytes kept verbatim, each image one chunk."""

    name: ClassVar[str] = "image"

    def layouts(self) -> dict[str, Layout]:
        return {DATA: Layout(None, alone=True, compress=False)}


@dataclass(frozen=True, slots=True)
class Nullable(Type):
    """Another type, or a name of one, whose rows may also be missing (``None``)."""

    of: Type
    name: ClassVar[str] = "nullable"

    def __post_init__(self) -> None:
        object.__setattr__(self, "of", as_type(self.of))
        if isinstance(self.of, Nullable):
            raise InvalidTypeError("a nullable type cannot be made nullable again; use it as it is")

    def layouts(self) -> dict[str, Layout]:
        return {**self.of.layouts(), MASK: Layout(1)}

    def to_record(self) -> dict[str, Any]:
        return {"name": self.name, "of": self.of.to_record()}

    @property
    def nullable(self) -> bool:
        return True

    def __str__(self) -> str:
        return f"{self.of}?"


Bool = Scalar("bool")
Int8, Int16, Int32, Int64 = (Scalar(f"int{bits}") for bits in (8, 16, 32, 64))
UInt8, UInt16, UInt32, UInt64 = (Scalar(f"uint{bits}") for bits in (8, 16, 32, 64))
Float16, Float32, Float64 = (Scalar(f"float{bits}") for bits in (16, 32, 64))
Complex64, Complex128 = Scalar("complex64"), Scalar("complex128")

_PLAIN: Final[Mapping[str, Type]] = {
    **{name: Scalar(name) for name in NUMPY_DTYPES},
    "text": Text(),
    "str": Text(),
    "bytes": Bytes(),
    "image": Image(),
}
_PYTHON: Final[Mapping[object, Type]] = {
    bool: Bool,
    int: Int64,
    float: Float64,
    complex: Complex128,
    str: Text(),
    bytes: Bytes(),
}


def as_type(spec: object) -> Type:
    """Returns the column type for a type, its name, a Python type or a NumPy dtype.

    >>> str(as_type("uint8")), str(as_type(float)), str(as_type(np.dtype("int32")))
    ('uint8', 'float64', 'int32')

    Raises :class:`~cas.errors.InvalidTypeError` for anything else.
    """
    if isinstance(spec, Type):
        return spec
    if isinstance(spec, type) and issubclass(spec, Type):
        try:
            return spec()
        except TypeError:
            raise InvalidTypeError(
                f"cas.types.{spec.__name__} needs arguments, such as those in its docstring"
            ) from None
    if isinstance(spec, str) and spec in _PLAIN:
        return _PLAIN[spec]
    if isinstance(spec, type) and spec in _PYTHON:
        return _PYTHON[spec]
    if isinstance(spec, np.dtype) or (isinstance(spec, type) and issubclass(spec, np.generic)):
        return _from_numpy(np.dtype(spec))
    raise InvalidTypeError(
        f"{spec!r} is not a column type; expected one of cas.types, a name such as "
        f"'text', 'image', 'int64' or 'float32', a Python type or a NumPy dtype"
    )


def _from_numpy(dtype: np.dtype[Any]) -> Type:
    base, shape = dtype.base, dtype.shape
    if base.name not in NUMPY_DTYPES:
        raise InvalidTypeError(f"NumPy dtype {dtype} has no column type; expected a number or bool dtype")
    return Array(base.name, shape) if shape else Scalar(base.name)


def from_record(record: object) -> Type:
    """Returns the type that a schema record describes; unknown ones raise ``UnsupportedError``."""
    if not isinstance(record, dict) or not isinstance(record.get("name"), str):
        raise UnsupportedError(f"the schema holds {record!r} where a type was expected")
    fields = dict(record)
    name = fields.pop("name")
    if name in NUMPY_DTYPES and not fields:
        return Scalar(name)
    if name == "nullable" and set(fields) == {"of"}:
        return Nullable(from_record(fields["of"]))
    if name == "array" and isinstance(fields.get("shape"), list):
        fields["shape"] = tuple(fields["shape"])
    kind = _RECORDED.get(name)
    if kind is None or not set(fields) <= {field.name for field in dataclasses.fields(kind)}:
        raise UnsupportedError(f"column type {record!r} is unknown to this version; install a newer one")
    try:
        return kind(**fields)
    except (TypeError, InvalidInputError) as error:
        raise UnsupportedError(f"column type {record!r} cannot be read: {error}") from error


_RECORDED: Final[Mapping[str, type[Type]]] = {kind.name: kind for kind in (Text, Bytes, Array, Image)}
