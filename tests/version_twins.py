"""Datasets on disk and in the model, changed in step and compared: for random programs.

Values are drawn as small numbers, *seeds*, of which a column's type makes one of a few values; so equal changes are
common.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from merge_model import MISSING, Conflict, ConflictsError, State
from version_model import (
    Dataset,
    Handle,
    NothingToUndoError,
    StagedError,
    Version,
    blame,
    diff,
)

import cas
from cas.errors import ConflictError, UncommittedChangesError, VersionNotFoundError
from cas.types import Array, Nullable, Text, Type, as_type

TYPES: list[Type] = [as_type("int64"), Text(), Nullable(Text()), Array("uint8", (2,))]
VALUES: dict[Type, list[Any]] = dict(
    zip(TYPES, ([0, 1, 2], ["", "a", "bb"], [None, "a", "bb"], [(0, 0), (0, 1), (7, 7)]), strict=True)
)
MODES = ("raise", "ours", "theirs")


def value_of(type_: Type, seed: int) -> Any:
    """The value that a seed stands for in a column of a type."""
    return VALUES[type_][seed % 3]


def rows_of(state: State, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each seed, with other seeds for its other columns."""
    return [
        {column.name: value_of(column.type, seed // 3**number) for number, column in enumerate(state.columns)}
        for seed in seeds
    ]


def plain(value: Any) -> Any:
    """A value that was read as the model has it: arrays are tuples, MISSING is the model's."""
    if value is cas.MISSING:
        return MISSING
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    return tuple(value) if isinstance(value, list) else value


def plain_conflicts(conflicts: Sequence[Any]) -> list[Conflict]:
    """Conflicts of either side in one form and order."""
    names = ("kind", "column", "row", "theirs_row", "key", "base", "ours", "theirs")
    found = [Conflict(*(plain(getattr(conflict, name)) for name in names)) for conflict in conflicts]
    return sorted(found, key=repr)


class UndecidedError(Exception):
    """What a function raises that cannot end a conflict."""


def chooser(seed: int, *states: State) -> Callable[[Any], Any]:
    """A function that ends conflicts of each kind in one way, given by the seed; ``states`` have the columns' types."""

    def choose(conflict: Any) -> Any:
        way = seed >> 2 * ("cell", "row", "column", "metadata", "value").index(conflict.kind) & 3
        if way < 2 and conflict.kind != "value":
            return conflict.theirs if way else conflict.ours
        if conflict.kind == "column":
            return conflict.ours
        if conflict.kind == "metadata":
            return 7 if way == 2 else MISSING
        if conflict.kind == "row" and way == 2:
            return MISSING
        types = {column.type for state in states for column in state.columns if column.name == conflict.column}
        if len(types) > 1:
            raise UndecidedError
        return value_of(types.pop(), seed)

    return choose


def for_dataset(resolve: Any) -> Any:
    """What the dataset gets for a way of the model: its own MISSING."""
    if not callable(resolve):
        return resolve

    def choose(conflict: Any) -> Any:
        value = resolve(conflict)
        return cas.MISSING if value is MISSING else value

    return choose


class Twin:
    """A handle of the dataset and one of the model."""

    def __init__(self, twins: Twins, branch: str) -> None:
        self.twins = twins
        self.ds: cas.Dataset = cas.open(twins.url, branch)
        self.model: Handle = twins.model.open(branch)

    def refresh(self) -> None:
        self.ds.refresh()
        self.model.refresh()

    def rollback(self) -> None:
        self.ds.rollback()
        self.model.rollback()

    def close(self) -> None:
        """Closes the handle without what is staged."""
        self.ds.rollback()
        self.ds.close()

    def reopen(self) -> None:
        """Closes and opens; what is staged is recovered where the branch has not moved."""
        if not self.model.at_head:
            self.rollback()
        self.ds.close()
        self.ds = cas.open(self.twins.url, self.model.branch_name)
        assert self.ds.recover() == self.model.changed
        if not self.model.changed:
            self.model.refresh()

    # What changes rows and columns

    def append(self, seeds: Sequence[int]) -> None:
        self.insert(len(self.model.rows), seeds)

    def insert_run(self, at: int, count: int, step: int) -> None:
        """Inserts many rows, where there are not too many already."""
        if len(self.model.rows) < 800:
            self.insert(at, range(0, count * step, step))

    def insert(self, at: int, seeds: Sequence[int]) -> None:
        if self.model.columns:
            rows = rows_of(self.model.state, seeds)
            at %= len(self.model.rows) + 1
            if at == len(self.model.rows):
                self.ds.append(rows)
            else:
                self.ds.insert(at, rows)
            self.model.insert(at, rows)

    def update(self, column: int, rows: Sequence[int], seed: int) -> None:
        count = len(self.model.rows)
        if self.model.columns and count:
            chosen = self.model.columns[column % len(self.model.columns)]
            numbers = sorted({row % count for row in rows})
            values = {number: value_of(chosen.type, seed + number) for number in numbers}
            self.ds[chosen.name][numbers] = list(values.values())
            self.model.update(chosen.name, values)

    def delete(self, rows: Sequence[int]) -> None:
        count = len(self.model.rows)
        if count:
            numbers = sorted({row % count for row in rows})
            self.ds.delete(numbers)
            self.model.delete(numbers)

    def add_column(self, name: str, type_: Type, default: int | None) -> None:
        if all(column.name != name for column in self.model.columns):
            if default is None and self.model.rows and not type_.nullable:
                default = 0
            given = {} if default is None else {"default": value_of(type_, default)}
            self.ds.add_column(name, type_, **given)
            self.model.add_column(name, type_, **given)

    def rename_column(self, column: int, new: str) -> None:
        names = [column.name for column in self.model.columns]
        if names and new not in names:
            self.ds.rename_column(names[column % len(names)], new)
            self.model.rename_column(names[column % len(names)], new)

    def remove_column(self, column: int) -> None:
        names = [column.name for column in self.model.columns]
        if names:
            self.ds.remove_column(names[column % len(names)])
            self.model.remove_column(names[column % len(names)])

    def describe(self, column: int, key: str, value: int | None) -> None:
        """Sets or removes a key of the live metadata of the dataset or of a column."""
        if not self.model.at_head:
            return
        name = [None, *(column.name for column in self.model.columns)][column % (len(self.model.columns) + 1)]
        mapping = self.ds.metadata if name is None else self.ds[name].metadata
        if value is not None:
            mapping[key] = value
            self.model.metadata(name)[key] = value
        elif self.model.metadata(name).pop(key, None) is not None:
            del mapping[key]

    # What moves branches

    def commit(self, resolve: Any = "raise") -> None:
        self.twins.both(
            lambda: self.ds.commit("commit", on_conflict=for_dataset(resolve)),
            lambda id_: self.model.commit(id_, resolve),
        )

    def merge(self, theirs: Version, revision: str, resolve: Any) -> None:
        head = self.model.branch.head
        self.twins.both(
            lambda: self.ds.merge(revision, on_conflict=for_dataset(resolve)),
            lambda id_: self.model.merge(theirs, id_, resolve),
        )
        if self.model.branch.head not in (head, theirs):
            assert self.ds.version.message == f"Merge {revision} into {self.model.branch_name}"

    def revert_to(self, version: Version) -> None:
        if self.model.uncommitted_metadata and version.state.content() != self.model.base.state.content():
            for revert in (lambda: self.ds.revert_to(version.id), lambda: self.model.revert_to(version)):
                with pytest.raises((UncommittedChangesError, StagedError)):
                    revert()
        else:
            id_ = self.ds.revert_to(version.id)
            assert self.model.revert_to(version, id_).id == id_
            self.twins.check_new_version(self.model.base)

    def undo(self) -> None:
        try:
            version = self.model.undo()
        except (NothingToUndoError, StagedError) as error:
            expected = UncommittedChangesError if isinstance(error, StagedError) else VersionNotFoundError
            with pytest.raises(expected):
                self.ds.undo()
        else:
            assert self.ds.undo().id == version.id

    # What is compared

    def check(self) -> None:
        """Compares all that the handle shows."""
        state = self.model.state
        assert self.ds.version.id == self.model.base.id
        check_table(self.ds, state)
        if self.model.at_head:
            live = [self.ds.metadata.to_dict(), *(self.ds[column.name].metadata.to_dict() for column in state.columns)]
            assert live == [self.model.metadata(), *(self.model.metadata(column.name) for column in state.columns)]
            assert self.ds.has_changes == (self.model.changed or self.model.uncommitted_metadata)


def check_table(ds: cas.Dataset | cas.ReadOnlyDataset, state: State) -> None:
    """Compares columns, in order, and rows."""
    assert [*ds.schema.items()] == [(column.name, column.type) for column in state.columns]
    assert len(ds) == len(state.rows)
    for column in state.columns:
        values = ds[column.name][:]
        assert [plain(value) for value in values] == [row.cells[column.id] for row in state.rows]


def check_version(ds: cas.ReadOnlyDataset, state: State) -> None:
    """Compares a version with its metadata."""
    check_table(ds, state)
    assert ds.metadata.to_dict() == dict(state.metadata)
    for column in state.columns:
        assert ds[column.name].metadata.to_dict() == dict(column.metadata)


def check_views(found: Any, state: State) -> None:
    """Compares rows that a diff lists with those of the version they are of."""
    assert found.rows.dtype == np.int64
    assert [view.number for view in found] == found.rows.tolist()
    assert len(found) == len(found.rows)
    for view in itertools.islice(found, 3):
        cells = state.rows[view.number].cells
        assert {name: plain(view[name]) for name in view} == {column.name: cells[column.id] for column in state.columns}


def kept_rows(row_map: Any) -> list[tuple[int, int]]:
    """The numbers in a parent and in a version of the rows that a row map keeps."""
    runs = row_map.alignment()
    return [
        (old + step, new + step)
        for old, new, length in zip(runs.old.tolist(), runs.new.tolist(), runs.lengths.tolist(), strict=True)
        for step in range(length)
    ]


class Twins:
    """A dataset in a store of its own and its model, each with handles that are changed in step."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.url = Path(self.folder.name) / "ds"
        self.trees: dict[str, str] = {}
        self.clock = pytest.MonkeyPatch()
        # Ids of versions hold the time and order merge bases: a program must give the same ones each time.
        times = itertools.count(1_700_000_000_000_000_000, 1_000_000)
        self.clock.setattr("time.time_ns", lambda: next(times))
        with cas.create(self.url) as ds:
            self.model = Dataset(ds.version.id)
        self.handles = [Twin(self, "main")]

    def close(self) -> None:
        for handle in self.handles:
            handle.close()
        self.clock.undo()
        self.folder.cleanup()

    def open(self, branch: str) -> Twin:
        self.handles.append(Twin(self, branch))
        return self.handles[-1]

    def opened(self, id_: str) -> cas.ReadOnlyDataset:
        return self.handles[0].ds.history[id_].open()

    def branch(self, name: str, version: Version) -> None:
        """Makes a branch and opens it; where there is one of the name, opens that."""
        if name not in self.model.branches:
            self.handles[0].ds.branch(name, version=version.id)
            self.model.add_branch(name, version)
        self.open(name)

    def tag(self, version: Version) -> None:
        name = f"v{len(self.model.tags)}"
        self.handles[0].ds.tag(name, version=version.id)
        self.model.tags[name] = version

    def names_of(self, version: Version) -> list[str]:
        """All revisions that name a version."""
        branches = [name for name, branch in self.model.branches.items() if branch.head is version]
        return [version.id, *branches, *(name for name, tagged in self.model.tags.items() if tagged is version)]

    def both(self, real: Callable[[], str], model: Callable[[str], Version]) -> None:
        """Does something that makes a version, or raises conflicts, in the dataset and in the model."""
        moves = len(self.handles[0].ds.reflog)
        try:
            id_ = real()
        except (ConflictError, UndecidedError) as error:
            with pytest.raises((ConflictsError, UndecidedError)) as raised:
                model("")
            found = plain_conflicts(getattr(error, "conflicts", ()))
            expected = plain_conflicts(getattr(raised.value, "conflicts", ()))
        else:
            version = model(id_)
            assert version.id == id_
            self.check_new_version(version)
            return
        assert found == expected
        assert len(self.handles[0].ds.reflog) == moves

    def check(self) -> None:
        """Compares all handles and where branches are."""
        heads = {branch.name: branch.version.id for branch in self.handles[0].ds.branches}
        assert heads == {name: branch.head.id for name, branch in self.model.branches.items()}
        for handle in self.handles:
            handle.check()

    def check_new_version(self, version: Version) -> None:
        """Compares a version, its parents, and that equal content has one hash."""
        ds = self.opened(version.id)
        check_version(ds, version.state)
        assert ds.version.parents == tuple(parent.id for parent in version.parents)
        content = repr(version.state.content())
        assert self.trees.setdefault(content, ds.version.tree) == ds.version.tree
        assert list(self.trees.values()).count(ds.version.tree) == 1
        assert [{new: old for old, new in kept_rows(row_map)} for row_map in ds.version.row_maps] == version.row_maps
        for parent in version.parents:
            self.check_diff(parent, version)
        self.check_blame(version, len(self.trees), [0])

    def check_diff(self, a: Version, b: Version) -> None:
        """Compares what differs between two versions."""
        found = self.opened(b.id).diff(a.id)
        assert (found.a.id, found.b.id) == (a.id, b.id)
        inserted, deleted = found.inserted.rows.tolist(), found.deleted.rows.tolist()
        check_views(found.inserted, b.state)
        check_views(found.deleted, a.state)
        expected = diff(a, b)
        assert (inserted, deleted) == (expected.inserted, expected.deleted)
        schema = (dict(found.schema.added), dict(found.schema.removed), dict(found.schema.renamed))
        assert schema == (expected.added, expected.removed, expected.renamed)
        assert found.schema.reordered == expected.reordered
        changes = [(each.column, each.key, each.kind, plain(each.old), plain(each.new)) for each in found.metadata]
        wanted = [(each.column, each.key, each.kind, each.old, each.new) for each in expected.metadata]
        assert sorted(changes, key=repr) == sorted(wanted, key=repr)
        self.check_cells(found, expected.updated)
        anything = (*schema, expected.reordered, changes, inserted, deleted, expected.updated)
        assert bool(found) == any(anything)
        found.summary()
        found.to_dict()

    @staticmethod
    def check_cells(found: Any, expected: dict[str, list[tuple[int, int, Any, Any]]]) -> None:
        """Compares updated cells, in columns and rows in order."""
        assert list(found.updated) == list(expected)
        for name, cells in expected.items():
            changes = found.updated[name]
            assert len(changes) == len(cells)
            assert changes.rows.tolist() == [cell[0] for cell in cells]
            assert changes.old_rows.tolist() == [cell[1] for cell in cells]
            assert [(each.row, each.old_row, plain(each.old), plain(each.new)) for each in changes] == cells

    def check_blame(self, version: Version, column: int, rows: Sequence[int]) -> None:
        """Compares where the cells of a column come from: of all rows, and of some."""
        columns, count = version.state.columns, len(version.state.rows)
        if columns:
            name = columns[column % len(columns)].name
            expected = [blame(version, name, row).id for row in range(count)]
            ds = self.opened(version.id)
            assert [found.id for found in ds.blame(name)] == expected
            chosen = [row % count for row in rows] if count else []
            assert [found.id for found in ds.blame(name, chosen)] == [expected[row] for row in chosen]
