"""Rows of one stream as one flat buffer, and their framing in chunks (FORMAT section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cas.errors import CorruptedError
from cas.hashing import Bytes

Flat = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A run of rows laid one after the other in ``flat``, a contiguous uint8 array.

    All rows have ``row_bytes`` bytes, or row ``i`` ends at ``ends[i]`` (int64, from 0) where ``row_bytes`` is None.
    ``own`` says that nobody else has this memory, so that it may become that of a value.
    """

    flat: Flat
    count: int
    row_bytes: int | None
    ends: Ints | None = None
    own: bool = False

    @classmethod
    def fixed(cls, flat: Flat, count: int, row_bytes: int) -> Rows:
        """Returns ``count`` rows of ``row_bytes`` bytes each."""
        return cls(flat, count, row_bytes)

    @classmethod
    def varying(cls, flat: Flat, ends: Ints) -> Rows:
        """Returns rows that end at the given offsets of ``flat``."""
        return cls(flat, len(ends), None, ends)

    @classmethod
    def from_list(cls, rows: Sequence[Bytes]) -> Rows:
        """Returns varying rows with the bytes of each item; copies them once."""
        ends = np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)), dtype=np.int64)
        return cls.varying(np.frombuffer(b"".join(rows), np.uint8), ends)

    @classmethod
    def empty(cls, row_bytes: int | None) -> Rows:
        """Returns no rows."""
        nothing = np.empty(0, np.uint8)
        if row_bytes is None:
            return cls.varying(nothing, np.empty(0, np.int64))
        return cls.fixed(nothing, 0, row_bytes)

    @classmethod
    def concat(cls, parts: Sequence[Rows], row_bytes: int | None) -> Rows:
        """Returns the rows of all parts in order; copies unless there is at most one part with rows."""
        parts = [part for part in parts if part.count]
        if not parts:
            return cls.empty(row_bytes)
        if len(parts) == 1:
            return parts[0]
        flat = np.concatenate([part.flat for part in parts])
        if row_bytes is not None:
            return cls.fixed(flat, sum(part.count for part in parts), row_bytes)
        bases = np.cumsum([0] + [len(part.flat) for part in parts[:-1]])
        ends = [part.row_ends() + base for part, base in zip(parts, bases, strict=True)]
        return cls.varying(flat, np.concatenate(ends))

    def __len__(self) -> int:
        return self.count

    @property
    def nbytes(self) -> int:
        """The bytes of all rows together."""
        return len(self.flat)

    def offset(self, row: int) -> int:
        """Returns where a row begins in ``flat``; ``row`` may be ``count``."""
        if self.row_bytes is not None:
            return row * self.row_bytes
        return int(self.row_ends()[row - 1]) if row else 0

    def offsets(self, rows: Ints) -> Ints:
        """Returns where each of some rows begins in ``flat``."""
        if self.row_bytes is not None:
            return rows * self.row_bytes
        return np.concatenate((np.zeros(1, np.int64), self.row_ends()))[rows]

    def row_ends(self) -> Ints:
        """Returns where each row ends in ``flat``."""
        if self.ends is not None:
            return self.ends
        return np.arange(1, self.count + 1, dtype=np.int64) * (self.row_bytes or 0)

    def lengths(self) -> Ints:
        """Returns the length of each row in bytes."""
        if self.row_bytes is not None:
            return np.full(self.count, self.row_bytes, np.int64)
        return np.diff(self.row_ends(), prepend=0)

    def slice(self, start: int, stop: int) -> Rows:
        """Returns the rows ``start`` to ``stop``, without a copy of their bytes."""
        if start == 0 and stop == self.count:
            return self
        begin, end = self.offset(start), self.offset(stop)
        flat = self.flat[begin:end]
        if self.row_bytes is not None:
            return Rows.fixed(flat, stop - start, self.row_bytes)
        return Rows.varying(flat, self.row_ends()[start:stop] - begin)

    def take(self, indices: Ints) -> Rows:
        """Returns the rows at the given numbers, in that order (a copy)."""
        if self.row_bytes is not None:
            table = self.flat.reshape(self.count, self.row_bytes)
            return Rows.fixed(table[indices].reshape(-1), len(indices), self.row_bytes)
        return Rows.from_list([self.row(int(index)) for index in indices])

    def repeated(self, count: int) -> Rows:
        """Returns the first row so many times (a copy)."""
        return self.take(np.zeros(count, np.int64))

    def row(self, index: int) -> memoryview:
        """Returns the bytes of one row, without a copy."""
        return self.flat.data[self.offset(index) : self.offset(index + 1)]

    def __iter__(self) -> Iterator[memoryview]:
        view = self.flat.data
        begin = 0
        for end in self.row_ends().tolist():
            yield view[begin:end]
            begin = end


def frame_group(rows: Rows, start: int, stop: int) -> Bytes:
    """Returns the chunk payload of a group of rows; without a copy where the bytes stand as they are."""
    begin, end = rows.offset(start), rows.offset(stop)
    body = rows.flat.data[begin:end]
    if rows.row_bytes is not None or stop - start == 1:
        return body
    ends = (rows.row_ends()[start:stop] - begin).astype("<u4")
    return b"".join((ends.data.cast("B"), body))


def unframe_group(payload: Bytes, count: int, row_bytes: int | None) -> Rows:
    """Returns the rows of a chunk payload; a payload that is no such group raises ``CorruptedError``."""
    flat: NDArray[Any] = np.frombuffer(payload, np.uint8)
    if row_bytes is not None:
        check_fixed(len(payload), count, row_bytes)
        return Rows.fixed(flat, count, row_bytes)
    if count == 1:
        return Rows.varying(flat, np.array([len(flat)], np.int64))
    body = 4 * count
    if len(flat) < body:
        raise CorruptedError(f"a chunk of {count} rows holds only {len(flat)} bytes")
    ends = flat[:body].view("<u4").astype(np.int64)
    if int(ends[-1]) != len(flat) - body or (np.diff(ends) < 0).any():
        raise CorruptedError(f"the row ends of a chunk of {count} rows do not fit its {len(flat)} bytes")
    return Rows.varying(flat[body:], ends)


def check_fixed(size: int, count: int, row_bytes: int) -> None:
    """Refuses a chunk payload of ``size`` bytes that is not as long as so many rows of one length."""
    if size != count * row_bytes:
        raise CorruptedError(f"a chunk of {count} rows of {row_bytes} bytes holds {size} bytes")
