"""How tensors stand in a dataset: one a row, its elements in the column of its dtype.

=========  ==================================================================================================
column     a row
=========  ==================================================================================================
``name``   what the tensor is called; in nested dicts the keys that lead there, joined by dots
``dtype``  as it was given: ``float32`` of NumPy, ``torch.float32``; ``value`` for what is no tensor
``shape``  its sizes
``path``   where it is nested: ``keys``, and what each is a key of: ``dict``, ``list`` or ``tuple``
``value``  what is no tensor, such as a learning rate
``bytes``  the elements of a dtype that is none of a column
a dtype    the elements, flat; so each has the filter that fits its size, and its exact type
=========  ==================================================================================================

The first three are always there; the others come with the first row that needs them, and hold nothing in other rows.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cas import types
from cas.codec.rows import Flat
from cas.dataset.readable import Readable
from cas.errors import CorruptedError, InvalidInputError
from cas.types import DTYPES

NAME: Final = "name"
DTYPE: Final = "dtype"
SHAPE: Final = "shape"
PATH: Final = "path"
VALUE: Final = "value"
BYTES: Final = "bytes"
ALWAYS: Final[Mapping[str, types.Type]] = {
    NAME: types.Text(),
    DTYPE: types.Text(),
    SHAPE: types.Array("int64", (None,)),
}
OPTIONAL: Final[Mapping[str, types.Type]] = {
    PATH: types.Nullable(types.Dict()),
    VALUE: types.Nullable(types.Dict()),
    BYTES: types.Nullable(types.Bytes()),
    **{dtype: types.Nullable(types.Array(dtype, (None,))) for dtype in DTYPES},
}
TORCH: Final = "torch."
HEADER: Final = "safetensors"
"""The dtype of a row that holds the header of a file of safetensors, or its index, as bytes."""


@dataclass(frozen=True, slots=True)
class InFile:
    """Elements that stand in a file, and are read when they are needed."""

    descriptor: int
    offset: int
    size_bytes: int

    def read(self) -> Flat:
        """Returns the bytes; raises :class:`~cas.errors.InvalidInputError` where the file has become shorter."""
        flat = np.empty(self.size_bytes, np.uint8)
        done = 0
        while done < self.size_bytes:
            count = os.preadv(self.descriptor, [flat.data[done:]], self.offset + done)
            if not count:
                raise InvalidInputError("a file has become shorter while it was read; import it again")
            done += count
        return flat


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A row to be saved: a tensor with its elements as bytes in C order, little-endian, or a value."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    path: dict[str, Any] | None = None
    elements: Flat | InFile | None = None
    value: dict[str, Any] | None = None

    @property
    def column(self) -> str:
        """The column of what the row holds."""
        return column_of(self.dtype)

    @property
    def size_bytes(self) -> int:
        """The bytes of the elements."""
        if self.elements is None:
            return 0
        return self.elements.size_bytes if isinstance(self.elements, InFile) else len(self.elements)

    def read(self) -> Flat:
        """Returns the elements."""
        if self.elements is None:
            return no_elements()
        return self.elements.read() if isinstance(self.elements, InFile) else self.elements


@dataclass(frozen=True, slots=True)
class Row:
    """A row that is there: its number, and what it says of itself."""

    number: int
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def column(self) -> str:
        """The column of what the row holds."""
        return column_of(self.dtype)

    @property
    def size_bytes(self) -> int | None:
        """The bytes of its elements; None for a dtype that does not say."""
        column = self.column
        return math.prod(self.shape) * types.element_bytes(column) if column in DTYPES else None


def column_of(dtype: str) -> str:
    """Returns the column for rows of a dtype.

    >>> column_of("torch.bfloat16"), column_of("torch.complex32"), column_of("value")
    ('bfloat16', 'bytes', 'value')
    """
    base = dtype.removeprefix(TORCH)
    if base in DTYPES:
        return base
    return VALUE if dtype == VALUE else BYTES


def check_schema(dataset: Readable) -> None:
    """Refuses a dataset that holds something else than tensors."""
    for name, type_ in dataset.schema.items():
        if (ALWAYS.get(name) or OPTIONAL.get(name)) != type_:
            raise InvalidInputError(
                f"{dataset!r} holds no checkpoint: it has a column {name!r} of type {type_}; tensors go to a dataset "
                f"of their own",
                column=name,
            )


def read_rows(dataset: Readable) -> list[Row]:
    """Returns the rows of a checkpoint in order, without their elements."""
    check_schema(dataset)
    missing = [name for name in ALWAYS if name not in dataset.schema]
    if missing and len(dataset):
        raise InvalidInputError(f"{dataset!r} holds no checkpoint: it has no column {missing[0]!r}")
    if missing:
        return []
    names, dtypes, shapes = dataset[NAME][:], dataset[DTYPE][:], dataset[SHAPE][:]
    rows = [
        Row(number, name, dtype, tuple(shape.tolist()))
        for number, (name, dtype, shape) in enumerate(zip(names, dtypes, shapes, strict=True))
    ]
    if len({row.name for row in rows}) != len(rows):
        raise InvalidInputError(f"{dataset!r} holds two rows of one name; delete one of them")
    return rows


def check_size(row: Row, elements: Flat, element_bytes: int) -> None:
    """Raises :class:`~cas.errors.CorruptedError` where a row does not hold what its shape says."""
    if min(row.shape, default=0) < 0 or math.prod(row.shape) * element_bytes != len(elements):
        raise CorruptedError(
            f"tensor {row.name!r} has {len(elements)} bytes, which are none of dtype {row.dtype} and shape {row.shape}"
        )


def no_elements() -> Flat:
    """Returns the elements of a tensor that has none."""
    return np.empty(0, np.uint8)
