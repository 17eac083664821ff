"""The model of merges: tables of rows and columns with true identities, and how two of them become one.

Everything is as plain and as slow as it may be, so that it can be read against the rules. Columns have ids besides
their names, and a row holds its values by the id of the column.
"""

from __future__ import annotations

import dataclasses
import itertools
from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cas.types import Type


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()
"""Stands for what is not there: a value, a name, a default."""

Key = tuple[int | None, str]
"""A key of metadata: of a column by id, or of the dataset."""


@dataclass(frozen=True)
class Column:
    """A column: ``default`` is what rows get that others bring, ``metadata`` the snapshot of a version."""

    id: int
    name: str
    type: Type
    default: Any = MISSING
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A row: its values by column id."""

    id: int
    cells: Mapping[int, Any]


@dataclass(frozen=True)
class State:
    """A table. Uncertain cells (row id, column id) and keys only occur where a merge base was merged itself."""

    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    uncertain_cells: frozenset[tuple[int, int]] = frozenset()
    uncertain_keys: frozenset[Key] = frozenset()

    @cached_property
    def columns_by_id(self) -> dict[int, Column]:
        return {column.id: column for column in self.columns}

    @cached_property
    def rows_by_id(self) -> dict[int, Row]:
        return {row.id: row for row in self.rows}

    @cached_property
    def numbers(self) -> dict[int, int]:
        """Where each row stands."""
        return {row.id: number for number, row in enumerate(self.rows)}

    def named(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)

    def mapping(self, column: int | None) -> Mapping[str, Any]:
        """The metadata of the dataset or of a column, empty for one that is not there."""
        if column is None:
            return self.metadata
        return self.columns_by_id[column].metadata if column in self.columns_by_id else {}

    def without_metadata(self) -> State:
        """The same table of which all metadata is forgotten."""
        columns = tuple(dataclasses.replace(column, metadata={}) for column in self.columns)
        return dataclasses.replace(self, columns=columns, metadata={})

    def relabelled(self, ids: Mapping[int, int]) -> State:
        """The same table with other ids for its columns."""
        return State(
            tuple(dataclasses.replace(column, id=ids[column.id]) for column in self.columns),
            tuple(Row(row.id, {ids[column]: value for column, value in row.cells.items()}) for row in self.rows),
            self.metadata,
            frozenset((row, ids[column]) for row, column in self.uncertain_cells),
            frozenset((None if column is None else ids[column], key) for column, key in self.uncertain_keys),
        )

    def content(self) -> tuple[Any, ...]:
        """What the hash of a tree is made of: names, types, metadata and values in order; no identities."""
        columns = [(column.name, column.type, sorted(column.metadata.items())) for column in self.columns]
        rows = [[row.cells[column.id] for column in self.columns] for row in self.rows]
        return columns, rows, sorted(self.metadata.items())


# Rows that two tables share


def longest_ascending(numbers: Sequence[int]) -> list[int]:
    """The places of a longest ascending part of some numbers: of several, always the last place possible."""
    smallest_ends: list[int] = []
    lengths = []
    for number in numbers:
        length = bisect_left(smallest_ends, number)
        smallest_ends[length : length + 1] = [number]
        lengths.append(length + 1)
    places: list[int] = []
    for place in reversed(range(len(numbers))):
        if lengths[place] == len(smallest_ends) - len(places):
            places.insert(0, place)
    return places


def identical_rows(a: State, b: State) -> list[tuple[int, int]]:
    """The numbers in a and b of all rows that both have, in the order of a."""
    return [(number, b.numbers[row.id]) for number, row in enumerate(a.rows) if row.id in b.numbers]


def paired_rows(a: State, b: State, always: Container[int] = ()) -> list[tuple[int, int]]:
    """The numbers in a and b of rows that both have, in one order: as many as can be, ``always`` (ids) among them."""
    both = identical_rows(a, b)
    fixed = [pair for pair in both if a.rows[pair[0]].id in always]
    fitting = [pair for pair in both if all((pair[0] < old) == (pair[1] < new) for old, new in fixed if old != pair[0])]
    return [fitting[place] for place in longest_ascending([new for _, new in fitting])]


@dataclass(frozen=True)
class Conflict:
    """A place that both sides changed; absent things are MISSING."""

    kind: str
    column: str | None
    row: int | None = None
    theirs_row: int | None = None
    key: str | None = None
    base: Any = MISSING
    ours: Any = MISSING
    theirs: Any = MISSING


class ConflictsError(Exception):
    """A merge had conflicts that nothing resolves."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        super().__init__(*conflicts)
        self.conflicts = list(conflicts)


Resolve = str | Callable[[Any], Any]
"""How conflicts end: "raise", "ours", "theirs", a function; "virtual" where a merge base is merged."""


class Settling:
    """Ends conflicts in one way, and keeps those that stay open."""

    def __init__(self, resolve: Resolve) -> None:
        self.resolve = resolve
        self.open: list[Conflict] = []

    def __call__(self, conflict: Conflict) -> Any:
        if callable(self.resolve):
            return self.resolve(conflict)
        if self.resolve == "virtual":
            updated_by_theirs = conflict.kind == "row" and conflict.ours is MISSING
            return conflict.theirs if updated_by_theirs else conflict.ours
        if self.resolve == "raise" or conflict.kind == "value":
            self.open.append(conflict)
        return conflict.theirs if self.resolve == "theirs" else conflict.ours


Same = Callable[[int, int], bool]


Fits = Callable[[Column, Column], bool]


class Tokens:
    """Which columns of several tables are one: these have one token in the mapping of each table from ids to tokens."""

    def __init__(self) -> None:
        self.known: list[list[Column]] = []
        self.by_table: list[dict[int, int]] = []

    def add(self, state: State, *ways: Fits) -> None:
        """Adds a table, whose columns are those already known that they fit in the first way, then in the second..."""
        tokens: dict[int, int] = {}
        for fits in ways:
            for column in state.columns:
                if column.id not in tokens:
                    tokens |= self._first(column, fits, tokens)
        for column in state.columns:
            if column.id not in tokens:
                tokens[column.id] = len(self.known)
                self.known.append([])
            self.known[tokens[column.id]].append(column)
        self.by_table.append(tokens)

    def _first(self, column: Column, fits: Fits, taken: Mapping[int, int]) -> dict[int, int]:
        for token, others in enumerate(self.known):
            if token not in taken.values() and any(fits(column, other) for other in others):
                return {column.id: token}
        return {}


def same_and_named(same: Same) -> tuple[Fits, Fits]:
    """Identity. Where it could be said of two columns of a table, it is said of the one with the same name."""
    return (
        lambda column, other: same(column.id, other.id) and column.name == other.name,
        lambda column, other: same(column.id, other.id),
    )


def alike(column: Column, other: Column) -> bool:
    """Whether columns could be taken for one another."""
    return (column.name, column.type) == (other.name, other.type)


def tokens_of_merge(base: State, ours: State, theirs: State, same: Same) -> list[dict[int, int]]:
    """The tokens of the columns of the three tables of a merge: columns that both sides added alike are one."""
    tokens = Tokens()
    tokens.add(base)
    tokens.add(ours, *same_and_named(same))
    of_base = [column for columns in tokens.known[: len(base.columns)] for column in columns]
    tokens.add(theirs, *same_and_named(same), lambda column, other: alike(column, other) and other not in of_base)
    return tokens.by_table


def merged(base: State, ours: State, theirs: State, resolve: Resolve) -> State:
    """Returns what becomes of two tables that come from ``base``; columns that are one have one id in all three."""
    settle = Settling(resolve)
    state = _Merge(base, ours, theirs, settle).state()
    if settle.open:
        raise ConflictsError(settle.open)
    return state


def merged_mapping(
    base: State, ours: State, theirs: State, column: int | None, name: str | None, settle: Callable[[Conflict], Any]
) -> tuple[dict[str, Any], set[Key]]:
    """Merges the metadata of the dataset, or of a column, by key; returns it with the keys that had conflicts."""
    mappings = [state.mapping(column) for state in (base, ours, theirs)]
    result, conflicts = {}, set[Key]()
    for key in sorted(set().union(*mappings)):
        values = [mapping.get(key, MISSING) for mapping in mappings]
        value = three_way(*values, (column, key) in base.uncertain_keys)
        if value is CONFLICT:
            value = settle(Conflict("metadata", name, None, None, key, *values))
            conflicts.add((column, key))
        if value is not MISSING:
            result[key] = value
    return result, conflicts


CONFLICT: Any = object()


def three_way(base: Any, ours: Any, theirs: Any, uncertain: bool = False) -> Any:
    """What one side changed is taken from it; CONFLICT where both sides changed to different things."""
    if ours == theirs:
        return ours
    if uncertain or (ours != base and theirs != base):
        return CONFLICT
    return theirs if ours == base else ours


class _Merge:
    """One merge of tables whose rows and columns have comparable ids."""

    def __init__(self, base: State, ours: State, theirs: State, settle: Settling) -> None:
        self.base, self.ours, self.theirs, self.settle = base, ours, theirs, settle
        self.uncertain_cells = set(ours.uncertain_cells | theirs.uncertain_cells)
        self.uncertain_keys: set[Key] = set(ours.uncertain_keys | theirs.uncertain_keys)
        self.settled: dict[tuple[int, int], Any] = {}

    def state(self) -> State:
        columns = self.columns()
        rows = [Row(row, {column.id: self.cell(row, column) for column in columns}) for row in self.row_ids()]
        columns = [dataclasses.replace(column, metadata=self.mapping(column.id)) for column in columns]
        state = State(tuple(columns), tuple(rows), self.mapping(None))
        there = {column.id for column in columns}
        return dataclasses.replace(
            state,
            uncertain_cells=frozenset(
                (row, column) for row, column in self.uncertain_cells if row in state.rows_by_id and column in there
            ),
            uncertain_keys=frozenset(key for key in self.uncertain_keys if key[0] in {None, *there}),
        )

    def label(self, column: int) -> str:
        """What conflicts call a column: its name in ours, else in theirs."""
        return next(
            side.columns_by_id[column].name for side in (self.ours, self.theirs) if column in side.columns_by_id
        )

    def mapping(self, column: int | None) -> dict[str, Any]:
        """The metadata of the dataset or of a column of the result; what only one side has is that side's."""
        for side, other in ((self.ours, self.theirs), (self.theirs, self.ours)):
            if column is not None and column not in other.columns_by_id:
                return dict(side.columns_by_id[column].metadata)
        name = None if column is None else self.label(column)
        result, conflicts = merged_mapping(self.base, self.ours, self.theirs, column, name, self.settle)
        self.uncertain_keys |= conflicts
        return result

    # Columns

    def columns(self) -> list[Column]:
        """The columns of the result, under their new names and in order; metadata comes later."""
        ids = [column.id for column in self.ours.columns]
        ids += [column.id for column in self.theirs.columns if column.id not in ids]
        names = {id_: self.column_name(id_) for id_ in ids}
        names = self.without_clashes({id_: name for id_, name in names.items() if name is not None})
        sources = {id_: self.ours.columns_by_id.get(id_) or self.theirs.columns_by_id[id_] for id_ in ids}
        return [dataclasses.replace(sources[id_], name=names[id_]) for id_ in ids if id_ in names]

    def column_name(self, id_: int) -> str | None:
        """The name of a column in the result, or None where it goes."""
        base, ours, theirs = (side.columns_by_id.get(id_) for side in (self.base, self.ours, self.theirs))
        if ours and theirs:
            names = (base.name if base else MISSING, ours.name, theirs.name)
            name = three_way(*names)
            return self.settle(Conflict("column", ours.name, None, None, None, *names)) if name is CONFLICT else name
        side, column = (self.ours, ours) if ours else (self.theirs, theirs)
        assert column
        if base is None:
            return column.name
        if not self.column_changed(side, id_):
            return None
        types = [each.type if each else MISSING for each in (base, ours, theirs)]
        kept = self.settle(Conflict("column", column.name, None, None, None, *types)) is not MISSING
        return column.name if kept else None

    def column_changed(self, side: State, id_: int) -> bool:
        """Whether a side renamed a column of the base, or changed its metadata or a cell of a row of the base."""
        base, column = self.base.columns_by_id[id_], side.columns_by_id[id_]
        uncertain = any(column == id_ for column, _ in self.base.uncertain_keys)
        described = uncertain or dict(base.metadata) != dict(column.metadata)
        return (
            base.name != column.name or described or any(self.cell_changed(side, row.id, id_) for row in self.base.rows)
        )

    def without_clashes(self, names: dict[int, str]) -> dict[int, str]:
        """Names of which no two are equal: of two columns that would get one name, one side's has it.

        The other one keeps the name that it has on that side, and goes where that side does not have it.
        """
        for _ in range(2 * len(names) + 1):
            clash = next((name for name in names.values() if list(names.values()).count(name) > 1), None)
            if clash is None:
                return names
            ours, theirs = (side.named(clash) for side in (self.ours, self.theirs))
            taken = self.settle(Conflict("column", clash, None, None, None, MISSING, ours.type, theirs.type))
            # Of equal types that a function chooses, it is ours.
            to_theirs = self.settle.resolve == "theirs" or taken != ours.type
            side, loser = (self.theirs, ours) if to_theirs else (self.ours, theirs)
            if loser.id in side.columns_by_id:
                names[loser.id] = side.columns_by_id[loser.id].name
            else:
                del names[loser.id]
        raise ConflictsError([])

    # Rows

    def row_ids(self) -> list[int]:
        """The rows of the result, in order."""
        kept = {row.id for row in self.ours.rows if self.stays(self.ours, self.theirs, row.id)}
        new = [
            row.id
            for row in self.theirs.rows
            if row.id not in self.ours.rows_by_id and self.stays(self.theirs, self.ours, row.id)
        ]
        literal = self.places()
        # No row stands before one that it comes after in theirs.
        places = dict(zip(new, itertools.accumulate((literal[row] for row in new), max), strict=True))
        result = []
        for number, row in enumerate(self.ours.rows):
            result += [each for each in new if places[each] == number]
            result += [row.id] if row.id in kept else []
        return result + [each for each in new if places[each] == len(self.ours.rows)]

    def places(self) -> dict[int, int]:
        """For each row of theirs the number of the row of ours that it would stand before.

        That is the next row of theirs that base has, where ours has it; else what follows the last row before that one
        in base that ours has.
        """
        ends = [0]
        for row in self.base.rows:
            ends.append(self.ours.numbers[row.id] + 1 if row.id in self.ours.numbers else ends[-1])
        places, place = {}, len(self.ours.rows)
        for row in reversed(self.theirs.rows):
            if row.id in self.base.numbers:
                place = self.ours.numbers.get(row.id, ends[self.base.numbers[row.id]])
            places[row.id] = place
        return places

    def stays(self, side: State, other: State, row: int) -> bool:
        """Whether a row of a side stays: what the other one deleted does only if this one changed it."""
        if row in other.rows_by_id or row not in self.base.rows_by_id:
            return True
        changed = [
            id_ for id_ in side.columns_by_id if id_ in self.base.columns_by_id and self.cell_changed(side, row, id_)
        ]
        values = {(row, id_): self.settle(self.row_conflict(row, id_)) for id_ in changed}
        if not changed or MISSING in values.values():
            return False
        self.settled |= values
        self.uncertain_cells |= {(row, id_) for id_ in side.columns_by_id}
        return True

    def row_conflict(self, row: int, column: int) -> Conflict:
        return self.conflict("row", row, column)

    def conflict(self, kind: str, row: int, column: int) -> Conflict:
        """A conflict about a cell, with what each side has there."""
        numbers = [side.numbers.get(row) for side in (self.ours, self.theirs)]
        values = [self.value(side, row, column) for side in (self.base, self.ours, self.theirs)]
        return Conflict(kind, self.label(column), *numbers, None, *values)

    @staticmethod
    def value(side: State, row: int, column: int) -> Any:
        return side.rows_by_id[row].cells.get(column, MISSING) if row in side.rows_by_id else MISSING

    def cell_changed(self, side: State, row: int, column: int) -> bool:
        """Whether a side has a cell of the base with another value, or one that counts as changed."""
        if row not in side.rows_by_id or row not in self.base.rows_by_id:
            return False
        uncertain = (row, column) in self.base.uncertain_cells
        return uncertain or self.value(side, row, column) != self.value(self.base, row, column)

    # Cells

    def cell(self, row: int, column: Column) -> Any:
        """The value of a cell of the result."""
        if (row, column.id) in self.settled:
            return self.settled[row, column.id]
        base, ours, theirs = (self.value(side, row, column.id) for side in (self.base, self.ours, self.theirs))
        if ours is MISSING and theirs is MISSING:
            return self.filled(row, column)
        if ours is MISSING or theirs is MISSING:
            return theirs if ours is MISSING else ours
        value = three_way(base, ours, theirs, (row, column.id) in self.base.uncertain_cells)
        if value is CONFLICT:
            self.uncertain_cells.add((row, column.id))
            return self.settle(self.conflict("cell", row, column.id))
        return value

    def filled(self, row: int, column: Column) -> Any:
        """The value of a row in a column that only the other side has."""
        if column.default is not MISSING:
            return column.default
        if column.type.nullable:
            return None
        self.uncertain_cells.add((row, column.id))
        numbers: Iterable[int | None] = [side.numbers.get(row) for side in (self.ours, self.theirs)]
        return self.settle(Conflict("value", self.label(column.id), *numbers))
