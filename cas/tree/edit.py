"""Building and editing trees level by level: what did not change is kept without being read.

An edited level is a list of parts in order: ranges of the old level that stay, and new children. Each level is split
into nodes from the node before a change until the ends coincide again (FORMAT section 4), which gives the parts of
the next level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cas.store.writer import BlobWriter
from cas.tree.node import Entries
from cas.tree.read import EMPTY_STREAM, StreamRef, TreeReader
from cas.tree.split import find_node_ends


@dataclass(frozen=True, slots=True)
class Keep:
    """A range of the old tree that stays, in extents, between boundaries of its level."""

    start: int
    stop: int


Part = Keep | Entries


def build_tree(parts: Sequence[Part], old: TreeReader, writer: BlobWriter) -> StreamRef:
    """Returns the tree whose chunks are those of ``parts``, of which ``Keep`` names ranges of ``old``.

    Cost: the nodes next to changes, at each level; for new entries one pass over them.
    """
    level = 0
    while True:
        splitter = _LevelSplitter(level, old, writer)
        parts = splitter.split(parts)
        if not parts:
            return EMPTY_STREAM
        if len(parts) == 1:
            single = _single(parts[0], level, old)
            if single is not None:
                return single
        level += 1


def _single(part: Part, level: int, old: TreeReader) -> StreamRef | None:
    """The tree, if the level is the one node of this part."""
    if isinstance(part, Keep):
        place = old.node_at(level, part.start)
        if place.extent_stop < part.stop:
            return None
        part = _parent_entry(old, level, part.start)
    if len(part) != 1:
        return None
    return StreamRef(part.hashes[0].tobytes(), int(part.rows[0]), int(part.sizes[0]))


def _parent_entry(old: TreeReader, level: int, extent: int) -> Entries:
    """The entry of a node of the old tree in its parent."""
    parent = old.node_at(level + 1, extent)
    index = int(parent.node.extents.searchsorted(extent - parent.extent_start, "right"))
    return parent.node.entries.slice(index, index + 1)


class _LevelSplitter:
    """Splits the children on one level into nodes."""

    def __init__(self, level: int, old: TreeReader, writer: BlobWriter) -> None:
        self._level = level
        self._old = old
        self._writer = writer
        self._parts: list[Part] = []
        self._carry = Entries.empty()
        self._unsplit: list[Entries] = []

    def split(self, parts: Sequence[Part]) -> list[Part]:
        for index, part in enumerate(parts):
            if isinstance(part, Keep):
                self._keep(part, at_end=index == len(parts) - 1)
            else:
                self._unsplit.append(part)
        self._split_all()
        if len(self._carry):
            self._emit([self._carry])
        if self._old.level == self._level:
            return self._without_keeps()
        return self._parts

    def _keep(self, part: Keep, *, at_end: bool) -> None:
        position = part.start
        while position < part.stop:
            place = self._old.node_at(self._level, position)
            if place.extent_start == position:
                self._split_all()
                stop = position if len(self._carry) else self._last_end(part.stop, at_end)
                if stop > position:
                    self._add(Keep(position, stop))
                    position = stop
                    continue
            first = int(place.node.extents.searchsorted(position - place.extent_start, "right"))
            last = int(place.node.extents.searchsorted(part.stop - place.extent_start, "right"))
            self._unsplit.append(place.node.entries.slice(first, last))
            position = min(place.extent_stop, part.stop)

    def _last_end(self, stop: int, at_end: bool) -> int:
        """The last node end up to ``stop`` that holds whatever comes after it."""
        total = self._old.ref.extent
        if stop == total:
            # The last node of a level ends for want of children, unless nothing follows now either.
            return stop if at_end else self._old.node_at(self._level, total - 1).extent_start
        return self._old.node_at(self._level, stop).extent_start

    def _split_all(self) -> None:
        """Splits what has come since the last time: where nodes of the old tree begin, and at the end."""
        if not self._unsplit:
            return
        children = Entries.concat([self._carry, *self._unsplit] if len(self._carry) else self._unsplit)
        self._unsplit = []
        ends = find_node_ends(children.hashes)
        starts = [0, *ends]
        self._emit([children.slice(*pair) for pair in zip(starts, ends, strict=False)])
        self._carry = children.slice(starts[-1], len(children))

    def _emit(self, nodes: list[Entries]) -> None:
        if not nodes:
            return
        hashes: list[bytes] = []
        sums: list[tuple[int, int]] = []
        for entries in nodes:
            hash_, node = self._old.nodes.save(self._writer, self._level, entries)
            hashes.append(hash_)
            sums.append((node.rows, node.extent - node.rows))
        rows, sizes = np.array(sums, np.int64).T
        self._add(Entries(np.frombuffer(b"".join(hashes), np.uint8).reshape(len(nodes), -1), rows, sizes))

    def _add(self, part: Part) -> None:
        last = self._parts[-1] if self._parts else None
        if isinstance(part, Keep) and isinstance(last, Keep) and last.stop == part.start:
            self._parts[-1] = Keep(last.start, part.stop)
        elif isinstance(part, Entries) and isinstance(last, Entries):
            self._parts[-1] = Entries.concat([last, part])
        else:
            self._parts.append(part)

    def _without_keeps(self) -> list[Part]:
        """Above the old root there is nothing to keep: a kept root becomes an entry."""
        ref = self._old.ref
        root = Entries(
            np.frombuffer(ref.root or b"", np.uint8).reshape(1, -1),
            np.array([ref.rows], np.int64),
            np.array([ref.size_bytes], np.int64),
        )
        parts, self._parts = self._parts, []
        for part in parts:
            self._add(root if isinstance(part, Keep) else part)
        return self._parts
