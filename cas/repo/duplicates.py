"""Identical rows of one column, found by the hashes of their chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

import numpy as np

from cas.chunking.cut import stands_alone
from cas.codec.rows import Flat, Ints
from cas.errors import ColumnNotFoundError, InvalidInputError
from cas.hashing import Kind, hash_blob
from cas.history.records import ColumnRecord, TreeRecord
from cas.repo.distinct import group_hashes
from cas.repo.repository import Repository
from cas.store.gate import Hashes
from cas.tree.node import Entries
from cas.tree.stream import StreamReader
from cas.types import DATA, MASK, SHAPE

_BATCH_ROWS: Final = 1 << 18


@dataclass(frozen=True, slots=True, eq=False)
class DuplicateGroup:
    """Rows that are identical: their numbers (int64, ascending, at least two), and the bytes of one of them."""

    rows: Ints
    size_bytes: int

    @property
    def wasted_bytes(self) -> int:
        """The bytes of all rows but the first."""
        return self.size_bytes * (len(self.rows) - 1)

    def to_dict(self) -> dict[str, Any]:
        """Returns the row numbers and sizes."""
        return {"rows": self.rows.tolist(), "size_bytes": self.size_bytes, "wasted_bytes": self.wasted_bytes}


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates(Sequence[DuplicateGroup]):
    """Groups of identical rows, by wasted bytes descending, then by first row.

    Held as three arrays (int64), so that millions of groups take 8 bytes a row: the row numbers of all groups one after
    the other, where each group ends in them, and the bytes of one row of each.
    """

    rows: Ints
    ends: Ints
    sizes: Ints

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> DuplicateGroup: ...
    @overload
    def __getitem__(self, index: slice) -> list[DuplicateGroup]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        start = int(self.ends[number - 1]) if number else 0
        return DuplicateGroup(self.rows[start : int(self.ends[number])], int(self.sizes[number]))

    @property
    def wasted_bytes(self) -> int:
        """The bytes of all rows but the first of each group."""
        return int((self.sizes * (np.diff(self.ends, prepend=0) - 1)).sum())

    def repeats(self) -> Ints:
        """Returns all rows but the first of each group, group by group."""
        first = np.zeros(len(self.rows), np.bool_)
        first[self._starts()] = True
        return self.rows[~first]

    def firsts(self) -> Ints:
        """Returns for each row of :meth:`repeats` the first row of its group."""
        return np.repeat(self.rows[self._starts()], np.diff(self.ends, prepend=0) - 1)

    def _starts(self) -> Ints:
        return self.ends - np.diff(self.ends, prepend=0)


def find_duplicates(repository: Repository, tree: TreeRecord, column: str) -> Duplicates:
    """Finds the identical rows of a column, without reading any of its data; missing rows are left out.

    Rows must be chunks by themselves: images, ``dedup="row"``, and rows of 4 KiB or more; otherwise
    :class:`~cas.errors.InvalidInputError` is raised. Cost: the nodes of the column, and a sort; of arrays of
    varying shape the shapes of candidates, of nullable columns the mask. Memory: some 200 bytes a row.
    """
    record = tree.column(column)
    if record is None:
        names = ", ".join(repr(known.name) for known in tree.columns) or "none"
        raise ColumnNotFoundError(f"there is no column {column!r}; the columns are: {names}", name=column)
    keys, sizes = _row_keys(repository, record)
    rows = np.arange(len(keys), dtype=np.int64)
    if MASK in record.streams:
        rows = np.flatnonzero(_mask(repository, record))
        keys, sizes = keys[rows], sizes[rows]
    order, begins = group_hashes(keys)
    order, ends = _repeated(order, np.append(begins[1:], len(order)))
    rows, sizes = rows[order], sizes[order]
    if SHAPE in record.streams and len(rows):
        order, ends = _split_by_shape(ends, _shapes(repository, record, rows))
        rows, sizes = rows[order], sizes[order]
    return _ranked(rows, ends, sizes)


def _row_keys(repository: Repository, column: ColumnRecord) -> tuple[Hashes, Ints]:
    """A hash for each row that is the same for identical ones, shape (rows, 32), and the length of each."""
    layout = column.type.layouts()[DATA]
    if layout.row_bytes is not None and not stands_alone(layout):
        raise _grouped(column)
    parts: list[Entries] = []
    for entries in StreamReader(repository.nodes, column.streams[DATA], layout).chunks():
        if (entries.rows > 1).any():
            raise _grouped(column)
        parts.append(entries)
    chunks = Entries.concat(parts)
    last = np.flatnonzero(chunks.rows)
    first = np.concatenate((np.zeros(min(1, len(last)), np.int64), last[:-1] + 1))
    if not len(last) or (first == last).all():
        return chunks.hashes, chunks.sizes
    keys = chunks.hashes[last]
    for row in np.flatnonzero(first != last).tolist():
        pieces = chunks.hashes[first[row] : last[row] + 1].tobytes()
        # Hashed as a node is, which no chunk's hash can equal.
        keys[row] = np.frombuffer(hash_blob(Kind.NODE, pieces), np.uint8)
    return keys, np.add.reduceat(chunks.sizes, first)


def _grouped(column: ColumnRecord) -> InvalidInputError:
    return InvalidInputError(
        f"column {column.name!r} of type {column.type} keeps several small rows in one chunk, so identical rows cannot "
        f"be told by their hashes; expected images, rows of 4,096 bytes or more, or a column of a type made with "
        f'dedup="row"',
        column=column.name,
    )


def _mask(repository: Repository, column: ColumnRecord) -> Flat:
    """Of each row, whether there is a value: 1 or 0."""
    mask = _read_fixed(repository, column, MASK, np.arange(column.streams[MASK].rows, dtype=np.int64))
    return mask.reshape(-1)


def _shapes(repository: Repository, column: ColumnRecord, rows: Ints) -> Ints:
    """The shapes of the given rows, shape (rows, dimensions)."""
    order, inverse = np.unique(rows, return_inverse=True)
    shapes: Ints = _read_fixed(repository, column, SHAPE, order).view("<i8")
    return shapes[inverse]


def _read_fixed(repository: Repository, column: ColumnRecord, stream: str, rows: Ints) -> Flat:
    """The bytes of ascending rows of a stream of fixed rows, shape (rows, row bytes), read some at a time."""
    layout = column.type.layouts()[stream]
    assert layout.row_bytes is not None
    reader = StreamReader(repository.nodes, column.streams[stream], layout)
    table = np.empty((len(rows), layout.row_bytes), np.uint8)
    for start in range(0, len(rows), _BATCH_ROWS):
        batch = rows[start : start + _BATCH_ROWS]
        table[start : start + len(batch)] = reader.take(batch).flat.reshape(len(batch), -1)
    return table


def _repeated(order: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """What is left of an order in groups when groups of one are left out, and where the groups end in it."""
    counts = np.diff(ends, prepend=0)
    return order[np.repeat(counts > 1, counts)], np.cumsum(counts[counts > 1])


def _split_by_shape(ends: Ints, shapes: Ints) -> tuple[Ints, Ints]:
    """An order that splits groups where shapes differ, and where the groups that are left end in it."""
    counts = np.diff(ends, prepend=0)
    words = np.column_stack((np.repeat(np.arange(len(ends)), counts), shapes))
    order: Ints = np.lexsort(words.T[::-1])
    changes = (words[order][1:] != words[order][:-1]).any(axis=1)
    return _repeated(order, np.append(np.flatnonzero(changes) + 1, len(order)))


def _ranked(rows: Ints, ends: Ints, sizes: Ints) -> Duplicates:
    """The groups by wasted bytes, then by first row."""
    counts = np.diff(ends, prepend=0)
    starts = ends - counts
    sizes = sizes[starts]
    order = np.lexsort((rows[starts], -sizes * (counts - 1)))
    ranked_ends = np.cumsum(counts[order])
    # Where each row of the new order stands in the old one.
    shift = np.repeat(starts[order] - (ranked_ends - counts[order]), counts[order])
    return Duplicates(rows[np.arange(len(rows)) + shift], ranked_ends, sizes[order])
