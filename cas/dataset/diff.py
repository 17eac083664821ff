"""What changed between two versions: schema, metadata, rows and cells, each read when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from cas.codec.rows import Ints
from cas.codec.values import single_values
from cas.dataset.bridges import Notebook
from cas.dataset.history import Version
from cas.dataset.read_only import ReadOnlyDataset
from cas.dataset.rows import RowView
from cas.dataset.summary import Summary, format_runs
from cas.history.compare import KeyChange, changed_cells, changed_keys, decode_metadata_value, read_metadata
from cas.history.lineage import pair_columns
from cas.history.missing import MISSING
from cas.history.records import Payload, TreeRecord
from cas.repo.repository import Repository
from cas.tree.alignment import complement, numbers_of, runs_of_numbers
from cas.types import Type

_BATCH_ROWS: Final = 256


@dataclass(frozen=True, slots=True)
class SchemaDiff:
    """How columns differ: those that were ``added`` and ``removed`` with their types, and ``renamed``, old to new.

    ``reordered`` tells whether the columns that both have stand in another order.
    """

    added: Mapping[str, Type]
    removed: Mapping[str, Type]
    renamed: Mapping[str, str]
    reordered: bool

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.renamed or self.reordered)


@dataclass(frozen=True, slots=True)
class MetadataChange:
    """A key of the dataset's metadata (``column`` is None) or of a column's; ``MISSING`` where there is no value."""

    column: str | None
    key: str
    old: Any
    new: Any

    @property
    def kind(self) -> str:
        """What happened to the key: "added", "removed" or "changed"."""
        if self.old is MISSING:
            return "added"
        return "removed" if self.new is MISSING else "changed"


class DiffRows:
    """Rows that one of two versions has and the other has not: their count, their numbers, and the rows."""

    def __init__(self, dataset: ReadOnlyDataset, starts: Ints, lengths: Ints) -> None:
        self._dataset = dataset
        self.starts = starts
        self.lengths = lengths

    def __len__(self) -> int:
        return int(self.lengths.sum())

    @property
    def rows(self) -> Ints:
        """The numbers of the rows in their version, ascending; int64 of shape (rows,)."""
        return numbers_of(self.starts, self.lengths)

    def first(self, count: int) -> Ints:
        """Returns the numbers of the first so many rows; costs these and a look at the runs, not all rows."""
        runs = int(np.searchsorted(np.cumsum(self.lengths), count)) + 1
        return numbers_of(self.starts[:runs], self.lengths[:runs].clip(max=count))[:count]

    def __iter__(self) -> Iterator[RowView]:
        for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True):
            for row in range(start, start + length):
                yield self._dataset[row]

    def __repr__(self) -> str:
        return f"<{len(self)} rows: {format_runs(self.starts, self.lengths)}>"


@dataclass(frozen=True, slots=True)
class CellChange:
    """A value that was replaced: its row in the new version and in the old one, and both values."""

    row: int
    old_row: int
    old: Any
    new: Any


class CellChanges:
    """The values of one column that were replaced: their count, the numbers of their rows, and the values."""

    def __init__(
        self, old: ReadOnlyDataset, new: ReadOnlyDataset, names: tuple[str, str], old_rows: Ints, rows: Ints
    ) -> None:
        self._sides = (old, new)
        self._names = names
        self.old_rows = old_rows
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[CellChange]:
        for start in range(0, len(self), _BATCH_ROWS):
            old_rows, rows = self.old_rows[start : start + _BATCH_ROWS], self.rows[start : start + _BATCH_ROWS]
            values = [
                single_values(side.schema[name], side[name][numbers])
                for side, name, numbers in zip(self._sides, self._names, (old_rows, rows), strict=True)
            ]
            for row, old_row, old, new in zip(rows.tolist(), old_rows.tolist(), *values, strict=True):
                yield CellChange(row, old_row, old, new)

    def __repr__(self) -> str:
        return f"<{len(self)} values: rows {format_runs(*runs_of_numbers(self.rows))}>"


class Diff(Notebook):
    """What changed from version ``a`` to version ``b``.

    Rows and columns are followed by identity, through inserts, deletes, renames and merges: see
    :class:`~cas.history.lineage.Lineage`. Columns of the same name and type that were made apart are compared too. Rows
    that were put in another order count as deleted and inserted.

    Cost: the row maps of the versions between, once; :attr:`updated`, on top, the nodes and chunks that differ. No
    value is read before it is iterated over.
    """

    def __init__(self, repository: Repository, old: Version, new: Version) -> None:
        self._repository = repository
        self.a = old
        self.b = new
        self._old, self._new = old.open(), new.open()
        shared = repository.lineage().shared(old._hash, new._hash)
        self._alignment = shared.rows.in_order()
        self._columns = pair_columns(self._tree(old), self._tree(new), shared.columns)

    def _tree(self, version: Version) -> TreeRecord:
        return self._repository.tree(bytes.fromhex(version.tree))

    @cached_property
    def schema(self) -> SchemaDiff:
        """The columns that were added, removed, renamed or put in another order."""
        old, new = self._old.schema, self._new.schema
        order = [name for name in old if name in self._columns]
        return SchemaDiff(
            {name: type_ for name, type_ in new.items() if name not in self._columns.values()},
            {name: type_ for name, type_ in old.items() if name not in self._columns},
            {before: after for before, after in self._columns.items() if before != after},
            order != list(self._columns),
        )

    @cached_property
    def metadata(self) -> list[MetadataChange]:
        """The keys of metadata that differ: of the dataset, then of each column that both have."""
        old, new = self._tree(self.a), self._tree(self.b)
        changes = [_metadata_change(None, change) for change in self._keys(old.metadata, new.metadata)]
        for before, after in self._columns.items():
            was, is_ = old.column(before), new.column(after)
            assert was is not None
            assert is_ is not None
            changes += [_metadata_change(after, change) for change in self._keys(was.metadata, is_.metadata)]
        return changes

    def _keys(self, old: Payload, new: Payload) -> list[KeyChange]:
        if old == new:
            return []
        nodes = self._repository.nodes
        return changed_keys(read_metadata(old, nodes), read_metadata(new, nodes))

    @cached_property
    def inserted(self) -> DiffRows:
        """The rows of ``b`` that ``a`` does not have."""
        return DiffRows(self._new, *complement(self._alignment.new, self._alignment.lengths, len(self._new)))

    @cached_property
    def deleted(self) -> DiffRows:
        """The rows of ``a`` that ``b`` does not have."""
        return DiffRows(self._old, *complement(self._alignment.old, self._alignment.lengths, len(self._old)))

    @cached_property
    def updated(self) -> Mapping[str, CellChanges]:
        """The values that were replaced in rows and columns that both have: by column name in ``b``, only those with
        some."""
        found = {after: self._changes(before, after) for before, after in self._columns.items()}
        return {name: changes for name, changes in found.items() if len(changes)}

    def _changes(self, before: str, after: str) -> CellChanges:
        old, new = self._tree(self.a).column(before), self._tree(self.b).column(after)
        assert old is not None
        assert new is not None
        rows = changed_cells(self._repository.nodes, old, new, self._alignment)
        return CellChanges(self._old, self._new, (before, after), self._alignment.inverse().map(rows), rows)

    def __bool__(self) -> bool:
        return bool(self.schema or self.metadata or len(self.inserted) or len(self.deleted) or self.updated)

    def to_dict(self) -> dict[str, Any]:
        """Returns the counts, schema changes and changed metadata; rows as runs ``[start, stop]``.

        Values of metadata are as they were set, MISSING left out.
        """
        return {
            "a": self.a.id,
            "b": self.b.id,
            "schema": {
                "added": {name: str(type_) for name, type_ in self.schema.added.items()},
                "removed": {name: str(type_) for name, type_ in self.schema.removed.items()},
                "renamed": dict(self.schema.renamed),
                "reordered": self.schema.reordered,
            },
            "metadata": [_to_dict(change) for change in self.metadata],
            "inserted": _runs_to_dict(self.inserted.starts, self.inserted.lengths),
            "deleted": _runs_to_dict(self.deleted.starts, self.deleted.lengths),
            "updated": {name: _runs_to_dict(*runs_of_numbers(found.rows)) for name, found in self.updated.items()},
        }

    def summary(self) -> Summary:
        """Returns the differences in words, a line each; it shows as it is at the prompt."""
        lines = [f"{self.a.id[:12]} to {self.b.id[:12]}", *self._schema_lines()]
        for rows, what in ((self.inserted, "inserted"), (self.deleted, "deleted")):
            if len(rows):
                lines.append(f"{len(rows):,} rows {what}: {format_runs(rows.starts, rows.lengths)}")
        for name, changes in self.updated.items():
            shown = format_runs(*runs_of_numbers(changes.rows))
            lines.append(f"{len(changes):,} values of {name!r} changed: rows {shown}")
        for change in self.metadata:
            where = "" if change.column is None else f" of {change.column!r}"
            lines.append(f"metadata{where}: {change.key!r} {change.kind}")
        return Summary("\n".join(lines if len(lines) > 1 else [*lines, "no differences"]))

    def _schema_lines(self) -> list[str]:
        schema = self.schema
        lines = [f"column {name!r} added: {type_}" for name, type_ in schema.added.items()]
        lines += [f"column {name!r} removed: {type_}" for name, type_ in schema.removed.items()]
        lines += [f"column {before!r} renamed to {after!r}" for before, after in schema.renamed.items()]
        return [*lines, "columns put in another order"] if schema.reordered else lines

    def __repr__(self) -> str:
        return f"<Diff from {self.a.id[:12]} to {self.b.id[:12]}>"


def _metadata_change(column: str | None, change: KeyChange) -> MetadataChange:
    old, new = (MISSING if data is None else decode_metadata_value(data) for data in (change.old, change.new))
    return MetadataChange(column, change.key, old, new)


def _to_dict(change: MetadataChange) -> dict[str, Any]:
    values = {side: value for side, value in (("old", change.old), ("new", change.new)) if value is not MISSING}
    return {"column": change.column, "key": change.key, "kind": change.kind, **values}


def _runs_to_dict(starts: Ints, lengths: Ints) -> dict[str, Any]:
    return {"count": int(lengths.sum()), "runs": np.column_stack((starts, starts + lengths)).tolist()}
