"""A table in memory: columns of streams, each a tree and the pieces that edit it."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cas.codec.rows import Ints, Rows
from cas.codec.values import Streams
from cas.dataset.pieces import Pieces
from cas.errors import StoreError
from cas.hashing import hash_named
from cas.history.records import EMPTY_METADATA, ColumnRecord, Payload, TreeRecord
from cas.repo.metadata import Origin
from cas.store.writer import BlobWriter
from cas.tree.alignment import ascending, ascending_with_places, runs_of_numbers
from cas.tree.constant import build_constant_stream
from cas.tree.damage import DamageFinder
from cas.tree.node import Nodes
from cas.tree.read import EMPTY_STREAM, StreamRef
from cas.tree.stream import KeepRows, StreamReader, edit_stream
from cas.types import Layout, Type

_MAX_PIECES = 1024

Edits = Sequence[tuple[int, int, Rows | None]]


class StreamState:
    """One stream under edit."""

    def __init__(self, nodes: Nodes, ref: StreamRef, layout: Layout) -> None:
        self._nodes = nodes
        self.reader = StreamReader(nodes, ref, layout)
        self._pieces: Pieces[Rows] = Pieces(ref.rows)
        self.staged_bytes = 0

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def layout(self) -> Layout:
        """The layout of the stream."""
        return self.reader.layout

    def frozen(self) -> StreamState:
        """Returns the stream as it is now, which later edits of this one leave alone."""
        frozen = copy.copy(self)
        frozen._pieces = self._pieces.copy()
        return frozen

    def append(self, rows: Rows) -> None:
        """Stages rows at the end."""
        self.staged_bytes += rows.nbytes
        self._pieces.append(rows)

    def splice(self, edits: Edits) -> None:
        """Stages edits: see :meth:`cas.dataset.pieces.Pieces.splice`."""
        self.staged_bytes += sum(rows.nbytes for _, _, rows in edits if rows is not None)
        self._pieces.splice(edits)

    @property
    def size_bytes(self) -> int:
        """The payload bytes, roughly: those of the tree and those staged."""
        return self.reader.ref.size_bytes + self.staged_bytes

    @property
    def crowded(self) -> bool:
        """Whether there are so many pieces that they had better be settled."""
        return self._pieces.count > _MAX_PIECES

    def read(self, start: int, stop: int) -> Rows:
        """Returns the rows ``start`` to ``stop``, staged ones included."""
        if not self._pieces.edited:
            return self.reader.read(start, stop)
        found = [
            self.reader.read(piece.start, piece.stop) if isinstance(piece, KeepRows) else piece
            for piece in self._pieces.within(start, stop)
        ]
        return Rows.concat(found, self.layout.row_bytes)

    def batches(self, start: int, stop: int, batch_bytes: int = 8 << 20) -> Iterator[Rows]:
        """Yields the rows ``start`` to ``stop`` in runs of about ``batch_bytes`` bytes, staged ones included."""
        mean = max(1, self.size_bytes // max(1, len(self)))
        step = max(1, batch_bytes // mean)
        for begin in range(start, stop, step):
            yield self.read(begin, min(begin + step, stop))

    def take(self, rows: Ints) -> Rows:
        """Returns the rows at the given numbers, staged ones included."""
        if not self._pieces.edited:
            return self.reader.take(rows)
        order, inverse = ascending_with_places(rows)
        found: list[Rows] = []
        position = done = 0
        for piece in self._pieces:
            upto = int(np.searchsorted(order, position + len(piece)))
            if upto > done:
                local = order[done:upto] - position
                if isinstance(piece, KeepRows):
                    found.append(self.reader.take(local + piece.start))
                else:
                    found.append(piece.take(local))
                done = upto
            position += len(piece)
        return Rows.concat(found, self.layout.row_bytes).take(inverse)

    def damaged_rows(self, hash_: bytes, start: int, stop: int) -> list[tuple[int, int]]:
        """Returns which of the rows ``start`` to ``stop`` a blob takes; with staged edits that is not looked for."""
        if self._pieces.edited:
            return []
        return DamageFinder(self._nodes, {hash_}).rows(self.reader.ref, self.layout, start, stop).get(hash_, [])

    def save(self) -> tuple[Any, ...]:
        """Returns what :meth:`restore` needs to undo later changes."""
        return self.reader, self._pieces, self._pieces.save(), self.staged_bytes

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Goes back to a saved state."""
        self.reader, self._pieces, pieces, self.staged_bytes = saved
        self._pieces.restore(pieces)

    def settle(self, writer: BlobWriter) -> StreamRef:
        """Turns staged edits into a tree, handing its blobs to the writer, and returns it."""
        if self._pieces.edited:
            self._replace(edit_stream(self.reader, list(self._pieces), writer))
        return self.reader.ref

    def _replace(self, ref: StreamRef) -> None:
        self.reader = StreamReader(self._nodes, ref, self.layout)
        self._pieces = Pieces(ref.rows)
        self.staged_bytes = 0


class ColumnState:
    """One column under edit: its type, a stream state for each of the type's streams, and where it comes from."""

    def __init__(
        self, name: str, type_: Type, streams: dict[str, StreamState], metadata: Payload, origin: Origin
    ) -> None:
        self.name = name
        self.type = type_
        self.streams = streams
        self.metadata = metadata
        self.origin = origin

    def renamed(self, name: str) -> ColumnState:
        """Returns the same column under another name."""
        return ColumnState(name, self.type, self.streams, self.metadata, self.origin)

    def frozen(self) -> ColumnState:
        """Returns the column as it is now, which later edits of this one leave alone."""
        streams = {name: stream.frozen() for name, stream in self.streams.items()}
        return ColumnState(self.name, self.type, streams, self.metadata, self.origin)

    def read(self, start: int, stop: int) -> Streams:
        """Returns the rows of each stream."""
        return {name: stream.read(start, stop) for name, stream in self.streams.items()}

    def take(self, rows: Ints) -> Streams:
        """Returns the rows of each stream at the given numbers."""
        return {name: stream.take(rows) for name, stream in self.streams.items()}

    def read_numbers(self, numbers: range | Ints) -> Streams:
        """Returns the rows of each stream at the given numbers; a range of step 1 costs the least."""
        if isinstance(numbers, range):
            if numbers.step == 1:
                return self.read(numbers.start, numbers.stop)
            numbers = np.arange(numbers.start, numbers.stop, numbers.step, dtype=np.int64)
        return self.take(numbers)

    def damaged_rows(self, blob: str | None, numbers: range | Ints) -> list[tuple[int, int]]:
        """Returns which of some rows a blob that cannot be read takes, as runs; all of them where that is not known.

        Cost: the nodes above the rows.
        """
        asked = ascending(np.asarray(numbers, np.int64))
        hash_ = hash_named(blob)
        runs: list[tuple[int, int]] = []
        if hash_ is not None and len(asked):
            for stream in self.streams.values():
                runs += stream.damaged_rows(hash_, int(asked[0]), int(asked[-1]) + 1)
        if runs:
            taken = np.zeros(len(asked), np.bool_)
            for start, stop in runs:
                taken |= (asked >= start) & (asked < stop)
            asked = asked[taken] if taken.any() else asked
        starts, lengths = runs_of_numbers(asked)
        return list(zip(starts.tolist(), (starts + lengths).tolist(), strict=True))

    def splice(self, edits: Sequence[tuple[int, int, Streams | None]]) -> None:
        """Stages edits in each stream."""
        for name, stream in self.streams.items():
            stream.splice([(start, stop, None if rows is None else rows[name]) for start, stop, rows in edits])


class State:
    """A table: ``rows`` and columns by name, in order."""

    def __init__(self, nodes: Nodes, record: TreeRecord) -> None:
        self.nodes = nodes
        self.rows = record.rows
        self.metadata = record.metadata
        self.columns = {column.name: self._column(column) for column in record.columns}

    def _column(self, record: ColumnRecord) -> ColumnState:
        layouts = record.type.layouts()
        streams = {name: StreamState(self.nodes, record.streams[name], layouts[name]) for name in layouts}
        return ColumnState(record.name, record.type, streams, record.metadata, record.name)

    def add_column(self, name: str, type_: Type, value: Streams | None, writer: BlobWriter) -> bytes:
        """Adds a column that has the same value, given as one row, in all rows; returns its id."""
        streams: dict[str, StreamState] = {}
        for stream, layout in type_.layouts().items():
            ref = EMPTY_STREAM
            if self.rows and value is not None:
                ref = build_constant_stream(self.nodes, value[stream], self.rows, layout, writer)
            streams[stream] = StreamState(self.nodes, ref, layout)
        id_ = uuid.uuid4().bytes
        self.columns = {**self.columns, name: ColumnState(name, type_, streams, EMPTY_METADATA, id_)}
        return id_

    def remove_column(self, name: str) -> None:
        """Removes a column."""
        self.columns = {other: column for other, column in self.columns.items() if other != name}

    def rename_column(self, old: str, new: str) -> None:
        """Gives a column another name, in its place."""
        self.columns = {
            new if name == old else name: column.renamed(new) if name == old else column
            for name, column in self.columns.items()
        }

    def frozen(self) -> State:
        """Returns the table as it is now, which later edits of this one leave alone. Cost: its pieces."""
        frozen = copy.copy(self)
        frozen.columns = {name: column.frozen() for name, column in self.columns.items()}
        return frozen

    def append(self, values: Mapping[str, Streams], count: int) -> None:
        """Stages rows at the end of all columns."""
        for name, column in self.columns.items():
            for stream_name, stream in column.streams.items():
                stream.append(values[name][stream_name])
        self.rows += count

    def splice(self, edits: Sequence[tuple[int, int, Mapping[str, Streams] | None, int]]) -> None:
        """Stages edits of whole rows: ``(start, stop, new rows by column, their count)``."""
        for name, column in self.columns.items():
            column.splice([(start, stop, None if new is None else new[name]) for start, stop, new, _ in edits])
        self.rows += sum(count - (stop - start) for start, stop, _, count in edits)

    def save(self) -> tuple[Any, ...]:
        """Returns what :meth:`restore` needs to undo later changes."""
        return self.rows, self.columns, [(stream, stream.save()) for stream in self._streams()]

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Goes back to a saved state."""
        self.rows, self.columns, streams = saved
        for stream, state in streams:
            stream.restore(state)

    def _streams(self) -> Iterator[StreamState]:
        for column in self.columns.values():
            yield from column.streams.values()

    @property
    def staged_bytes(self) -> int:
        """The bytes of staged rows that are held in memory."""
        return sum(stream.staged_bytes for stream in self._streams())

    @property
    def crowded(self) -> bool:
        """Whether some stream has so many pieces that they had better be settled."""
        return any(stream.crowded for stream in self._streams())

    @property
    def mean_row_bytes(self) -> int:
        """The bytes that a row has on average in all streams."""
        size = sum(stream.size_bytes for stream in self._streams())
        return size // max(1, self.rows)

    def settle(self, writer: BlobWriter) -> TreeRecord:
        """Turns staged edits into trees and returns the record of the table."""
        if any(len(stream) != self.rows for stream in self._streams()):
            raise StoreError("the staged rows of the columns are out of step; roll back and stage them again")
        columns = tuple(
            ColumnRecord(
                column.name,
                column.type,
                {name: stream.settle(writer) for name, stream in column.streams.items()},
                column.metadata,
            )
            for column in self.columns.values()
        )
        return TreeRecord(self.rows, columns, self.metadata)
