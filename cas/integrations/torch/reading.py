"""Rows of some columns as NumPy arrays and lists, in two steps: fetched as they are stored, then decoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from cas import types
from cas.codec.images import decode_image
from cas.codec.rows import Ints, Rows
from cas.codec.values import Streams, decode_values
from cas.dataset.decoding import as_stored, decode_files
from cas.dataset.read_only import ReadOnlyDataset
from cas.dataset.readable import Readable
from cas.errors import InvalidInputError, InvalidTypeError, shown
from cas.types import DATA, ML_DTYPES, Type

MODES: Final = ("L", "RGB", "RGBA")
CHANNELS_FIRST, CHANNELS_LAST = LAYOUTS = ("CHW", "HWC")


def checked_columns(dataset: Readable, columns: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the names of the columns that are asked for, by default of all; refuses what names none, or one twice."""
    if columns is None:
        return tuple(dataset.schema)
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        hint = "; a function is given as transform=" if callable(columns) else ""
        raise InvalidTypeError(f"columns={shown(columns)} is not valid; expected a list of column names{hint}")
    for name in columns:
        dataset._column_state(name)
    if not columns or len(set(columns)) < len(columns):
        raise InvalidInputError(f"columns={shown(columns)} is not valid; expected at least one name, and none twice")
    return tuple(columns)


def checked_decode(decode: object) -> bool | str:
    """Returns what is to become of encoded images; refuses other than True, False and the modes."""
    if isinstance(decode, bool) or decode in MODES:
        return decode
    raise InvalidInputError(f"decode={shown(decode)} is not valid; expected True, False or one of {MODES}")


def checked_layout(layout: object) -> str:
    """Returns the order of the axes of pixels."""
    if layout not in LAYOUTS:
        raise InvalidInputError(f"layout={shown(layout)} is not valid; expected one of {LAYOUTS}")
    return layout


def checked_transform(transform: object) -> Callable[[Any], Any] | None:
    """Returns the function that is called with each row."""
    if transform is not None and not callable(transform):
        raise InvalidTypeError(f"transform={shown(transform)} is not valid; expected a function of a row, or None")
    return transform


def readable_type(type_: Type) -> Type:
    """Returns a type of the same stored form whose values NumPy has by itself, as exact as they are stored.

    Times are read as counts of their unit, floats of machine learning as integers of their size, encoded images as
    files.

    >>> str(readable_type(types.Nullable(types.DateTime("ms")))), str(readable_type(types.Array("bfloat16", (2,))))
    ('int64?', 'int16[2]')
    """
    match type_:
        case types.DateTime():
            return types.Int64
        case types.Nullable() | types.Sequence():
            return dataclasses.replace(type_, of=readable_type(type_.of))
        case types.Embedding(size, dtype) if dtype in ML_DTYPES:
            return types.Array(bits_dtype(dtype), (size,))
        case types.Array(dtype, shape) if dtype in ML_DTYPES:
            return types.Array(bits_dtype(dtype), shape)
        case types.Scalar(dtype) | types.BoundingBox(dtype) | types.Image(dtype) if dtype in ML_DTYPES:
            return dataclasses.replace(type_, dtype=bits_dtype(dtype))
    return as_stored(type_)


def bits_dtype(dtype: str) -> str:
    """Returns the integers that have the bits of a float of machine learning."""
    return f"int{8 * ML_DTYPES[dtype]}"


@dataclass(frozen=True, slots=True, eq=False)
class Fetched:
    """Rows as they are stored, by column and stream, and their numbers in the dataset, int64 of shape (rows,)."""

    columns: dict[str, Streams]
    numbers: Ints

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, places: Ints) -> Fetched:
        """Returns the rows at some places of these, in that order (a copy)."""
        columns = {
            name: {stream: rows.take(places) for stream, rows in streams.items()}
            for name, streams in self.columns.items()
        }
        return Fetched(columns, self.numbers[places])

    def slice(self, start: int, stop: int) -> Fetched:
        """Returns the rows ``start`` to ``stop`` of these, without a copy."""
        columns = {
            name: {stream: rows.slice(start, stop) for stream, rows in streams.items()}
            for name, streams in self.columns.items()
        }
        return Fetched(columns, self.numbers[start:stop])

    @classmethod
    def concat(cls, parts: Sequence[Fetched]) -> Fetched:
        """Returns the rows of all parts in order; there is at least one part."""
        if len(parts) == 1:
            return parts[0]
        columns = {
            name: {
                stream: Rows.concat([part.columns[name][stream] for part in parts], rows.row_bytes)
                for stream, rows in streams.items()
            }
            for name, streams in parts[0].columns.items()
        }
        return cls(columns, np.concatenate([part.numbers for part in parts]))


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """Reads rows of some columns of a version; ``decode`` and ``layout`` say what becomes of images."""

    dataset: ReadOnlyDataset
    columns: tuple[str, ...]
    decode: bool | str
    layout: str

    def __len__(self) -> int:
        return len(self.dataset)

    def type(self, column: str) -> Type:
        """Returns the type of the values that are read of a column."""
        type_ = self.dataset.schema[column]
        return type_ if self.decode else as_stored(type_)

    @property
    def row_bytes(self) -> int:
        """The stored bytes that a row has on average, at least 1."""
        streams = [stream for name in self.columns for stream in self.dataset._column_state(name).streams.values()]
        return max(1, sum(stream.size_bytes for stream in streams) // max(1, len(self)))

    def fetch(self, numbers: range | Ints) -> Fetched:
        """Returns rows at some numbers. Cost: one read a column, of each chunk once."""
        columns = {}
        for name in self.columns:
            column = self.dataset[name]
            state = self.dataset._column_state(name)
            with column._telling(state, numbers):
                columns[name] = state.read_numbers(numbers)
        return Fetched(columns, np.asarray(numbers, np.int64))

    def values(self, fetched: Fetched, threads: bool) -> Iterator[tuple[Type, Any]]:
        """Yields for each column its type and the values; images are decoded in ``threads``."""
        for name in self.columns:
            column, type_ = self.dataset[name], self.type(name)
            streams = fetched.columns[name]
            with column._telling(self.dataset._column_state(name), fetched.numbers):
                values = decode_values(readable_type(type_), streams)
                if as_stored(type_) != type_:
                    mode = self.decode if isinstance(self.decode, str) else None
                    values = decode_files(values, partial(decode_image, mode=mode), streams[DATA].nbytes, threads)
            yield type_, values
