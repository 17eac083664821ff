"""Finding chunks in a tree, by row and by extent, in a logarithmic number of nodes.

The *extent* of something is its rows plus its payload bytes. Unlike rows alone (unfinished pieces complete none) or
bytes alone (empty rows have none), it grows with every chunk, so it names every boundary in a tree exactly.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cas.codec.fields import is_count, is_hash
from cas.codec.rows import Ints
from cas.errors import CorruptedError
from cas.tree.node import Entries, Node, Nodes


@dataclass(frozen=True, slots=True)
class StreamRef:
    """Names the content of a stream: the root of its tree (None without rows), its rows and payload bytes."""

    root: bytes | None
    rows: int
    size_bytes: int

    @property
    def extent(self) -> int:
        """Rows plus bytes."""
        return self.rows + self.size_bytes

    def to_record(self) -> list[Any]:
        """Returns the array that stands for the reference in a record."""
        return [self.root, self.rows, self.size_bytes]

    @classmethod
    def from_record(cls, record: object, what: str) -> StreamRef:
        """Returns the reference in a record; ``what`` names the record in the error."""
        match record:
            case [None, 0, 0]:
                return EMPTY_STREAM
            case [root, rows, size_bytes] if is_hash(root) and is_count(rows) and is_count(size_bytes) and rows:
                return cls(root, rows, size_bytes)
        raise CorruptedError(f"{what} holds an invalid stream reference", blob=what)


_FEW_VISITS = 16
_FEW_CHILDREN = 8
EMPTY_STREAM = StreamRef(None, 0, 0)


def _unfinished(row: int) -> CorruptedError:
    return CorruptedError(f"row {row} begins with pieces that no last piece completes")


class Span(NamedTuple):
    """A whole chunk, or all pieces of a large row: extents and rows, half open."""

    extent_start: int
    extent_stop: int
    row_start: int
    row_stop: int


class Chunk(NamedTuple):
    """The chunk of a row: its hash, rows and payload bytes, and the row's number in it."""

    hash: bytes
    rows: int
    size_bytes: int
    within: int


class Place(NamedTuple):
    """A node in its tree: where it begins, and whether it is the last of its level."""

    node: Node
    extent_start: int
    row_start: int
    last: bool

    @property
    def extent_stop(self) -> int:
        """Where the node ends."""
        return self.extent_start + self.node.extent


class TreeReader:
    """Reads one tree. Cost of each look-up: one node a level, cached.

    Where no row comes in pieces, ``pieces`` is False: then no chunk is looked at for the sake of its neighbour.
    """

    def __init__(self, nodes: Nodes, ref: StreamRef, *, pieces: bool = True) -> None:
        self.nodes = nodes
        self.ref = ref
        self._pieces = pieces
        self._root: Node | None = None
        self._chunks: Place | None = None
        self._visits = 0
        self._leaf_count: float | None = None
        self._latest: dict[int, Place] = {}  # of each level, since the next look-up is mostly beside the last one

    def root(self) -> Node:
        """Returns the root node; the tree must have rows."""
        if self._root is None:
            assert self.ref.root is not None
            root = self.nodes.load(self.ref.root)
            if root.rows != self.ref.rows or root.extent != self.ref.extent:
                name = self.ref.root.hex()
                raise CorruptedError(f"node {name} is not the root that was declared", blob=name)
            self._root = root
        return self._root

    @property
    def level(self) -> int:
        """The level of the root, or -1 for a tree without rows."""
        return -1 if self.ref.root is None else self.root().level

    def node_at(self, level: int, extent: int) -> Place:
        """Returns the node of a level in which the extent lies (``start <= extent < stop``)."""
        place = self._latest.get(level)
        if place is None or not place.extent_start <= extent < place.extent_stop:
            place = Place(self.root(), 0, 0, True)
            while place.node.level > level:
                index = int(place.node.extents.searchsorted(extent - place.extent_start, "right"))
                place = self._descend(place, index)
            self._latest[place.node.level] = place
        return place

    def _descend(self, place: Place, index: int) -> Place:
        node = place.node
        return Place(
            self.nodes.child(node, index),
            place.extent_start + (int(node.extents[index - 1]) if index else 0),
            place.row_start + (int(node.row_ends[index - 1]) if index else 0),
            place.last and index == len(node.entries) - 1,
        )

    def leaf_of_row(self, row: int) -> Place:
        """Returns the leaf with the chunk that completes a row; or a node of all chunks, where that was made."""
        place = self._chunks or self._latest.get(0)
        if place is None or not place.row_start <= row < place.row_start + place.node.rows:
            place = self._all_chunks() or self._leaf_of_row(row)
        return place

    def _leaf_of_row(self, row: int) -> Place:
        place = Place(self.root(), 0, 0, True)
        while place.node.level > 0:
            index = int(place.node.row_ends.searchsorted(row - place.row_start, "right"))
            place = self._descend(place, index)
        self._latest[0] = place
        return place

    def _all_chunks(self) -> Place | None:
        """All chunks in one node, as if they were one leaf: made where more leaves were asked for than there are.

        Then a look-up costs one search, and many together cost little more. Of large trees, from some 300,000 chunks
        on, none is made, for the sake of memory.
        """
        if self._chunks is None and self.level > 0:
            self._visits += 1
            if self._visits >= _FEW_VISITS:
                self._chunks = self._collect_chunks()
        return self._chunks

    def _collect_chunks(self) -> Place | None:
        try:
            if self._leaf_count is None:
                self._leaf_count = self._count_leaves()
            if self._visits <= self._leaf_count:
                return None
            parts = list(self._leaves(lambda extent: self.node_at(0, extent), 0, self.ref.extent))
        except CorruptedError:
            self._visits = -sys.maxsize  # leaf by leaf, what lies beside the damage can be read
            return None
        return Place(Node(0, Entries.concat(parts)), 0, 0, True)

    def _count_leaves(self) -> float:
        root = self.root()
        if root.level == 1:
            return len(root.entries)
        if root.level > 2 or len(root.entries) > _FEW_CHILDREN:
            return math.inf
        return sum(len(self.nodes.child(root, index).entries) for index in range(len(root.entries)))

    def span_of_row(self, row: int) -> Span:
        """Returns the chunk that holds a row, or the pieces of the row."""
        leaf = self.leaf_of_row(row)
        node = leaf.node
        index = int(node.row_ends.searchsorted(row - leaf.row_start, "right"))
        row_start = leaf.row_start + (int(node.row_ends[index - 1]) if index else 0)
        row_stop = leaf.row_start + int(node.row_ends[index])
        extent_start = leaf.extent_start + (int(node.extents[index - 1]) if index else 0)
        extent_stop = leaf.extent_start + int(node.extents[index])
        before_is_piece = self._pieces and (node.entries.rows[index - 1] == 0 if index else leaf.extent_start > 0)
        if row_stop - row_start == 1:
            if before_is_piece:
                extent_start = self._end_of_row(row - 1)
        elif index and before_is_piece:
            raise _unfinished(row)
        if row_stop == self.ref.rows and extent_stop != self.ref.extent:
            raise _unfinished(row_stop)
        return Span(extent_start, extent_stop, row_start, row_stop)

    def chunk_of_row(self, row: int) -> Chunk | None:
        """Returns the one chunk that holds a row; None where the row may be in pieces."""
        leaf = self.leaf_of_row(row)
        node, entries = leaf.node, leaf.node.entries
        within = row - leaf.row_start
        index = int(node.row_ends.searchsorted(within, "right"))
        if self._pieces and (index == 0 or entries.rows[index - 1] == 0):
            return None
        if index:
            within -= int(node.row_ends[index - 1])
        return Chunk(entries.hashes[index].tobytes(), int(entries.rows[index]), int(entries.sizes[index]), within)

    def _end_of_row(self, row: int) -> int:
        """The extent at which the chunk that completes a row ends."""
        if row < 0:
            return 0
        leaf = self.leaf_of_row(row)
        index = int(leaf.node.row_ends.searchsorted(row - leaf.row_start, "right"))
        return leaf.extent_start + int(leaf.node.extents[index])

    def leaves(self, extent_start: int = 0, extent_stop: int | None = None) -> Iterator[Entries]:
        """Yields the chunks between two boundaries, leaf by leaf."""

        def leaf_at(extent: int) -> Place:
            return self._all_chunks() or self.node_at(0, extent)

        return self._leaves(leaf_at, extent_start, self.ref.extent if extent_stop is None else extent_stop)

    def _leaves(self, leaf_at: Callable[[int], Place], position: int, stop: int) -> Iterator[Entries]:
        while position < stop:
            leaf = leaf_at(position)
            first = int(leaf.node.extents.searchsorted(position - leaf.extent_start, "right"))
            last = int(leaf.node.extents.searchsorted(stop - leaf.extent_start, "right"))
            yield leaf.node.entries.slice(first, last)
            position = leaf.extent_stop

    def entries(self, extent_start: int, extent_stop: int) -> Entries:
        """Returns the chunks between two boundaries."""
        return Entries.concat(list(self.leaves(extent_start, extent_stop)))

    def locate(self, rows: Ints) -> tuple[Entries, Ints, Ints] | None:
        """Finds the chunks of rows, given in ascending order without repeats.

        Returns the chunks, each once; the row at which each begins; and for each row the number of its chunk. Returns
        None where one of the rows is in several pieces: :meth:`span_of_row` finds those.
        """
        chosen: list[Entries] = []
        starts: list[Ints] = []
        owners: list[Ints] = []
        done = count = 0
        while done < len(rows):
            leaf = self.leaf_of_row(int(rows[done]))
            entries, row_ends = leaf.node.entries, leaf.node.row_ends
            upto = int(rows.searchsorted(leaf.row_start + leaf.node.rows, "left"))
            index = row_ends.searchsorted(rows[done:upto] - leaf.row_start, "right")
            first = np.concatenate(([True], index[1:] != index[:-1]))  # they ascend
            unique, inverse = index[first], np.cumsum(first) - 1
            if self._after_pieces(leaf, unique):
                return None
            chosen.append(entries.take(unique))
            starts.append(row_ends[unique] - entries.rows[unique] + leaf.row_start)
            owners.append(inverse + count)
            count += len(unique)
            done = upto
        return Entries.concat(chosen), np.concatenate(starts), np.concatenate(owners)

    def _after_pieces(self, leaf: Place, index: Ints) -> bool:
        """Whether one of the chunks of a leaf comes after an unfinished piece, and so completes its row."""
        if not self._pieces:
            return False
        inner = index[index > 0]
        if (leaf.node.entries.rows[inner - 1] == 0).any():
            return True
        if len(inner) == len(index) or leaf.extent_start == 0:
            return False
        return bool(self.node_at(0, leaf.extent_start - 1).node.entries.rows[-1] == 0)
