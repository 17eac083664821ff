"""Streams checked node by node: what their nodes declare, in which form, and whether every chunk is there."""

from __future__ import annotations

from typing import Final

import numpy as np

from cas.chunking.cut import PIECE_BYTES, stands_alone
from cas.errors import CorruptedError
from cas.hashing import split_hashes
from cas.repo.damage import DAMAGED, MISSING, WRONG_NODE
from cas.repo.fsck_notes import Notes
from cas.tree.node import Entries, Node, Nodes
from cas.tree.read import StreamRef
from cas.tree.split import find_node_ends
from cas.types import Layout

_OTHER_FORM: Final = "is not in its only form"
_Key = tuple[bytes, int | None, bool]


class StreamCheck:
    """Checks streams; what was seen in one is not read again in others. No chunk is read, only looked up.

    Memory: some 300 bytes for each distinct node.
    """

    def __init__(self, nodes: Nodes, notes: Notes) -> None:
        self._nodes = nodes
        self._notes = notes
        self._declared: dict[bytes, tuple[int, int, int]] = {}
        self._seen: dict[_Key, bool] = {}

    @property
    def nodes(self) -> int:
        """How many distinct nodes were read."""
        return len(self._declared)

    def check(self, ref: StreamRef, layout: Layout) -> None:
        """Checks a stream of a layout, and notes what is wrong below it."""
        if ref.root is None:
            return
        root = self._load(ref.root)
        if root is None:
            return
        if (root.rows, root.extent) != (ref.rows, ref.extent):
            self._wrong(ref.root, "is not the root that was declared")
            return
        if root.level and len(root.entries) == 1:
            self._wrong(ref.root, _OTHER_FORM)
        if layout.row_bytes is not None and ref.size_bytes != ref.rows * layout.row_bytes:
            self._wrong(ref.root, f"has {ref.size_bytes} bytes for {ref.rows} rows of {layout.row_bytes}")
        self._check_below(ref.root, root, layout)

    def _check_below(self, name: bytes, top: Node, layout: Layout) -> None:
        waiting = [(name, top, False)]
        while waiting:
            hash_, node, complete = waiting.pop()
            key = (hash_, layout.row_bytes, layout.alone)
            before = self._seen.get(key)
            if before is not None and before >= complete:
                continue
            self._seen[key] = complete
            self._check_form(hash_, node, complete)
            if node.level:
                waiting += self._children(node, layout, complete)
            elif before is None:
                self._check_leaf(hash_, node.entries, layout)

    def _check_form(self, hash_: bytes, node: Node, complete: bool) -> None:
        """Checks where a node ends; only the last one of a level may end for want of children."""
        ends, count = find_node_ends(node.entries.hashes), len(node.entries)
        if ends != [count] and (complete or ends):
            self._wrong(hash_, _OTHER_FORM)
        elif node.level == 0 and not complete and node.entries.rows[-1] == 0:
            self._wrong(hash_, "ends its stream with pieces that no last piece completes")

    def _children(self, node: Node, layout: Layout, complete: bool) -> list[tuple[bytes, Node, bool]]:
        """The children that were not seen in their place, after checking that all are what is declared."""
        found: list[tuple[bytes, Node, bool]] = []
        entries = node.entries
        facts = zip(split_hashes(entries.hashes), entries.rows.tolist(), entries.sizes.tolist(), strict=True)
        for at, (hash_, rows, size) in enumerate(facts):
            inner = complete or at < len(entries) - 1
            seen = self._seen.get((hash_, layout.row_bytes, layout.alone))
            child = None
            if seen is None or seen < inner:
                child = self._load(hash_)
            if hash_ in self._declared and self._declared[hash_] != (node.level - 1, rows, rows + size):
                self._wrong(hash_, "is not what its parent declares")
            elif child is not None:
                found.append((hash_, child, inner))
        return found

    def _load(self, hash_: bytes) -> Node | None:
        """The node, or None where it cannot be read."""
        try:
            node = self._nodes.load(hash_)
        except CorruptedError as error:
            self._notes.unread(hash_, error)
            return None
        self._declared[hash_] = (node.level, node.rows, node.extent)
        return node

    def _check_leaf(self, hash_: bytes, entries: Entries, layout: Layout) -> None:
        if not _fits(entries, layout):
            self._wrong(hash_, "lists chunks that do not fit the layout of their column")
        self._look_up(split_hashes(entries.hashes))

    def _look_up(self, hashes: list[bytes]) -> None:
        with self._nodes.gate.store.read() as view:
            try:
                sizes = view.sizes(hashes)
            except CorruptedError as error:
                if len(hashes) == 1:
                    self._notes.blob(hashes[0], DAMAGED, str(error))
                    return
                sizes = None
        if sizes is None:
            for hash_ in hashes:
                self._look_up([hash_])
            return
        for hash_, size in zip(hashes, sizes, strict=True):
            if size is None:
                self._notes.blob(hash_, MISSING, f"chunk {hash_.hex()} is missing from the store")

    def _wrong(self, hash_: bytes, message: str) -> None:
        self._notes.blob(hash_, WRONG_NODE, f"node {hash_.hex()} {message}")


def _fits(entries: Entries, layout: Layout) -> bool:
    """Whether chunks may be those of a layout, by their rows and bytes."""
    rows, sizes, row_bytes = entries.rows, entries.sizes, layout.row_bytes
    if row_bytes is not None and row_bytes <= PIECE_BYTES:
        counts = (rows == 1) if stands_alone(layout) else (rows > 0)
        return bool((counts & (sizes == rows * row_bytes)).all())
    pieces = (rows != 0) | (sizes == PIECE_BYTES)
    groups = (rows < 2) if row_bytes is not None or layout.alone else (rows < 2) | (sizes >= 4 * rows)
    after_piece = np.concatenate((np.zeros(1, np.bool_), rows[:-1] == 0))
    return bool((pieces & groups & ~(after_piece & (rows > 1))).all())
