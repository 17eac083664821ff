"""Types made of types, and types by name: each needs the other."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from cas.errors import CasError, InvalidInputError, InvalidTypeError, UnsupportedError, shown
from cas.types.arrays import Array, BoundingBox, Embedding
from cas.types.base import Type
from cas.types.dtypes import DTYPES
from cas.types.labels import ClassLabel
from cas.types.layout import DATA, MASK, Layout
from cas.types.pixels import RAW_IMAGE, BinaryMask, Image, SegmentMask
from cas.types.plain import TIME_UNITS, Bytes, DateTime, Dict, Scalar, Text

_MAX_DEPTH: Final = 16


@dataclass(frozen=True, slots=True)
class Nullable(Type):
    """Another type, or a name of one, whose rows may also be missing (``None``).

    Reads as a list, with None where a row is missing.

    >>> from cas import types
    >>> str(types.Nullable("int32"))
    'int32?'
    """

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

    @property
    def numpy_dtype(self) -> np.dtype[Any] | None:
        return self.of.numpy_dtype

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        return self.of.row_shape

    def __str__(self) -> str:
        return f"{self.of}?"


@dataclass(frozen=True, slots=True)
class Sequence(Type):
    """Any number of values of another type, or a name of one, a row.

    A row takes what a column of type ``of`` takes, and reads as a slice of one: as an array for numbers and arrays of
    one shape, otherwise as a list. Several rows read as a list of these.

    >>> from cas import types
    >>> str(types.Sequence("image")), str(types.Sequence(types.Sequence(types.Nullable("int8"))))
    ('sequence[image]', 'sequence[sequence[int8?]]')
    """

    of: Type
    name: ClassVar[str] = "sequence"

    def __post_init__(self) -> None:
        object.__setattr__(self, "of", as_type(self.of))
        if all(layout.row_bytes == 0 for layout in self.of.layouts().values()):
            raise InvalidInputError(f"items of type {self.of} have no elements, so there is nothing to store of them")
        depth, inner = 0, self.of
        while isinstance(inner, (Nullable, Sequence)):
            depth, inner = depth + isinstance(inner, Sequence), inner.of
        if depth >= _MAX_DEPTH:
            raise InvalidInputError(f"sequences are nested more than {_MAX_DEPTH} deep; use an array or a dict")

    def layouts(self) -> dict[str, Layout]:
        return {
            self.stream(name): dataclasses.replace(layout, row_bytes=None) for name, layout in self.of.layouts().items()
        }

    def stream(self, name: str) -> str:
        """Returns the name of the stream that holds a stream of the items."""
        return name if name == DATA else f"item_{name}"

    def to_record(self) -> dict[str, Any]:
        return {"name": self.name, "of": self.of.to_record()}

    @property
    def numpy_dtype(self) -> np.dtype[Any] | None:
        return self.of.numpy_dtype

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        return (None, *self.of.row_shape)

    def __str__(self) -> str:
        return f"{self.name}[{self.of}]"


_PLAIN: Final[Mapping[str, Type]] = {
    **{name: Scalar(name) for name in DTYPES},
    **{kind.name: kind() for kind in (Text, Bytes, Image, Dict, DateTime, BinaryMask, SegmentMask, BoundingBox)},
    "str": Text(),
    "string": Text(),
    "int": Scalar("int64"),
    "float": Scalar("float64"),
    "complex": Scalar("complex128"),
}
_WITH_ARGUMENTS: Final[Mapping[str, str]] = {
    "array": 'Array("float32", (28, 28))',
    "embedding": "Embedding(768)",
    "class_label": 'ClassLabel(["cat", "dog"])',
    "sequence": 'Sequence("text")',
    "nullable": 'Nullable("int64")',
}
_PYTHON: Final[Mapping[object, Type]] = {
    bool: Scalar("bool"),
    int: Scalar("int64"),
    float: Scalar("float64"),
    complex: Scalar("complex128"),
    str: Text(),
    bytes: Bytes(),
    dict: Dict(),
    dt.datetime: DateTime(),
    np.str_: Text(),
    np.bytes_: Bytes(),
}


def as_type(spec: object) -> Type:
    """Returns the column type for a type, its name, a Python type or a NumPy dtype.

    >>> str(as_type("uint8")), str(as_type(float)), str(as_type(np.dtype("int32"))), str(as_type(dict))
    ('uint8', 'float64', 'int32', 'dict')

    Raises :class:`~cas.errors.InvalidTypeError` for anything else.
    """
    if isinstance(spec, Type):
        return spec
    if isinstance(spec, type) and issubclass(spec, Type):
        try:
            return spec()
        except (TypeError, InvalidInputError):
            raise _needs_arguments(f"cas.types.{spec.__name__}", spec.name) from None
    if isinstance(spec, str):
        if spec in _PLAIN:
            return _PLAIN[spec]
        if spec in _WITH_ARGUMENTS:
            raise _needs_arguments(repr(spec), spec)
    if isinstance(spec, type) and spec in _PYTHON:
        return _PYTHON[spec]
    if isinstance(spec, np.dtype) or (isinstance(spec, type) and issubclass(spec, np.generic)):
        return _from_numpy(np.dtype(spec))
    raise InvalidTypeError(
        f"{spec!r} is not a column type; expected one of cas.types, a Python type, a NumPy dtype, or one of the names "
        f"{', '.join(_PLAIN)}"
    )


def _needs_arguments(spec: str, name: str) -> InvalidTypeError:
    example = f", such as cas.types.{_WITH_ARGUMENTS[name]}" if name in _WITH_ARGUMENTS else ""
    return InvalidTypeError(f"{spec} needs arguments{example}")


def _from_numpy(dtype: np.dtype[Any]) -> Type:
    base, shape = dtype.base, dtype.shape
    if base.type is np.datetime64 and not shape:
        unit, count = np.datetime_data(base)
        if unit in TIME_UNITS and count == 1:
            return DateTime(unit)
        raise InvalidTypeError(
            f"NumPy dtype {dtype} has no column type; expected datetime64 with one of the units {TIME_UNITS}"
        )
    if base.type in (np.str_, np.bytes_) and not shape:
        return _PYTHON[base.type]
    if base.name not in DTYPES:
        raise InvalidTypeError(f"NumPy dtype {dtype} has no column type; expected a number or bool dtype")
    return Array(base.name, shape) if shape else Scalar(base.name)


def from_record(record: object) -> Type:
    """Returns the type that a schema record describes; unknown ones raise ``UnsupportedError``.

    >>> str(from_record({"name": "nullable", "of": {"name": "datetime", "unit": "ms"}}))
    'datetime[ms]?'
    """
    depth, inner = 0, record
    while isinstance(inner, dict) and depth <= 2 * _MAX_DEPTH + 2:
        depth, inner = depth + 1, inner.get("of")
    if depth > 2 * _MAX_DEPTH + 2:
        raise UnsupportedError(f"the schema nests types more than {2 * _MAX_DEPTH + 2} deep")
    if not isinstance(record, dict) or not isinstance(record.get("name"), str):
        raise UnsupportedError(f"the schema holds {shown(record, 200)} where a type was expected")
    try:
        type_ = _parse(**record)
    except (TypeError, CasError) as error:
        raise UnsupportedError(f"column type {shown(record, 200)} cannot be read: {error}") from error
    if type_ is None:
        raise UnsupportedError(f"column type {shown(record, 200)} is unknown to this version; install a newer one")
    if type_.to_record() != record:
        raise UnsupportedError(f"column type {shown(record, 200)} is not written as this version writes it")
    return type_


def _parse(name: str, **fields: Any) -> Type | None:
    """The type of a record; None where its name or a field is unknown."""
    if name in DTYPES:
        return None if fields else Scalar(name)
    if name == RAW_IMAGE:
        return Image(**fields, sample_compression=None) if set(fields) == {"dtype"} else None
    kind = _RECORDED.get(name)
    if kind is None or not set(fields) <= {field.name for field in dataclasses.fields(kind)}:
        return None
    if kind in (Nullable, Sequence) and "of" in fields:
        fields["of"] = from_record(fields["of"])
    return kind(**fields)


_RECORDED: Final[Mapping[str, type[Type]]] = {
    kind.name: kind
    for kind in (
        Text,
        Bytes,
        Array,
        Image,
        Nullable,
        Sequence,
        Dict,
        DateTime,
        Embedding,
        ClassLabel,
        BoundingBox,
        SegmentMask,
        BinaryMask,
    )
}
