"""Three-way merge of states: by row, by column and by key of metadata, from what two sides changed since their base.

The base may be *virtual*: where two versions have several best common ancestors, these are merged first. What conflicts
there is *uncertain*: neither value counts as the old one, so both sides count as having changed it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cas.codec.rows import Ints
from cas.history.choices import CellChoices, Chooser
from cas.history.compare import NO_ROWS, Encoded, changed_cells, decode_metadata_value, encode_metadata_value
from cas.history.conflicts import CELL, METADATA, ROW, CellConflicts, Conflict
from cas.history.lineage import Shared
from cas.history.merge_columns import ColumnSides, MergedColumn, merge_columns
from cas.history.missing import MISSING
from cas.history.records import ColumnRecord, TreeRecord
from cas.history.weave import Sides, Weaver, Woven
from cas.tree.alignment import Alignment, ascending
from cas.tree.node import Nodes

Metadata = Mapping[str | None, Encoded]
"""Metadata of a dataset, under None, and of its columns by name."""


@dataclass(frozen=True, slots=True, eq=False)
class Uncertain:
    """What conflicted where a virtual base was made: rows of it by column, and keys of metadata.

    ``absent`` are those of the cells that have no value, but zero bytes in its place.
    """

    cells: dict[str, Ints] = field(default_factory=dict)
    absent: dict[str, Ints] = field(default_factory=dict)
    keys: set[tuple[str | None, str]] = field(default_factory=set)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A table with its metadata, as one of the three states of a merge."""

    tree: TreeRecord
    metadata: Metadata


@dataclass(frozen=True, slots=True, eq=False)
class Three:
    """The base and the two sides that come from it, and what each two of them share."""

    base: State
    ours: State
    theirs: State
    base_to_ours: Shared
    base_to_theirs: Shared
    ours_to_theirs: Shared
    uncertain: Uncertain = field(default_factory=Uncertain)


@dataclass(slots=True, eq=False)
class Cells:
    """What a merged column takes besides the rows of ours, by rows of either side.

    ``taken`` are pairs of rows of ours and theirs, the latter of which counts; ``given_ours`` and ``given_theirs``
    are values for rows of either side that count instead of both. ``uncertain`` are rows of ours that
    conflicted, and ``uncertain_theirs`` such of theirs that ours does not have; of both, ``absent`` have no value.
    """

    taken: tuple[Ints, Ints] = (NO_ROWS, NO_ROWS)
    given_ours: dict[int, Any] = field(default_factory=dict)
    given_theirs: dict[int, Any] = field(default_factory=dict)
    uncertain: Ints = field(default_factory=lambda: NO_ROWS)
    uncertain_theirs: Ints = field(default_factory=lambda: NO_ROWS)
    absent: tuple[Ints, Ints] = (NO_ROWS, NO_ROWS)


@dataclass(frozen=True, slots=True, eq=False)
class Merge:
    """What a merge comes to: columns with their cells, rows, and metadata by the names of merged columns."""

    columns: list[tuple[MergedColumn, Cells]]
    woven: Woven
    metadata: dict[str | None, Encoded]
    uncertain_keys: set[tuple[str | None, str]]

    def uncertain(self, before: Uncertain) -> Uncertain:
        """Returns what conflicted, and what was uncertain in ours before, by the names and rows of the merge."""
        cells: dict[str, Ints] = {}
        absent: dict[str, Ints] = {}
        keys = {key for key in before.keys if key[0] is None} | self.uncertain_keys
        for column, found in self.columns:
            name = "" if column.ours is None else column.ours.name
            kept = before.absent.get(name, NO_ROWS)
            kept = kept[~np.isin(kept, found.taken[0])]
            absent[column.name] = self._merged(np.concatenate((found.absent[0], kept)), found.absent[1])
            uncertain = np.concatenate((found.uncertain, before.cells.get(name, NO_ROWS)))
            cells[column.name] = ascending(
                np.concatenate((self._merged(uncertain, found.uncertain_theirs), absent[column.name]))
            )
            keys |= {(column.name, key) for of, key in before.keys if of is not None and of == name}
        return Uncertain(cells, absent, keys)

    def _merged(self, ours: Ints, theirs: Ints) -> Ints:
        """Rows of either side as rows of the merge, those that it has."""
        rows = ascending(np.concatenate((self.woven.from_ours.map(ours), self.woven.from_theirs.map(theirs))))
        return rows[rows >= 0]


def merge_states(three: Three, nodes: Nodes, chooser: Chooser) -> Merge:
    """Compares both sides with the base and says what their merge is; conflicts are decided by the chooser.

    Cost: what differs between each side and the base, found by hash; values are only read where both sides changed a
    cell. No conflict that is left open is raised here: see :meth:`~cas.history.choices.Chooser.finish`.
    """
    return _Merger(three, nodes, chooser).merge()


class _Merger:
    def __init__(self, three: Three, nodes: Nodes, chooser: Chooser) -> None:
        self._three = three
        self._nodes = nodes
        self._chooser = chooser
        self._ours_to_base = three.base_to_ours.rows.inverse()
        self._theirs_to_base = three.base_to_theirs.rows.inverse()
        self._theirs_to_ours = three.ours_to_theirs.rows.inverse()
        self._names_in_ours = three.ours_to_theirs.inverse().columns
        self._known: dict[tuple[str, bool], Ints] = {}
        self._uncertain_keys: set[tuple[str | None, str]] = set()

    def merge(self) -> Merge:
        three = self._three
        columns = merge_columns(
            ColumnSides(
                three.base.tree,
                three.ours.tree,
                three.theirs.tree,
                three.ours_to_theirs.columns,
                three.base_to_ours.inverse().columns,
                three.base_to_theirs.inverse().columns,
            ),
            self._chooser,
            self._column_changed,
        )
        cells = [(column, self._cells(column)) for column in columns]
        by_ours = {column.ours.name: found for column, found in cells if column.ours is not None}
        by_theirs = {column.theirs.name: found for column, found in cells if column.theirs is not None}
        weaver = Weaver(
            Sides(
                three.base.tree.rows,
                three.ours.tree.rows,
                three.theirs.tree.rows,
                three.base_to_ours.rows,
                three.base_to_theirs.rows,
                three.ours_to_theirs.rows,
            )
        )
        saved_ours = self._saved(weaver.deleted_by_theirs, by_ours, ours=True)
        saved_theirs = self._saved(weaver.deleted_by_ours, by_theirs, ours=False)
        metadata: dict[str | None, Encoded] = {None: self._keys(None, None, None, None)}
        for column in columns:
            metadata[column.name] = self._keys(column.name, column.base, column.ours, column.theirs)
        return Merge(cells, weaver.weave(saved_ours, saved_theirs), metadata, self._uncertain_keys)

    # Cells

    def _changed(self, base: ColumnRecord, side: ColumnRecord, ours: bool) -> Ints:
        """The rows of a side, of those that the base has, that it changed in a column, or that are uncertain."""
        key = (base.name, ours)
        if key not in self._known:
            rows = (self._three.base_to_ours if ours else self._three.base_to_theirs).rows
            uncertain = rows.map(self._three.uncertain.cells.get(base.name, NO_ROWS))
            changed = changed_cells(self._nodes, base, side, rows)
            self._known[key] = ascending(np.concatenate((changed, uncertain[uncertain >= 0])))
        return self._known[key]

    def _column_changed(self, base: ColumnRecord, side: ColumnRecord, ours: bool) -> bool:
        if base.name != side.name or len(self._changed(base, side, ours)):
            return True
        state = self._three.ours if ours else self._three.theirs
        return self._three.base.metadata.get(base.name, {}) != state.metadata.get(side.name, {})

    def _cells(self, column: MergedColumn) -> Cells:
        cells = Cells()
        base, ours, theirs = column.base, column.ours, column.theirs
        if ours is None or theirs is None:
            return cells
        pairs = self._three.ours_to_theirs.rows
        clashing = pairs if base is None else pairs.without(self._ours_to_base)
        conflicts = changed_cells(self._nodes, ours, theirs, clashing)
        taken = NO_ROWS
        if base is not None:
            changed = self._changed(base, theirs, False)
            changed = changed[self._theirs_to_ours.map(changed) >= 0]
            by_both = np.isin(self._theirs_to_ours.map(changed), self._changed(base, ours, True))
            taken = changed[~by_both]
            both = changed_cells(self._nodes, ours, theirs, pairs, within=changed[by_both])
            conflicts = ascending(np.concatenate((conflicts, both)))
        if len(conflicts):
            taken = np.concatenate((taken, self._decide(column, conflicts, cells)))
        taken = np.sort(taken)
        cells.taken = (self._theirs_to_ours.map(taken), taken)
        return cells

    def _decide(self, column: MergedColumn, rows: Ints, cells: Cells) -> Ints:
        """The rows of theirs, of those that conflict in a column, whose value is taken."""
        ours = self._theirs_to_ours.map(rows)
        # In the order of ours, as people go through them.
        order = np.argsort(ours)
        ours, rows = ours[order], rows[order]
        three = (column.base, column.ours, column.theirs)
        before = self._base_rows(column.base, self._ours_to_base.map(ours))
        conflicts = CellConflicts(CELL, column.shown, self._nodes, three, (before, ours, rows))
        choices = self._chooser.cells(conflicts)
        cells.given_ours.update({int(ours[number]): value for number, value in choices.given.items()})
        cells.uncertain = np.sort(ours)
        return rows[choices.theirs]

    def _base_rows(self, base: ColumnRecord | None, rows: Ints) -> Ints:
        """Rows of the base, or -1 where it has no value in a column."""
        absent = NO_ROWS if base is None else self._three.uncertain.absent.get(base.name, NO_ROWS)
        return np.where(np.isin(rows, absent), -1, rows)

    # Rows that one side changed and the other deleted

    def _saved(self, deleted: Alignment, by_name: dict[str, Cells], *, ours: bool) -> Ints:
        """The rows of a side that stay although the other one deleted them."""
        rows, dropped = [NO_ROWS], [NO_ROWS]
        for base, side, changed in self._changed_columns(ours=ours):
            found = changed[deleted.map(changed) >= 0]
            if not len(found):
                continue
            choices = self._decide_rows(base, side, found, ours=ours)
            given = {int(found[number]): value for number, value in choices.given.items() if value is not MISSING}
            cells = by_name.get(side.name)
            if cells is not None:
                (cells.given_ours if ours else cells.given_theirs).update(given)
            rows.append(found)
            dropped.append(found[self._drops(choices, ours=ours)])
        saved = ascending(np.concatenate(rows))
        saved = saved[~np.isin(saved, np.concatenate(dropped))]
        if self._chooser.virtual:
            for cells in by_name.values():
                self._mark(cells, saved, ours=ours)
        return saved

    def _changed_columns(self, *, ours: bool) -> Iterator[tuple[ColumnRecord, ColumnRecord, Ints]]:
        """The columns of the base that a side still has, with the rows it changed."""
        three = self._three
        state, shared = (three.ours, three.base_to_ours) if ours else (three.theirs, three.base_to_theirs)
        origins = shared.inverse().columns
        for side in state.tree.columns:
            name = origins.get(side.name)
            base = None if name is None else three.base.tree.column(name)
            if base is not None:
                yield base, side, self._changed(base, side, ours)

    def _decide_rows(self, base: ColumnRecord, side: ColumnRecord, rows: Ints, *, ours: bool) -> CellChoices:
        nowhere = np.full(len(rows), -1)
        before = self._base_rows(base, (self._ours_to_base if ours else self._theirs_to_base).map(rows))
        columns = (base, side, None) if ours else (base, None, side)
        numbers = (before, rows, nowhere) if ours else (before, nowhere, rows)
        shown = side.name if ours else self._names_in_ours.get(side.name, side.name)
        return self._chooser.cells(CellConflicts(ROW, shown, self._nodes, columns, numbers))

    def _drops(self, choices: CellChoices, *, ours: bool) -> Any:
        """Which of the rows go: a function says so by MISSING, which is also the value of the side that deleted it."""
        if self._chooser.virtual:
            return np.zeros(len(choices.theirs), np.bool_)
        drops = choices.theirs if ours else ~choices.theirs
        drops = drops.copy()
        for number, value in choices.given.items():
            drops[number] = value is MISSING
        return drops

    def _mark(self, cells: Cells, rows: Ints, *, ours: bool) -> None:
        if ours:
            cells.uncertain = ascending(np.concatenate((cells.uncertain, rows)))
        else:
            cells.uncertain_theirs = rows

    # Metadata

    def _keys(
        self, name: str | None, base: ColumnRecord | None, ours: ColumnRecord | None, theirs: ColumnRecord | None
    ) -> Encoded:
        three = self._three
        if name is None:
            found = [dict(state.metadata.get(None, {})) for state in (three.base, three.ours, three.theirs)]
            return self._merged_keys(None, None, found)
        sides = zip((three.base, three.ours, three.theirs), (base, ours, theirs), strict=True)
        found = [{} if column is None else dict(state.metadata.get(column.name, {})) for state, column in sides]
        if ours is None or theirs is None:
            return found[1] if theirs is None else found[2]
        return self._merged_keys(ours.name, None if base is None else base.name, found, name)

    def _merged_keys(
        self, shown: str | None, base_name: str | None, sides: list[Encoded], merged_name: str | None = None
    ) -> Encoded:
        base, ours, theirs = sides
        merged: Encoded = {}
        for key in sorted({*base, *ours, *theirs}):
            before, mine, other = base.get(key), ours.get(key), theirs.get(key)
            uncertain = (base_name, key) in self._three.uncertain.keys
            if mine == other or (other == before and not uncertain):
                value = mine
            elif mine == before and not uncertain:
                value = other
            else:
                self._uncertain_keys.add((merged_name, key))
                value = self._decide_key(shown, key, (before, mine, other))
            if value is not None:
                merged[key] = value
        return merged

    def _decide_key(self, column: str | None, key: str, values: tuple[bytes | None, ...]) -> bytes | None:
        base, ours, theirs = (MISSING if data is None else decode_metadata_value(data) for data in values)
        conflict = Conflict(METADATA, column, base, ours, theirs, key=key)
        chosen = self._chooser.value(conflict)
        if chosen is conflict.ours:
            return values[1]
        if chosen is conflict.theirs:
            return values[2]
        return None if chosen is MISSING else encode_metadata_value(chosen)
