"""The tree of a merge: the chunks of ours, or of theirs, wherever the rows of a column stay together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cas.codec.rows import Ints, Rows
from cas.codec.values import Streams, encode_values
from cas.history.choices import Chooser
from cas.history.compare import NO_ROWS, join_metadata
from cas.history.conflicts import VALUE, CellConflicts
from cas.history.merge import Cells, Merge
from cas.history.merge_columns import MergedColumn
from cas.history.records import ColumnRecord, TreeRecord, write_payload
from cas.history.weave import Woven
from cas.store.writer import BlobWriter
from cas.tree.alignment import Alignment, complement, numbers_of, runs_of_numbers
from cas.tree.node import Nodes
from cas.tree.read import StreamRef
from cas.tree.stream import KeepRows, RowsPart, StreamReader, edit_stream
from cas.types import Type

_BATCH_BYTES: Final = 8 << 20
_KEEP, _BRING, _FILL = range(3)

Default = Callable[[str, bool], Streams | None]
"""The value, as one row, that rows get which come without one: by column name, and whether the column is of ours."""


def build_merge(merge: Merge, nodes: Nodes, writer: BlobWriter, chooser: Chooser, default: Default) -> TreeRecord:
    """Writes the columns and metadata of a merge and returns its tree record.

    Raises :class:`~cas.errors.ConflictError`, with all conflicts, where some are not decided; nothing is written then.
    Cost: the rows that one side brings to columns of the other, and the chunks next to them; memory: about 50 MiB.
    """
    builders = [_ColumnBuilder(column, cells, merge.woven, nodes, chooser, default) for column, cells in merge.columns]
    chooser.finish()
    columns: list[ColumnRecord] = []
    for (column, _), builder in zip(merge.columns, builders, strict=True):
        metadata = write_payload(join_metadata(merge.metadata[column.name]), nodes, writer)
        columns.append(ColumnRecord(column.name, column.type, builder.build(writer), metadata))
    whole = write_payload(join_metadata(merge.metadata[None]), nodes, writer)
    return TreeRecord(merge.woven.rows, tuple(columns), whole)


class _ColumnBuilder:
    def __init__(
        self, column: MergedColumn, cells: Cells, woven: Woven, nodes: Nodes, chooser: Chooser, default: Default
    ) -> None:
        self._column = column
        self._cells = cells
        self._woven = woven
        self._nodes = nodes
        self._chooser = chooser
        # Rows stay in their chunks where they are in the order of the side whose tree is edited.
        self._kept = (woven.from_theirs.in_order() if column.ours is None else woven.from_ours).inverse()
        self._brought = Alignment.empty() if column.theirs is None else woven.from_theirs.inverse().without(self._kept)
        covered = self._kept.union(self._brought)
        self._gaps = complement(covered.old, covered.lengths, woven.rows)
        self._given = self._given_values()
        self._filler = self._find_filler(default)

    def build(self, writer: BlobWriter) -> dict[str, StreamRef]:
        streams: dict[str, StreamRef] = {}
        overrides = self._overrides()
        main = self._column.ours or self._column.theirs
        assert main is not None
        for name, layout in self._column.type.layouts().items():
            edited = StreamReader(self._nodes, main.streams[name], layout)
            theirs = edited
            if self._column.theirs is not None:
                theirs = StreamReader(self._nodes, self._column.theirs.streams[name], layout)
            given = overrides.given.get(name, Rows.empty(layout.row_bytes))
            filler = self._filler.get(name, Rows.empty(layout.row_bytes))
            streams[name] = edit_stream(edited, _Parts(theirs, overrides, given, filler).make(self._pieces()), writer)
        return streams

    def _pieces(self) -> Iterator[tuple[int, int, int, int]]:
        """The merged rows in order: where a run begins, its length, its source, and at which row it begins there."""
        starts, lengths = self._gaps
        sources = [(self._kept, _KEEP), (self._brought, _BRING), (Alignment(starts, starts, lengths), _FILL)]
        table = [
            np.column_stack((runs.old, runs.lengths, np.full(len(runs), source), runs.new)) for runs, source in sources
        ]
        joined = np.concatenate(table)
        for row in joined[np.argsort(joined[:, 0])].tolist():
            yield tuple(row)

    # Values that are in neither side's tree

    def _given_values(self) -> dict[int, Any]:
        """The values given by a function, by merged row."""
        found: dict[int, Any] = {}
        for alignment, given in (
            (self._woven.from_ours, self._cells.given_ours),
            (self._woven.from_theirs, self._cells.given_theirs),
        ):
            rows = alignment.map(np.array(list(given), np.int64))
            found.update({row: value for row, value in zip(rows.tolist(), given.values(), strict=True) if row >= 0})
        return found

    def _find_filler(self, default: Default) -> Streams:
        """One row for those that have no value on the side that has the column; or each gets a value of its own."""
        rows = numbers_of(*self._gaps)
        if not len(rows):
            return {}
        column = self._column
        found = default(column.shown, column.ours is not None)
        if found is not None:
            return found
        if column.type.nullable:
            return encode_values(column.type, [None], column.name)
        side = self._woven.from_ours if column.ours is None else self._woven.from_theirs
        numbers, nowhere = side.inverse().map(rows), np.full(len(rows), -1)
        places = (nowhere, numbers, nowhere) if column.ours is None else (nowhere, nowhere, numbers)
        values = self._chooser.values(CellConflicts(VALUE, column.shown, self._nodes, (None, None, None), places))
        self._given.update(zip(rows.tolist(), values, strict=bool(values)))
        if self._chooser.virtual:
            self._cells.absent = (numbers, NO_ROWS) if column.ours is None else (NO_ROWS, numbers)
        return _zeros(column.type)

    def _overrides(self) -> _Overrides:
        """The cells that are taken from theirs although the row is of ours, and those given, by merged row."""
        ours, theirs = self._cells.taken
        taken = self._woven.from_ours.map(ours)
        theirs, taken = theirs[taken >= 0], taken[taken >= 0]
        given = np.array(sorted(self._given), np.int64)
        rows = np.concatenate((taken, given))
        origins = np.concatenate((theirs, -1 - np.arange(len(given))))
        order = np.argsort(rows)
        values = [self._given[row] for row in given.tolist()]
        encoded = encode_values(self._column.type, values, self._column.name) if values else {}
        return _Overrides(rows[order], origins[order], encoded)


@dataclass(frozen=True, slots=True, eq=False)
class _Overrides:
    """Merged rows, ascending, with the row of theirs whose value each takes, or -1 - n for the n-th one given."""

    rows: Ints
    origins: Ints
    given: Streams


class _Parts:
    """Makes the parts of one stream, holding about 8 MiB at a time."""

    def __init__(self, theirs: StreamReader, overrides: _Overrides, given: Rows, filler: Rows) -> None:
        self._theirs = theirs
        self._overrides = overrides
        self._given = given
        self._filler = filler
        mean = max(1, theirs.ref.size_bytes // max(1, theirs.ref.rows), filler.nbytes)
        self._step = max(1, _BATCH_BYTES // mean)
        self._window = (0, 0, given)

    def make(self, pieces: Iterator[tuple[int, int, int, int]]) -> Iterator[RowsPart]:
        """Yields the parts of merged rows."""
        rows = self._overrides.rows
        for start, length, source, origin in pieces:
            first, last = np.searchsorted(rows, (start, start + length)).tolist()
            position = start
            for begin, count in zip(*(part.tolist() for part in runs_of_numbers(rows[first:last])), strict=True):
                yield from self._plain(source, origin + position - start, begin - position)
                yield from self._replaced(first, first + count)
                first, position = first + count, begin + count
            yield from self._plain(source, origin + position - start, start + length - position)

    def _plain(self, source: int, origin: int, length: int) -> Iterator[RowsPart]:
        if source == _KEEP:
            yield KeepRows(origin, origin + length)
            return
        for start in range(origin, origin + length, self._step):
            stop = min(start + self._step, origin + length)
            yield self._theirs.read(start, stop) if source == _BRING else self._filler.repeated(stop - start)

    def _replaced(self, first: int, last: int) -> Iterator[Rows]:
        while first < last:
            begin, end, found = self._window
            if not begin <= first < end:
                end = min(first + self._step, len(self._overrides.rows))
                begin, found = first, self._fetch(first, end)
                self._window = (begin, end, found)
            stop = min(last, end)
            yield found.slice(first - begin, stop - begin)
            first = stop

    def _fetch(self, first: int, last: int) -> Rows:
        origins = self._overrides.origins[first:last]
        ours = origins < 0
        both = [self._theirs.take(origins[~ours]), self._given.take(-1 - origins[ours])]
        order = np.argsort(np.concatenate((np.flatnonzero(~ours), np.flatnonzero(ours))))
        return Rows.concat(both, self._theirs.layout.row_bytes).take(order)


def _zeros(type_: Type) -> Streams:
    """One row of zero bytes in each stream, to stand in for what nobody decided."""
    return {
        name: Rows.from_list([b""]) if layout.row_bytes is None else _zero_row(layout.row_bytes)
        for name, layout in type_.layouts().items()
    }


def _zero_row(row_bytes: int) -> Rows:
    return Rows.fixed(np.zeros(row_bytes, np.uint8), 1, row_bytes)
