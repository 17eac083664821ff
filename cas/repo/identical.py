"""Rows of equal content, told by the hashes of their chunks; no data is read but shapes and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, overload

import numpy as np

from cas.chunking.cut import stands_alone
from cas.codec.rows import Flat, Ints
from cas.errors import ColumnNotFoundError, InvalidInputError
from cas.hashing import Hashes, Kind, hash_blob
from cas.history.records import ColumnRecord, TreeRecord
from cas.repo.distinct import group_hashes
from cas.repo.repository import Repository
from cas.tree.alignment import ascending_with_places
from cas.tree.node import Entries
from cas.tree.stream import StreamReader
from cas.types import DATA, MASK, SHAPE

_BATCH_ROWS: Final = 1 << 18
Group = TypeVar("Group", covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class ColumnContent:
    """The rows of a column that have a value, each with a key that equal ones share.

    ``rows`` are their numbers, ``keys`` hashes of shape (rows, 32), ``sizes`` the bytes of each row. Rows with one key
    are equal if their shapes are, too, where the column has shapes.
    """

    repository: Repository
    column: ColumnRecord
    rows: Ints
    keys: Hashes
    sizes: Ints

    def take(self, positions: Ints) -> ColumnContent:
        """Returns the rows at some positions in ``rows``."""
        return ColumnContent(
            self.repository, self.column, self.rows[positions], self.keys[positions], self.sizes[positions]
        )

    def shapes(self, positions: Ints) -> Ints:
        """Returns the shapes of the rows at some positions, shape (positions, dimensions)."""
        order, inverse = ascending_with_places(self.rows[positions])
        shapes: Ints = _read_fixed(self.repository, self.column, SHAPE, order).view("<i8")
        return shapes[inverse]


class GroupSequence(Sequence[Group]):
    """Groups of rows that are held as arrays; a group is made when it is asked for."""

    __slots__ = ()
    ends: Ints

    def _group(self, number: int, start: int, stop: int) -> Group:
        """Returns the group of that number, whose members stand from ``start`` to ``stop``."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> Group: ...
    @overload
    def __getitem__(self, index: slice) -> list[Group]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        return self._group(number, int(self.ends[number - 1]) if number else 0, int(self.ends[number]))


def read_content(repository: Repository, tree: TreeRecord, column: str, where: str = "") -> ColumnContent:
    """Returns the rows of a column with their keys; missing values are left out.

    Rows must be chunks by themselves: images, ``dedup="row"``, and rows of 4 KiB or more; otherwise, and for sequences
    of items with shapes or that may be missing, :class:`~cas.errors.InvalidInputError` is raised.
    ``ColumnNotFoundError`` begins with ``where``, which may name the dataset. Cost: the nodes of the column, and of a
    nullable one the mask.
    """
    record = tree.column(column)
    if record is None:
        names = ", ".join(repr(known.name) for known in tree.columns) or "none"
        raise ColumnNotFoundError(f"{where}there is no column {column!r}; the columns are: {names}", name=column)
    _check_comparable(record)
    keys, sizes = _row_keys(repository, record)
    content = ColumnContent(repository, record, np.arange(len(keys), dtype=np.int64), keys, sizes)
    return content.take(np.flatnonzero(_mask(repository, record))) if MASK in record.streams else content


def group_equal(contents: Sequence[ColumnContent], sides: Ints) -> tuple[Ints, Ints]:
    """Groups the rows of columns of one type by content; only groups of rows of at least two sides are left.

    Rows are counted through all ``contents``, and ``sides`` gives the side of each. Returns row positions group by
    group, ascending in each, and where the groups end. Cost: a sort; of arrays of free shape the shapes of candidates.
    """
    keys = np.concatenate([content.keys for content in contents])
    order, begins = group_hashes(keys)
    order, ends = _of_two_sides(order, np.append(begins[1:], len(order)), sides)
    if len(order) and SHAPE in contents[0].column.streams:
        split, ends = _split_by_shape(ends, _shapes(contents, order))
        order, ends = _of_two_sides(order[split], ends, sides)
    return order, ends


def order_groups(ends: Ints, ranking: Ints) -> tuple[Ints, Ints]:
    """Returns the positions of the members of groups when the groups stand in another order, and their new ends."""
    counts = np.diff(ends, prepend=0)
    starts = ends - counts
    new_ends = np.cumsum(counts[ranking])
    # Where each member of the new order stands in the old one.
    shift = np.repeat(starts[ranking] - (new_ends - counts[ranking]), counts[ranking])
    return np.arange(len(shift)) + shift, new_ends


def _check_comparable(column: ColumnRecord) -> None:
    if not column.streams.keys() <= {DATA, SHAPE, MASK}:
        raise InvalidInputError(
            f"the rows of column {column.name!r} of type {column.type} cannot be compared: its items have shapes of "
            f"their own, or may be missing",
            column=column.name,
        )


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


def _shapes(contents: Sequence[ColumnContent], order: Ints) -> Ints:
    """The shapes of rows, given by their positions through all contents."""
    shapes: Ints | None = None
    begin = 0
    for content in contents:
        end = begin + len(content.rows)
        here = (order >= begin) & (order < end)
        found = content.shapes(order[here] - begin)
        if shapes is None:
            shapes = np.empty((len(order), found.shape[1]), np.int64)
        shapes[here] = found
        begin = end
    assert shapes is not None
    return shapes


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


def _of_two_sides(order: Ints, ends: Ints, sides: Ints) -> tuple[Ints, Ints]:
    """What is left of an order in groups without those of rows of one side, and where the groups end in it."""
    if not len(order):
        return order, ends[:0]
    counts = np.diff(ends, prepend=0)
    ordered, starts = sides[order], ends - counts
    kept = np.minimum.reduceat(ordered, starts) != np.maximum.reduceat(ordered, starts)
    return order[np.repeat(kept, counts)], np.cumsum(counts[kept])


def _split_by_shape(ends: Ints, shapes: Ints) -> tuple[Ints, Ints]:
    """An order that splits groups where shapes differ, and where the groups end in it."""
    counts = np.diff(ends, prepend=0)
    words = np.column_stack((np.repeat(np.arange(len(ends)), counts), shapes))
    order: Ints = np.lexsort(words.T[::-1])
    changes = (words[order][1:] != words[order][:-1]).any(axis=1)
    return order, np.append(np.flatnonzero(changes) + 1, len(order))
