"""The columns of a merge: which of either side it has, under what names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from cas.errors import ConflictError
from cas.history.choices import Chooser
from cas.history.conflicts import COLUMN, OURS, Conflict
from cas.history.missing import MISSING
from cas.history.records import ColumnRecord, TreeRecord
from cas.types import Type


@dataclass(frozen=True, slots=True)
class MergedColumn:
    """A column of a merge: its name, and what it is in the base and on both sides, if it is there."""

    name: str
    base: ColumnRecord | None
    ours: ColumnRecord | None
    theirs: ColumnRecord | None

    @property
    def type(self) -> Type:
        """The type, which is the same on both sides."""
        found = self.ours or self.theirs
        assert found is not None
        return found.type

    @property
    def shown(self) -> str:
        """The name by which people know it: that in ours, or in theirs where ours has none."""
        found = self.ours or self.theirs
        assert found is not None
        return found.name


Changed = Callable[[ColumnRecord, ColumnRecord, bool], bool]
"""Whether a side changed a column of the base: base column, its column, and whether the side is ours."""


@dataclass(frozen=True, slots=True)
class ColumnSides:
    """The three states, and how columns of ours correspond to those of theirs, and of each side to the base's."""

    base: TreeRecord
    ours: TreeRecord
    theirs: TreeRecord
    ours_to_theirs: dict[str, str]
    ours_to_base: dict[str, str]
    theirs_to_base: dict[str, str]


def merge_columns(sides: ColumnSides, chooser: Chooser, changed: Changed) -> list[MergedColumn]:
    """Returns the columns of the merge: those of ours in their order, then those that only theirs has."""
    return _ColumnMerger(sides, chooser, changed).merge()


class _ColumnMerger:
    def __init__(self, sides: ColumnSides, chooser: Chooser, changed: Changed) -> None:
        self._sides = sides
        self._chooser = chooser
        self._changed = changed
        self._paired = set(sides.ours_to_theirs.values())

    def merge(self) -> list[MergedColumn]:
        found = [self._of_ours(column) for column in self._sides.ours.columns]
        found += [self._of_theirs(column) for column in self._sides.theirs.columns if column.name not in self._paired]
        return self._with_own_names([column for column in found if column is not None])

    def _of_ours(self, ours: ColumnRecord) -> MergedColumn | None:
        sides = self._sides
        twin = sides.ours_to_theirs.get(ours.name)
        base = sides.ours_to_base.get(ours.name, sides.theirs_to_base.get(twin or ""))
        before = None if base is None else sides.base.column(base)
        if twin is not None:
            theirs = sides.theirs.column(twin)
            assert theirs is not None
            return MergedColumn(self._name(before, ours, theirs), before, ours, theirs)
        if before is not None:
            return self._removed_by_theirs(before, ours)
        return self._added_by_ours(ours)

    def _name(self, base: ColumnRecord | None, ours: ColumnRecord, theirs: ColumnRecord) -> str:
        before = None if base is None else base.name
        if ours.name == theirs.name or theirs.name == before:
            return ours.name
        if ours.name == before:
            return theirs.name
        conflict = Conflict(COLUMN, ours.name, MISSING if base is None else base.name, ours.name, theirs.name)
        return ours.name if self._chooser.side(conflict) == OURS else theirs.name

    def _removed_by_theirs(self, base: ColumnRecord, ours: ColumnRecord) -> MergedColumn | None:
        if not self._changed(base, ours, True):
            return None
        side = self._chooser.side(Conflict(COLUMN, ours.name, base.type, ours.type, MISSING))
        return MergedColumn(ours.name, base, ours, None) if side == OURS else None

    def _added_by_ours(self, ours: ColumnRecord) -> MergedColumn:
        theirs = self._sides.theirs.column(ours.name)
        known = self._paired | self._sides.theirs_to_base.keys()
        if theirs is None or theirs.name in known or theirs.type != ours.type:
            return MergedColumn(ours.name, None, ours, None)
        self._paired.add(theirs.name)
        return MergedColumn(ours.name, None, ours, theirs)

    def _of_theirs(self, theirs: ColumnRecord) -> MergedColumn | None:
        name = self._sides.theirs_to_base.get(theirs.name)
        base = None if name is None else self._sides.base.column(name)
        if base is not None:
            if not self._changed(base, theirs, False):
                return None
            side = self._chooser.side(Conflict(COLUMN, theirs.name, base.type, MISSING, theirs.type))
            if side == OURS:
                return None
        return MergedColumn(theirs.name, base, None, theirs)

    def _with_own_names(self, columns: list[MergedColumn]) -> list[MergedColumn]:
        """Settles names that two columns would have: one by what ours did, the other by what theirs did."""
        # A column loses its name once; more often only where a function contradicts itself.
        for _ in range(2 * len(columns) + 1):
            pair = _same_name(columns)
            if pair is None:
                return columns
            columns = self._settle(columns, *pair)
        raise ConflictError("columns were renamed in ways that do not go together; rename them alike on one side first")

    def _settle(self, columns: list[MergedColumn], first: MergedColumn, second: MergedColumn) -> list[MergedColumn]:
        name = first.name
        by_ours = first.ours is not None and first.ours.name == name
        ours, theirs = (first, second) if by_ours else (second, first)
        side = self._chooser.side(Conflict(COLUMN, name, MISSING, ours.type, theirs.type))
        loser, there = (theirs, theirs.ours) if side == OURS else (ours, ours.theirs)
        kept: list[MergedColumn] = []
        for column in columns:
            if column is not loser:
                kept.append(column)
            elif there is not None and there.name != name:
                kept.append(dataclasses.replace(column, name=there.name))
        return kept


def _same_name(columns: list[MergedColumn]) -> tuple[MergedColumn, MergedColumn] | None:
    seen: dict[str, MergedColumn] = {}
    for column in columns:
        if column.name in seen:
            return seen[column.name], column
        seen[column.name] = column
    return None
