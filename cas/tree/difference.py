"""Which rows of two streams differ, found by comparing their trees from the top: what is equal is never opened.

Both trees are taken apart level by level. A node or chunk of one is equal to that of the other when it has the same
hash and all its rows are aligned with the rows there; both are then left out. (So do the differs of Noms and Dolt, by
key where here it is by aligned row.) What is left over at the bottom are the chunks around the changes; their rows are
compared by hash where each has a chunk of its own, byte by byte where they share one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cas.codec.rows import Ints, Rows
from cas.hashing import Hashes
from cas.tree.alignment import Alignment, ascending, numbers_of
from cas.tree.node import Entries, Nodes
from cas.tree.stream import StreamReader

_BATCH_BYTES: Final = 8 << 20
_CHUNKS: Final = -1


def find_changed(old: StreamReader, new: StreamReader, alignment: Alignment, within: Ints | None = None) -> Ints:
    """Returns the rows of ``new`` (int64, ascending) that ``old`` has too and whose bytes differ.

    ``within``, ascending rows of ``new``, leaves out all others. Both streams have one layout. Cost: the nodes above
    the chunks that differ, and these chunks, but none of rows that are chunks by themselves; where only the alignment
    changed, the chunks at the ends of its runs.
    """
    if old.ref == new.ref and alignment.is_identity(new.ref.rows):
        return np.empty(0, np.int64)
    back = alignment.inverse()
    wanted = back if within is None else back.within(Alignment.of_rows(within))
    if not len(wanted):
        return np.empty(0, np.int64)
    left, right = _left_over(_Level.top(old), _Level.top(new), alignment, wanted)
    rows = _candidates(left, right, alignment, wanted)
    return _differing(old, new, left, right, back.map(rows), rows)


@dataclass(frozen=True, slots=True)
class _Level:
    """Nodes of one level (or chunks, level -1) in order, and the row at which each begins.

    A node may end with pieces of a row that only a later one completes, so it counts for the next row too.
    """

    nodes: Nodes
    level: int
    entries: Entries
    starts: Ints
    rows: int

    @classmethod
    def top(cls, reader: StreamReader) -> _Level:
        """The root alone, or nothing where there are no rows."""
        ref = reader.ref
        if ref.root is None:
            return cls(reader.tree.nodes, _CHUNKS, Entries.empty(), np.empty(0, np.int64), 0)
        hashes = np.frombuffer(ref.root, np.uint8).reshape(1, -1)
        entries = Entries(hashes, np.array([ref.rows], np.int64), np.array([ref.size_bytes], np.int64))
        return cls(reader.tree.nodes, reader.tree.level, entries, np.zeros(1, np.int64), ref.rows)

    @property
    def stops(self) -> Ints:
        """Where the rows end that each has something of."""
        if self.level == _CHUNKS:
            return self.starts + np.maximum(self.entries.rows, 1)
        stops: Ints = np.minimum(self.starts + self.entries.rows + 1, self.rows)
        return stops

    def where(self, chosen: NDArray[np.bool_]) -> _Level:
        """The chosen ones."""
        entries = Entries(self.entries.hashes[chosen], self.entries.rows[chosen], self.entries.sizes[chosen])
        return _Level(self.nodes, self.level, entries, self.starts[chosen], self.rows)

    def with_rows(self, runs: Alignment) -> _Level:
        """Those with at least one row of the runs, by where these are in ``old``."""
        first = np.searchsorted(runs.old + runs.lengths, self.starts, "right")
        return self.where(first < np.searchsorted(runs.old, self.stops))

    def children(self) -> _Level:
        """The level below."""
        opened = [
            self.nodes.load_declared(self.level, self.entries.slice(at, at + 1)) for at in range(len(self.entries))
        ]
        starts = [
            node.row_ends - node.entries.rows + start for node, start in zip(opened, self.starts.tolist(), strict=True)
        ]
        below = np.concatenate(starts) if starts else self.starts
        return _Level(self.nodes, self.level - 1, Entries.concat([node.entries for node in opened]), below, self.rows)


def _left_over(old: _Level, new: _Level, alignment: Alignment, wanted: Alignment) -> tuple[_Level, _Level]:
    """The chunks of both that have wanted rows (those of new, and where they are in old) and no equal in the other."""
    wanted_old = wanted.inverse()
    while True:
        while old.level > new.level:
            old = old.children().with_rows(wanted_old)
        while new.level > old.level:
            new = new.children().with_rows(wanted)
        old, new = _without_equals(old, new, alignment)
        if old.level == _CHUNKS:
            return old, new
        old, new = old.children().with_rows(wanted_old), new.children().with_rows(wanted)


def _without_equals(old: _Level, new: _Level, alignment: Alignment) -> tuple[_Level, _Level]:
    """Leaves out of both what has the same hash and the same rows where the alignment leads."""
    # Pieces of a row stand at the same row, so they cannot be told apart: they stay.
    movable = np.flatnonzero((old.entries.rows > 0) & alignment.holds(old.starts, old.stops))
    places = alignment.map(old.starts[movable])
    mine, theirs = _keys(old.entries.hashes[movable], places), _keys(new.entries.hashes, new.starts)
    order = np.argsort(theirs, kind="stable")
    at = np.searchsorted(theirs[order], mine)
    found = at < len(order)
    at, movable, places = order[at[found]], movable[found], places[found]
    same = (
        (new.starts[at] == places)
        & (new.entries.rows[at] == old.entries.rows[movable])
        & (new.entries.hashes[at] == old.entries.hashes[movable]).all(axis=1)
    )
    keep_old, keep_new = np.ones(len(old.starts), np.bool_), np.ones(len(new.starts), np.bool_)
    keep_old[movable[same]] = False
    keep_new[at[same]] = False
    return old.where(keep_old), new.where(keep_new)


def _keys(hashes: Hashes, places: Ints) -> NDArray[np.uint64]:
    """A number for a hash at a place. Others may have the same one: that only makes more to be compared."""
    heads = np.ascontiguousarray(hashes[:, :8]).view(np.uint64).reshape(-1)
    return heads ^ (places.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def _candidates(old: _Level, new: _Level, alignment: Alignment, wanted: Alignment) -> Ints:
    """The rows of ``new``, of those wanted, that may have changed: they are in chunks left over on either side."""
    rows = numbers_of(new.starts, np.maximum(new.entries.rows, 1))
    # A piece of a row that is in one chunk on the other side.
    pieces = alignment.map(old.starts[old.entries.rows == 0])
    rows = ascending(np.concatenate((rows, pieces)))
    known: Ints = rows[wanted.map(rows) >= 0]
    return known


def _differing(old: StreamReader, new: StreamReader, left: _Level, right: _Level, olds: Ints, news: Ints) -> Ints:
    """Of the pairs of rows given, those of ``new`` whose bytes differ."""
    alone = _is_alone(left, olds) & _is_alone(right, news)
    pieced = _is_pieced(left, olds) | _is_pieced(right, news)
    changed = np.zeros(len(news), np.bool_)
    changed[alone] = (_hashes(left, olds[alone]) != _hashes(right, news[alone])).any(axis=1)
    for at in np.flatnonzero(pieced):
        # A row that is not in pieces has another key, of the chunk that it is in.
        keys = [next(side.row_keys(row, row + 1)) for side, row in ((old, int(olds[at])), (new, int(news[at])))]
        changed[at] = keys[0] != keys[1]
    shared = np.flatnonzero(~alone & ~pieced)
    for part in _batches(shared, max(old.ref.size_bytes, new.ref.size_bytes), max(1, new.ref.rows)):
        changed[part] = _bytes_differ(old.take(olds[part]), new.take(news[part]))
    return news[changed]


def _batches(items: Ints, size_bytes: int, rows: int) -> Iterator[Ints]:
    step = max(1, _BATCH_BYTES * rows // max(1, size_bytes))
    for start in range(0, len(items), step):
        yield items[start : start + step]


def _is_pieced(level: _Level, rows: Ints) -> NDArray[np.bool_]:
    """Whether each row is in several pieces."""
    return np.isin(rows, level.starts[level.entries.rows == 0])


def _is_alone(level: _Level, rows: Ints) -> NDArray[np.bool_]:
    """Whether each row is one chunk of those given."""
    return np.isin(rows, level.starts[level.entries.rows == 1]) & ~_is_pieced(level, rows)


def _hashes(level: _Level, rows: Ints) -> Hashes:
    """The hashes of the chunks that end with these rows."""
    ends = level.starts + level.entries.rows
    return level.entries.hashes[np.searchsorted(ends, rows + 1)]


def _bytes_differ(old: Rows, new: Rows) -> NDArray[np.bool_]:
    """Whether each row differs from its counterpart."""
    if old.row_bytes is not None:
        unequal = np.not_equal(old.flat, new.flat).reshape(old.count, old.row_bytes)
        return np.asarray(unequal.any(axis=1), np.bool_)
    lengths = old.lengths()
    differ = np.not_equal(lengths, new.lengths())
    same = np.flatnonzero(~differ)
    ends = np.cumsum(lengths[same])
    bytes_at = np.flatnonzero(_joined(old, same) != _joined(new, same))
    differ[same[np.searchsorted(ends, bytes_at, "right")]] = True
    return differ


def _joined(rows: Rows, chosen: Ints) -> NDArray[np.uint8]:
    """The bytes of the chosen rows, ascending, one after the other."""
    if len(chosen) == rows.count:
        return rows.flat[: int(rows.row_ends()[-1])] if rows.count else rows.flat
    lengths, ends = rows.lengths(), rows.row_ends()
    return rows.flat[numbers_of((ends - lengths)[chosen], lengths[chosen])]
