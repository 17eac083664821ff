"""Streams over a store in memory, for tests of trees."""

from collections.abc import Sequence
from typing import Any

from row_mixes import as_rows

from cas.hashing import Kind
from cas.store.gate import Gate
from cas.store.memory import MemoryStore
from cas.store.writer import BlobWriter
from cas.tree.node import Nodes
from cas.tree.read import StreamRef
from cas.tree.stream import KeepRows, RowsPart, StreamReader, build_stream, edit_stream
from cas.types import Layout

Edit = tuple[int, int, list[bytes]]


class Workbench:
    """A memory store, with what is needed to write streams of one layout to it and read them."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.store = MemoryStore()
        self.writer = BlobWriter(self.store)
        self.nodes = Nodes(Gate(self.store))

    def build(self, rows: list[bytes]) -> StreamRef:
        """Writes a stream of these rows."""
        ref = build_stream(self.nodes, as_rows(rows, self.layout), self.layout, self.writer)
        self.writer.flush()
        return ref

    def edit(self, ref: StreamRef, edits: Sequence[Edit]) -> StreamRef:
        """Replaces rows ``start`` to ``stop`` by others, for ascending edits."""
        parts: list[RowsPart] = []
        position = 0
        for start, stop, rows in edits:
            parts += [KeepRows(position, start), as_rows(rows, self.layout)]
            position = stop
        parts.append(KeepRows(position, ref.rows))
        ref = edit_stream(self.reader(ref), [part for part in parts if len(part)], self.writer)
        self.writer.flush()
        return ref

    def reader(self, ref: StreamRef) -> StreamReader:
        """A reader of a stream."""
        return StreamReader(self.nodes, ref, self.layout)

    def rows(self, ref: StreamRef) -> list[bytes]:
        """All rows of a stream."""
        return [bytes(row) for row in self.reader(ref).read(0, ref.rows)]

    def blobs(self) -> dict[bytes, Any]:
        """All blobs at rest, by hash."""
        return dict(self.store._blobs)

    def damaged(self, hash_: bytes, blob: bytes | None) -> "Workbench":
        """A bench whose store has other bytes in place of a blob, or lacks it."""
        other = Workbench(self.layout)
        blobs = self.blobs() | {hash_: blob}
        other.store.write(lambda txn: txn.put_blobs([item for item in blobs.items() if item[1] is not None]))
        return other

    def forge_node(self, payload: bytes) -> bytes:
        """Puts a node whose hash is right, whatever its content."""
        hash_ = self.writer.add_record(Kind.NODE, payload)
        self.writer.flush()
        return hash_
