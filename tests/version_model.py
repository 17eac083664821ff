"""The model of datasets with history: branches, handles, commits, merges, diffs and blame, in plain Python.

Rows and columns have true identities, versions are immutable and hold their whole table, and everything is found by
looking at everything. :mod:`merge_model` has the tables and their three-way merge.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from merge_model import (
    MISSING,
    Column,
    Resolve,
    Row,
    State,
    Tokens,
    alike,
    merged,
    paired_rows,
    same_and_named,
    tokens_of_merge,
)

from cas.types import as_type

_ids = itertools.count(1)


class StagedError(Exception):
    """The operation needs that nothing is staged."""


class NothingToUndoError(Exception):
    """The branch is where it began."""


# Versions and their graph


@dataclass(frozen=True, eq=False)
class Version:
    """A version; ``joined`` are pairs of column ids, of this version and of a parent, that are one column."""

    id: str
    parents: tuple[Version, ...]
    state: State
    joined: frozenset[tuple[int, int]] = frozenset()

    def __repr__(self) -> str:
        return f"<{self.id[:8]}>"

    @cached_property
    def row_maps(self) -> list[dict[int, int]]:
        """For each parent the numbers there of rows by their numbers here, all in one order.

        After a criss-cross not all can be; but those that no earlier parent has are among them.
        """
        result, known = [], set[int]()
        for parent in self.parents:
            only_there = parent.state.rows_by_id.keys() - known
            result.append({new: old for old, new in paired_rows(parent.state, self.state, only_there)})
            known |= parent.state.rows_by_id.keys()
        return result


EMPTY = Version("", (), State())


def ancestors(*versions: Version) -> set[Version]:
    """The versions themselves and all before them."""
    found, new = set[Version](), list(versions)
    while new:
        version = new.pop()
        if version not in found:
            found.add(version)
            new += version.parents
    return found


def best_common_ancestors(a: Version, b: Version) -> list[Version]:
    """The common ancestors that are not before another one, by id."""
    common = ancestors(a) & ancestors(b)
    older = set().union(*(ancestors(version) - {version} for version in common))
    return sorted(common - older, key=lambda version: version.id)


def merge_base(a: Version, b: Version) -> Version:
    """The base of a merge: the best common ancestor, or several of them merged two at a time."""
    best = best_common_ancestors(a, b)
    base = best[0] if best else EMPTY
    for other in best[1:]:
        base = _merge_version("virtual", merge_base(base, other), base, other, "virtual")
    return base


class Identities:
    """Which columns are one column, by what versions joined."""

    def __init__(self, versions: Iterable[Version]) -> None:
        self._leaders: dict[int, int] = {}
        for one, other in {pair for version in ancestors(*versions) for pair in version.joined}:
            self._leaders[self._leader(one)] = self._leader(other)

    def _leader(self, column: int) -> int:
        while column in self._leaders and self._leaders[column] != column:
            column = self._leaders[column]
        return column

    def same(self, one: int, other: int) -> bool:
        """Whether two ids are of one column."""
        return self._leader(one) == self._leader(other)


def merge_states(base: Version, ours: Version, theirs: Version, resolve: Resolve) -> tuple[State, dict[int, list[int]]]:
    """Merges tables; returns the result, with ids of its own for columns, and where each of these comes from."""
    same = Identities([base, ours, theirs]).same
    tokens = tokens_of_merge(base.state, ours.state, theirs.state, same)
    tables = [version.state.relabelled(ids) for version, ids in zip((base, ours, theirs), tokens, strict=True)]
    state = merged(*tables, resolve)
    ids = {column.id: next(_ids) for column in state.columns}
    sources = {
        id_: [column for side in tokens[1:] for column, of in side.items() if of == token] for token, id_ in ids.items()
    }
    return state.relabelled(ids), sources


def _merge_version(id_: str, base: Version, ours: Version, theirs: Version, resolve: Resolve) -> Version:
    """The version with two parents that a merge makes."""
    state, sources = merge_states(base, ours, theirs, resolve)
    joined = frozenset((column, source) for column, found in sources.items() for source in found)
    return Version(id_, (ours, theirs), state, joined)


# What lies between two versions


@dataclass(frozen=True)
class MetadataChange:
    """A key that differs; ``column`` is the name in b, None for the dataset."""

    column: str | None
    key: str
    kind: str
    old: Any
    new: Any


@dataclass
class Diff:
    """What differs between two versions; ``updated`` holds (row, old row, old, new) by column name in b."""

    added: dict[str, Any]
    removed: dict[str, Any]
    renamed: dict[str, str]
    reordered: bool
    metadata: list[MetadataChange]
    pairs: list[tuple[int, int]]
    inserted: list[int]
    deleted: list[int]
    updated: dict[str, list[tuple[int, int, Any, Any]]]


def paired_columns(a: Version, b: Version) -> list[tuple[Column, Column]]:
    """The columns that both versions have, in the order of b."""
    tokens = Tokens()
    tokens.add(a.state)
    tokens.add(b.state, *same_and_named(Identities([a, b]).same), alike)
    of_a, of_b = tokens.by_table
    columns = {token: a.state.columns_by_id[id_] for id_, token in of_a.items()}
    return [(columns[of_b[column.id]], column) for column in b.state.columns if of_b[column.id] in columns]


def diff(a: Version, b: Version) -> Diff:
    """Returns what differs."""
    columns = paired_columns(a, b)
    pairs = paired_rows(a.state, b.state)
    ids_a, ids_b = {one.id for one, _ in columns}, {other.id for _, other in columns}
    return Diff(
        {column.name: column.type for column in b.state.columns if column.id not in ids_b},
        {column.name: column.type for column in a.state.columns if column.id not in ids_a},
        {one.name: other.name for one, other in columns if one.name != other.name},
        [one.id for one, _ in columns] != [column.id for column in a.state.columns if column.id in ids_a],
        _metadata_changes(a, b, columns),
        pairs,
        sorted({*range(len(b.state.rows))} - {new for _, new in pairs}),
        sorted({*range(len(a.state.rows))} - {old for old, _ in pairs}),
        _updates(a, b, columns, pairs),
    )


def _metadata_changes(a: Version, b: Version, columns: list[tuple[Column, Column]]) -> list[MetadataChange]:
    mappings = [(None, a.state.metadata, b.state.metadata)]
    mappings += [(other.name, one.metadata, other.metadata) for one, other in columns]  # type: ignore[misc]
    changes = []
    for name, old, new in mappings:
        for key in sorted({*old, *new}):
            if old.get(key, MISSING) != new.get(key, MISSING):
                kind = "added" if key not in old else "removed" if key not in new else "changed"
                changes.append(MetadataChange(name, key, kind, old.get(key, MISSING), new.get(key, MISSING)))
    return changes


def _updates(
    a: Version, b: Version, columns: list[tuple[Column, Column]], pairs: list[tuple[int, int]]
) -> dict[str, list[tuple[int, int, Any, Any]]]:
    updated = {}
    for one, other in columns:
        cells = [(new, old, a.state.rows[old].cells[one.id], b.state.rows[new].cells[other.id]) for old, new in pairs]
        changed = [cell for cell in cells if cell[2] != cell[3]]
        if changed:
            updated[other.name] = changed
    return updated


def blame(version: Version, column: str, row: int) -> Version:
    """The version that gave a cell its value."""
    value, id_ = version.state.rows[row].cells[version.state.named(column).id], version.state.named(column).id
    for parent, row_map in zip(version.parents, version.row_maps, strict=True):
        number = row_map.get(row)
        for source in parent.state.columns:
            is_source = source.id == id_ or (id_, source.id) in version.joined
            if is_source and number is not None and parent.state.rows[number].cells[source.id] == value:
                return blame(parent, source.name, number)
    return version


# Branches and handles


def described(state: State, live: Mapping[int | None, Mapping[str, Any]]) -> State:
    """A table with live metadata in place of its own."""
    columns = [dataclasses.replace(column, metadata=dict(live.get(column.id, {}))) for column in state.columns]
    return dataclasses.replace(state, columns=tuple(columns), metadata=dict(live[None]))


@dataclass
class Branch:
    """A branch: the versions it was at, the last one last, and its live metadata by column id (None: the dataset's)."""

    past: list[Version]
    live: dict[int | None, dict[str, Any]] = field(default_factory=dict)

    @property
    def head(self) -> Version:
        """The version it is at."""
        return self.past[-1]

    def move(self, version: Version) -> None:
        """Goes on to a version and takes its metadata."""
        self.past.append(version)
        self.take_metadata(version.state)

    def take_metadata(self, state: State) -> None:
        """Makes the metadata of a version the live one."""
        self.live = {None: dict(state.metadata)}
        self.live |= {column.id: dict(column.metadata) for column in state.columns}

    @property
    def now(self) -> Version:
        """The head with the live metadata."""
        return dataclasses.replace(self.head, state=described(self.head.state, self.live))


class Dataset:
    """Branches and tags, and every version that was made."""

    def __init__(self, first_id: str = "0") -> None:
        first = Version(first_id, (), State())
        self.versions = [first]
        self.branches = {"main": Branch([first], {None: {}})}
        self.tags: dict[str, Version] = {}

    def add_branch(self, name: str, version: Version) -> None:
        """Makes a branch at a version, with the metadata of it."""
        self.branches[name] = Branch([version])
        self.branches[name].take_metadata(version.state)

    def enter(self, branch: str, id_: str, parents: tuple[Version, ...], state: State, **more: Any) -> Version:
        """Makes a version and moves a branch to it; what was uncertain is settled."""
        state = dataclasses.replace(state, uncertain_cells=frozenset(), uncertain_keys=frozenset())
        version = Version(id_ or f"{len(self.versions):04}", parents, state, **more)
        self.versions.append(version)
        self.branches[branch].move(version)
        return version

    def open(self, branch: str = "main") -> Handle:
        """Opens a branch for writing."""
        return Handle(self, branch)


class Handle:
    """A branch open for writing, with what is staged. Ids of new versions may be given; they order merge bases."""

    def __init__(self, dataset: Dataset, branch: str) -> None:
        self.dataset = dataset
        self.branch_name = branch
        self.refresh()

    @property
    def branch(self) -> Branch:
        """The branch."""
        return self.dataset.branches[self.branch_name]

    @property
    def at_head(self) -> bool:
        """Whether no other handle has moved the branch."""
        return self.base is self.branch.head

    @property
    def uncommitted_metadata(self) -> bool:
        """Whether the live metadata of the branch is not that of its head."""
        return self.branch.now.state.content() != self.branch.head.state.content()

    def refresh(self) -> None:
        """Goes to the head of the branch, without what was staged."""
        self._start(self.branch.head)

    def rollback(self) -> None:
        """Drops what is staged."""
        self._start(self.base)

    def _start(self, version: Version) -> None:
        self.base = version
        self.columns = list(version.state.columns)
        self.rows = [Row(row.id, dict(row.cells)) for row in version.state.rows]
        self.new_metadata: dict[int, dict[str, Any]] = {}
        self.changed = False

    @property
    def state(self) -> State:
        """The table with what is staged; its metadata is that of the base."""
        rows = tuple(Row(row.id, dict(row.cells)) for row in self.rows)
        return State(tuple(self.columns), rows, self.base.state.metadata)

    # Staging

    def insert(self, index: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Stages new rows before row ``index``."""
        new = [Row(next(_ids), {column.id: row.get(column.name) for column in self.columns}) for row in rows]
        self.rows[index:index] = new
        self.changed = True

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Stages new rows at the end."""
        self.insert(len(self.rows), rows)

    def update(self, column: str, values: Mapping[int, Any]) -> None:
        """Stages values by row number."""
        id_ = self.state.named(column).id
        for number, value in values.items():
            cells = {**self.rows[number].cells, id_: value}
            self.rows[number] = Row(self.rows[number].id, cells)
        self.changed = True

    def delete(self, numbers: Iterable[int]) -> None:
        """Stages the removal of rows."""
        gone = set(numbers)
        self.rows = [row for number, row in enumerate(self.rows) if number not in gone]
        self.changed = True

    def add_column(self, name: str, type_: object, default: Any = MISSING) -> None:
        """Stages a new column."""
        column = Column(next(_ids), name, as_type(type_), default)
        self.columns.append(column)
        value = None if default is MISSING else default
        self.rows = [Row(row.id, {**row.cells, column.id: value}) for row in self.rows]
        self.new_metadata[column.id] = {}
        self.changed = True

    def remove_column(self, name: str) -> None:
        """Stages the removal of a column."""
        gone = self.state.named(name).id
        self.columns = [column for column in self.columns if column.id != gone]
        self.rows = [Row(row.id, {id_: cell for id_, cell in row.cells.items() if id_ != gone}) for row in self.rows]
        self.new_metadata.pop(gone, None)
        self.changed = True

    def rename_column(self, old: str, new: str) -> None:
        """Stages another name for a column."""
        self.columns = [
            dataclasses.replace(column, name=new) if column.name == old else column for column in self.columns
        ]
        self.changed = True

    def metadata(self, column: str | None = None) -> dict[str, Any]:
        """The live metadata of the dataset or of a column, to be read and changed, for a handle that is at the head."""
        if column is None:
            return self.branch.live[None]
        id_ = self.state.named(column).id
        return self.new_metadata[id_] if id_ in self.new_metadata else self.branch.live[id_]

    # Versions

    def commit(self, id_: str = "", resolve: Resolve = "raise") -> Version:
        """Makes what is staged a version, merged into what others have committed meanwhile; none without changes."""
        state, new = (self.state, self.new_metadata) if self.at_head else self._rebased(resolve)
        state = described(state, {**self.branch.live, **new})
        if state.content() == self.branch.head.state.content():
            self._take_metadata_by_name(state)
        else:
            self.dataset.enter(self.branch_name, id_, (self.branch.head,), state)
        self.refresh()
        return self.base

    def _take_metadata_by_name(self, state: State) -> None:
        """A table that equals the head is not committed; its metadata is from now on that of the head's columns."""
        named = {column.name: dict(column.metadata) for column in state.columns}
        self.branch.live |= {column.id: named[column.name] for column in self.branch.head.state.columns}

    def _rebased(self, resolve: Resolve) -> tuple[State, dict[int, dict[str, Any]]]:
        """What is staged, merged into the head, and the metadata of new columns. What the head lacks is new there."""
        head = self.branch.head
        versions = (
            dataclasses.replace(version, state=state.without_metadata())
            for version, state in ((self.base, self.base.state), (head, head.state), (self.base, self.state))
        )
        state, sources = merge_states(*versions, resolve)
        of_head = {column.id for column in head.state.columns}
        ids = {column: next((id_ for id_ in found if id_ in of_head), column) for column, found in sources.items()}
        new = {
            ids[column]: self.new_metadata[id_]
            for column, found in sources.items()
            for id_ in found
            if id_ in self.new_metadata and ids[column] == column
        }
        rows = [row if row.id in head.state.rows_by_id else Row(next(_ids), row.cells) for row in state.rows]
        return dataclasses.replace(state, rows=tuple(rows)).relabelled(ids), new

    def _check_nothing_staged(self) -> None:
        if self.changed:
            raise StagedError

    def merge(self, theirs: Version, id_: str = "", resolve: Resolve = "raise") -> Version:
        """Merges a version into the branch."""
        self._check_nothing_staged()
        ours = self.branch.now
        if theirs in ancestors(self.branch.head):
            return self.branch.head
        if self.branch.head not in ancestors(theirs) or not self._fast_forward(theirs, resolve):
            parents = (self.branch.head, theirs)
            merge = _merge_version(id_, merge_base(*parents), ours, theirs, resolve)
            self.dataset.enter(self.branch_name, id_, parents, merge.state, joined=merge.joined)
        self.refresh()
        return self.base

    def _fast_forward(self, theirs: Version, resolve: Resolve) -> bool:
        """Moves the branch to a later version; not where a column stays, for its metadata, that it does not have."""
        state, _ = merge_states(self.branch.head, self.branch.now, theirs, resolve)
        merged = {column.name: dict(column.metadata) for column in state.columns}
        if merged.keys() != {column.name for column in theirs.state.columns}:
            return False
        self.branch.move(theirs)
        self.branch.live = {None: dict(state.metadata)}
        self.branch.live |= {column.id: merged[column.name] for column in theirs.state.columns}
        return True

    def revert_to(self, version: Version, id_: str = "") -> Version:
        """Makes a version with the table of an earlier one; refused where metadata would be lost."""
        self._check_nothing_staged()
        head = self.branch.head
        if version.state.content() != head.state.content():
            if self.uncommitted_metadata:
                raise StagedError
            self.dataset.enter(self.branch_name, id_, (head,), self._returned(version))
        self.refresh()
        return self.base

    def _returned(self, version: Version) -> State:
        """The table of a version, of which the head has some rows and columns and the others are new."""
        head, table = self.branch.head.state, version.state
        tokens = Tokens()
        tokens.add(head)
        tokens.add(table, *same_and_named(Identities([self.branch.head, version]).same))
        of_head, of_table = tokens.by_table
        known = {token: id_ for id_, token in of_head.items()}
        kept = {new: old for old, new in paired_rows(head, table)}
        table = table.relabelled({column: known.get(token) or next(_ids) for column, token in of_table.items()})
        rows = [
            Row(head.rows[kept[number]].id if number in kept else next(_ids), row.cells)
            for number, row in enumerate(table.rows)
        ]
        columns = [
            dataclasses.replace(column, default=head.columns_by_id.get(column.id, column).default)
            for column in table.columns
        ]
        return dataclasses.replace(table, rows=tuple(rows), columns=tuple(columns))

    def undo(self) -> Version:
        """Takes the branch back to where it was before it moved last; refused where metadata would be lost."""
        self._check_nothing_staged()
        if len(self.branch.past) == 1:
            raise NothingToUndoError
        if self.uncommitted_metadata:
            raise StagedError
        self.branch.past.pop()
        self.branch.take_metadata(self.branch.head.state)
        self.refresh()
        return self.base
