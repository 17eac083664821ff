"""Where blobs that are damaged or missing stand in streams: the rows that cannot be read without them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from cas.chunking.cut import comes_in_pieces
from cas.errors import CorruptedError
from cas.hashing import split_hashes
from cas.tree.node import Entries, Node, Nodes
from cas.tree.read import StreamRef, TreeReader
from cas.types import Layout

Hit = tuple[bytes, int, int]
"""A blob, and the rows it holds, half open."""
Runs = list[tuple[int, int]]


class DamageFinder:
    """Finds blobs in streams; one that is looked through for several streams opens each node without any of them once.

    Memory: the hashes of the nodes that it has opened.
    """

    def __init__(self, nodes: Nodes, bad: Collection[bytes]) -> None:
        self._nodes = nodes
        self._bad = bad
        self._clean: set[bytes] = set()

    def rows(
        self, ref: StreamRef, layout: Layout, start: int = 0, stop: int | None = None
    ) -> dict[bytes, list[tuple[int, int]]]:
        """Returns the rows that each blob takes from those of a stream between ``start`` and ``stop``, joined to runs.

        A piece of a row takes that row; a node takes the rows below it, and also the next one where that can be read
        only with the end of the node. Cost: the nodes that hold the rows.
        """
        found: dict[bytes, Runs] = {}
        last = ref.rows if stop is None else stop
        # Beyond the end, so that the last nodes are seen whole too.
        for hash_, first, end in self._hits(ref, comes_in_pieces(layout), start, last + (last == ref.rows)):
            begin, end = max(first, start), min(end, last)
            runs = found.setdefault(hash_, [])
            if runs and begin <= runs[-1][1]:
                runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
            elif begin < end:
                runs.append((begin, end))
        return {hash_: runs for hash_, runs in found.items() if runs}

    def _hits(self, ref: StreamRef, pieces: bool, start: int, stop: int) -> Iterator[Hit]:
        if ref.root is None or start >= stop or ref.root in self._clean:
            return
        try:
            root = None if ref.root in self._bad else TreeReader(self._nodes, ref).root()
        except CorruptedError:
            root = None
        if root is None:
            yield ref.root, 0, ref.rows
        else:
            for hash_, first, end in self._below(ref.root, root, 0, start, stop):
                yield hash_, first, end + (pieces and end < ref.rows and self._takes_next(ref, hash_, end))

    def _takes_next(self, ref: StreamRef, hash_: bytes, end: int) -> bool:
        """Whether the row after those below a node cannot be read without it: it may begin with pieces in the node."""
        try:
            TreeReader(self._nodes, ref).span_of_row(end)
        except CorruptedError as error:
            return error.blob == hash_.hex()
        return False

    def _below(self, name: bytes, node: Node, row: int, start: int, stop: int) -> Iterator[Hit]:
        """The hits below a node that begins at a row, which is noted as clean where it was seen whole."""
        hits = False
        for hit in self._in_leaf(node.entries, row) if node.level == 0 else self._in_inner(node, row, start, stop):
            hits = True
            yield hit
        if not hits and start <= row and row + node.rows < stop:
            self._clean.add(name)

    def _in_leaf(self, entries: Entries, row: int) -> Iterator[Hit]:
        bad = [at for at, hash_ in enumerate(split_hashes(entries.hashes)) if hash_ in self._bad]
        ends = np.cumsum(entries.rows) + row
        for at in bad:
            first = int(ends[at] - entries.rows[at])
            yield entries.hashes[at].tobytes(), first, max(int(ends[at]), first + 1)

    def _in_inner(self, node: Node, row: int, start: int, stop: int) -> Iterator[Hit]:
        ends = (node.row_ends + row).tolist()
        begins = [row, *ends[:-1]]
        for at, hash_ in enumerate(split_hashes(node.entries.hashes)):
            if hash_ in self._clean or ends[at] < start or begins[at] >= stop:
                continue
            child = None
            if hash_ not in self._bad:
                try:
                    child = self._nodes.child(node, at)
                except CorruptedError:
                    child = None
            if child is None:
                yield hash_, begins[at], max(ends[at], begins[at] + 1)
            else:
                yield from self._below(hash_, child, begins[at], start, stop)
