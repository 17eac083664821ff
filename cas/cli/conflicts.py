"""Conflicts of a merge on the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cas.cli.changes import print_more
from cas.cli.output import print_table, to_json
from cas.cli.row_groups import format_row, paths_or_none
from cas.dataset.read_only import ReadOnlyDataset
from cas.history.conflicts import CELL, METADATA, ROW, VALUE, Conflict
from cas.history.missing import MISSING
from cas.integrations.values import describe_value, named_value
from cas.types import Type


@dataclass(frozen=True, slots=True)
class ShownConflicts:
    """Conflicts with both sides open; values are read one conflict at a time, when it is shown."""

    conflicts: Sequence[Conflict]
    ours: ReadOnlyDataset
    theirs: ReadOnlyDataset

    def print(self, limit: int) -> None:
        """Prints the first ones, a line each."""
        rows = [_line(conflict, type_, path) for conflict, type_, path in self._first(limit)]
        if rows:
            print_table(("conflict", "row", "column", "base", "ours", "theirs"), rows)
        print_more(len(self.conflicts), limit, "conflict")

    def facts(self, limit: int | None) -> list[dict[str, Any]]:
        """Returns the first ones for JSON; of the three values those that exist."""
        return [_facts(*found) for found in self._first(limit)]

    def _first(self, limit: int | None) -> Iterator[tuple[Conflict, Type | None, str | None]]:
        count = len(self.conflicts) if limit is None else min(limit, len(self.conflicts))
        for conflict in map(self.conflicts.__getitem__, range(count)):
            yield conflict, self._type(conflict), self._path(conflict)

    def _type(self, conflict: Conflict) -> Type | None:
        """The type of the three values, None where they are no values of a column."""
        if conflict.kind not in (CELL, ROW, VALUE) or conflict.column is None:
            return None
        return self.ours.schema.get(conflict.column) or self.theirs.schema[conflict.column]

    def _path(self, conflict: Conflict) -> str | None:
        dataset, row = (self.ours, conflict.row) if conflict.row is not None else (self.theirs, conflict.theirs_row)
        return None if row is None else next(paths_or_none(dataset, np.array([row], np.int64)))


def _values(conflict: Conflict, type_: Type | None) -> list[tuple[str, Any]]:
    sides = (("base", conflict.base), ("ours", conflict.ours), ("theirs", conflict.theirs))
    return [(name, value if type_ is None else named_value(type_, value)) for name, value in sides]


def _line(conflict: Conflict, type_: Type | None, path: str | None) -> tuple[str, ...]:
    row = conflict.row if conflict.row is not None else conflict.theirs_row
    column = conflict.column or ""
    if conflict.kind == METADATA:
        column = f"{column} {conflict.key!r}".strip()
    cells = (_describe(type_, value) for _, value in _values(conflict, type_))
    return (conflict.kind, "" if row is None else format_row(row, path), column, *cells)


def _describe(type_: Type | None, value: Any) -> str:
    return str(value) if isinstance(value, Type) else describe_value(type_, value)


def _facts(conflict: Conflict, type_: Type | None, path: str | None) -> dict[str, Any]:
    facts = {
        "kind": conflict.kind,
        "column": conflict.column,
        "key": conflict.key,
        "row": conflict.row,
        "theirs_row": conflict.theirs_row,
        "path": path,
    }
    values = {
        name: str(value) if isinstance(value, Type) else to_json(value)
        for name, value in _values(conflict, type_)
        if value is not MISSING
    }
    return {name: fact for name, fact in facts.items() if fact is not None} | values
